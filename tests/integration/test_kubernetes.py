"""deploy/kubernetes and deploy/monitoring: built by kustomize, strictly checked, and true to the server."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import ValidationError

from handler.metrics import METRICS, Kind
from server.ports import free_ports
from server.settings import read_settings
from tests.conftest import ROOT
from tests.kserve_schema import KserveSchema
from tests.manifests import DEPLOY, KUBERNETES, Manifest, build, environment, one, pod_of
from train.corpus import Document
from train.ready_text.package import UnavailableError

pytestmark = pytest.mark.integration
BASE, VOLUME, OBJECT_STORE = "kubernetes/base", "kubernetes/volume", "kubernetes/object-store"
JOB, KSERVE, MONITORING = "kubernetes/training/job.yaml", "kubernetes/kserve", "monitoring"
CUSTOM = ("serving.kserve.io/", "monitoring.coreos.com/")
MODEL_CONFIG = yaml.safe_load((ROOT / "handler" / "model-config.yaml").read_text(encoding="utf-8"))
GRACE = 30  # seconds; NEUROQ_GRACE's default
MARGIN = 15  # seconds that the server itself may need beyond it (docs/docker.md)


@pytest.mark.parametrize("name", [BASE, VOLUME, OBJECT_STORE, JOB, MONITORING])
@pytest.mark.parametrize("version", ["1.30", KUBERNETES])
def test_every_manifest_follows_the_schema_of_kubernetes(name: str, version: str) -> None:
    for manifest in build(name):
        if not manifest["apiVersion"].startswith(CUSTOM):
            kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize(
    ("name", "kind", "path"),
    [
        (BASE, "Deployment", ["spec"]),
        (BASE, "Deployment", ["spec", "template", "spec", "containers", 0, "readinessProbe"]),
        (BASE, "HorizontalPodAutoscaler", ["spec", "metrics", 0, "pods", "metric"]),
        (BASE, "NetworkPolicy", ["spec", "ingress", 0]),
        (JOB, "Job", ["spec", "template", "spec"]),
    ],
)
def test_a_field_that_kubernetes_does_not_know_is_refused(name: str, kind: str, path: list[Any]) -> None:
    with pytest.raises(kubernetes_validate.ValidationError, match="'misspelt' was unexpected"):
        kubernetes_validate.validate(misspelt(one(name, kind), path), KUBERNETES, strict=True)


@pytest.fixture(scope="module")
def kserve() -> KserveSchema:
    try:
        return KserveSchema()
    except UnavailableError as error:
        pytest.skip(f"KServe's models cannot be fetched: {error}")


def test_kserve_s_manifests_follow_its_schema(kserve: KserveSchema) -> None:
    for manifest in build(KSERVE):
        kserve.validate(manifest)


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("InferenceService", ["spec"]),
        ("InferenceService", ["spec", "predictor", "model"]),
        ("ServingRuntime", ["spec"]),
        ("ServingRuntime", ["spec", "containers", 0, "securityContext"]),
    ],
)
def test_a_field_that_kserve_does_not_know_is_refused(
    kserve: KserveSchema, kind: str, path: list[Any]
) -> None:
    with pytest.raises(ValidationError, match="'misspelt' was unexpected"):
        kserve.validate(misspelt(one(KSERVE, kind), path))


def misspelt(manifest: Manifest, path: list[Any]) -> Manifest:
    """A copy with one field too many."""
    whole = part = copy.deepcopy(manifest)
    for step in path:
        part = part[step]
    part["misspelt"] = 1
    return whole


def test_kserve_s_own_rules_find_the_runtime() -> None:
    """As KServe matches them: by name, model format and protocol; and it looks for kserve-container."""
    model = one(KSERVE, "InferenceService")["spec"]["predictor"]["model"]
    runtime = one(KSERVE, "ServingRuntime")
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["modelFormat"]["name"] in {f["name"] for f in runtime["spec"]["supportedModelFormats"]}
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]
    (container,) = runtime["spec"]["containers"]
    assert container["name"] == "kserve-container"
    settings = read_settings({}, environment(container), ROOT)
    assert settings.archive == Path("/mnt/models/model-store/neuroq.mar")  # kserve-torchserve's layout


@pytest.mark.parametrize("name", [BASE, VOLUME, OBJECT_STORE, JOB, KSERVE])
def test_no_container_has_more_rights_than_it_needs(name: str) -> None:
    pods = [pod for pod in map(pod_of, build(name)) if pod]
    assert pods
    for pod in pods:
        for container in pod["containers"]:
            rights = {**pod.get("securityContext", {}), **container["securityContext"]}
            assert rights["runAsNonRoot"]
            assert rights["runAsUser"] > 0
            assert rights["readOnlyRootFilesystem"]
            assert rights["allowPrivilegeEscalation"] is False
            assert rights["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]


def servers() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The pods that serve, each with its container; KServe completes its own from two manifests."""
    deployments = [pod_of(one(name, "Deployment")) for name in (BASE, VOLUME, OBJECT_STORE)]
    predictor = {
        **one(KSERVE, "ServingRuntime")["spec"],
        **one(KSERVE, "InferenceService")["spec"]["predictor"],
    }
    return [(pod, pod["containers"][0]) for pod in (*deployments, predictor) if pod]


def test_a_server_gets_what_its_image_expects() -> None:
    for pod, container in servers():
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for path in ("/tmp", "/run/neuroq"):  # all that it writes
            assert "emptyDir" in volumes[mounts[path]["name"]]
        # The token comes from a Secret, as a file.
        token = Path(environment(container)["NEUROQ_TOKEN_FILE"])
        assert volumes[mounts[str(token.parent)]["name"]]["secret"]["secretName"] == "neuroq"
        # Services put variables into every pod, and NEUROQ_PORT would be one of a Service called neuroq.
        assert pod["enableServiceLinks"] is False
        wait = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert pod["terminationGracePeriodSeconds"] >= wait + GRACE + MARGIN
        ports = {port["containerPort"] for port in container["ports"]}
        names = {port["name"]: port["containerPort"] for port in container["ports"]}
        for probe in ("startupProbe", "readinessProbe"):
            check = container[probe]["httpGet"]
            assert check["path"] == "/health"
            assert names.get(check["port"], check["port"]) == 8080
        assert 8080 in ports


def test_a_pod_is_not_killed_for_a_request_that_takes_its_time() -> None:
    probe = servers()[0][1]["livenessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] > MODEL_CONFIG["handler"]["deadline_seconds"]


def test_the_three_patterns_differ_in_where_the_archive_comes_from() -> None:
    (_, baked), (volume_pod, volume), (_, fetched), _ = servers()
    assert [c["image"] for c in (baked, volume, fetched)] == ["neuroq:1.0", *["neuroq-server:1.0"] * 2]
    claim = one(VOLUME, "PersistentVolumeClaim")["metadata"]["name"]
    source = next(each for each in volume_pod["volumes"] if each["name"] == "models")
    assert source["persistentVolumeClaim"]["claimName"] == claim
    assert {"name": "models", "mountPath": "/models", "readOnly": True} in volume["volumeMounts"]
    assert environment(fetched)["NEUROQ_ARCHIVE_PATH"].startswith("s3://")
    for container in (baked, volume, fetched):
        assert environment(container)["NEUROQ_SESSION_STORE"] == "redis://neuroq-redis:6379/0"


def test_services_reach_their_pods() -> None:
    pods = [manifest["spec"]["template"] for manifest in build(BASE) if pod_of(manifest)]
    services = [manifest for manifest in build(BASE) if manifest["kind"] == "Service"]
    assert {service["metadata"]["name"] for service in services} == {"neuroq", "neuroq-redis"}
    for service in services:
        wanted = service["spec"]["selector"].items()
        (pod,) = (each for each in pods if wanted <= each["metadata"]["labels"].items())
        names = {port["name"] for container in pod["spec"]["containers"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names


def test_the_autoscaler_s_metrics_come_all_the_way() -> None:
    """From the worker's gauges over the pods' port and the adapter's rule to the autoscaler."""
    deployment, pod = one(BASE, "Deployment"), one(BASE, "Deployment")["spec"]["template"]
    monitor = one(MONITORING, "PodMonitor")["spec"]
    assert monitor["selector"]["matchLabels"] == pod["metadata"]["labels"]
    (endpoint,) = monitor["podMetricsEndpoints"]
    assert endpoint["port"] in {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
    assert endpoint["authorization"]["credentials"] == {"name": "neuroq", "key": "token"}
    autoscaler = one(BASE, "HorizontalPodAutoscaler")["spec"]
    assert autoscaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    targets = {
        metric["pods"]["metric"]["name"]: int(metric["pods"]["target"]["averageValue"])
        for metric in autoscaler["metrics"]
    }
    assert targets.keys() <= {metric.name for metric in METRICS if metric.kind is Kind.GAUGE}
    (rule,) = yaml.safe_load((DEPLOY / MONITORING / "adapter-rules.yaml").read_text())["rules"]["custom"]
    pattern = re.search(r'__name__=~"([^"]*)"', rule["seriesQuery"])
    assert pattern
    assert all(re.fullmatch(pattern[1], name) for name in targets)
    assert targets["neuroq_requests_running"] <= MODEL_CONFIG["handler"]["slots"]


def test_the_job_s_pods_find_each_other() -> None:
    job, service = one(JOB, "Job"), one(JOB, "Service")
    options = torchrun_options(job)
    assert int(options["--nnodes"]) == job["spec"]["completions"] == job["spec"]["parallelism"]
    assert job["spec"]["completionMode"] == "Indexed"
    assert job["spec"]["template"]["spec"]["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    assert options["--master-addr"] == f"{job['metadata']['name']}-0.{service['metadata']['name']}"


def torchrun_options(job: Manifest) -> dict[str, str]:
    arguments = job["spec"]["template"]["spec"]["containers"][0]["args"]
    return dict(argument.split("=", 1) for argument in arguments if "=" in argument)


def test_the_job_s_command_trains_on_two_machines(tmp_path: Path, documents: list[Document]) -> None:
    """Two torchrun agents as the two pods would start them: one shared folder, a /tmp each."""
    (tmp_path / "text").mkdir()
    lines = [line for document in documents for line in document.lines if len(line) > 5]
    (tmp_path / "text" / "some.txt").write_text("\n".join(lines[:300]), encoding="utf-8")
    sizes = ["--embed_dim=16", "--num_neurons=8", "--num_layers=1", "--vocab_size=700", "--epochs=1"]
    (port,) = free_ports(1)
    pods = [start_pod(tmp_path, index, port, sizes) for index in range(2)]
    printed = [pod.communicate(timeout=500)[1] for pod in pods]
    assert [pod.returncode for pod in pods] == [0, 0], printed
    assert "2 process(es)" in printed[0]
    assert "trained in" in printed[0]
    assert "trained in" not in printed[1]
    assert (tmp_path / "checkpoints" / "mine.pt").is_file()


def start_pod(work: Path, index: int, port: int, sizes: list[str]) -> subprocess.Popen[str]:
    (container,) = one(JOB, "Job")["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["torchrun"]
    changes = {
        "--node-rank=$(JOB_COMPLETION_INDEX)": f"--node-rank={index}",
        "--nproc-per-node=2": "--nproc-per-node=1",
        "--master-addr=neuroq-train-0.neuroq-train": "--master-addr=localhost",
        "--master-port=29500": f"--master-port={port}",
    }
    assert changes.keys() <= set(container["args"])
    arguments = [changes.get(argument, argument) for argument in container["args"]]
    temporary = work / f"tmp-{index}"
    temporary.mkdir()
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *arguments, *sizes, "--report=false"],
        cwd=work,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("page", ["kubernetes.md", "compose.md"])
def test_the_guides_name_what_is_there(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    paths = set(re.findall(r"\b(?:deploy|tests)/[\w/.-]*\w", text))
    assert paths
    for path in paths - {"deploy/compose/compose.override.yaml"}:  # the reader's own
        assert (ROOT / path).exists(), path
