"""Is everything there that a study needs, on every machine that works for it? Asked before the first job starts.

The driver looks at what one machine can see for all of them. Every node of the cluster tries the rest itself, see
:mod:`study.preflight.node_probe`.
"""

import secrets
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME

from cameras.console import work
from cameras.disk import gigabytes, require_space
from cameras.pairs import INDEX_FILE, Index, verify
from forensics.sizes import codec_size
from models.sizes import nip_size
from study import tracking
from study.execution.cameras import open_camera, open_cameras
from study.execution.driver_lock import is_driven
from study.jobs import Context
from study.jobs.job import hash_tag
from study.jobs.plan import Grid, context, resolve
from study.preflight import node_probe
from study.preflight.cards import needs
from study.preflight.cluster import Node, nodes_at, require_room
from study.preflight.estimate import estimate
from study.preflight.findings import Finding, finding
from study.preflight.gpu_probe import Wanted, fits
from study.preflight.node_probe import FOLDER, SHARE, Question, probe, probe_cluster
from study.settings import Camera, Study, StudyError, at_home, planned
from study.storage import Storage, cache
from study.tracking import Snapshot

DRIVER = "driver"


def check(study: Study, address: str = "local", thorough: bool = True) -> list[Finding]:
    """Look at all that a study needs. Nothing of it stays behind: the check removes its files and its run.

    Args:
        address: as for ``run``; with ``local`` this process looks at this machine alone, without Ray.
        thorough: compare the checksums of all images, rather than the sizes of their files.
    """
    findings: list[Finding] = []
    nodes: list[Node] = []
    may_start: list[Node] = []
    with finding(findings, "cluster", address) as remarks:
        nodes, may_start = nodes_at(address)
        remarks.append(require_room(study.resources, nodes, may_start))
    cameras = _cameras(study, thorough, findings)

    where, snapshot, run = None, None, None
    with finding(findings, "tracking", DRIVER) as remarks:
        where = context(study, address=address)
        snapshot, run = _tracker(study, one_machine=len(nodes) <= 1 and not may_start)
        if snapshot is None:
            remarks.append(f"{where.tracking_uri} will be made")
    if where is None:  # nobody knows where results shall go
        return findings

    gpu = Wanted(where, needs(planned(study))) if study.resources.gpus else None
    findings += _fits_later(gpu, may_start) if gpu else []
    grid, nonce, writable = None, secrets.token_hex(8), False
    try:
        with finding(findings, "pre-trained NIPs", DRIVER) as remarks:
            grid = resolve(study, snapshot)
            if snapshot is None or len(cameras) < len(study.cameras):
                remarks.append("known once data and tracking are there")
            else:
                remarks.append(_nips(grid, snapshot, where.store))
        with finding(findings, "storage", DRIVER):
            if address != "local" and Storage(study.storage).is_folder and not Path(study.storage).is_absolute():
                # The driver of `ray job submit` runs in a folder that is thrown away.
                raise StudyError(f"{study.storage} is relative to the driver's working directory: {SHARE}")
            node_probe.write_and_read(where.store, f"{FOLDER}/{nonce}", nonce)
            writable = True
        question = Question(
            storage=where.storage,
            nonce=nonce if writable else None,
            tracking_uri=where.tracking_uri,
            run_id=run.info.run_id if run else None,
            versions=node_probe.versions(),
            gpu=gpu,
            cache=where.cache,
            copies=_copies(cameras, grid),
        )
        with finding(findings, "nodes", address):
            answers = probe(nodes[0], question) if address == "local" else probe_cluster(nodes, question)
            if writable:
                answers = _seen(where.store, nonce, nodes, answers)
            findings += _merged(answers, len(nodes))
    finally:
        _tidy(where, nonce, run)

    with finding(findings, "disk space", DRIVER) as remarks:
        slots = max(sum(node.slots(study.resources) for node in group) for group in (nodes, may_start))
        if grid is not None:
            remarks.append(_space(study, grid, snapshot, max(slots, 1)))
    return findings


def require(study: Study, address: str) -> None:
    """The check before a run, without the checksums of all images.

    Raises:
        StudyError: there are faults; one line names them all.
    """
    if faults := faults_of(check(study, address, thorough=False)):
        raise StudyError("; ".join(faults))


def faults_of(findings: Sequence[Finding]) -> list[str]:
    """A line for each fault."""
    return [f"{found.what}, {found.node}: {found.fault}" for found in findings if found.fault is not None]


def _fits_later(gpu: Wanted, may_start: Sequence[Node]) -> list[Finding]:
    """Whether jobs fit on the cards of nodes that may start, as far as the cluster file tells what these are."""
    findings: list[Finding] = []
    for node in dict.fromkeys(node for node in may_start if node.gpus):
        where = f"{node.name} (may start)"
        unknown = Finding("memory", where, remark="its card is not known here: check again once such a node runs")
        findings += fits(gpu.needs, node.card, gpu.context.gpus, where) if node.card else [unknown]
    return findings


# --- Data ---


def _cameras(study: Study, thorough: bool, findings: list[Finding]) -> dict[str, Index]:
    """The indices of the cameras whose pairs are there and whole."""
    cameras: dict[str, Index] = {}
    for camera in study.cameras:
        with finding(findings, f"data of {camera.name}", DRIVER) as remarks:
            index, remark = _data(study, camera, thorough)
            remarks.append(remark)
            if index is not None:
                cameras[camera.name] = index
    return cameras


def _data(study: Study, camera: Camera, thorough: bool) -> tuple[Index | None, str]:
    """The index of a camera, None where it is yet to be simulated; and a remark."""
    storage = Storage(study.storage)
    if camera.simulate is not None and not storage.exists(f"cameras/{camera.name}/{INDEX_FILE}"):
        return None, f"{camera.simulate.images} pictures will be simulated"
    index = open_camera(study, camera)
    images, size = len(index.images), sum(index.sizes.values())
    if camera.simulate is not None and images < camera.simulate.images:
        return None, f"{images} of {camera.simulate.images} pictures, the others will be simulated"
    open_cameras(study.model_copy(update={"cameras": (camera,)}))  # do they suffice for the study?
    if thorough:
        with work(f"{camera.name}: checksums", images) as advance:
            if storage.is_folder:
                verify(storage.folder / "cameras" / camera.name, lambda done, total: advance(done))
            else:
                own_disk = at_home(study.resources.cache)
                own_disk.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryDirectory(dir=own_disk) as folder:
                    cache.camera(storage, Path(folder), camera.name, index.data_hash)
    return index, f"{images} images, {gigabytes(size)}" + (", checksums right" if thorough else "")


# --- Tracking, NIPs, disk ---


def _tracker(study: Study, one_machine: bool) -> tuple[Snapshot | None, Run | None]:
    """What is tracked, and the check's own run; both None where the database is yet to be made."""
    uri = tracking.tracking_uri(study)
    if uri.startswith("sqlite") and not one_machine:
        raise StudyError(
            f"{uri} is a file, for one machine only: start a server ('mlflow server') and name it as tracking_uri "
            "or in MLFLOW_TRACKING_URI"
        )
    if tracking.look(uri) is None:
        return None, None
    client, experiment_id = tracking.connect(study)
    with tracking.reachable(uri):
        if not is_driven(client, experiment_id):
            tracking.rebase(client, experiment_id)
        snapshot = tracking.snapshot(client, experiment_id)
        return snapshot, client.create_run(experiment_id, tags={"kind": "check", MLFLOW_RUN_NAME: "check"})


def _nips(grid: Grid, snapshot: Snapshot, store: Storage) -> str:
    """How many NIPs and codecs are pre-trained, and whether their files in the storage are those of their runs."""
    client, finished, fetched = snapshot.client, snapshot.finished, 0
    done = [job for job in grid.before_trials if job.key in finished]
    for job in done:
        run, there = finished[job.key], store.exists(job.weights)
        (artifact,) = job.stored
        if there and store.sha256(job.weights) == run.data.tags.get(hash_tag(artifact)):
            continue
        with tracking.reachable(client.tracking_uri):
            kept = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
        if artifact not in kept:
            raise StudyError(
                f"{store.where(job.weights)} is {'damaged' if there else 'missing'}, and its run {run.info.run_id} "
                "does not hold it either: delete the run to have it pre-trained again"
            )
        fetched += 1
    remark = f"{len(done)} of {len(grid.before_trials)}"
    return remark + (f", {fetched} missing or damaged: fetched from their runs by run" if fetched else "")


def _copies(cameras: Mapping[str, Index], grid: Grid | None) -> dict[str, int]:
    """Bytes of what each node copies to its own disk, by path, as :mod:`study.storage.cache` names them."""
    copies = {f"cameras/{name}-{index.data_hash[:16]}": sum(index.sizes.values()) for name, index in cameras.items()}
    if grid is None:
        return copies
    hashes = {job.nip: job.nip_sha256 for job in grid.ready}
    hashes |= {job.codec.file: job.codec.sha256 for job in grid.ready if job.codec is not None}
    sizes = [(job.weights, job.key, nip_size(job.isp)) for job in grid.pretrainings]
    sizes += [(job.weights, job.key, codec_size(job.codec_pretraining)) for job in grid.codecs]
    return copies | {f"nips/{hashes.get(weights, key)[:16]}": size for weights, key, size in sizes}


def _space(study: Study, grid: Grid, snapshot: Snapshot | None, slots: int) -> str:
    """Whether the disk of the storage has room for what will be written there."""
    cost = estimate(study, grid, snapshot, slots)
    needed = cost.simulated
    if Storage(study.storage).is_folder:
        needed += cost.nips + cost.checkpoints
        needed += cost.artifacts if tracking.tracking_uri(study).startswith("sqlite") else 0
    elsewhere = cost.written - needed
    remark = require_space(study.folder, needed)
    return remark + (f"; {gigabytes(elsewhere)} elsewhere" if elsewhere else "")


# --- What driver and nodes exchange ---


def _seen(store: Storage, nonce: str, nodes: Sequence[Node], answers: Sequence[Finding]) -> list[Finding]:
    """The nodes' answers; a fault where the driver does not see the file that a node says it has written."""
    unseen = {node.name for node in nodes if not store.exists(f"{FOLDER}/{nonce}-{node.id}")}
    fault = f"{store.uri} is not shared: the driver does not see what this node has written there: {SHARE}"
    return [
        Finding(answer.what, answer.node, fault)
        if answer.what == "storage" and answer.fault is None and answer.node in unseen
        else answer
        for answer in answers
    ]


def _merged(findings: Sequence[Finding], nodes: int) -> list[Finding]:
    """One line for what all nodes find well; every fault keeps a line of its own."""
    lines = []
    for what in dict.fromkeys(found.what for found in findings):
        mine = [found for found in findings if found.what == what]
        if fine := [found for found in mine if found.fault is None]:
            first, *others = dict.fromkeys(found.remark for found in fine)
            who = f"{len({found.node for found in fine})} of {nodes} nodes" if nodes > 1 else fine[0].node
            lines.append(Finding(what, who, remark=first + ("; …" if others else "")))
        lines += [found for found in mine if found.fault is not None]
    return lines


def _tidy(where: Context, nonce: str, run: Run | None) -> None:
    """Remove what the check has left, as far as possible: what prevents that is a finding already."""
    store = where.store
    with suppress(OSError):
        for name in store.names(FOLDER):
            if name.startswith(f"{FOLDER}/{nonce}"):
                store.delete(name)
        if store.is_folder:
            (store.folder / FOLDER).rmdir()
    if run is None:
        return
    client = where.client
    with suppress(Exception):  # of whatever library carries files to that store
        folder, _, _ = run.info.artifact_uri.rpartition("/artifacts")
        if folder.endswith(run.info.run_id):  # the run's own, of which "artifacts" is a part
            get_artifact_repository(folder, tracking_uri=client.tracking_uri).delete_artifacts()
    with suppress(MlflowException, OSError):
        client.delete_run(run.info.run_id)
