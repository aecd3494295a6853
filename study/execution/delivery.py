"""The delivery queue: results of jobs that ended while the tracker was away wait in the storage for the driver.

``pending/<key>/`` holds a job's artifacts and, written last, ``result.json``.
"""

import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Annotated

from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from pydantic import ConfigDict, Field

from study.execution.run_logger import Ending, RunLogger
from study.settings import Frozen, StudyError
from study.storage import Storage
from study.storage.retry import retry
from study.tracking import Description

FOLDER, FILE = "pending", "result.json"
ROUND_SECONDS = 10.0  # between two looks


class PendingResult(Frozen):
    """All that a run lacks; of its files the names. ``metrics`` are (name, value, time in ms, step)."""

    model_config = ConfigDict(ser_json_inf_nan="constants")  # the PSNR of equal images is infinite

    description: Description
    metrics: list[tuple[str, float, int, int]]
    artifacts: list[Annotated[str, Field(pattern=r"^(\w[\w.-]*/)?\w[\w.-]*$")]]  # nothing outside the folder
    ending: Ending


def enqueue(storage: Storage, logger: RunLogger, ending: Ending, artifacts: Path) -> None:
    """Store what a run logger could not send, and the files of a folder.

    Raises:
        OSError: the storage fails.
    """
    paths = sorted(path for path in artifacts.rglob("*") if path.is_file())
    names = [path.relative_to(artifacts).as_posix() for path in paths]
    metrics = [(metric.key, metric.value, metric.timestamp, metric.step) for metric in logger.waiting]
    result = PendingResult(description=logger.description, metrics=metrics, artifacts=names, ending=ending)
    folder = f"{FOLDER}/{result.description.key}"
    for path, name in zip(paths, names, strict=True):
        storage.upload(path, f"{folder}/{name}")
    storage.write(f"{folder}/{FILE}", result.model_dump_json().encode())


def is_pending(storage: Storage, key: str) -> bool:
    """Whether the result of a job waits."""
    return storage.exists(f"{FOLDER}/{key}/{FILE}")


def pending(storage: Storage, keys: Collection[str]) -> list[str]:
    """Those of the keys whose results wait."""
    found = {PurePosixPath(name) for name in storage.names(FOLDER)}
    return sorted({path.parts[1] for path in found if path.name == FILE and len(path.parts) == 3} & set(keys))


def deliver(storage: Storage, client: MlflowClient, experiment_id: str, run_keys: Mapping[str, str]) -> int:
    """Hand the results of jobs to the tracker. Returns how many still wait because it is away.

    Args:
        run_keys: the keys of the runs that the results go to, by the keys of the jobs.

    Raises:
        OSError: the storage fails.
        MlflowException: the tracker refuses them.
        StudyError: a result is damaged, or the run that it adds to does not exist.
    """
    left = pending(storage, run_keys)
    while left and _delivered(storage, client, experiment_id, left[0], run_keys[left[0]]):
        left = left[1:]
    return len(left)


def _delivered(storage: Storage, client: MlflowClient, experiment_id: str, key: str, run_key: str) -> bool:
    place = f"{FOLDER}/{key}"
    with tempfile.TemporaryDirectory() as folder:
        try:
            result = PendingResult.model_validate_json(storage.read(f"{place}/{FILE}"))
            if (result.description.key, result.description.run_key) != (key, run_key):
                raise ValueError(f"{place} holds the result of another job")
            for name in result.artifacts:
                storage.download(f"{place}/{name}", Path(folder) / name)
        except (ValueError, FileNotFoundError):  # ValidationError among them
            raise StudyError(f"{storage.where(place)} is damaged: remove it, and its job runs again") from None
        logger = RunLogger(client, experiment_id, result.description)
        logger.waiting = [Metric(*metric) for metric in result.metrics]
        if not logger.close(result.ending, Path(folder)):
            return False
    storage.delete(f"{place}/{FILE}")  # without it the other files mean nothing
    for name in storage.names(place):
        storage.delete(name)
    return True


@contextmanager
def delivering(
    storage: Storage, client: MlflowClient, experiment_id: str, run_keys: Mapping[str, str], say: Callable[[str], None]
) -> Iterator[None]:
    """Deliver in the background while the block runs, and what is left at its end, however long that takes.

    Raises:
        MlflowException, StudyError: as :func:`deliver`, at the end of the block.
    """
    over = threading.Event()

    def rounds() -> None:
        while not over.wait(ROUND_SECONDS):
            with suppress(OSError, MlflowException, StudyError):  # the last round raises them
                deliver(storage, client, experiment_id, run_keys)

    thread = threading.Thread(target=rounds, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    reported = 0
    while left := retry(lambda: deliver(storage, client, experiment_id, run_keys), say):
        if left != reported:
            say(f"{left} results wait in {storage.where(FOLDER)} for tracking to come back; they are safe there")
        reported = left
        time.sleep(ROUND_SECONDS)
