"""Is everything there that a study needs, on every machine that works for it? Asked before the first job starts.

What one machine can see for all of them, the driver looks at. The rest every machine is asked to do itself: read what
the driver has written and write what the driver can read, send a file to the tracking server, run the same code with
the same packages, reach its GPU, find room for its copies of the data.
"""

import hashlib
import logging
import os
import platform
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME

from cameras.pairs import INDEX_FILE, Index, verify
from study import tracking
from study.execution.cameras import open_camera, open_cameras
from cameras.console import work
from study.jobs import Place
from study.jobs.plan import Grid, place, resolve
from study.preflight.estimate import gigabytes, nip_bytes, of_grid
from study.settings import Camera, Resources, Study, StudyError
from study.storage import Storage

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("cameras", "channel", "forensics", "models", "prnu", "study")
PACKAGES = ("torch", "numpy", "ray", "mlflow", "safetensors")
FOLDER = "check"  # in the storage: the files that driver and nodes exchange
ANSWER_SECONDS = 60  # that a node is given
BOOTSTRAP = Path("~/ray_bootstrap_config.yaml")  # `ray up` leaves it on the head: the nodes that may be started
DRIVER = "driver"
SHARE = "name one folder that all machines see (/mnt/study), or a bucket (s3://…)"


@dataclass(frozen=True)
class Finding:
    """One line of the table: ``fault`` says what is wrong and how to put it right; None where all is well."""

    what: str
    node: str
    fault: str | None
    remark: str


@dataclass(frozen=True)
class Node:
    """A machine that jobs are given to, by its address and Ray's ``id``; or one that the autoscaler may start."""

    name: str
    id: str
    cpus: float
    gpus: float

    def slots(self, resources: Resources) -> int:
        """Jobs that it does at the same time."""
        slots = self.cpus // resources.cpus
        return int(min(slots, self.gpus // resources.gpus) if resources.gpus else slots)


@dataclass(frozen=True)
class Question:
    """What every node is asked. It travels there.

    Attributes:
        storage: folder or bucket.
        nonce: what the driver has written there, as name and content of a file; None where it could not.
        tracking_uri, experiment_id: of the tracking server.
        run_id: the run to send a file to; None where there is none, and tracking is not asked about.
        versions: of the driver.
        gpus: whether a job needs one.
        staging: where the node keeps copies of the data; None where it reads them in place.
        copies: bytes of every copy, by its path below ``staging``.
    """

    storage: str
    nonce: str | None
    tracking_uri: str
    experiment_id: str
    run_id: str | None
    versions: Mapping[str, str]
    gpus: bool
    staging: Path | None
    copies: Mapping[str, int]


def check(study: Study, address: str = "local", thorough: bool = True) -> list[Finding]:
    """Look at all that a study needs. Nothing of it stays behind: the check's files and its run are removed.

    Args:
        address: as for ``run``; with ``local`` this process looks at this machine alone, without Ray.
        thorough: compare the checksums of all images, rather than the sizes of their files.
    """
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # a finding says in a line what it would
    findings: list[Finding] = []
    nodes: list[Node] = []
    startable: list[Node] = []
    with _looking(findings, "storage", DRIVER):
        if address != "local" and Storage(study.storage).is_folder and not Path(study.storage).is_absolute():
            # The driver of `ray job submit` runs in a folder that is thrown away.
            raise StudyError(f"{study.storage} is relative to the driver's working directory: {SHARE}")
    with _looking(findings, "cluster", address) as remarks:
        nodes, startable = _nodes(address)
        remarks.append(_hardware(study.resources, nodes, startable))

    cameras: dict[str, Index] = {}
    for camera in study.cameras:
        with _looking(findings, f"data of {camera.name}", DRIVER) as remarks:
            index, remark = _data(study, camera, thorough)
            remarks.append(remark)
            if index is not None:
                cameras[camera.name] = index

    where, client, run = None, None, None
    runs: dict[str, Run] = {}
    with _looking(findings, "tracking", DRIVER) as remarks:
        uri = tracking.tracking_uri(study)
        where = place(study, "", address)
        if uri.startswith("sqlite") and (len(nodes) > 1 or startable):
            raise StudyError(
                f"{uri} is a file, for one machine only: start a server ('mlflow server') and name it as tracking_uri "
                "or in MLFLOW_TRACKING_URI"
            )
        if tracking.look(uri) is None:
            remarks.append(f"{uri} will be made")
        else:
            client, experiment_id = tracking.connect(study)
            where = place(study, experiment_id, address)
            with tracking.reachable(uri):
                runs = tracking.runs_by_key(client, experiment_id)
                run = client.create_run(experiment_id, tags={"kind": "check", MLFLOW_RUN_NAME: "check"})
    if where is None:  # nobody knows where results shall go
        return findings

    grid, nonce, writable = None, secrets.token_hex(8), False
    try:
        with _looking(findings, "pre-trained NIPs", DRIVER) as remarks:
            if len(cameras) == len(study.cameras):
                grid = resolve(study, cameras, where)
            remarks.append(_nips(grid, runs, client))
        with _looking(findings, "storage", DRIVER):
            _write(where.shared, f"{FOLDER}/{nonce}", nonce)
            writable = True
        question = Question(
            storage=where.storage,
            nonce=nonce if writable else None,
            tracking_uri=where.tracking_uri,
            experiment_id=where.experiment_id,
            run_id=run.info.run_id if run else None,
            versions=versions(),
            gpus=study.resources.gpus > 0,
            staging=where.staging,
            copies=_copies(cameras, grid),
        )
        with _looking(findings, "nodes", address):
            answers = inspect_node(nodes[0], question) if address == "local" else _ask(nodes, question)
            findings += _together(_seen(where.shared, question.nonce, nodes, answers), len(nodes))
    finally:
        _tidy(where, nonce, client, run)

    with _looking(findings, "disk space", DRIVER) as remarks:
        slots = max(sum(node.slots(study.resources) for node in group) for group in (nodes, startable))
        remarks.append(_space(study, grid, runs, max(slots, 1)))
    return findings


def require(study: Study, address: str) -> None:
    """The check before a run, without the checksums of all images.

    Raises:
        StudyError: there are faults; they are named in one line.
    """
    faults = [finding for finding in check(study, address, thorough=False) if finding.fault]
    if faults:
        raise StudyError("; ".join(f"{finding.what}, {finding.node}: {finding.fault}" for finding in faults))


@contextmanager
def _looking(findings: list[Finding], what: str, node: str) -> Iterator[list[str]]:
    """What is remarked in the block becomes a finding; so does what goes wrong, in one line."""
    remarks: list[str] = []
    try:
        yield remarks
    except (StudyError, OSError) as error:
        findings.append(Finding(what, node, _line(error), ""))
    else:
        if remarks:
            findings.append(Finding(what, node, None, "; ".join(remarks)))


def _line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__


# --- What the driver looks at ---


def _nodes(address: str) -> tuple[list[Node], list[Node]]:
    """The nodes of the cluster, and those that the autoscaler may start.

    Raises:
        StudyError: there is no such cluster.
    """
    if address == "local":
        return [Node("this machine", "alone", os.cpu_count() or 1, torch.cuda.device_count())], []
    from study.execution import scheduler as schedule  # imports Ray

    schedule.connect(address)
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    addresses = [node["NodeManagerAddress"] for node in alive]
    nodes = []
    for node, name in zip(alive, addresses, strict=True):
        if addresses.count(name) > 1:
            name = f"{name} ({node['NodeID'][:6]})"
        has = node["Resources"]
        nodes.append(Node(name, node["NodeID"], has.get("CPU", 0), has.get("GPU", 0)))
    return nodes, _startable()


def _startable() -> list[Node]:
    """Nodes that the autoscaler may start, as far as this machine knows: where it is the head of ``ray up``."""
    path = BOOTSTRAP.expanduser()
    if not path.is_file():
        return []
    config = yaml.safe_load(path.read_text())
    nodes = []
    for name, kind in config.get("available_node_types", {}).items():
        has = kind.get("resources") or {}
        count = kind.get("max_workers", config.get("max_workers", 0)) if name != config.get("head_node_type") else 0
        nodes += [Node(name, "", has.get("CPU", 0), has.get("GPU", 0))] * count
    return nodes


def _hardware(resources: Resources, nodes: Sequence[Node], startable: Sequence[Node]) -> str:
    """Whether any node can do a job."""
    asked = f"CPUs: {resources.cpus}" + (f", GPUs: {resources.gpus:g}" if resources.gpus else "")
    fit = [node for node in nodes if node.slots(resources)]
    if fit:
        slots = sum(node.slots(resources) for node in fit)
        return f"jobs at a time: {slots} ({asked} each), on {len(fit)} of {len(nodes)} nodes"
    kinds = {node.name for node in startable if node.slots(resources)}
    if kinds:
        return f"no node for jobs yet; the cluster may start nodes of type {', '.join(sorted(kinds))}"
    known = [node for node in (*nodes, *startable) if node.cpus]
    if not known or any(not node.cpus for node in startable):  # their resources are found out when they start
        return f"no node for jobs yet; the cluster must start some that fit a job ({asked})"
    best = max(known, key=lambda node: (node.gpus, node.cpus))
    remedy = "resources.gpus: 0 trains on CPUs" if resources.gpus > best.gpus else "ask for less under resources"
    raise StudyError(
        f"no node fits a job ({asked}), not even {best.name} (CPUs: {best.cpus:g}, GPUs: {best.gpus:g}): {remedy}"
    )


def _data(study: Study, camera: Camera, thorough: bool) -> tuple[Index | None, str]:
    """The index of a camera whose pairs are there and whole, None where it is yet to be simulated; and a remark."""
    storage = Storage(study.storage)
    if camera.simulate is not None and not storage.exists(f"cameras/{camera.name}/{INDEX_FILE}"):
        return None, f"{camera.simulate.images} pictures will be simulated"
    index = open_camera(study, camera)
    images, size = len(index.images), sum(index.sizes.values())
    if camera.simulate is not None and images < camera.simulate.images:
        return None, f"{images} of {camera.simulate.images} pictures, the others will be simulated"
    open_cameras(study.model_copy(update={"cameras": (camera,)}))  # do they suffice for the study?
    if thorough:
        _verify(study, storage, camera.name, index)
    return index, f"{images} images, {gigabytes(size)}" + (", checksums right" if thorough else "")


def _verify(study: Study, storage: Storage, camera: str, index: Index) -> None:
    with work(f"{camera}: checksums", len(index.images)) as advance:
        try:
            if storage.is_folder:
                verify(storage.folder / "cameras" / camera, lambda done, total: advance(done))
                return
            study.resources.staging.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=study.resources.staging) as folder:
                for file in (INDEX_FILE, *index.sizes):
                    storage.download(f"cameras/{camera}/{file}", Path(folder) / file)
                verify(folder, lambda done, total: advance(done))
        except ValueError as error:
            raise StudyError(str(error)) from None


def _nips(grid: Grid | None, runs: Mapping[str, Run], client: MlflowClient | None) -> str:
    """How many NIPs are pre-trained, and whether their files are those that their runs speak of."""
    if grid is None or client is None:
        return "known once data and tracking are there"
    stored = {job.nip: job.nip_sha256 for job in grid.ready}
    finished, fetched = 0, 0
    for job in grid.pretrainings:
        run = runs.get(job.key)
        if run is None or run.info.status != "FINISHED":
            continue
        finished += 1
        if stored.get(job.weights) != run.data.tags.get("nip_sha256"):
            with tracking.reachable(client.tracking_uri):
                kept = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
            if "nip.safetensors" not in kept:
                state = "damaged" if job.weights in stored else "missing"
                raise StudyError(
                    f"{job.place.shared.where(job.weights)} is {state}, and its run {run.info.run_id} does not hold it "
                    "either: delete the run to have it pre-trained again"
                )
            fetched += 1
    remark = f"{finished} of {len(grid.pretrainings)}"
    return remark + (f", {fetched} missing or damaged: fetched from their runs by run" if fetched else "")


def _space(study: Study, grid: Grid | None, runs: Mapping[str, Run], slots: int) -> str:
    """Whether the disk of the storage has room for what will be written there."""
    cost = of_grid(study, grid, runs, slots)
    storage = Storage(study.storage)
    needed = cost.simulated
    if storage.is_folder:
        needed += cost.nips + cost.checkpoints
        needed += cost.artifacts if tracking.tracking_uri(study).startswith("sqlite") else 0
    elsewhere = cost.written - needed
    remark = _room(study.folder, needed)
    return remark + (f"; {gigabytes(elsewhere)} elsewhere" if elsewhere else "")


def _room(folder: Path, needed: int) -> str:
    """Raises StudyError where a folder's disk has less room than needed."""
    folder = folder.resolve()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise StudyError(
            f"{folder} has room for {gigabytes(free)}, but {gigabytes(needed)} will be written: free some, or name "
            "another folder"
        )
    return f"{gigabytes(needed)} will be written, {gigabytes(free)} are free"


def _copies(cameras: Mapping[str, Index], grid: Grid | None) -> dict[str, int]:
    """Bytes of what each node copies to its own disk, by path, as :mod:`study.storage.cache` names them."""
    copies = {f"cameras/{name}-{index.data_hash[:16]}": sum(index.sizes.values()) for name, index in cameras.items()}
    stored = {job.nip: job.nip_sha256 for job in grid.ready} if grid else {}
    for job in grid.pretrainings if grid else ():
        copies[f"nips/{stored.get(job.weights, job.key)[:16]}"] = nip_bytes(job.isp)
    return copies


# --- What every node is asked ---


def _ask(nodes: Sequence[Node], question: Question) -> list[Finding]:
    """Let every node answer for itself."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ask = ray.remote(num_cpus=0, max_retries=0)(inspect_node)
    asked = {}
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node.id, soft=False)
        asked[ask.options(scheduling_strategy=there).remote(node, question)] = node
    findings: list[Finding] = []
    answered, late = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_SECONDS) if asked else ([], [])
    for task in answered:
        try:
            findings += ray.get(task)
        except ray.exceptions.RayError as error:
            name = asked[task].name
            if asked[task].id in {node["NodeID"] for node in ray.nodes() if node["Alive"]}:
                findings.append(Finding("node", name, f"cannot answer: {_line(error)}", ""))
            else:  # as spot nodes may at any time
                findings.append(Finding("node", name, None, "has left the cluster"))
    for task in late:
        ray.cancel(task, force=True)
        fault = f"has not answered in {ANSWER_SECONDS} s: is it overloaded, or do storage or tracking hang?"
        findings.append(Finding("node", asked[task].name, fault, ""))
    return findings


def inspect_node(node: Node, question: Question) -> list[Finding]:
    """What a node finds when it tries what its jobs will do. Runs on that node."""
    findings: list[Finding] = []
    if question.nonce is not None:
        with _looking(findings, "storage", node.name) as remarks:
            remarks.append(_exchange(node, question, question.nonce))
    if question.run_id is not None:
        with _looking(findings, "tracking", node.name) as remarks:
            remarks.append(_track(node, question, question.run_id))
    with _looking(findings, "versions", node.name) as remarks:
        remarks.append(_same_versions(question.versions))
    if question.gpus and node.gpus:
        with _looking(findings, "GPU", node.name) as remarks:
            remarks.append(_cuda(node))
    if question.staging is not None:
        with _looking(findings, "disk space for copies", node.name) as remarks:
            missing = {path: size for path, size in question.copies.items() if not (question.staging / path).exists()}
            remarks.append(_room(question.staging, sum(missing.values())))
    return findings


def _exchange(node: Node, question: Question, nonce: str) -> str:
    storage = Storage(question.storage)
    try:
        found = storage.read(f"{FOLDER}/{nonce}")
    except FileNotFoundError:
        found = b""
    if found != nonce.encode():
        raise StudyError(
            f"{question.storage} is not shared: this node does not find what the driver has just written there: {SHARE}"
        )
    _write(storage, _answer(node, nonce), nonce)
    return f"{question.storage}: read and written"


def _answer(node: Node, nonce: str) -> str:
    """Name of the file by which a node answers."""
    return f"{FOLDER}/{nonce}-{node.id}"


def _write(storage: Storage, name: str, content: str) -> None:
    try:
        storage.write(name, content.encode())
        found = storage.read(name)
    except OSError as error:
        raise StudyError(f"{storage.uri} cannot be written: {_line(error)}") from None
    if found != content.encode():
        raise StudyError(f"{storage.uri} does not give back what was written there")


def _seen(storage: Storage, nonce: str | None, nodes: Sequence[Node], answers: Sequence[Finding]) -> list[Finding]:
    """The nodes' answers, where the driver sees the files that they say they have written."""
    by_name = {node.name: node for node in nodes}
    seen = []
    for answer in answers:
        wrote = nonce is not None and answer.what == "storage" and answer.fault is None
        if nonce is not None and wrote and not storage.exists(_answer(by_name[answer.node], nonce)):
            fault = f"{storage.uri} is not shared: the driver does not see what this node has written there: {SHARE}"
            answer = Finding(answer.what, answer.node, fault, "")
        seen.append(answer)
    return seen


def _track(node: Node, question: Question, run_id: str) -> str:
    """/health would say yes to anyone: ask what jobs ask, and send a file to where they send theirs."""
    client = MlflowClient(question.tracking_uri)
    try:
        with tracking.reachable(question.tracking_uri):
            client.search_runs([question.experiment_id], max_results=1)
            run = client.get_run(run_id)
    except StudyError as error:
        hosts = ": name this address among its --allowed-hosts" if "Invalid Host" in str(error) else ""
        raise StudyError(f"{error}{hosts}") from None
    try:
        client.log_text(run_id, node.name, f"{node.id}.txt")
    except Exception as error:  # of whatever library carries files to that store
        raise StudyError(f"artifacts cannot be written to {run.info.artifact_uri}: {_line(error)}") from None
    return f"{question.tracking_uri}: runs found, artifact sent"


def versions() -> dict[str, str]:
    """Of all that decides a result: Python, packages, and a digest of this project's own source files."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package).split("+")[0]  # the same for CPU and for GPU
        except PackageNotFoundError:
            found[package] = "missing"
    digest = hashlib.sha256()
    for path in sorted(path for folder in SOURCES for path in (ROOT / folder).rglob("*.py")):
        digest.update(f"{path.relative_to(ROOT).as_posix()}\0".encode() + path.read_bytes())
    return {**found, "source": digest.hexdigest()[:12]}


def _same_versions(expected: Mapping[str, str]) -> str:
    found = versions()
    if others := [name for name in expected if found.get(name) != expected[name]]:
        listed = ", ".join(f"{name} {found.get(name, 'missing')} (driver: {expected[name]})" for name in others)
        code = ["copy the driver's project here"] if "source" in others else []
        packages = ["make Python and requirements.txt the same"] if set(others) - {"source"} else []
        raise StudyError(f"{listed}: {' and '.join(code + packages)}")
    return ", ".join(f"{name} {found[name]}" for name in expected)


def _cuda(node: Node) -> str:
    if not torch.cuda.is_available():
        raise StudyError(
            f"Ray counts {node.gpus:g} GPUs, but torch {torch.__version__} can use none: install a build of torch for "
            "CUDA, and a driver that suits it"
        )
    return f"{node.gpus:g} × {torch.cuda.get_device_name()}"


def _together(findings: Sequence[Finding], nodes: int) -> list[Finding]:
    """One line for what all nodes find well; every fault keeps a line of its own."""
    merged: list[Finding] = []
    for what in dict.fromkeys(finding.what for finding in findings):
        fine = [finding for finding in findings if finding.what == what and finding.fault is None]
        if fine:
            remarks = dict.fromkeys(finding.remark for finding in fine)
            who = f"{len(fine)} of {nodes} nodes" if nodes > 1 else fine[0].node
            merged.append(Finding(what, who, None, next(iter(remarks)) + ("; …" if len(remarks) > 1 else "")))
        merged += [finding for finding in findings if finding.what == what and finding.fault is not None]
    return merged


def _tidy(where: Place, nonce: str, client: MlflowClient | None, run: Run | None) -> None:
    """Remove what the check has left, as far as that can be done: whatever stands in its way is a finding already."""
    with suppress(OSError):
        for name in where.shared.names(FOLDER):
            if name.startswith(f"{FOLDER}/{nonce}"):
                where.shared.delete(name)
        if where.shared.is_folder:
            (where.shared.folder / FOLDER).rmdir()
    if client is None or run is None:
        return
    with suppress(Exception):  # of whatever library carries files to that store
        folder, _, _ = run.info.artifact_uri.rpartition("/artifacts")
        if folder.endswith(run.info.run_id):  # the run's own, of which "artifacts" is a part
            get_artifact_repository(folder, tracking_uri=client.tracking_uri).delete_artifacts()
    with suppress(MlflowException, OSError):
        client.delete_run(run.info.run_id)
