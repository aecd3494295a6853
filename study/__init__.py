"""The study: settings, schedule, tracking, results, report. The only package that knows Ray and MLflow."""

import os
from pathlib import Path

_above = Path(__file__).resolve().parents[1]
CHECKOUT = _above if (_above / "pyproject.toml").is_file() else None  # None where the project was installed as a wheel

# A study sends nothing to anyone: both libraries read this when they are imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # one bar per file otherwise
