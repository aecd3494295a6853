"""Who may talk to a study: the head of cluster.yaml as it is shipped, and a study on one machine.

Only addresses, ports and paths of the shipped commands are replaced. 127.0.0.2 stands for a private address.
"""

import importlib
import json
import os
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import grpc
import psutil
import pytest
import yaml
from machines import BIN, ROOT, free_port, wait_for

ADDRESS = "127.0.0.2"
LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
SHIPPED = ("cluster.yaml", "cluster-gcp.yaml", "cluster-own-machines.yaml")
DOORS = (
    "--host",
    "--allowed-hosts",
    "--dashboard-host",
    "RAY_AUTH_MODE",
    "RAY_enable_metrics_collection",
    "AUTOSCALER_METRIC_PORT",
    "DASHBOARD_METRIC_PORT",
)
FIGURES = "figures"  # Ray's own, as Prometheus reads them


# --- The shipped configuration ---


def start_commands(file: str) -> tuple[str, str, str]:
    """How a file starts MLflow, the head and a worker."""
    config = yaml.safe_load((ROOT / file).read_text())
    (tracker,) = (command for command in config["head_start_ray_commands"] if "mlflow server" in command)
    (head,) = (command for command in config["head_start_ray_commands"] if "ray start" in command)
    (worker,) = (command for command in config["worker_start_ray_commands"] if "ray start" in command)
    return tracker, head, worker


@pytest.mark.parametrize("file", SHIPPED)
def test_all_variants_are_closed_in_the_same_way(file: str) -> None:
    """The first is put to the test below; the others have its options."""

    def options(command: str) -> dict[str, str]:
        found = re.findall(
            r"(?:^|\s)(--[a-z-]+)[= ]([^-\s]\S*)|(\b(?:RAY|AUTOSCALER|DASHBOARD)_\w+)=([^\s;]+)", command
        )
        return {name or variable: value or setting for name, value, variable, setting in found}

    for command, model in zip(start_commands(file), start_commands(SHIPPED[0]), strict=True):
        given, expected = options(command), options(model)
        assert {name: given.get(name) for name in DOORS} == {name: expected.get(name) for name in DOORS}
        assert "0.0.0.0" not in command


# --- A head of that configuration ---


@dataclass(frozen=True)
class Head:
    home: Path
    token: str
    gcs: int
    dashboard: int
    tracker: int

    def processes(self) -> list[psutil.Process]:
        return started_in(self.home)


def started_in(home: Path) -> list[psutil.Process]:
    """All processes with this home, and their children: Ray's workers write their titles over their environment."""
    found = {process for process in psutil.process_iter() if _home(process) == str(home)}
    for process in list(found):
        with suppress(psutil.NoSuchProcess):
            found |= set(process.children(recursive=True))
    return [process for process in found if process.is_running()]


def _home(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("HOME")
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None


def kill_all_in(home: Path) -> None:
    end = time.monotonic() + 30
    while processes := [process for process in started_in(home) if _runs(process)]:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        assert time.monotonic() < end, processes
        time.sleep(0.05)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    home = Path(tempfile.mkdtemp(prefix="head-"))  # short: Ray's sockets lie there
    head = Head(home, secrets.token_hex(32), free_port(), free_port(), free_port())
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text(head.token)
    (home / "imaging-pipelines").mkdir()
    alone = {"type": "local", "head_ip": ADDRESS, "worker_ips": []}
    (home / "ray_bootstrap_config.yaml").write_text(json.dumps({"cluster_name": "alone", "provider": alone}))
    environment = {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(home), "RAY_TMPDIR": str(home)}
    environment |= {"LANG": "C.UTF-8", "RAY_USAGE_STATS_ENABLED": "0", "MLFLOW_DISABLE_TELEMETRY": "true"}
    tracker, ray, _ = start_commands(SHIPPED[0])
    elsewhere = {
        r"ADDRESS=\$\([^)]*\)": f"ADDRESS={ADDRESS}",
        r"s3://\S+?/mlflow": f"{home}/artifacts",
        r"--port 5000": f"--port {head.tracker}",
        r":5000": f":{head.tracker}",
        r"--port=6379": f"--port={head.gcs} --dashboard-port={head.dashboard} --ray-client-server-port={free_port()}"
        f" --dashboard-agent-listen-port={free_port()} --min-worker-port=20000 --max-worker-port=20100",
    }
    try:
        for command in (tracker, ray):
            for pattern, replacement in elsewhere.items():
                command = re.sub(pattern, replacement, command)
            with (home / "start.log").open("a") as log:
                subprocess.run(["bash", "-c", command], env=environment, cwd=home, stdout=log, stderr=log, check=True)
        wait_for(lambda: _listens("127.0.0.1", head.dashboard) and _listens(ADDRESS, head.tracker))
        wait_for(lambda: any(sockets([process]) for process in head.processes() if "Agent" in process.name()))
        yield head
    finally:
        kill_all_in(home)
        shutil.rmtree(home, ignore_errors=True)


def _listens(address: str, port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex((address, port)) == 0


def sockets(processes: Collection[psutil.Process]) -> set[tuple[str, int]]:
    """Addresses and ports at which any of the processes listens."""
    found = set()
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            connections = process.net_connections("tcp")
            found |= {connection.laddr for connection in connections if connection.status == psutil.CONN_LISTEN}
    return {(address.ip, address.port) for address in found}


def get(address: str, port: int, path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> int:
    """Status of an HTTP answer; 0 where nobody speaks HTTP, or nobody listens."""
    with closing(HTTPConnection(address, port, timeout=5)) as connection:
        try:
            connection.request(method, path, headers={**(headers or {})})
            return connection.getresponse().status
        except (OSError, HTTPException):
            return 0


def body(address: str, port: int, path: str) -> bytes:
    with closing(HTTPConnection(address, port, timeout=5)) as connection:
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        except (OSError, HTTPException):
            return b""


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("path", ["/api/jobs/", "/api/version", "/nodes?view=summary", "/api/cluster_status"])
def test_the_dashboard_and_the_job_api_want_the_token(path: str, head: Head) -> None:
    assert get("127.0.0.1", head.dashboard, path) == 401
    assert get("127.0.0.1", head.dashboard, path, bearer("0" * 64)) == 403
    assert get("127.0.0.1", head.dashboard, path, bearer(head.token)) == 200


def test_the_job_api_runs_nothing_without_the_token(head: Head) -> None:
    assert get("127.0.0.1", head.dashboard, "/api/jobs/", method="POST") == 401
    assert get("127.0.0.1", head.dashboard, "/api/jobs/", bearer("0" * 64), method="POST") == 403


def test_dashboard_and_tracker_listen_where_they_should_and_nowhere_else(head: Head) -> None:
    listening = sockets(head.processes())
    assert {address for address, port in listening if port == head.dashboard} == {"127.0.0.1"}
    assert {address for address, port in listening if port == head.tracker} == {ADDRESS}
    assert not _listens(ADDRESS, head.dashboard)
    assert not _listens("127.0.0.1", head.tracker)


def test_the_tracker_talks_to_its_own_names_only(head: Head) -> None:
    def status(host: str, **more: str) -> int:
        path = "/api/2.0/mlflow/experiments/search?max_results=1"
        return get(ADDRESS, head.tracker, path, {"Host": host, **more})

    for name in ("localhost", "127.0.0.1", ADDRESS):
        assert status(f"{name}:{head.tracker}") == 200
    for name in ("mlflow.example.com", "8.8.8.8", "localhost.example.com", "0.0.0.0"):
        assert status(f"{name}:{head.tracker}") == 403
    written = "/api/2.0/mlflow/experiments/create"
    headers = {"Host": f"localhost:{head.tracker}", "Origin": "https://example.com"}
    assert get(ADDRESS, head.tracker, written, headers, method="POST") == 403


# --- Everything else that Ray opens ---


def ray_methods() -> list[tuple[str, bool, bool]]:
    """(path, whether the request is a stream, whether the answer is) of all methods of Ray's gRPC services."""
    import ray

    methods = [
        ("/ray.rpc.ObjectManagerService/Push", False, False),
        ("/ray.rpc.ObjectManagerService/Pull", False, False),
    ]
    for file in sorted((Path(ray.__file__).parent / "core" / "generated").glob("*_pb2.py")):
        services = importlib.import_module(f"ray.core.generated.{file.stem}").DESCRIPTOR.services_by_name.values()
        methods += [
            (f"/{service.full_name}/{method.name}", method.client_streaming, method.server_streaming)
            for service in services
            for method in service.methods
        ]
    return methods


def call(channel: grpc.Channel, method: tuple[str, bool, bool], token: str | None = None) -> str:
    """What comes of calling a method with an empty request: the name of a status."""
    path, many_requests, many_answers = method
    kind = f"{'stream' if many_requests else 'unary'}_{'stream' if many_answers else 'unary'}"
    metadata = [("authorization", f"Bearer {token}")] if token else None
    try:
        ask = getattr(channel, kind)(path, request_serializer=None, response_deserializer=None)
        answer = ask(iter([b""]) if many_requests else b"", timeout=5, metadata=metadata)
        if many_answers:
            next(answer, None)
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


def open_doors(listening: Collection[tuple[str, int]]) -> tuple[list[str], set[str]]:
    """What answers somebody without a token, and the services that refuse to."""
    answers, services = [], set()
    for address, port in sorted(listening):
        address = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}.get(address, address).removeprefix("::ffff:")
        if b"# HELP" in body(address, port, "/metrics"):
            answers.append(f"{address}:{port}: {FIGURES}")
            continue
        for path in ("/", "/api/jobs/", "/api/job_agent/jobs/", "/get_or_create_runtime_env"):
            if 0 < (status := get(address, port, path)) < 400:
                answers.append(f"{address}:{port}{path}: {status}")
        with closing(grpc.insecure_channel(f"{address}:{port}", options=[("grpc.enable_http_proxy", 0)])) as channel:
            for method in ray_methods():
                status_name = call(channel, method)
                if status_name == "UNAVAILABLE":
                    break  # it does not speak gRPC
                if status_name == "UNAUTHENTICATED":
                    services.add(method[0].split("/")[1])
                elif status_name != "UNIMPLEMENTED":
                    answers.append(f"{address}:{port}{method[0]}: {status_name}")
    return answers, services


CORE = {"ray.rpc.JobInfoGcsService", "ray.rpc.InternalKVGcsService", "ray.rpc.NodeManagerService"}


def test_nothing_on_the_head_answers_without_the_token(head: Head) -> None:
    own = {head.dashboard, head.tracker}  # have been looked at above: their pages are for everybody who gets there
    answers, services = open_doors({(address, port) for address, port in sockets(head.processes()) if port not in own})
    assert not answers
    assert services >= CORE | {"ray.rpc.ObjectManagerService"}
    with closing(grpc.insecure_channel(f"{ADDRESS}:{head.gcs}")) as channel:
        method = ("/ray.rpc.NodeInfoGcsService/GetAllNodeInfo", False, False)
        assert call(channel, method, "0" * 64) == "UNAUTHENTICATED"
        assert call(channel, method, head.token) == "OK"


@pytest.mark.parametrize("token", [{"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_TOKEN": "0" * 64}])
def test_nobody_joins_without_the_token(token: Mapping[str, str], head: Head, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "RAY_AUTH_MODE": "token", **token}
    node = ["start", f"--address={ADDRESS}:{head.gcs}", "--node-ip-address=127.0.0.3", f"--temp-dir={tmp_path}"]
    jobs = ["job", "list", "--address", f"http://127.0.0.1:{head.dashboard}"]
    for command in (node, jobs):
        tried = subprocess.run([BIN / "ray", *command], env=environment, capture_output=True, text=True, timeout=120)
        assert tried.returncode != 0
        assert "uthenticat" in tried.stdout + tried.stderr, shlex.join(map(str, tried.args))
    assert not started_in(tmp_path)


# --- One machine alone ---

STUDY = """
name: alone
cameras: [{name: small-rggb, simulate: {preset: sim-rggb, images: 4, height: 96, width: 128}}]
isps: [INet]
lambdas: [0.01]
seeds: 1
split: {train: 3, validation: 1}
pretraining: {patch: 16, batch: 2, max_iterations: 4, check_every: 2, validation_patch: 32}
training: {patch: 16, batch: 2, iterations: 100000}
validation: {every: 100, accuracy_patches: 2, fidelity_patches: 1, textured: false}
evaluation: {codecs: ["jpeg:50"], windows: 3}
"""


def test_a_study_on_one_machine_listens_on_loopback_and_wants_its_token(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "MLFLOW_"))}
    environment |= {"HOME": str(tmp_path)}  # marks all its processes
    command = [sys.executable, "-m", "study", "run", tmp_path / "study.yaml", "--storage", tmp_path / "results"]
    with (tmp_path / "log").open("w") as log:
        driver = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)

    def trains() -> bool:
        assert driver.poll() is None, (tmp_path / "log").read_text()
        return any((tmp_path / "results" / "nips").glob("*.safetensors")) and any(
            "ray::ImplicitF" in process.name() for process in started_in(tmp_path)
        )

    try:
        wait_for(trains)
        listening = sockets(started_in(tmp_path))
        assert {address for address, _ in listening} <= LOOPBACK
        answers, services = open_doors(listening)
        assert services >= CORE | {"ray.rpc.CoreWorkerService"}
        # whoever has an account on this machine may see Ray's own figures (memory, CPU), and nothing else
        assert [answer for answer in answers if not answer.endswith(FIGURES)] == []
    finally:
        kill_all_in(tmp_path)
        driver.wait()
