"""The instance's config.properties, made from the project's: comments kept, addresses and paths put in.

Pure. Values are escaped as Java reads them, so that a folder with Japanese characters works.
"""

from collections.abc import Sequence
from pathlib import Path

from server.settings import BACKGROUND, LOOPBACK, Mode, Settings

LOG_CONFIG_NAME, METRICS_CONFIG_NAME = "log4j2.xml", "metrics.yaml"
PROXIED_TOKEN_MINUTES = str(10 * 365 * 24 * 60)


def instance_overrides(settings: Settings, archives: Sequence[Path]) -> dict[str, str]:
    """Return the properties that differ from instance to instance; the first archive is the default."""
    return {
        "inference_address": f"http://{settings.host}:{settings.port}",
        "management_address": settings.addresses["management"],
        "metrics_address": settings.addresses["metrics"],
        "grpc_inference_address": LOOPBACK,
        "grpc_management_address": LOOPBACK,
        "grpc_inference_port": str(settings.grpc_port),
        "grpc_management_port": str(settings.grpc_management_port),
        "metrics_config": METRICS_CONFIG_NAME,
        "model_store": str(settings.model_store),
        "load_models": ",".join(archive.name for archive in archives or [settings.archive]),
    }


def render_config(
    base: str, settings: Settings, archives: Sequence[Path] = (), mode: Mode = BACKGROUND
) -> str:
    """Return the text of the instance's config.properties; without archives it loads neuroq.mar."""
    overrides = instance_overrides(settings, archives)
    console = "INFO" if mode.in_foreground else "OFF"
    overrides["vmargs"] = _instance_vmargs(parse_properties(base).get("vmargs", ""), console)
    if mode.is_proxied:  # it learns the token once
        overrides["token_expiration_min"] = PROXIED_TOKEN_MINUTES
    lines = [_rendered_line(line, overrides) for line in base.splitlines()]
    lines += [f"{key}={escape(value)}" for key, value in overrides.items()]  # those the base does not have
    return "\n".join(lines) + "\n"


def parse_properties(text: str) -> dict[str, str]:
    """Return key → value of a properties text without escapes or continued lines."""
    pairs = (line.split("=", 1) for line in text.splitlines() if _is_setting(line))
    return {key.strip(): value.strip() for key, value in pairs}


def escape(value: str) -> str:
    r"""Escape a value as java.util.Properties reads it: backslash, and \uXXXX per UTF-16 unit."""
    units = value.replace("\\", "\\\\").encode("utf-16-be")
    codes = [int.from_bytes(units[i : i + 2], "big") for i in range(0, len(units), 2)]
    return "".join(chr(code) if 32 <= code < 127 else f"\\u{code:04x}" for code in codes)


def _rendered_line(line: str, overrides: dict[str, str]) -> str:
    key = line.split("=", 1)[0].strip()
    if not _is_setting(line) or key not in overrides:
        return line
    return f"{key}={escape(overrides.pop(key))}"


def _is_setting(line: str) -> bool:
    return "=" in line and not line.lstrip().startswith("#")


def _instance_vmargs(vmargs: str, console: str) -> str:
    """Point log4j at the run folder's copy, and quieten its console: that file has no bound."""
    kept = [word for word in vmargs.split() if not word.startswith("-Dlog4j.configurationFile=")]
    return " ".join([*kept, f"-Dlog4j.configurationFile=./{LOG_CONFIG_NAME}", f"-Dneuroq.console={console}"])
