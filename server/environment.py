"""The environment variables that TorchServe and its workers get."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from server.jobs import jobs_path
from server.settings import Settings

TOOLS = Path(__file__).resolve().with_name("tools")  # stand-ins for programs that a slim machine lacks
_NOT_FOR_WORKERS = ("TS_", "NEUROQ_TOKEN", "NEUROQ_CALLED_FROM")
ROOT = Path(__file__).resolve().parent.parent


def server_environment(
    environment: Mapping[str, str], settings: Settings, java_home: Path, temp_dir: Path
) -> dict[str, str]:
    """Return the server's environment. Pure but for the place of this Python and where a path starts."""
    # TS_CONFIG_FILE and some more win over config.properties even with enable_envvars_config=false.
    # The operator's token is for the proxy alone, and a worker stands elsewhere than the user.
    kept = {n: value for n, value in environment.items() if not n.startswith(_NOT_FOR_WORKERS)}
    scripts = str(Path(sys.executable).parent)
    temporary = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temp_dir))
    sessions = environment.get("NEUROQ_SESSIONS_PATH") or settings.run_dir / "sessions.db"
    return {
        **kept,
        "NEUROQ_SESSIONS_PATH": str(Path(sessions).absolute()),
        "NEUROQ_IN_FLIGHT_PATH": str(settings.in_flight_path),
        **temporary,
        **_utf8_locale(environment),
        "NEUROQ_SESSION_STORE": settings.session_store,
        "NEUROQ_SESSION_STORE_AWAY": settings.session_store_away,
        **_training(settings),
        "JAVA_HOME": str(java_home),
        "PATH": f"{scripts}:{java_home / 'bin'}:{environment.get('PATH', '/usr/bin:/bin')}:{TOOLS}",
        "LOG_LOCATION": str(settings.log_dir),
        "PYTHONUNBUFFERED": "1",
    }


def _training(settings: Settings) -> dict[str, str]:
    """Tell the handler whether `train` requests start jobs, and how (handler/settings.py)."""
    if not settings.training:
        return {"NEUROQ_TRAINING": "false"}
    command = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "client.job"]
    command += ["--run-dir", str(settings.run_dir)]
    command += ["--memory", str(settings.training_memory), "--minutes", str(settings.training_minutes)]
    return {
        "NEUROQ_TRAINING": "true",
        "NEUROQ_TRAINING_COMMAND": shlex.join(command),
        "NEUROQ_TRAINING_PATH": str(jobs_path(settings.run_dir)),
    }


def _utf8_locale(environment: Mapping[str, str]) -> dict[str, str]:
    """Java reads file names as the locale says; without one it takes them for ASCII."""
    locale = next((environment[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if environment.get(name)), "")
    return {} if "utf" in locale.lower() else {"LC_ALL": "C.UTF-8"}
