"""MLflow keeps every metric and checkpoint of a study: one experiment a study, one run a job. Knows no kind of job."""

from study.tracking.client import connect, default_uri, is_away, look, reachable, tracking_uri
from study.tracking.provenance import provenance
from study.tracking.runs import (
    Description,
    Snapshot,
    fail,
    find,
    finish,
    log_metrics,
    log_texts,
    metrics,
    open_run,
    preferred,
    read,
    runs_by_key,
    snapshot,
    write_texts,
)

__all__ = [
    "Description",
    "Snapshot",
    "connect",
    "default_uri",
    "fail",
    "find",
    "finish",
    "is_away",
    "log_metrics",
    "log_texts",
    "look",
    "metrics",
    "open_run",
    "preferred",
    "provenance",
    "read",
    "reachable",
    "runs_by_key",
    "snapshot",
    "tracking_uri",
    "write_texts",
]
