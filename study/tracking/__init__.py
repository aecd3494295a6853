"""MLflow keeps every metric and checkpoint of a study: one experiment a study, one run a job. Knows no kind of job."""

from study.tracking.client import ask, connect, default_uri, is_away, look, open_client, reachable, tracking_uri
from study.tracking.moved import present, rebase
from study.tracking.provenance import provenance
from study.tracking.runs import (
    ADDED,
    GIVEN_UP,
    KEY,
    Description,
    Snapshot,
    State,
    fail,
    find,
    finish,
    log_artifacts,
    log_metrics,
    metrics,
    open_run,
    preferred,
    read,
    snapshot,
    state,
    stop,
    write_texts,
)
