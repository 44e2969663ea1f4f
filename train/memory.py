"""How much memory there is, and how much of it this process holds."""

from __future__ import annotations

import os
import re
import resource
import sys
from pathlib import Path

import torch

_MEMINFO, _STATM = Path("/proc/meminfo"), Path("/proc/self/statm")
_GROUP = Path("/sys/fs/cgroup")  # of a container with a limit


def available_bytes(device: torch.device) -> int:
    """Return the bytes that are free: on a GPU, or on this machine within the container's limit."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free
    return min(_free_bytes(), _bytes_below_limit())


def resident_bytes() -> int:
    """Return the bytes of memory that this process occupies; where nobody tells, the most it ever did."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return peak_bytes()


def peak_bytes() -> int:
    """Return the most bytes of memory that this process ever occupied."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _free_bytes() -> int:
    try:
        found = re.search(r"^MemAvailable: +(\d+) kB$", _MEMINFO.read_text(), re.MULTILINE)
    except OSError:
        found = None
    return int(found[1]) * 1024 if found else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _bytes_below_limit() -> int:
    try:
        limit, used = ((_GROUP / f"memory.{name}").read_text().strip() for name in ("max", "current"))
    except OSError:
        return sys.maxsize
    return int(limit) - int(used) if limit != "max" else sys.maxsize
