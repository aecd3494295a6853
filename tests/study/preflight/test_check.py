"""What a study needs is there, or one line says what is not."""

import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

import models
from cameras.pairs import append
from study import tracking
from study.commands.app import app
from study.execution.cameras import open_cameras
from study.jobs.plan import resolve
from study.jobs.pretraining import NIP_FILE, NIP_HASH
from study.preflight import check as checks
from study.preflight import cluster, node_probe
from study.preflight.check import check
from study.preflight.cluster import Node
from study.preflight.node_probe import Finding, Question, probe
from study.settings import Resources, Study, StudyError
from study.storage import Storage, cache

HERE = Node("10.0.0.1", "a1", cpus=8, gpus=0)
THERE = Node("10.0.0.2", "b2", cpus=8, gpus=0)

STUDY = {
    "name": "checked",
    "cameras": ["little"],
    "isps": ["INet"],
    "lambdas": [0.1, "fixed"],
    "seeds": 1,
    "split": {"train": 2, "validation": 1},
    "pretraining": {"patch": 16, "batch": 2, "max_iterations": 4, "validation_patch": 16},
    "training": {"patch": 16, "batch": 2, "iterations": 4},
    "validation": {"every": 2, "accuracy_patches": 1, "fidelity_patches": 1},
}


@pytest.fixture(autouse=True)
def own_tracking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage with a camera, a database, and a NIP whose pre-training is finished."""
    folder = tmp_path_factory.mktemp("pristine")
    rng = np.random.default_rng(0)
    for number in range(3):
        bayer, target = rng.random((24, 32, 4)), rng.random((48, 64, 3))
        camera = {"cfa": "RGGB", "cam2srgb": np.eye(3), "camera": "a camera"}
        append(folder / "cameras" / "little", f"image {number}", bayer, target, **camera)
    study = study_in(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        client, experiment_id = tracking.connect(study)
        job = resolve(study, None).pretrainings[0]
    models.save(folder / NIP_FILE, models.build("INet"))
    store = Storage(str(folder))
    tags = {tracking.KEY: job.key, "kind": job.kind, NIP_HASH: store.sha256(NIP_FILE)}
    run = client.create_run(experiment_id, tags=tags)
    client.log_artifact(run.info.run_id, str(folder / NIP_FILE))
    client.set_terminated(run.info.run_id)
    store.upload(folder / NIP_FILE, job.weights)
    return folder


@pytest.fixture
def study(pristine: Path, tmp_path: Path) -> Study:
    """A study on a copy of that storage. Artifacts lie where they were."""
    return study_in(shutil.copytree(pristine, tmp_path / "storage"))


def study_in(storage: Path, **changes: object) -> Study:
    return Study.model_validate({**STUDY, "storage": str(storage), **changes})


def faults(findings: Sequence[Finding]) -> dict[str, str]:
    found = {finding.what: finding.fault for finding in findings if finding.fault is not None}
    assert all("\n" not in fault for fault in found.values())
    return found


def fault(findings: Sequence[Finding]) -> str:
    (found,) = faults(findings).values()
    return found


def remark(findings: Sequence[Finding], what: str) -> str:
    (found,) = [finding.remark for finding in findings if finding.what == what]
    return found


# --- All of it ---


def test_a_study_that_is_whole_has_no_fault_and_stays_as_it_is(study: Study) -> None:
    before = sorted(path for path in study.folder.parent.rglob("*"))
    findings = check(study)
    assert faults(findings) == {}
    whats = {finding.what for finding in findings}
    assert whats == {"cluster", "data of little", "pre-trained NIPs", "storage", "tracking", "versions", "disk space"}
    assert remark(findings, "pre-trained NIPs") == "1 of 1"
    assert "checksums right" in remark(findings, "data of little")
    assert sorted(path for path in study.folder.parent.rglob("*")) == before
    client, experiment_id = tracking.connect(study)
    assert not client.search_runs([experiment_id], "tags.kind = 'check'")


def test_a_study_of_simulated_cameras_lacks_nothing_before_it_begins(tmp_path: Path) -> None:
    camera = {"name": "new", "simulate": {"preset": "sim-rggb", "images": 3}}
    findings = check(study_in(tmp_path / "new", cameras=[camera]))
    assert faults(findings) == {}
    assert remark(findings, "data of new") == "3 pictures will be simulated"
    assert not list(tmp_path.rglob("*.*")), "looking makes no database"


def test_pictures_that_are_still_to_be_taken_are_no_fault(study: Study) -> None:
    camera = {"name": "little", "simulate": {"preset": "sim-rggb", "images": 5}}
    findings = check(study_in(study.folder, cameras=[camera], split={"train": 3, "validation": 2}))
    assert faults(findings) == {}
    assert remark(findings, "data of little").startswith("3 of 5 pictures")


# --- Data and NIPs ---


def damage(path: Path, change: Callable[[bytearray], object]) -> None:
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("file", "change", "expected"),
    [
        ("index.json", lambda content: content.clear(), "index.json is damaged"),
        ("bayer.u16", lambda content: content.pop(), "bayer.u16 holds 18431 of the 18432 bytes"),
        ("target.u8", lambda content: content.clear(), "target.u8 holds 0 of the 27648 bytes"),
    ],
)
def test_data_that_are_not_whole_are_a_fault(
    study: Study, file: str, change: Callable[[bytearray], object], expected: str
) -> None:
    damage(study.folder / "cameras" / "little" / file, change)
    assert expected in fault(check(study, thorough=False))


def test_changed_data_are_a_fault_for_those_who_look_closely(study: Study) -> None:
    damage(study.folder / "cameras" / "little" / "target.u8", lambda content: content.__setitem__(-1, content[-1] ^ 1))
    assert faults(check(study, thorough=False)) == {}
    assert "image 2 is damaged" in fault(check(study))


def test_data_in_a_bucket_are_looked_at_closely(study: Study, bucket: Storage, tmp_path: Path) -> None:
    folder = study.folder / "cameras" / "little"
    resources = study.resources.model_copy(update={"cache": tmp_path / "cache"})
    uri = tracking.tracking_uri(study)
    study = study.model_copy(update={"storage": bucket.uri, "tracking_uri": uri, "resources": resources})
    for file in folder.iterdir():
        bucket.upload(file, f"cameras/little/{file.name}")
    assert "checksums right" in remark(check(study), "data of little")
    assert not list((tmp_path / "cache").iterdir())
    damage(folder / "target.u8", lambda content: content.__setitem__(-1, content[-1] ^ 1))
    bucket.upload(folder / "target.u8", "cameras/little/target.u8")
    assert "image 2 is damaged" in faults(check(study))["data of little"]


def test_every_camera_has_its_own_line(study: Study) -> None:
    study = study_in(study.folder, cameras=["absent", "little"], split={"train": 3, "validation": 3})
    found = faults(check(study, thorough=False))
    assert "import --camera 'absent'" in found["data of absent"]
    assert "asks for 3 + 3 images, but there are only 3" in found["data of little"]


@pytest.mark.parametrize("state", ["damaged", "missing"])
def test_a_nip_is_fetched_again_as_long_as_its_run_holds_it(study: Study, state: str) -> None:
    (weights,) = (study.folder / "nips").iterdir()
    if state == "damaged":
        damage(weights, lambda content: content.pop())
    else:
        weights.unlink()
    findings = check(study, thorough=False)
    assert faults(findings) == {}
    assert "1 missing or damaged" in remark(findings, "pre-trained NIPs")

    client, experiment_id = tracking.connect(study)
    kept = client.create_run(experiment_id, tags=client.search_runs([experiment_id])[0].data.tags)
    client.delete_run(client.search_runs([experiment_id], "attributes.status = 'FINISHED'")[0].info.run_id)
    client.set_terminated(kept.info.run_id)
    found = fault(check(study, thorough=False))
    assert f"{weights} is {state}" in found
    assert kept.info.run_id in found


# --- Nodes ---


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster of two, asked in this process."""
    monkeypatch.setattr(checks, "nodes_at", lambda address: ([HERE, THERE], []))
    monkeypatch.setattr(checks, "probe_cluster", lambda nodes, question: [f for n in nodes for f in probe(n, question)])


@pytest.mark.usefixtures("two_nodes")
def test_sqlite_is_for_one_machine(study: Study) -> None:
    findings = check(study, "auto", thorough=False)
    assert "mlflow server" in fault(findings)
    assert ("storage", "2 of 2 nodes") in {(finding.what, finding.node) for finding in findings}, "one line for both"


@pytest.mark.usefixtures("two_nodes")
def test_the_driver_must_see_what_a_node_writes(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a node had a copy of the folder, and not the folder."""
    write = node_probe.write_and_read

    def swallowed(storage: Storage, name: str, content: str) -> None:
        if not name.endswith(THERE.id):
            write(storage, name, content)

    monkeypatch.setattr(node_probe, "write_and_read", swallowed)
    findings = check(study, "auto", thorough=False)
    assert "the driver does not see" in faults(findings)["storage"]
    assert {finding.node for finding in findings if finding.what == "storage"} == {"1 of 2 nodes", THERE.name}


def test_a_cluster_that_is_not_there_is_a_fault(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: str) -> None:
        raise StudyError(f"no Ray cluster at '{address}'")

    monkeypatch.setattr(checks, "nodes_at", refuse)
    assert fault(check(study, "10.0.0.9:6379", thorough=False)) == "no Ray cluster at '10.0.0.9:6379'"


@pytest.fixture
def question(tmp_path: Path) -> Question:
    """What a node is asked that has nothing wrong with it."""
    storage = tmp_path / "shared"
    (storage / "check").mkdir(parents=True)
    (storage / "check" / "abc").write_text("abc")
    return Question(
        storage=str(storage),
        nonce="abc",
        tracking_uri="",
        run_id=None,
        versions=node_probe.versions(),
        gpus=True,
        cache=tmp_path / "cache" / "not there yet",
        copies={"cameras/little-0123": 10**6},
    )


def test_a_node_that_is_as_it_should_be(question: Question) -> None:
    findings = probe(HERE, question)
    assert faults(findings) == {}
    assert {finding.what for finding in findings} == {"storage", "versions", "disk space for copies"}
    assert (Path(question.storage) / "check" / f"abc-{HERE.id}").read_text() == "abc"


def test_a_storage_that_is_not_shared(question: Question, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    assert "is not shared" in fault(probe(HERE, replace(question, storage=str(tmp_path / "own"))))
    assert not list((tmp_path / "own").iterdir()), "nothing is written where nobody will look for it"
    assert "is not shared" in fault(probe(HERE, replace(question, storage=str(tmp_path / "nowhere"))))


@contextmanager
def mounted(folder: Path) -> Iterator[Callable[[str], object]]:
    """A file system of its own at the folder; what is yielded mounts it again, with other options."""

    def mount(*options: str) -> None:
        done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"mounting needs root: {done.stderr.strip()}")

    mount("-t", "tmpfs", "-o", "size=4m", "tmpfs")
    try:
        yield lambda options: mount("-o", f"remount,{options}")
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # a database stays open


def test_a_storage_that_is_read_only(question: Question, tmp_path: Path) -> None:
    folder = tmp_path / "mount"
    folder.mkdir()
    with mounted(folder) as remount:
        shutil.copytree(Path(question.storage) / "check", folder / "check")
        remount("ro")
        found = fault(probe(HERE, replace(question, storage=str(folder))))
    assert f"{folder} cannot be written" in found
    assert "Read-only file system" in found


@pytest.mark.parametrize("state", ["read-only", "full"])
def test_the_drivers_own_storage_read_only_or_full(pristine: Path, tmp_path: Path, state: str) -> None:
    folder = tmp_path / "mount"
    folder.mkdir()
    with mounted(folder) as remount:
        study = study_in(shutil.copytree(pristine, folder / "storage"))
        if state == "full":
            (folder / "ballast").write_bytes(bytes(shutil.disk_usage(folder).free))
        else:
            remount("ro")
        found = faults(check(study, thorough=False))
    assert f"{study.storage} cannot be written" in found["storage"]
    assert ("disk space" if state == "full" else "tracking") in found


def test_a_node_without_room_for_copies(question: Question, study: Study) -> None:
    index = open_cameras(study)["little"]
    (copy,) = checks._copies({"little": index}, None)
    question = replace(question, copies={copy: 10**18})
    assert question.cache is not None
    assert "will be written: free some" in fault(probe(HERE, question))
    cache.camera(Storage(study.storage), question.cache, "little", index.data_hash)
    assert faults(probe(HERE, question)) == {}, "a copy that is there needs no more room"


def test_a_node_with_other_code_or_packages(question: Question) -> None:
    others = {**question.versions, "torch": "2.12.0", "source": "0123456789ab"}
    found = fault(probe(HERE, replace(question, versions=others)))
    assert f"torch {question.versions['torch']} (driver: 2.12.0)" in found
    assert "copy the driver's project" in found
    assert "requirements.txt" in found
    assert "python" not in found, "what is equal is not named"


def test_the_source_digest_changes_with_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "a.py").write_text("1")
    monkeypatch.setattr(node_probe, "CODE", tmp_path)
    before = node_probe.versions()["source"]
    assert node_probe.versions()["source"] == before
    (tmp_path / "study" / "a.py").rename(tmp_path / "study" / "b.py")
    renamed = node_probe.versions()["source"]
    (tmp_path / "study" / "b.py").write_text("2")
    assert len({before, renamed, node_probe.versions()["source"]}) == 3


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_torch_cannot_use(question: Question) -> None:
    assert "torch" in faults(probe(replace(HERE, gpus=1), question))["GPU"]
    assert faults(probe(replace(HERE, gpus=1), replace(question, gpus=False))) == {}, "nobody asks for it"


class Suspicious(BaseHTTPRequestHandler):
    """As MLflow's server when it is called by a name that it was not told of."""

    def do_GET(self) -> None:
        healthy = self.path == "/health"
        self.send_response(200 if healthy else 403)
        self.end_headers()
        self.wfile.write(b"OK" if healthy else b"Invalid Host header - possible DNS rebinding attack detected")

    do_POST = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_server_that_is_healthy_and_refuses_all_else(question: Question) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Suspicious)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        uri = f"http://127.0.0.1:{server.server_port}"
        found = fault(probe(HERE, replace(question, tracking_uri=uri, run_id="0" * 32)))
        assert uri in found
        assert "--allowed-hosts" in found
    finally:
        server.shutdown()
        server.server_close()


def test_a_server_that_is_not_there(question: Question) -> None:
    found = fault(probe(HERE, replace(question, tracking_uri="http://127.0.0.1:9", run_id="0" * 32)))
    assert "tracking at http://127.0.0.1:9 cannot be used" in found


def test_artifacts_that_cannot_be_stored(question: Question, study: Study, tmp_path: Path) -> None:
    """The server answers, but the store behind it does not take anything."""
    client, _ = tracking.connect(study)
    (tmp_path / "file").write_text("")
    experiment = client.create_experiment("elsewhere", artifact_location=f"file://{tmp_path}/file/no folder")
    run = client.create_run(experiment)
    uri = tracking.tracking_uri(study)
    found = fault(probe(HERE, replace(question, tracking_uri=uri, run_id=run.info.run_id)))
    assert "artifacts cannot be written to" in found


# --- What the cluster has ---


@pytest.mark.parametrize(
    ("asked", "nodes", "startable", "expected"),
    [
        ({"cpus": 2}, [(4, 0), (0, 0)], [], "jobs at a time: 2 (CPUs: 2 each), on 1 of 2 nodes"),
        (
            {"cpus": 2, "gpus": 0.25},
            [(4, 0), (64, 2)],
            [],
            "jobs at a time: 8 (CPUs: 2, GPUs: 0.25 each), on 1 of 2 nodes",
        ),
        ({"gpus": 1}, [(0, 0)], [(8, 1), (8, 1)], "no node for jobs yet; the cluster may start nodes of type spot"),
        ({"gpus": 1}, [(0, 0)], [], "no node for jobs yet; the cluster must start some"),
        ({"gpus": 1}, [(4, 0)], [(0, 0)], "no node for jobs yet; the cluster must start some"),
        ({"gpus": 1}, [(0, 0)], [(8, 0)], "not even spot (CPUs: 8, GPUs: 0): resources.gpus: 0 trains on CPUs"),
        ({"cpus": 8}, [(4, 0), (2, 0)], [], "not even node 0 (CPUs: 4, GPUs: 0): ask for less"),
        ({"gpus": 0.5}, [(4, 0)], [], "resources.gpus: 0 trains on CPUs"),
        ({"cpus": 4, "gpus": 1}, [(16, 0), (2, 1)], [(8, 0)], "not even node 1 (CPUs: 2, GPUs: 1): ask for less"),
    ],
)
def test_hardware(
    asked: dict[str, float], nodes: list[tuple[int, int]], startable: list[tuple[int, int]], expected: str
) -> None:
    resources = Resources(**asked)
    present = [Node(f"node {number}", "", *has) for number, has in enumerate(nodes)]
    possible = [Node("spot", "", *has) for has in startable]
    if "not even" in expected or "trains" in expected:
        with pytest.raises(StudyError) as error:
            cluster.require_room(resources, present, possible)
        assert expected in str(error.value)
    else:
        assert cluster.require_room(resources, present, possible).startswith(expected)


def test_what_the_autoscaler_may_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "BOOTSTRAP", tmp_path / "bootstrap.yaml")
    assert cluster.startable() == []
    kinds = {
        "head": {"resources": {"CPU": 0}, "max_workers": 1},
        "spot": {"resources": {"CPU": 8, "GPU": 1}, "max_workers": 2},
    }
    content = {"head_node_type": "head", "max_workers": 4, "available_node_types": kinds}
    (tmp_path / "bootstrap.yaml").write_text(yaml.safe_dump(content))
    assert cluster.startable() == [Node("spot", "", 8, 1)] * 2


def test_the_command_names_every_fault_and_ends_with_2(pristine: Path, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({**STUDY, "cameras": ["little", "absent"]}))
    asked = CliRunner().invoke(app, ["check", str(tmp_path / "study.yaml"), "--storage", str(pristine)])
    assert asked.exit_code == 2, asked.output
    assert asked.stderr.count("fault:") == 1
    assert "camera 'absent' is not in" in asked.stderr
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))
    asked = CliRunner().invoke(app, ["check", str(tmp_path / "study.yaml"), "--storage", str(pristine)])
    assert asked.exit_code == 0, asked.output
