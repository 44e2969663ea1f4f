"""The image built by deploy/image/build.sh, and a container of it: crun, no root, nothing to write to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from server.ports import free_ports
from tests.conftest import ROOT

TOKEN = "a-token-of-the-operator"
USER_ID = 23456  # anybody: not the image's own
PORTS = ("PROXY_PORT", "PROXY_GRPC_PORT", "PORT", "MANAGEMENT_PORT", "METRICS_PORT", "GRPC_PORT")
PORTS += ("GRPC_MANAGEMENT_PORT",)


@dataclass(frozen=True)
class Layer:
    """One layer of an image, the lowest first."""

    created_by: str
    num_bytes: int


class Image:
    """Images in a storage of their own, removed with it."""

    def __init__(self, storage: Path, name: str = "localhost/neuroq:serve") -> None:
        self.storage, self.name = storage, name

    def build(self, context: Path) -> None:
        options = [*mirror_options(self.storage), "--tag", self.name]
        command = [str(ROOT / "deploy" / "image" / "build.sh"), str(context), *options]
        subprocess.run(command, check=True, env={**os.environ, "STORAGE": str(self.storage)})

    def buildah(self, *arguments: str) -> str:
        places = ["--root", str(self.storage), "--runroot", str(self.storage / "run")]
        command = ["buildah", "--storage-driver", "vfs", *places, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def config(self) -> dict[str, Any]:
        config: dict[str, Any] = json.loads(self.buildah("inspect", "--type", "image", self.name))["Docker"]
        return config

    def layers(self) -> list[Layer]:
        """The layers with the bytes that each adds, as the storage keeps them."""
        digests = self.config()["rootfs"]["diff_ids"]
        history = [entry for entry in self.config()["history"] if not entry.get("empty_layer")]
        stored = json.loads((self.storage / "vfs-layers" / "layers.json").read_text())
        sizes = {layer.get("diff-digest"): layer.get("diff-size", 0) for layer in stored}
        return [
            Layer(" ".join(entry.get("created_by", "").split())[:70], sizes[digest])
            for digest, entry in zip(digests, history, strict=True)
        ]

    def root(self) -> Path:
        """The image's files, unpacked."""
        return Path(self.buildah("mount", self.buildah("from", self.name)))

    def remove(self) -> None:
        self.buildah("rm", "--all")
        self.buildah("rmi", "--all", "--force")
        shutil.rmtree(self.storage, ignore_errors=True)


class Container:
    """One container: the image's own entry point as process 1, a foreign user id, a read-only root.

    It shares the machine's network, so it gets free ports.
    """

    def __init__(self, image: Image, bundle: Path, token: str = TOKEN) -> None:
        self.name, self._bundle = f"neuroq-test-{os.getpid()}", bundle
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        bundle.mkdir()
        variables = {
            "NEUROQ_TOKEN": token,
            **{f"NEUROQ_{name}": str(port) for name, port in self.ports.items()},
        }
        config = runtime_config(image.config()["config"], image.root(), variables)
        (bundle / "config.json").write_text(json.dumps(config))
        self.log = bundle / "log"
        with self.log.open("wb") as log:
            command = [*self._crun, "run", "--bundle", str(bundle), self.name]
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['PROXY_PORT']}"

    def wait_until_ready(self, seconds: float = 180) -> None:
        deadline = time.monotonic() + seconds
        while not self.is_ready():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.5)

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", trust_env=False).is_success
        except httpx.HTTPError:
            return False

    def execute(self, *command: str) -> int:
        return subprocess.run([*self._crun, "exec", self.name, *command], check=False).returncode

    def process_ids(self) -> list[int]:
        """Those of the container, as the machine numbers them; its process 1 is first."""
        state = subprocess.run([*self._crun, "state", self.name], check=True, capture_output=True)
        first = psutil.Process(json.loads(state.stdout)["pid"])
        return [first.pid, *(child.pid for child in first.children(recursive=True))]

    def signal(self, name: str) -> None:
        subprocess.run([*self._crun, "kill", self.name, name], check=True)

    def remove(self) -> None:
        subprocess.run([*self._crun, "delete", "--force", self.name], check=False, capture_output=True)
        self.process.wait(30)

    @property
    def _crun(self) -> list[str]:
        return ["crun", "--cgroup-manager", "disabled", "--root", str(self._bundle / "state")]


def runtime_config(image: dict[str, Any], root: Path, variables: dict[str, str]) -> dict[str, Any]:
    """What `docker run --read-only --user 23456 --cap-drop ALL --tmpfs /tmp --tmpfs /run/neuroq` says, for crun."""
    environment = [*image["Env"], *(f"{name}={value}" for name, value in variables.items())]
    tmpfs = {"type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777"]}
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": USER_ID, "gid": 0},
            "args": [*image["Entrypoint"], *(image.get("Cmd") or [])],
            "env": environment,
            "cwd": image["WorkingDir"],
            "noNewPrivileges": True,
            "capabilities": {},
        },
        "root": {"path": str(root), "readonly": True},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {**tmpfs, "destination": "/dev/shm"},
            {**tmpfs, "destination": "/tmp"},
            {**tmpfs, "destination": "/run/neuroq"},
        ],
        "linux": {"namespaces": [{"type": name} for name in ("pid", "mount", "ipc", "uts")]},
    }


def mirror_options(folder: Path) -> list[str]:
    """Give the build this machine's package mirror, where pip is set up with one; none of it stays in the image."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    pairs = (line.partition("=") for line in lines)
    found = {key.split(".")[-1]: value.strip("'") for key, _, value in pairs}
    found = {
        key: found[key] for key in ("find-links", "extra-index-url", "index-url", "cert") if key in found
    }
    if not found:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "pip.conf"
    path.write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in found.items()))
    words = [word.removeprefix("file://") for value in found.values() for word in value.split()]
    places = {Path(word) for word in words if word.startswith("/")}
    volumes = [f"{place}:{place}:ro" for place in places if place.exists()]
    options = ["--secret", f"id=pip.conf,src={path}", *(word for v in volumes for word in ("--volume", v))]
    return [*options, *(["--build-arg", "TORCH_INDEX="] if "find-links" in found else [])]
