"""What a node tries of storage, tracker, packages and disk; one line says what is wrong there."""

import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from checked_study import HERE, WANTED, fault, faults, study_in

from study import tracking
from study.execution.cameras import open_cameras
from study.preflight import check as checks
from study.preflight import node_probe
from study.preflight.check import check
from study.preflight.cluster import Node
from study.preflight.findings import Finding
from study.preflight.gpu_probe import Wanted
from study.preflight.node_probe import Question, probe
from study.settings import Study
from study.storage import Storage, cache


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
        gpu=WANTED,
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
    assert faults(probe(replace(HERE, gpus=1), replace(question, gpu=None))) == {}, "nobody asks for it"


def test_gpus_are_tried_only_where_there_are_some_and_jobs_want_them(
    question: Question, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answer(node: Node, wanted: Wanted) -> list[Finding]:
        asked.append(node.name)
        return [Finding("GPU", node.name, remark="tried")]

    monkeypatch.setattr(node_probe, "probe_gpus", answer)
    probe(HERE, question)
    probe(replace(HERE, gpus=1), replace(question, gpu=None))
    assert asked == []
    assert Finding("GPU", HERE.name, remark="tried") in probe(replace(HERE, gpus=1), question)


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
