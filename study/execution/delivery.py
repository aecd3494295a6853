"""Results of jobs that ended while the tracker was away: they wait in the storage until the driver can deliver them.

``outbox/<key>/`` holds a job's artifacts and, written last, ``parcel.json``.
"""

import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Annotated

from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from pydantic import ConfigDict, Field

from study.execution.run_logger import Ending, Logbook
from study.settings import Frozen, StudyError
from study.storage import Storage
from study.storage.retry import patiently
from study.tracking import Description

FOLDER, PARCEL = "outbox", "parcel.json"
ROUND = 10.0  # seconds between two looks


class Parcel(Frozen):
    """All that a run lacks, of its files the names. ``figures`` are (name, value, time in ms, step)."""

    model_config = ConfigDict(ser_json_inf_nan="constants")  # the PSNR of equal images is infinite

    description: Description
    figures: list[tuple[str, float, int, int]]
    artifacts: list[Annotated[str, Field(pattern=r"^\w[\w.-]*$")]]  # nothing outside the parcel
    ending: Ending


def post(storage: Storage, logbook: Logbook, ending: Ending, artifacts: Path) -> None:
    """Leave what a logbook could not tell, and the files of a folder.

    Raises:
        OSError: the storage fails.
    """
    figures = [(metric.key, metric.value, metric.timestamp, metric.step) for metric in logbook.waiting]
    paths = sorted(artifacts.iterdir())
    parcel = Parcel(
        description=logbook.description, figures=figures, artifacts=[path.name for path in paths], ending=ending
    )
    for path in paths:
        storage.upload(path, f"{FOLDER}/{parcel.description.key}/{path.name}")
    storage.write(f"{FOLDER}/{parcel.description.key}/{PARCEL}", parcel.model_dump_json().encode())


def holds(storage: Storage, key: str) -> bool:
    """Whether the result of a job waits."""
    return storage.exists(f"{FOLDER}/{key}/{PARCEL}")


def waiting(storage: Storage, keys: Collection[str]) -> list[str]:
    """Those of the keys whose results wait."""
    found = {PurePosixPath(name) for name in storage.names(FOLDER)}
    return sorted({path.parts[1] for path in found if path.name == PARCEL} & set(keys))


def deliver(storage: Storage, client: MlflowClient, experiment_id: str, keys: Collection[str]) -> int:
    """Hand the results of these keys to the tracker. Returns how many still wait because it is away.

    Raises:
        OSError: the storage fails.
        MlflowException: the tracker refuses them.
        StudyError: a result is damaged.
    """
    left = waiting(storage, keys)
    while left and _delivered(storage, client, experiment_id, left[0]):
        left = left[1:]
    return len(left)


def _delivered(storage: Storage, client: MlflowClient, experiment_id: str, key: str) -> bool:
    place = f"{FOLDER}/{key}"
    with tempfile.TemporaryDirectory() as folder:
        try:
            parcel = Parcel.model_validate_json(storage.read(f"{place}/{PARCEL}"))
            if parcel.description.key != key:
                raise ValueError(f"{place} holds the result of another job")
            for name in parcel.artifacts:
                storage.download(f"{place}/{name}", Path(folder) / name)
        except (ValueError, FileNotFoundError):  # ValidationError among them
            raise StudyError(f"{storage.where(place)} is damaged: remove it, and its job is done again") from None
        logbook = Logbook(client, experiment_id, parcel.description)
        logbook.waiting = [Metric(*figure) for figure in parcel.figures]
        if not logbook.close(parcel.ending, Path(folder)):
            return False
    storage.delete(f"{place}/{PARCEL}")  # without it the rest is nothing
    for name in storage.names(place):
        storage.delete(name)
    return True


@contextmanager
def delivering(
    storage: Storage, client: MlflowClient, experiment_id: str, keys: Collection[str], say: Callable[[str], None]
) -> Iterator[None]:
    """Deliver in the background while the block runs, and what is left at its end, however long that takes.

    Raises:
        MlflowException, StudyError: as :func:`deliver`, at the end of the block.
    """
    over = threading.Event()

    def rounds() -> None:
        while not over.wait(ROUND):
            with suppress(OSError, MlflowException, StudyError):  # the next may go better, and the last one tells
                deliver(storage, client, experiment_id, keys)

    thread = threading.Thread(target=rounds, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    told = 0
    while left := patiently(lambda: deliver(storage, client, experiment_id, keys), say):
        if left != told:
            say(f"{left} results wait in {storage.where(FOLDER)} for tracking to come back; they are safe there")
        told = left
        time.sleep(ROUND)
