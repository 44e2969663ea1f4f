"""The environment variables that TorchServe and its workers get."""

import sys
from collections.abc import Mapping
from pathlib import Path

from server.settings import Settings

TOOLS = Path(__file__).resolve().with_name("tools")  # stand-ins for programs that a slim machine lacks


def server_environment(
    environment: Mapping[str, str], settings: Settings, java_home: Path, temp_dir: Path
) -> dict[str, str]:
    """Return the server's environment. Pure but for the place of this Python."""
    # TS_CONFIG_FILE and some more win over config.properties even with enable_envvars_config=false.
    # The operator's token is for the proxy alone.
    kept = {n: value for n, value in environment.items() if not n.startswith(("TS_", "NEUROQ_TOKEN"))}
    scripts = str(Path(sys.executable).parent)
    temporary = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temp_dir))
    return {
        "NEUROQ_SESSIONS_PATH": str(settings.run_dir / "sessions.db"),
        **kept,
        "NEUROQ_IN_FLIGHT_PATH": str(settings.in_flight_path),
        **temporary,
        **_utf8_locale(environment),
        "JAVA_HOME": str(java_home),
        "PATH": f"{scripts}:{java_home / 'bin'}:{environment.get('PATH', '/usr/bin:/bin')}:{TOOLS}",
        "LOG_LOCATION": str(settings.log_dir),
        "PYTHONUNBUFFERED": "1",
    }


def _utf8_locale(environment: Mapping[str, str]) -> dict[str, str]:
    """Java reads file names as the locale says; without one it takes them for ASCII."""
    locale = next((environment[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if environment.get(name)), "")
    return {} if "utf" in locale.lower() else {"LC_ALL": "C.UTF-8"}
