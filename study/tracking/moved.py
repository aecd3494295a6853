"""Artifacts beside a database file, whose results folder may have been moved.

MLflow notes their absolute addresses. They lie in ``artifacts/<experiment>/<run>/artifacts`` of the results folder,
whatever the database says.
"""

import sqlite3
from contextlib import closing
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from mlflow import MlflowClient

from study.tracking.client import database_of

FOLDER = "artifacts"


def present(tracking_uri: str, artifact_uri: str) -> str:
    """The address of a run's artifacts in the results folder as it lies now; as noted, if they are not in there."""
    database = database_of(tracking_uri)
    if database is None:
        return artifact_uri
    here = database.absolute().parent.joinpath(FOLDER, *_parts(artifact_uri)[-3:])
    return here.as_uri() if here.is_dir() else artifact_uri


def rebase(client: MlflowClient, experiment_id: str) -> None:
    """Note the present addresses of an experiment whose results folder was moved: new artifacts go there, too.

    Only for a driver: in a container, which sees the folder under another name, it may be at work on it.
    """
    database, noted = database_of(client.tracking_uri), client.get_experiment(experiment_id).artifact_location
    if database is None or _parts(noted)[-2:-1] != (FOLDER,):
        return
    folder = database.absolute().parent / FOLDER / _parts(noted)[-1]
    here = folder.as_uri()
    if noted == here or (Path(*_parts(noted)).exists() and not folder.exists()):
        return
    with closing(sqlite3.connect(database, timeout=20)) as connection, connection:
        connection.execute(
            "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (here, int(experiment_id))
        )
        connection.execute(
            "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) "
            "WHERE experiment_id = ? AND substr(artifact_uri, 1, ?) = ?",
            (here, len(noted) + 1, int(experiment_id), len(noted) + 1, f"{noted}/"),
        )


def _parts(uri: str) -> tuple[str, ...]:
    """Of the path in an address."""
    return PurePosixPath(unquote(urlsplit(uri).path)).parts
