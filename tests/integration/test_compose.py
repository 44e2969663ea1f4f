"""deploy/compose and the dashboard: strictly checked, and true to each other."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import Any

import promql_parser
import pytest
import yaml
from compose_spec import PyCompose

from tests.conftest import ROOT
from tests.manifests import DEPLOY

pytestmark = pytest.mark.integration
COMPOSE = DEPLOY / "compose"
TEXT = (COMPOSE / "compose.yaml").read_text(encoding="utf-8")
SERVICES: dict[str, Any] = yaml.safe_load(TEXT)["services"]
DASHBOARD = json.loads((DEPLOY / "monitoring" / "dashboard.json").read_text(encoding="utf-8"))


def test_the_compose_file_follows_the_specification() -> None:
    assert set(PyCompose.from_yaml(TEXT).service_names()) == {"neuroq", "redis", "prometheus", "grafana"}


@pytest.mark.parametrize("known", ["read_only:", "stop_grace_period:", "interval:"])
def test_a_field_that_compose_does_not_know_is_refused(known: str) -> None:
    with pytest.raises(ValueError, match="misspelt"):
        PyCompose.from_yaml(TEXT.replace(known, "misspelt:", 1))


def test_what_the_guide_says_to_change_follows_the_specification() -> None:
    guide = (ROOT / "docs" / "compose.md").read_text(encoding="utf-8")
    blocks = re.findall(r"\n\n((?:    .*\n|\n)+)", guide)
    files = [block for block in blocks if block.lstrip().startswith("services:")]
    assert len(files) == 2  # patterns B and C
    for block in files:
        assert set(PyCompose.from_yaml(block).service_names()) == {"neuroq"}


def test_nothing_is_reached_from_other_machines() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert "ports" not in SERVICES["redis"]


def test_the_server_may_write_and_load_its_decoder_in_a_read_only_container() -> None:
    assert SERVICES["neuroq"]["read_only"]
    assert SERVICES["neuroq"]["tmpfs"] == ["/tmp:exec", "/run/neuroq"]  # Docker mounts noexec otherwise


def test_the_files_that_are_mounted_are_there() -> None:
    volumes = [volume for service in SERVICES.values() for volume in service.get("volumes", [])]
    paths = [volume.split(":")[0] for volume in volumes if volume.startswith(".")]
    assert len(paths) == 3
    assert all((COMPOSE / path).exists() for path in paths)


def test_prometheus_reads_the_server_and_grafana_reads_prometheus() -> None:
    (job,) = yaml.safe_load((COMPOSE / "prometheus.yml").read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["neuroq:8080"]}]
    assert job["authorization"]["credentials_file"] == SERVICES["neuroq"]["environment"]["NEUROQ_TOKEN_FILE"]
    assert SERVICES["prometheus"]["secrets"] == SERVICES["neuroq"]["secrets"] == ["token"]
    sources = yaml.safe_load((COMPOSE / "grafana" / "datasources" / "prometheus.yaml").read_text())
    assert sources["datasources"][0]["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((COMPOSE / "grafana" / "dashboards" / "neuroq.yaml").read_text())[
        "providers"
    ]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.startswith(provider["options"]["path"] + "/")
    assert any(volume.split(":")[1] == home for volume in SERVICES["grafana"]["volumes"])


@pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no promtool (Debian: prometheus)")
def test_prometheus_itself_takes_its_configuration() -> None:
    """Its syntax only: the token's file is not here."""
    command = ["promtool", "check", "config", "--syntax-only", str(COMPOSE / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_panel_s_queries_are_promql() -> None:
    queries = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    assert len(queries) > len(DASHBOARD["panels"]) > 6
    for query in queries:
        promql_parser.parse(query.replace("$__rate_interval", "5m"))
