"""The files of deploy/ as their tools read them."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT

DEPLOY = ROOT / "deploy"
KUBECTL = Path(sys.executable).with_name("kubectl")
KUBERNETES = "1.37"
Manifest = dict[str, Any]


@functools.cache
def build(name: str) -> tuple[Manifest, ...]:
    """What `kubectl apply -k deploy/NAME` would apply; a file is read as it is."""
    path = DEPLOY / name
    if path.is_file():
        return tuple(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    done = subprocess.run([KUBECTL, "kustomize", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def one(name: str, kind: str) -> Manifest:
    """The first manifest of a kind."""
    return next(manifest for manifest in build(name) if manifest["kind"] == kind)


def pod_of(manifest: Manifest) -> dict[str, Any] | None:
    """The specification of the pods that a manifest makes, None for one that makes none."""
    spec: dict[str, Any] = manifest.get("spec", {})
    pod: dict[str, Any] | None = spec.get("template", {}).get("spec")
    return spec if manifest["kind"] == "ServingRuntime" else pod


def environment(container: Manifest) -> dict[str, str]:
    """The variables that a container is given by value."""
    return {variable["name"]: variable["value"] for variable in container["env"]}
