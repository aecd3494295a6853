"""The study: settings, schedule, tracking, results, report. The only package that knows Ray and MLflow."""

import getpass
import os
from pathlib import Path

_above = Path(__file__).resolve().parents[1]
CHECKOUT = _above if (_above / "pyproject.toml").is_file() else None  # None where the project was installed as a wheel

# A study sends nothing to anyone: both libraries read this when they are imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # one bar per file otherwise

# A user without home folder or name, as in containers: MLflow cannot even be imported by one.
NO_HOME = "/nonexistent"
try:
    Path.home()
except RuntimeError:
    os.environ["HOME"] = NO_HOME
try:
    getpass.getuser()
except (KeyError, OSError):
    os.environ["LOGNAME"] = str(os.getuid())

# No proxy leads to this machine's own MLflow, Ray or bucket.
for _name in ("no_proxy", "NO_PROXY"):
    _exempt = [_host for _host in os.environ.get(_name, "").split(",") if _host]
    os.environ[_name] = ",".join(dict.fromkeys((*_exempt, "127.0.0.1", "localhost", "::1")))
