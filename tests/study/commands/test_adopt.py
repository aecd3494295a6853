"""``study adopt``: finished runs whose keys an older recipe made get the keys that they have now."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run

from study import tracking
from study.commands.adopt import adopt
from study.commands.evaluate import evaluate
from study.commands.rerun import rerun
from study.execution import driver, driver_lock, worker
from study.execution.cameras import prepare_cameras
from study.execution.driver import older_keys
from study.execution.driver_lock import driving
from study.jobs import Job
from study.jobs.evaluation import EvaluationJob
from study.jobs.plan import context, resolve
from study.jobs.pretraining import PretrainingJob
from study.jobs.trial import TrialJob
from study.settings import Study, StudyError, load_study
from study.storage import Storage

STUDY = """
name: older
cameras: [{name: small-rggb, simulate: {preset: sim-rggb, images: 4, height: 96, width: 128}}]
isps: [INet]
lambdas: [1, fixed]
seeds: 1
split: {train: 2, validation: 2}
pretraining: {patch: 16, batch: 2, max_iterations: 2, check_every: 2, validation_patch: 32}
training: {patch: 16, batch: 2, iterations: 4}
validation: {every: 2, accuracy_patches: 5, fidelity_patches: 1, textured: false}
evaluation: {codecs: ["jpeg:50"], windows: 3}
channel: {codec: ["jpeg:50", "jpeg:90"]}
"""
# All settings that the older recipe hashed, by hand.
SPLIT = {"train": 2, "validation": 2, "seed": 0}
PRETRAINING = {
    "patch": 16,
    "batch": 2,
    "learning_rate": 1e-4,
    "max_iterations": 2,
    "check_every": 2,
    "window": 5,
    "tolerance": None,
    "validation_patch": 32,
    "validation_per_image": 1,
    "textured": False,
    "precision": "float32",
    "seed": 0,
}
TRIAL = {
    "camera": "small-rggb",
    "isp": "INet",
    "seed": 0,
    "manipulations": ["sharpen", "gaussian", "jpeg:80", "resample"],
    "split": SPLIT,
    "training": {
        "iterations": 4,
        "batch": 2,
        "patch": 16,
        "learning_rate": 1e-4,
        "decay": 0.85,
        "decay_every": 600,
        "textured": False,
        "precision": "float32",
    },
    "validation": {"every": 2, "accuracy_patches": 5, "fidelity_patches": 1, "textured": False, "seed": 0},
}
CHANNEL = {"downsample": 2, "rounding": "sin", "subsampling": "4:4:4"}


def older_key(kind: str, **content: Any) -> str:
    text = json.dumps({"recipe": 2, "kind": kind, **content}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def older_key_of(job: Job) -> str:
    if isinstance(job, PretrainingJob):
        settings = {"camera": "small-rggb", "isp": "INet", "split": SPLIT, "pretraining": PRETRAINING}
        return older_key("pretrain", **settings, data=job.data_hash)
    assert isinstance(job, TrialJob)
    lam = "fixed" if job.trial.lam == "fixed" else 1.0
    trial = {**TRIAL, "lam": lam, "channel": {**CHANNEL, "codec": job.trial.channel.codec}}
    return older_key("trial", trial=trial, data=job.data_hash, nip=job.nip_sha256)


def make_older(study: Study, job: Job) -> Run:
    """Leave the run of a job, and the files that it made, as the project did with the older recipe."""
    client, experiment_id = tracking.connect(study)
    run, key = tracking.find(client, experiment_id, job.key), older_key_of(job)
    assert run is not None
    run_id = run.info.run_id
    for tag in ("key_recipe", "device"):
        client.delete_tag(run_id, tag)
    client.set_tag(run_id, "trial_key", key)
    storage = Storage(study.storage)
    if isinstance(job, PretrainingJob):
        path = storage.folder / job.weights
        path.rename(storage.folder / f"nips/small-rggb-INet-{key[:8]}.safetensors")
    else:
        document = job.model_dump(mode="json")
        del document["further_axes"]
        document |= {"key": key, "data_fingerprint": document.pop("data_hash")}
        document["place"] = {"storage": study.storage, "staging": None, "tracking_uri": "", "experiment_id": ""}
        document["place"] |= {"device": "cpu", "threads": 1, "checkpoint_seconds": 30}
        client.log_text(run_id, yaml.safe_dump(document), "trial.yaml")
    return client.get_run(run_id)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """Finished with the older recipe, but for one trial that failed; one trial was evaluated behind codecs.

    A PRNU experiment has run, too.
    """
    folder = tmp_path_factory.mktemp("older")
    (folder / "study.yaml").write_text(STUDY)
    study = load_study(str(folder / "study.yaml")).model_copy(update={"storage": str(folder / "results")})
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setattr(driver_lock, "SETTLE", 0.0)
        prepare_cameras(study)
        client, experiment_id = tracking.connect(study)
        where = context(study, experiment_id)
        (pretraining,) = resolve(study, snapshot(study)).pretrainings
        assert worker.run(pretraining, where) is None
        trials = resolve(study, snapshot(study)).ready
        for trial in trials:
            assert worker.run(trial, where) is None
        make_older(study, pretraining)
        older = [make_older(study, trial) for trial in trials]
        client.set_terminated(older[-1].info.run_id, "FAILED")
        client.set_tag(older[-1].info.run_id, "failure", "loss is not finite")
        for name in ("accuracy_dJPEG", "accuracy_jpeg_50", "accuracy_jpeg_50_420", "accuracy_avif_40_444"):
            client.log_metric(older[0].info.run_id, name, 0.5, step=4)
        fingerprints = client.create_run(experiment_id, tags={"trial_key": "a" * 32, "kind": "prnu"})
        client.set_terminated(fingerprints.info.run_id)
        yield study


def snapshot(study: Study) -> tracking.Snapshot:
    return tracking.snapshot(*tracking.connect(study))


def stored(study: Study) -> dict[str, bytes]:
    storage = Storage(study.storage)
    return {name: storage.read(name) for name in storage.names("nips")}


def no_preflight(study: Study, address: str) -> None:
    pass


@pytest.mark.usefixtures("without_ray")
def test_older_keys_are_reported_once(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command has several stages, each of which meets them."""
    reports: list[str] = []
    monkeypatch.setattr(driver, "say", reports.append)
    with driver.at_work(study, no_preflight, "local", False) as session:
        for title in ("pre-training", "trials"):
            assert driver.stage(title, session, []) == {}
    line = "5 finished runs have keys of an older recipe: 'python -m study adopt STUDY' renews them"
    assert reports == [line]
    assert older_keys(snapshot(study)) == line
    assert older_keys(None) == ""


def test_adopt_needs_the_study_for_itself(study: Study) -> None:
    before = [run.data.tags for run in snapshot(study).runs]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver_lock, "HEARTBEAT_SECONDS", 0.1)
        patch.setattr(driver_lock, "SETTLE", 0.0)
        refusal = pytest.raises(StudyError, match="is being run by process")
        with driving(*tracking.connect(study), lambda text: None), refusal:
            adopt(study)
    assert [run.data.tags for run in snapshot(study).runs] == before


@pytest.fixture(scope="module")
def adopted(study: Study) -> tuple[int, dict[str, Run], dict[str, bytes]]:
    """How many runs were adopted; the runs by id and the NIPs as they were before."""
    before = {run.info.run_id: run for run in snapshot(study).runs}, stored(study)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver_lock, "SETTLE", 0.0)
        return adopt(study), *before


Adopted = tuple[int, dict[str, Run], dict[str, bytes]]


def test_finished_runs_get_the_keys_of_now(study: Study, adopted: Adopted) -> None:
    count, before, _ = adopted
    assert count == 4
    now = snapshot(study)
    grid = resolve(study, now)
    jobs: list[Job] = [*grid.pretrainings, *grid.ready]
    assert len(jobs) == 5
    for job in jobs[:-1]:
        run = now.by_key[job.key]
        assert run.data.tags["former_key"] == before[run.info.run_id].data.tags["trial_key"] == older_key_of(job)
        assert run.data.tags["key_recipe"] == "3"
        assert run.info == before[run.info.run_id].info, "nothing else has changed"
        assert run.data.params == before[run.info.run_id].data.params
        assert run.data.metrics == before[run.info.run_id].data.metrics
    assert jobs[-1].key not in now.by_key, "what failed is not adopted"
    assert len(now.runs) == 6
    assert older_keys(now) == "", "what cannot be adopted is not named again"
    assert now.by_key["a" * 32].info.status == "FINISHED"


def test_adopting_again_adopts_nothing(study: Study, adopted: Adopted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_lock, "SETTLE", 0.0)
    before = [run.data.tags for run in snapshot(study).runs]
    assert adopt(study) == 0
    assert [run.data.tags for run in snapshot(study).runs] == before


def test_earlier_evaluations_count(study: Study, adopted: Adopted) -> None:
    now = snapshot(study)
    first, second, *_ = resolve(study, now).ready
    for codec in ("dJPEG", "jpeg:50", "jpeg:50:4:2:0", "avif:40:4:4:4"):
        for trial, expected in ((first, "FINISHED"), (second, None)):
            job = EvaluationJob.plan(trial, codec)
            state = tracking.state(now.by_key[trial.key], job.key, job.run_key)
            assert (state and state.status) == expected, (codec, trial.name)
    others = [EvaluationJob.plan(first, codec) for codec in ("jpeg:51", "avif:40")]
    assert [tracking.state(now.by_key[first.key], job.key, job.run_key) for job in others] == [None, None]


@pytest.mark.usefixtures("without_ray")
def test_the_study_resumes_where_it_was(study: Study, adopted: Adopted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its NIP gets its new name; of its trials, only the one that had failed runs; nothing is evaluated again.

    The verdicts, which an older version did not know, are made up for.
    """
    from study.execution import scheduler

    _, _, before = adopted
    schedule, scheduled, reports = scheduler.schedule, list[Job](), list[str]()

    def spied(jobs: list[Job], *rest: Any) -> dict[str, str]:
        scheduled.extend(jobs)
        return schedule(jobs, *rest)

    monkeypatch.setattr(scheduler, "schedule", spied)
    monkeypatch.setattr(driver, "say", reports.append)
    grid = resolve(study, snapshot(study))
    (pretraining,) = grid.pretrainings
    assert driver.run(study, no_preflight) == {}
    assert [job.key for job in scheduled if job.kind != "verdict"] == [grid.ready[-1].key]
    assert {job.run_key for job in scheduled if job.kind == "verdict"} == {job.key for job in grid.ready}
    assert reports == []
    (content,) = before.values()
    assert stored(study) == before | {pretraining.weights: content}, "the very bytes that its trials began with"
    assert driver.run(study, no_preflight) == {}
    assert len(scheduled) == 1 + len(grid.ready), "now all is done"

    scheduled.clear()
    _, failures = evaluate(study, ["jpeg:50"], no_preflight)
    assert failures == {}
    first, *others = grid.ready
    assert {job.trial.key for job in scheduled if isinstance(job, EvaluationJob)} == {job.key for job in others}
    assert len(scheduled) == 2 * len(others)
    assert snapshot(study).by_key[first.key].data.metrics["accuracy_jpeg_50"] == 0.5


def test_an_adopted_trial_can_be_repeated(study: Study, adopted: Adopted) -> None:
    """Its file of settings is that of the older version."""
    job = resolve(study, snapshot(study)).ready[0]
    again = rerun(job.key, study.storage, tracking.tracking_uri(study))
    assert again.identical, again.difference


def test_only_what_the_study_asks_for_is_adopted(
    study: Study, adopted: Adopted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other settings are other results."""
    monkeypatch.setattr(driver_lock, "SETTLE", 0.0)
    client, before = MlflowClient(tracking.tracking_uri(study)), snapshot(study)
    for run in before.runs:
        if "former_key" in run.data.tags:
            client.set_tag(run.info.run_id, "trial_key", run.data.tags["former_key"])
    assert adopt(study.model_copy(update={"split": {**study.split, "test": 1}})) == 0, "a setting that was not known"
    longer = study.model_copy(update={"training": {**study.training, "iterations": 5}})
    assert adopt(longer) == 1, "the pre-training alone"
    assert adopt(study) == 3
    assert {run.info.run_id: run.data.tags for run in snapshot(study).runs} == {
        run.info.run_id: run.data.tags for run in before.runs
    }
