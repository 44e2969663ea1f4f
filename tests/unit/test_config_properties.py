"""config.properties: safe as it stands, and rendered for one instance."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from server.config import escape, parse_properties, render_config
from server.settings import Settings, read_settings

pytestmark = pytest.mark.unit
ROOT = Path(__file__).resolve().parents[2]
BASE = (ROOT / "config.properties").read_text(encoding="utf-8")


def settings(**options: str | None) -> Settings:
    return read_settings(options, {}, ROOT)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("disable_token_authorization", "false"),
        ("enable_model_api", "true"),
        ("enable_envvars_config", "false"),
        ("install_py_dep_per_model", "false"),
        ("token_expiration_min", "1440"),
        ("job_queue_size", "100"),
        ("async_logging", "true"),
        ("disable_system_metrics", "true"),
        ("load_models", "neuroq.mar"),
        ("metrics_mode", "prometheus"),
        ("model_metrics_auto_detect", "false"),
    ],
)
def test_safe_default(key: str, value: str) -> None:
    assert parse_properties(BASE)[key] == value


def test_every_address_is_loopback_and_nothing_forbidden_is_set() -> None:
    properties = parse_properties(BASE)
    addresses = {key: value for key, value in properties.items() if key.endswith("_address")}
    assert len(addresses) == 5
    assert all("127.0.0.1" in value for value in addresses.values())
    assert not {"clientTimeoutInMills", "number_of_gpu", "cors_allowed_origin"} & properties.keys()
    assert int(properties["max_request_size"]) <= 4 << 20


# What TorchServe does with a url (measured, 0.12.0): one that matches is downloaded, and a download of what
# is no URL fails; of the rest http, https and file are refused; what is left is a name in the model store.
@pytest.mark.parametrize("url", ["neuroq.mar", "neuroq-2.mar", "neuroq_2.0.mar"])
def test_an_archive_in_the_store_may_be_registered(url: str) -> None:
    assert not matches_allowed_urls(url)


@pytest.mark.parametrize(
    "url",
    [
        "/tmp/x.mar",
        "/tmp/folder",
        "/tmp/a:b",
        "//tmp/x",
        "folder",
        "./folder",
        "a/b.mar",
        "s3://b/neuroq.mar",
    ],
)
def test_what_is_no_url_is_refused_by_a_download_that_must_fail(url: str) -> None:
    assert matches_allowed_urls(url)


@pytest.mark.parametrize(
    "url",
    ["http://h/x.mar", "HTTPS://h/x.mar", "file:///x.mar", "file:/x.mar", "ftp://h/x.mar", "jar:file:/x!/y"],
)
def test_what_java_could_download_never_matches(url: str) -> None:
    assert not matches_allowed_urls(url)
    assert not matches_allowed_urls(f" {url}")
    assert not matches_allowed_urls(f"url:{url}")


def matches_allowed_urls(url: str) -> bool:
    patterns = parse_properties(BASE)["allowed_urls"].split(",")
    return any(re.fullmatch(pattern, url, re.IGNORECASE) for pattern in patterns)


def test_an_instance_gets_its_own_addresses_and_paths() -> None:
    rendered = render_config(BASE, settings(port="9000", grpc_port="9001", host="0.0.0.0", model_store="/m"))
    properties = parse_properties(rendered)
    assert properties["inference_address"] == "http://0.0.0.0:9000"
    assert properties["management_address"] == "http://127.0.0.1:8081"
    assert properties["grpc_inference_address"] == "127.0.0.1"
    assert properties["grpc_inference_port"] == "9001"
    assert properties["model_store"] == "/m"
    assert properties["allowed_urls"] == parse_properties(BASE)["allowed_urls"]
    assert "-Dlog4j.configurationFile=./log4j2.xml" in properties["vmargs"].split()
    assert "-Xmx256m" in properties["vmargs"].split()


def test_comments_stay_and_no_key_comes_twice() -> None:
    rendered = render_config(BASE, settings())
    assert [line for line in rendered.splitlines() if line.startswith("#")] == [
        line for line in BASE.splitlines() if line.startswith("#")
    ]
    keys = [line.split("=")[0] for line in rendered.splitlines() if line and not line.startswith("#")]
    assert len(keys) == len(set(keys))


def test_a_setting_that_the_base_lacks_is_added() -> None:
    assert parse_properties(render_config("# nothing\n", settings()))["load_models"] == "neuroq.mar"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/plain path", "/plain path"),
        ("日本", "\\u65e5\\u672c"),
        ("a\\b", "a\\\\b"),
        ("🙂", "\\ud83d\\ude42"),
    ],
)
def test_values_are_escaped_as_java_reads_them(value: str, expected: str) -> None:
    assert escape(value) == expected


def test_every_log_file_is_bounded() -> None:
    tree = ElementTree.parse(ROOT / "server" / "log4j2.xml")
    files = tree.findall(".//RollingFile")
    assert {file.get("name") for file in files} == {"ts_log", "model_log"}
    for file in files:
        assert file.find("SizeBasedTriggeringPolicy") is not None
        assert "%i" in str(file.get("filePattern"))  # without it, rolling over overwrites
        assert int(file.find("DefaultRolloverStrategy").get("max")) <= 5  # type: ignore[union-attr,arg-type]
