"""One driver a study: a tag of its experiment names it, and its heartbeat shows that it lives."""

import json
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from pydantic import ValidationError

from cameras import console
from study import tracking
from study.settings import Frozen, StudyError

TAG = "driver"
HEARTBEAT_SECONDS = 5.0  # between two heartbeats
TIMEOUT = 20.0  # seconds without a heartbeat, after which a driver counts as dead
SETTLE = 1.0  # seconds in which two that take over at once both get to write


class Driver(Frozen):
    """Who drives a study. ``machine`` tells machines, and containers of one machine, apart.

    ``heartbeat`` counts the heartbeats; ``at`` is the time of the last one by the driver's clock, in seconds.
    """

    token: str
    host: str
    machine: str
    pid: int
    since: str
    heartbeat: int = 0
    at: float = 0

    @classmethod
    def here(cls) -> "Driver":
        return cls(
            token=secrets.token_hex(8),
            host=socket.gethostname(),
            machine=_machine(),
            pid=os.getpid(),
            since=time.strftime("%Y-%m-%d %H:%M:%S"),
            at=time.time(),
        )

    @property
    def is_here(self) -> bool:
        """Its process is or was one of this machine."""
        return self.machine == _machine()

    def next(self) -> "Driver":
        """The same driver, one heartbeat later."""
        return self.model_copy(update={"heartbeat": self.heartbeat + 1, "at": time.time()})

    @property
    def is_known_dead(self) -> bool:
        """Its process was here and is gone."""
        if not self.is_here:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return False


def _machine() -> str:
    boot, processes = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    if boot.exists() and processes.exists():  # host names are less than unique
        return f"{boot.read_text().strip()} {processes.readlink()}"
    return socket.gethostname()


def is_driven(client: MlflowClient, experiment_id: str) -> bool:
    """Whether a living driver runs the study.

    A driver of this machine lives as long as its process. One of another machine lives if its last heartbeat is recent;
    where it is not, the clocks of the two machines may differ, and two heartbeats are waited for a new one.
    """
    driver = _read(client, experiment_id)
    if driver is None or driver.is_known_dead:
        return False
    if driver.is_here or abs(time.time() - driver.at) <= TIMEOUT:
        return True
    console.say(f"process {driver.pid} on {driver.host} runs this study, or did: looking for a heartbeat")
    end = time.monotonic() + 2 * HEARTBEAT_SECONDS
    while time.monotonic() < end:
        time.sleep(HEARTBEAT_SECONDS / 5)
        if (now := _read(client, experiment_id)) != driver:
            return now is not None
    return False


@contextmanager
def driving(client: MlflowClient, experiment_id: str, say: Callable[[str], None]) -> Iterator[None]:
    """Be the study's only driver while the block runs; take over from a dead one.

    Raises:
        StudyError: another driver is alive.
    """
    own = Driver.here()
    tracking.ask(client.tracking_uri, lambda: _take(client, experiment_id, own, say))
    over, main = threading.Event(), threading.get_ident()

    def send_heartbeats() -> None:
        life = own
        while not over.wait(HEARTBEAT_SECONDS):
            life = life.next()
            with suppress(MlflowException, OSError):  # tracking is away: nobody can take over meanwhile either
                now = _read(client, experiment_id)
                if now is not None and now.token != own.token:  # this machine slept, and counted as dead
                    say(f"process {now.pid} on {now.host} has taken the study over: this one ends")
                    signal.pthread_kill(main, signal.SIGINT)  # wakes it from waiting, too
                    return
                _write(client, experiment_id, life)

    thread = threading.Thread(target=send_heartbeats, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        with suppress(MlflowException, OSError):
            if (last := _read(client, experiment_id)) is not None and last.token == own.token:
                client.delete_experiment_tag(experiment_id, TAG)


def _take(client: MlflowClient, experiment_id: str, own: Driver, say: Callable[[str], None]) -> None:
    before = _read(client, experiment_id)
    if before is not None and before.token != own.token and not before.is_known_dead:
        say(f"process {before.pid} on {before.host} was running this study: waiting {TIMEOUT:g} s for a heartbeat")
        end = time.monotonic() + TIMEOUT
        while (now := _read(client, experiment_id)) is not None:
            if now != before:
                raise _taken(now)
            if time.monotonic() > end:
                break
            time.sleep(1)
    _write(client, experiment_id, own)
    time.sleep(SETTLE)
    now = _read(client, experiment_id)
    if now is not None and now.token != own.token:
        raise _taken(now)


def _taken(driver: Driver) -> StudyError:
    return StudyError(
        f"the study is being run by process {driver.pid} on {driver.host} since {driver.since}: end that first, "
        "or let it finish (python -m study status shows how far it is)"
    )


def _read(client: MlflowClient, experiment_id: str) -> Driver | None:
    text = client.get_experiment(experiment_id).tags.get(TAG)
    with suppress(ValidationError):
        return Driver.model_validate_json(text) if text else None
    return None


def _write(client: MlflowClient, experiment_id: str, driver: Driver) -> None:
    client.set_experiment_tag(experiment_id, TAG, json.dumps(driver.model_dump()))
