"""MLflow's client: which tracker a study uses, and its experiment there."""

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE
from requests import HTTPError
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from cameras import atomic
from cameras.console import say
from cameras.errors import one_line
from study.settings import Study, StudyError, without_password
from study.storage import Storage
from study.storage.retry import retry

# MLflow would repeat a failed request for minutes, while training waits, and log figures twice whose receipt was lost.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
# It would print a hundred lines of traceback about every error that it raises as well.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)

LOCKED = "database is locked"  # as sqlite says it
LOCKED_SECONDS = 60.0  # that a command waits for a database that another process holds
Result = TypeVar("Result")


def tracking_uri(study: Study) -> str:
    """Where runs are kept: the study file's own word, else as :func:`default_uri`."""
    return study.tracking_uri or default_uri(study.storage)


def default_uri(storage: str) -> str:
    """``MLFLOW_TRACKING_URI``, else sqlite in the storage.

    Raises:
        StudyError: neither, since a bucket holds no database.
    """
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        return without_password(uri)
    if not Storage(storage).is_folder:
        raise StudyError(
            f"results in {storage} need a tracking server: name it as tracking_uri or in MLFLOW_TRACKING_URI"
        )
    return f"sqlite:///{Path(storage).resolve() / 'mlflow.db'}"


def experiment(client: MlflowClient, study: Study) -> str:
    """The id of the study's experiment, created where it is missing."""
    found = client.get_experiment_by_name(study.name)
    if found is not None:
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return found.experiment_id
    # A server decides for itself where artifacts go; beside a database file they go into the study's storage.
    local = client.tracking_uri.startswith("sqlite")
    location = (study.folder.resolve() / "artifacts" / study.name).as_uri() if local else None
    try:
        return client.create_experiment(study.name, artifact_location=location)
    except MlflowException:
        found = client.get_experiment_by_name(study.name)  # someone else was faster
        if found is None:
            raise
        return found.experiment_id


def connect(study: Study) -> tuple[MlflowClient, str]:
    """A client and the study's experiment; both are created where they are missing.

    Raises:
        StudyError: the tracking server or database cannot be used.
    """
    uri = tracking_uri(study)
    if (database := database_of(uri)) and not database.exists():
        with reachable(uri):
            _create(database)

    def opened() -> tuple[MlflowClient, str]:
        client = open_client(uri)
        return client, experiment(client, study)

    return ask(uri, opened)


def open_client(uri: str) -> MlflowClient:
    """A client for a server, or for a database that is there.

    Raises:
        MlflowException: another process holds the database, so that it cannot be read just now (:func:`is_away`).
    """
    try:
        if database := database_of(uri):  # asked first: MLflow itself would try for minutes
            with closing(sqlite3.connect(database, timeout=1)) as connection:
                connection.execute("SELECT name FROM sqlite_master LIMIT 1").fetchall()
        return MlflowClient(uri)
    except (sqlite3.OperationalError, OperationalError) as error:
        reason = f"another process holds the file ({LOCKED})" if LOCKED in str(error) else one_line(error)
        raise MlflowException(reason, error_code=TEMPORARILY_UNAVAILABLE) from None


def ask(uri: str, question: Callable[[], Result]) -> Result:
    """The tracker's answer. A database that another process holds is waited for, for :data:`LOCKED_SECONDS`.

    Raises:
        StudyError: the server or database cannot be used.
    """
    with reachable(uri):
        return retry(question, say, LOCKED_SECONDS, passes=lambda error: LOCKED in str(error))


@contextmanager
def reachable(uri: str) -> Iterator[None]:
    """Whatever MLflow says of a server or database that cannot be used, in one line."""
    try:
        yield
    except (MlflowException, OSError, sqlite3.Error, SQLAlchemyError) as error:
        raise StudyError(f"tracking at {uri} cannot be used: {one_line(error)}") from error


def database_of(uri: str) -> Path | None:
    """The file of a database, None of a server."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def _create(database: Path) -> None:
    """Create the database atomically: if the process is killed, there is no database rather than half of one."""
    database.parent.mkdir(parents=True, exist_ok=True)
    with atomic.writing(database) as part:
        MlflowClient(f"sqlite:///{part}").search_experiments()


def look(uri: str) -> MlflowClient | None:
    """A client for what is there already, None where there is no database yet.

    Raises:
        StudyError: the server or database cannot be used.
    """
    database = database_of(uri)
    if database is not None and not database.exists():
        return None

    def opened() -> MlflowClient:
        client = open_client(uri)
        client.search_experiments(max_results=1)
        return client

    return ask(uri, opened)


def is_away(error: Exception) -> bool:
    """Whether the tracker cannot be reached or cannot work just now; else it has refused what it was asked."""
    if isinstance(error, MlflowException):
        status = error.get_http_status_code()
    elif isinstance(error, HTTPError) and error.response is not None:  # of a file's upload
        status = error.response.status_code
    else:
        return isinstance(error, OSError | OperationalError)
    return status >= 500 or status == 429
