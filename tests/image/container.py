"""The image built by deploy/image/build.sh, and a container of it: not root, nothing to write to."""

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
# `docker run --read-only --user 23456 --cap-drop ALL --tmpfs /tmp:exec --tmpfs /run/neuroq` by hand: crun and
# runc want a control group of their own, which not every machine gives.
ENTER = """
root=$1
shift
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
for place in tmp run/neuroq; do mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/$place"; done
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
cd "$root"
exec chroot "$root" "$@"
"""
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
        command = ["buildah", *places, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def config(self) -> dict[str, Any]:
        config: dict[str, Any] = json.loads(self.buildah("inspect", "--type", "image", self.name))["Docker"]
        return config

    def layers(self) -> list[Layer]:
        """The layers with the bytes that each adds, as the storage keeps them."""
        digests = self.config()["rootfs"]["diff_ids"]
        history = [entry for entry in self.config()["history"] if not entry.get("empty_layer")]
        (record,) = self.storage.glob("*-layers/layers.json")
        stored = json.loads(record.read_text())
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

    def __init__(self, image: Image, folder: Path, token: str = TOKEN) -> None:
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        config = image.config()["config"]
        variables = {f"NEUROQ_{name}": str(port) for name, port in self.ports.items()}
        pairs = [*config["Env"], f"NEUROQ_TOKEN={token}", *(f"{n}={value}" for n, value in variables.items())]
        self._as_user = [
            "setpriv",
            "--reuid",
            str(USER_ID),
            "--regid",
            "0",
            "--clear-groups",
            "--no-new-privs",
        ]
        self._as_user += ["--bounding-set", "-all", "env", "--ignore-environment"]
        self._as_user += ["--chdir", config["WorkingDir"], *pairs]
        words = [*self._as_user, *config["Entrypoint"]]
        namespaces = ["--fork", "--kill-child", "--pid", "--mount", "--ipc", "--uts"]
        command = ["unshare", *namespaces, "bash", "-ec", ENTER, "enter", str(image.root()), *words]
        self.log = folder / "log"
        with self.log.open("wb") as log:
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

    def processes(self) -> list[psutil.Process]:
        """All of them, the container's process 1 first."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def execute(self, *command: str) -> int:
        """Run a command inside, as the same user."""
        first = str(self.processes()[0].pid)
        enter = ["nsenter", "--target", first, "--mount", "--pid", "--root", "--wd"]
        return subprocess.run([*enter, *self._as_user, *command], check=False).returncode

    def remove(self) -> None:
        self.process.kill()  # and its process 1 with it
        self.process.wait()


def mirror_options(folder: Path) -> list[str]:
    """Give the build this machine's package mirror, where there is one; none of it stays in the image."""
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
    places = {p.parent if p.name == "simple" else p for p in places}  # an index names files beside it
    volumes = [f"{place}:{place}:ro" for place in places if place.exists()]
    options = ["--secret", f"id=pip.conf,src={path}", *(word for v in volumes for word in ("--volume", v))]
    return [*options, *(["--build-arg", "TORCH_INDEX="] if "find-links" in found else [])]
