"""What every node tries before jobs run on it: the storage, the tracker, its packages, its GPU and its disk."""

import hashlib
import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cameras.disk import require_space
from cameras.errors import one_line
from study import tracking
from study.preflight.cluster import Node
from study.preflight.findings import Finding, finding
from study.preflight.gpu_probe import Wanted, probe_gpus
from study.settings import StudyError, at_home
from study.storage import Storage
from study.tracking.provenance import PACKAGES

CODE = Path(__file__).resolve().parents[2]  # a checkout, or site-packages
SOURCES = ("cameras", "channel", "forensics", "models", "prnu", "study")
FOLDER = "check"  # in the storage: the files that driver and nodes exchange
ANSWER_SECONDS = 150  # that a node has for its answer
SHARE = "name one folder that all machines see (/mnt/study), or a bucket (s3://…)"


@dataclass(frozen=True)
class Question:
    """What a node needs to know to try what its jobs will do. It travels there.

    Attributes:
        storage: folder or bucket.
        nonce: name and content of a file that the driver wrote into the storage; None where it could not. A node adds
            its id to the name of its own file.
        tracking_uri: of the tracker.
        run_id: the run to send a file to; None where there is no tracker yet.
        versions: of the driver.
        gpu: what jobs want of a GPU; None where they compute on CPUs.
        cache: where the node keeps copies of the data; None where it reads them in place.
        copies: bytes of every copy, by its path below ``cache``.
    """

    storage: str
    nonce: str | None
    tracking_uri: str
    run_id: str | None
    versions: Mapping[str, str]
    gpu: Wanted | None
    cache: Path | None
    copies: Mapping[str, int]


def probe_cluster(nodes: Sequence[Node], question: Question) -> list[Finding]:
    """Let every node of a cluster answer for itself."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from study.execution import scheduler

    ask = ray.remote(num_cpus=0, max_retries=0)(_probe_there)
    asked = {}
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node.id, soft=False)
        asked[ask.options(scheduling_strategy=there).remote(node, question, scheduler.credentials())] = node
    findings: list[Finding] = []
    answered, late = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_SECONDS) if asked else ([], [])
    for task in answered:
        try:
            findings += ray.get(task)
        except ray.exceptions.RayError as error:
            node = asked[task]
            if node.id in {other["NodeID"] for other in ray.nodes() if other["Alive"]}:
                reason = str(error).strip().splitlines()[-1]  # below the traceback
                findings.append(Finding("node", node.name, f"cannot answer: {reason}"))
            else:  # as spot nodes may at any time
                findings.append(Finding("node", node.name, remark="has left the cluster"))
    for task in late:
        ray.cancel(task, force=True)
        fault = f"has not answered in {ANSWER_SECONDS} s: is it overloaded, or do storage or tracking hang?"
        findings.append(Finding("node", asked[task].name, fault))
    return findings


def _probe_there(node: Node, question: Question, credentials: Mapping[str, str]) -> list[Finding]:
    """Runs on the node."""
    os.environ.update(credentials)
    return probe(node, question)


def probe(node: Node, question: Question) -> list[Finding]:
    """Try what jobs will do. Runs on the node."""
    looks = [
        (question.nonce, "storage", _exchange_files),
        (question.run_id, "tracking", _track),
        (question.versions, "versions", _compare_versions),
        (question.cache, "disk space for copies", _find_space),
    ]
    findings: list[Finding] = []
    for is_asked, what, look in looks:
        if is_asked:
            with finding(findings, what, node.name) as remarks:
                remarks.append(look(node, question))
    if question.gpu is not None and node.gpus:
        findings += probe_gpus(node, question.gpu)
    return findings


def _exchange_files(node: Node, question: Question) -> str:
    storage, nonce = Storage(question.storage), str(question.nonce)
    written = f"{FOLDER}/{nonce}"
    if not storage.exists(written) or storage.read(written) != nonce.encode():
        raise StudyError(
            f"{question.storage} is not shared: this node does not find what the driver has just written there: {SHARE}"
        )
    write_and_read(storage, f"{written}-{node.id}", nonce)
    return f"{question.storage}: read and written"


def write_and_read(storage: Storage, name: str, content: str) -> None:
    """Write a file and read it back.

    Raises:
        StudyError: one of the two fails.
    """
    try:
        storage.write(name, content.encode())
        found = storage.read(name)
    except OSError as error:
        raise StudyError(f"{storage.uri} cannot be written: {one_line(error)}") from None
    if found != content.encode():
        raise StudyError(f"{storage.uri} does not give back what was written there")


def _track(node: Node, question: Question) -> str:
    """Ask what jobs ask, and send a file to where they send theirs: a server may answer on /health and refuse that."""
    run_id = str(question.run_id)
    try:
        with tracking.reachable(question.tracking_uri):
            client = tracking.open_client(question.tracking_uri)
            run = client.get_run(run_id)
            client.search_runs([run.info.experiment_id], max_results=1)
    except StudyError as error:
        hosts = ": name this address among its --allowed-hosts" if "Invalid Host" in str(error) else ""
        raise StudyError(f"{error}{hosts}") from None
    try:
        client.log_text(run_id, node.name, f"{node.id}.txt")
    except Exception as error:  # of whatever library carries files to that store
        raise StudyError(f"artifacts cannot be written to {run.info.artifact_uri}: {one_line(error)}") from None
    return f"{question.tracking_uri}: runs found, artifact sent"


def versions() -> dict[str, str]:
    """Versions of all that decides a result: Python, packages, and a digest of this project's own source files."""
    found = {"python": platform.python_version(), **dict.fromkeys(PACKAGES, "missing")}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package).split("+")[0]  # the same for CPU and for GPU
    digest = hashlib.sha256()
    for path in sorted(path for folder in SOURCES for path in (CODE / folder).rglob("*.py")):
        digest.update(f"{path.relative_to(CODE).as_posix()}\0".encode() + path.read_bytes())
    return {**found, "source": digest.hexdigest()[:12]}


def _compare_versions(node: Node, question: Question) -> str:
    found, expected = versions(), question.versions
    if others := [name for name in expected if found.get(name) != expected[name]]:
        listed = ", ".join(f"{name} {found.get(name, 'missing')} (driver: {expected[name]})" for name in others)
        code = ["copy the driver's project here"] if "source" in others else []
        packages = ["make Python and requirements.txt the same"] if set(others) - {"source"} else []
        raise StudyError(f"{listed}: {' and '.join(code + packages)}")
    return ", ".join(f"{name} {found[name]}" for name in expected)


def _find_space(node: Node, question: Question) -> str:
    cache = at_home(question.cache or Path())
    return require_space(cache, sum(size for path, size in question.copies.items() if not (cache / path).exists()))
