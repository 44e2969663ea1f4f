"""The machine that a benchmark ran on, as far as it says anything about speed."""

from __future__ import annotations

import os
import platform
import re
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# Processor features that change how fast matrices are multiplied.
_FEATURES = re.compile(r"avx\w*|fma|f16c|amx\w*|asimd\w*|sve\w*|bf16|i8mm")


def describe(packages: list[str]) -> dict[str, str]:
    """Return what to write beside the results: today's date, processor, memory, system, packages."""
    return {
        "date": date.today().isoformat(),
        "processor": _cpuinfo("model name") or platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "features": " ".join(sorted(set(_FEATURES.findall(_cpuinfo("flags") or _cpuinfo("Features"))))),
        "caches": _caches(),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "packages": ", ".join(f"{name} {_version(name)}" for name in packages),
    }


def as_markdown(machine: dict[str, str]) -> list[str]:
    """Return the description as the lines of a list."""
    return [f"- {name}: {value}" for name, value in machine.items() if value]


def _cpuinfo(field: str) -> str:
    """Return a field of the first processor, or nothing."""
    path = Path("/proc/cpuinfo")
    found = re.search(rf"^{field}\s*: (.*)$", path.read_text(), re.MULTILINE) if path.exists() else None
    return found.group(1) if found else ""


def _caches() -> str:
    found = []
    for cache in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((cache / name).read_text().strip() for name in ("level", "type", "size"))
        found.append(f"L{level} {kind.lower()} {size}")
    return ", ".join(found)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"
