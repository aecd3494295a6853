"""A small cluster on one machine: real Ray nodes, a real MLflow server, an S3 endpoint; each can be killed.

Every machine is a process that leads a session of its own: SIGKILL to the whole session is what a power cut is to a
real one. The nodes have loopback addresses of their own: 127.0.0.2 the head, 127.0.0.3 and on the workers.
"""

import itertools
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import psutil

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
HEAD = "127.0.0.2"
STARTED = "Ray runtime started"  # what `ray start` says when a node is up
BUCKET = "studies"
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")
T = TypeVar("T")
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}


def wait_for(condition: Callable[[], T], *machines: "Machine", seconds: float = 120, pause: float = 0.05) -> T:
    """What ``condition`` says once it is true; fails where one of ``machines`` has ended without that."""
    end = time.monotonic() + seconds
    while True:
        ended = [machine for machine in machines if not machine.alive]
        if met := condition():
            return met
        assert not ended and time.monotonic() < end, "\n".join(
            ["waited in vain", *(f"{machine.name}:\n{machine.output}" for machine in machines)]
        )
        time.sleep(pause)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def listens(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


class Machine:
    """A command, and everything that it starts. Its environment is the given one and little else of this process's."""

    started: ClassVar[list["Machine"]] = []

    def __init__(
        self, name: str, command: Sequence[str | Path], environment: Mapping[str, str], log: Path, folder: Path = ROOT
    ) -> None:
        self.name = name
        self.log = log
        self.killed = False
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                cwd=folder,
                env={name: os.environ[name] for name in INHERITED if name in os.environ} | dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        Machine.started.append(self)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def output(self) -> str:
        return self.log.read_text()

    def processes(self) -> list[psutil.Process]:
        """All that still run of its session, whoever their parents are."""
        return [process for process in psutil.process_iter() if _session(process) == self.process.pid]

    def kill(self) -> None:
        """SIGKILL to all its processes at once; returns when none is left."""
        if self.killed:  # another's session may have its number by now
            return
        end = time.monotonic() + 30
        while processes := self.processes():
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self.process.poll()  # takes the leader off the list of processes
            assert time.monotonic() < end, f"{self.name} cannot be killed: {processes}"
            time.sleep(0.01)
        self.process.wait()
        self.killed = True

    def finish(self, code: int = 0, seconds: float = 240) -> str:
        """Wait for its end. Returns what it said."""
        wait_for(lambda: not self.alive, seconds=seconds)
        self.kill()  # should it have left something behind
        assert self.process.returncode == code, self.output
        return self.output


def _session(process: psutil.Process) -> int | None:
    """None for what has ended, even where nobody has asked for its exit code yet."""
    try:
        return None if process.status() == psutil.STATUS_ZOMBIE else os.getsid(process.pid)
    except (ProcessLookupError, psutil.NoSuchProcess):
        return None


class Cluster:
    """A head that takes no trials, and workers with one CPU each.

    ``environment`` is what a driver needs to join it, and what every process on its nodes sees.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.scratch = Path(tempfile.mkdtemp(prefix="cluster-"))  # short: Ray's sockets lie there
        self.token = secrets.token_hex(32)
        self.environment = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "RAY_USAGE_STATS_ENABLED": "0",
            **(environment or {}),
        }
        self.numbers = itertools.count(3)
        self.workers: list[Machine] = []
        self.start_head()

    def start_head(self) -> None:
        """A cluster without workers yet, at an ``address`` that no other cluster had."""
        port = free_port()
        options = [
            f"--port={port}",
            f"--ray-client-server-port={free_port()}",
            "--num-cpus=0",
            "--include-dashboard=false",
        ]
        self.head = self._start_node("head", HEAD, ["--head", *options])
        _wait_for_ray(self.head)
        self.address = f"{HEAD}:{port}"

    def start_worker(self) -> Machine:
        """One more node, up when this returns."""
        return self.start_workers(1)[0]

    def start_workers(self, count: int) -> list[Machine]:
        started = []
        for number in itertools.islice(self.numbers, count):
            options = [f"--address={self.address}", "--num-cpus=1"]
            started.append(self._start_node(f"worker-{number}", f"127.0.0.{number}", options))
        for worker in started:
            _wait_for_ray(worker)
        self.workers += started
        return started

    def _start_node(self, name: str, address: str, options: Sequence[str]) -> Machine:
        command = [BIN / "ray", "start", f"--node-ip-address={address}", "--block", "--object-store-memory=80000000"]
        temporary = self.scratch / name
        log = self.folder / f"{name}.log"
        return Machine(name, [*command, f"--temp-dir={temporary}", *options], self.environment, log)

    def kill_worker(self, worker: Machine) -> None:
        """All processes of a node, without a word of farewell."""
        self.workers.remove(worker)
        worker.kill()

    def kill_head(self) -> list[Machine]:
        """Returns the workers, which are no longer this cluster's."""
        self.head.kill()
        orphans, self.workers = self.workers, []
        return orphans

    def training(self) -> dict[Machine, psutil.Process]:
        """The processes that train at this moment, by their node."""
        return {worker: process for worker in self.workers for process in worker.processes() if _is_training(process)}

    def close(self) -> None:
        for node in (*self.workers, self.head):
            node.kill()
        shutil.rmtree(self.scratch, ignore_errors=True)


def _wait_for_ray(node: Machine) -> None:
    wait_for(lambda: STARTED in node.output, node)


def _is_training(process: psutil.Process) -> bool:
    """Tune's actors; whose names begin with ``ray::`` otherwise are parts of the node."""
    try:
        return "".join(process.cmdline()[:1]).startswith("ray::ImplicitFunc")
    except psutil.NoSuchProcess:
        return False


class TrackingServer:
    """``mlflow server`` on one port and one database, whatever becomes of its processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = [BIN / "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        stores = [
            "--backend-store-uri",
            f"sqlite:///{self.folder / 'mlflow.db'}",
            "--serve-artifacts",
            "--artifacts-destination",
            self.folder / "artifacts",
        ]
        environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        self.machine = Machine("mlflow", [*command, *stores], environment, self.folder / "mlflow.log")
        wait_for(lambda: listens(self.port), self.machine)

    def kill(self) -> None:
        self.machine.kill()


class Bucket:
    """One bucket of an S3 server; ``environment`` is all that a client needs."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.endpoint = f"http://127.0.0.1:{port}"
        self.uri = f"s3://{BUCKET}"
        self.environment = {"AWS_ENDPOINT_URL": self.endpoint, **CREDENTIALS}
        self.machine = Machine(
            "moto", [BIN / "moto_server", "--host", "127.0.0.1", "--port", str(port)], {}, folder / "moto.log"
        )
        wait_for(lambda: listens(port), self.machine)
        self.client.create_bucket(Bucket=BUCKET)

    @cached_property
    def client(self) -> Any:
        import boto3  # comes with moto

        names = ("aws_access_key_id", "aws_secret_access_key", "region_name")
        return boto3.client("s3", endpoint_url=self.endpoint, **dict(zip(names, CREDENTIALS.values(), strict=True)))

    def names(self, prefix: str = "") -> list[str]:
        """What lies in the bucket below ``prefix``."""
        found = self.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix)
        return [entry["Key"] for entry in found.get("Contents", ()) if not entry["Key"].endswith("/")]  # folders

    def kill(self) -> None:
        self.machine.kill()
