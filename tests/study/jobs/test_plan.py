"""A study resolved: keys are known without pairs and NIP files, from the tracker alone."""

import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from cameras.pairs import Index, append
from forensics.trial import Split
from models.pretrain import Pretraining
from study import tracking
from study.jobs.plan import Grid, context, data_hashes, resolve
from study.jobs.pretraining import PretrainingJob
from study.jobs.trial import trial_key
from study.preflight.estimate import estimate
from study.preflight.status import status
from study.settings import Study, planned
from study.storage import Storage

DATA, OTHER, NIP = "d" * 64, "a" * 64, "e" * 64


@pytest.fixture
def study(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Study:
    """Two cameras, in a storage that holds nothing."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://nobody")
    return Study.model_validate(
        {
            "name": "planned",
            "storage": storage.uri,
            "cameras": ["one", "two"],
            "isps": ["INet"],
            "lambdas": ["fixed", 0.1],
            "seeds": 2,
            "channel": {"codec": ["jpeg:50", "jpeg:90"]},
        }
    )


def pretraining_of(camera: str, data_hash: str = DATA) -> PretrainingJob:
    return PretrainingJob.plan(camera, "INet", Split(), Pretraining(), data_hash)


def log(
    client: MlflowClient, experiment_id: str, job: PretrainingJob, status: str = "FINISHED", nip: str | None = NIP
) -> None:
    """A run of a pre-training."""
    tags = {"trial_key": job.key, "kind": "pretrain", **job.tags}
    run = client.create_run(experiment_id, tags=tags | ({"nip_sha256": nip} if nip else {}))
    client.log_param(run.info.run_id, "camera", job.camera)
    client.set_terminated(run.info.run_id, status)
    time.sleep(0.002)  # runs start at different milliseconds


def grid(study: Study, client: MlflowClient, experiment_id: str) -> Grid:
    return resolve(study, tracking.snapshot(client, experiment_id))


def put_index(study: Study, camera: str, folder: Path) -> str:
    """An index alone, of pairs that are not there; returns its data hash."""
    rng = np.random.default_rng(0)
    facts = {"cfa": "RGGB", "cam2srgb": np.eye(3), "camera": "a camera"}
    append(folder, "image", rng.random((8, 8, 4)), rng.random((16, 16, 3)), **facts)
    Storage(study.storage).write(f"cameras/{camera}/index.json", (folder / "index.json").read_bytes())
    return Index.read(folder).data_hash


def test_without_anything_no_trial_has_a_key(study: Study, client: MlflowClient, experiment_id: str) -> None:
    for found in (resolve(study, None), grid(study, client, experiment_id)):
        assert found.planned == tuple(planned(study))
        assert found.pretrainings == ()
        assert found.jobs == (None,) * 16
        assert found.ready == []
        assert {row["key"] for row in found.table} == {None}


def test_the_tracker_alone_gives_every_key(study: Study, client: MlflowClient, experiment_id: str) -> None:
    """The storage holds nothing: its pairs and NIPs may lie on another machine."""
    for camera in ("one", "two"):
        log(client, experiment_id, pretraining_of(camera))
    found = grid(study, client, experiment_id)
    assert [job.key for job in found.pretrainings] == [pretraining_of(camera).key for camera in ("one", "two")]
    assert found.keys == tuple(trial_key(item.trial, DATA, NIP) for item in found.planned)
    assert len(set(found.keys)) == 16
    for item, job in zip(found.planned, found.jobs, strict=True):
        assert job is not None
        assert job.trial == item.trial
        assert job.further_axes == {"channel.codec": item.trial.channel.codec}
        assert job.nip == pretraining_of(item.trial.camera).weights
        assert (job.nip_sha256, job.data_hash) == (NIP, DATA)
    first = found.table[0]
    assert first == {
        "camera": "one",
        "isp": "INet",
        "lambda": "fixed",
        "seed": 0,
        "key": found.keys[0],
        "channel.codec": "jpeg:50",
    }
    assert Storage(study.storage).names("") == [], "nothing was written"


def test_a_nip_on_the_base_of_another_has_no_pretraining_of_its_own(
    study: Study, client: MlflowClient, experiment_id: str
) -> None:
    study = study.model_copy(update={"isps": ("UNet", "Pattern"), "training": {"pattern": [16, 32]}})
    without = grid(study, client, experiment_id)
    assert without.pretrainings == ()
    jobs = [PretrainingJob.plan(camera, "UNet", Split(), Pretraining(), DATA) for camera in ("one", "two")]
    log(client, experiment_id, jobs[0])
    found = grid(study, client, experiment_id)
    assert [job.key for job in found.pretrainings] == [jobs[0].key], "nothing tells the data of the other"
    log(client, experiment_id, jobs[1])
    found = grid(study, client, experiment_id)
    assert [job.key for job in found.pretrainings] == [job.key for job in jobs]
    assert {(job.trial.isp, job.nip) for job in found.ready} == {
        (isp, job.weights) for isp in ("UNet", "Pattern") for job in jobs
    }
    assert len(set(found.keys)) == len(found.planned) == 2 * 2 * 2 * 2 * 2 * 2
    assert not [
        job
        for job in estimate(study, found, tracking.snapshot(client, experiment_id)).jobs
        if job.kind == "pretrain" and job.isp == "Pattern"
    ]


@pytest.mark.parametrize(("run_status", "nip"), [("FAILED", NIP), ("RUNNING", NIP), ("FINISHED", None)])
def test_without_a_finished_pretraining_its_trials_have_no_job(
    study: Study, client: MlflowClient, experiment_id: str, run_status: str, nip: str | None
) -> None:
    log(client, experiment_id, pretraining_of("one"))
    log(client, experiment_id, pretraining_of("two"), run_status, nip)
    found = grid(study, client, experiment_id)
    assert len(found.pretrainings) == 2
    assert {job.trial.camera for job in found.ready} == {"one"}
    assert [key is None for key in found.keys] == [item.trial.camera == "two" for item in found.planned]


def test_the_newest_run_tells_the_data_hash(study: Study, client: MlflowClient, experiment_id: str) -> None:
    for data_hash in (OTHER, DATA):
        log(client, experiment_id, pretraining_of("one", data_hash))
    assert data_hashes(study, tracking.snapshot(client, experiment_id)) == {"one": DATA}
    log(client, experiment_id, pretraining_of("one", OTHER), status="FAILED")
    assert data_hashes(study, tracking.snapshot(client, experiment_id)) == {"one": OTHER}
    assert data_hashes(study, None) == {}


def test_an_index_in_the_storage_wins(study: Study, client: MlflowClient, experiment_id: str, tmp_path: Path) -> None:
    """The camera was imported anew: its NIP is to be trained again, and nothing of the old data counts."""
    for camera in ("one", "two"):
        log(client, experiment_id, pretraining_of(camera))
    data_hash = put_index(study, "one", tmp_path / "pairs")
    assert data_hash != DATA
    assert data_hashes(study, tracking.snapshot(client, experiment_id)) == {"one": data_hash, "two": DATA}
    found = grid(study, client, experiment_id)
    assert [job.data_hash for job in found.pretrainings] == [data_hash, DATA]
    assert {job.trial.camera for job in found.ready} == {"two"}
    log(client, experiment_id, pretraining_of("one", data_hash))
    assert len(grid(study, client, experiment_id).ready) == 16


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 10_000, b"\xff"])
def test_a_damaged_index_is_no_answer(study: Study, client: MlflowClient, experiment_id: str, content: bytes) -> None:
    """`check` and `run` name it; status and results go on with what the tracker knows."""
    Storage(study.storage).write("cameras/one/index.json", content)
    assert data_hashes(study, None) == {}
    log(client, experiment_id, pretraining_of("one"))
    assert data_hashes(study, tracking.snapshot(client, experiment_id)) == {"one": DATA}


def test_a_failing_storage_is_no_answer_either(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else trials would be planned for data of another day."""

    def fail(storage: Storage, name: str) -> bool:
        raise OSError("stale file handle")

    monkeypatch.setattr(Storage, "exists", fail)
    with pytest.raises(OSError, match="stale"):
        resolve(study, None)


def test_status_needs_neither_pairs_nor_nips(study: Study, client: MlflowClient, experiment_id: str) -> None:
    log(client, experiment_id, pretraining_of("one"))
    keys = [job.key for job in grid(study, client, experiment_id).ready]
    statuses = ("FINISHED", "FINISHED", "FAILED", "KILLED", "RUNNING")
    for key, run_status in zip(keys, statuses, strict=False):
        run = client.create_run(experiment_id, tags={"trial_key": key, "kind": "trial"})
        client.set_terminated(run.info.run_id, run_status)
        time.sleep(0.002)
    found = status(study, tracking.snapshot(client, experiment_id))
    assert found.counts == {
        "finished": 2,
        "running": 0,
        "failed": 1,
        "left": 5,
        "waiting for data or pre-training": 8,
    }, "without a driver, nothing runs"
    assert found.seconds_to_go is None, "nothing says how long trials take"
    assert status(study, None).counts["waiting for data or pre-training"] == 16
    assert status(study, None).seconds_to_go is None


def test_the_context_is_that_of_the_study(study: Study) -> None:
    storage = Storage(study.storage)
    here = context(study, "7")
    assert here.storage == (str(storage.folder.resolve()) if storage.is_folder else storage.uri)
    assert here.cache == (None if storage.is_folder else study.resources.cache)
    assert context(study, "7", "auto").cache == study.resources.cache, "each machine of a cluster copies"
    assert (here.experiment_id, here.tracking_uri) == ("7", "http://nobody")
    assert (here.device, here.threads, here.checkpoint_seconds) == ("cpu", 1, 30)
    resources = study.resources.model_copy(update={"gpus": 0.5, "cpus": 3})
    there = context(study.model_copy(update={"resources": resources}))
    assert (there.device, there.threads, there.gpus) == ("cuda", 3, 0.5)
    assert (there.data, there.deterministic) == ("auto", True)
    resources = resources.model_copy(update={"data": "host", "deterministic": False})
    there = context(study.model_copy(update={"resources": resources}))
    assert (there.data, there.deterministic) == ("host", False)


def test_a_job_may_use_its_share_of_the_gpu(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    card = SimpleNamespace(total_memory=24 * 10**9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)

    def memory(gpus: float) -> int | None:
        resources = study.resources.model_copy(update={"gpus": gpus})
        return context(study.model_copy(update={"resources": resources})).memory

    assert [memory(gpus) for gpus in (0, 0.25, 1)] == [None, 6 * 10**9 - 5 * 10**8, None]
