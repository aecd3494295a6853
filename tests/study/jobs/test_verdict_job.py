"""Every trial ends with the verdict of real encoders, whatever is lost in between."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from small_study import Record, recorded

import models
from forensics import FAN
from forensics.panel import Panel, judge
from study import tracking
from study.execution import place, scheduler, worker
from study.execution.attempts import attempt
from study.execution.cameras import prepare_cameras
from study.execution.driver import at_work, run, stage
from study.execution.place import Place
from study.execution.run_logger import RunLogger
from study.jobs import Context, verdict
from study.jobs.plan import context, resolve
from study.jobs.pretraining import open_pairs
from study.jobs.trial import TrialJob
from study.jobs.verdict import KEY, VerdictJob
from study.settings import Resources, Study, load_study

STUDY = """
name: judged
cameras: [{name: small-rggb, simulate: {preset: sim-rggb, images: 5, height: 96, width: 128}}]
isps: [INet]
lambdas: [0.01, fixed]
seeds: 1
split: {train: 2, validation: 2, test: 1}
pretraining: {patch: 16, batch: 2, max_iterations: 2, check_every: 2, validation_patch: 32}
training: {patch: 16, batch: 2, iterations: 4}
validation: {every: 2, accuracy_patches: 2, fidelity_patches: 1, textured: false}
evaluation: {codecs: ["jpeg:50", "jpeg:50:4:2:0"], windows: 5}
"""
PANEL = Panel(("jpeg:50", "jpeg:50:4:2:0"), windows=5)
NAMES = ("accuracy_real", "accuracy_real_worst", "accuracy_real_jpeg_50", "accuracy_real_jpeg_50_420")

pytestmark = pytest.mark.usefixtures("without_ray")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """With a camera and a NIP; no trial is begun."""
    folder = tmp_path_factory.mktemp("verdicts")
    (folder / "study.yaml").write_text(STUDY)
    study = load_study(str(folder / "study.yaml")).model_copy(update={"storage": str(folder / "results")})
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        prepare_cameras(study)
        (pretraining,) = resolve(study, snapshot(study)).pretrainings
        assert worker.run(pretraining, context_of(study)) is None
        yield study


@pytest.fixture
def study(prepared: Study) -> Iterator[Study]:
    """Whose trials are forgotten afterwards."""
    yield prepared
    client = MlflowClient(tracking.tracking_uri(prepared))
    for found in snapshot(prepared).of_kind("trial"):
        client.delete_run(found.info.run_id)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(place, "notes_folder", lambda: tmp_path)
    return Place("10.0.0.3")


def context_of(study: Study) -> Context:
    return context(study, tracking.connect(study)[1])


def snapshot(study: Study) -> tracking.Snapshot:
    return tracking.snapshot(*tracking.connect(study))


def trial_jobs(study: Study) -> list[TrialJob]:
    return resolve(study, snapshot(study)).ready


def record(study: Study, job: TrialJob) -> Record:
    return recorded(*tracking.connect(study), job.key)


def driven(study: Study, **options: Any) -> dict[str, str]:
    return run(study, lambda study, address: None, **options)


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    def computed(*arguments: object, **options: object) -> None:
        raise AssertionError("there is nothing left to compute")

    monkeypatch.setattr(verdict, "judge", computed)


def test_every_trial_of_a_study_has_its_verdict(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert driven(study) == {}
    client = MlflowClient(tracking.tracking_uri(study))
    for job in trial_jobs(study):
        found = record(study, job)
        document = json.loads(found.artifacts["verdict.json"])
        nip = models.load(
            Path(client.download_artifacts(run_of(study, job).info.run_id, "nip.safetensors", str(tmp_path)))
        )
        fan = models.load(
            Path(client.download_artifacts(run_of(study, job).info.run_id, "fan.safetensors", str(tmp_path))),
            build=lambda name, classes: FAN(classes),
        )
        pairs = open_pairs(context_of(study), "small-rggb", job.data_hash)
        for prefix, part, photographs in (("", document, 2), ("test_", document["test"], 1)):
            judged = judge(job.trial, pairs, nip, fan, PANEL, on_test=bool(prefix))  # type: ignore[arg-type]
            values = [found.metrics[f"{prefix}{name}"] for name in NAMES]
            assert [len(logged) for logged in values] == [1] * 4
            assert {step for ((step, _),) in values} == {4}
            real, worst, *members = (value for ((_, value),) in values)
            assert members == [judged.accuracy(codec) for codec in PANEL.codecs]
            assert real == judged.accuracy() == pytest.approx(sum(members) / 2)
            assert worst == min(members)
            assert (part["photographs"], part["windows"]) == (photographs, 5)
            assert part["confusion"] == judged.confusion().tolist()
            assert part["accuracy"] == real
            assert list(part["members"]) == list(PANEL.codecs)
            for codec in PANEL.codecs:
                rows = part["members"][codec]["confusion"]
                assert rows == judged.confusion(codec).tolist()
                assert [sum(row) for row in rows] == pytest.approx([1] * 5)
        assert document["classes"] == ["native", "sharpen", "gaussian", "jpeg", "resample"]
        assert document["unseen"] == ["jpeg:50:4:2:0"]
        assert document["panel"]["codecs"] == list(PANEL.codecs)
        assert document["encoders"].keys() >= {"jpg", "webp", "avif"}
        assert found.status == "FINISHED"
        assert b"evaluation" not in found.artifacts["trial.yaml"], "it is no setting of the training"
    forbid(monkeypatch)
    assert driven(study) == {}, "a finished study has nothing to do"


def run_of(study: Study, job: TrialJob) -> Run:
    return snapshot(study).by_key[job.key]


def test_a_worker_judges_directly_after_the_training(
    study: Study, here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, seen = trial_jobs(study)[0], list[tuple[int, Mapping[str, float]]]()
    assert [later.kind for later in job.follow_ups] == ["verdict"]
    assert attempt(job, context_of(study), here, lambda step, metrics: seen.append((step, metrics)), print) is None
    assert {step for step, metrics in seen if "accuracy_real" in metrics} == {4}
    assert max(step for step, _ in seen) == 4, "its own steps mean nothing beside those of the training"
    found = record(study, job)
    assert found.tags[f"added.{job.follow_ups[0].key}"] == "FINISHED"
    assert "verdict.json" in found.artifacts
    forbid(monkeypatch)
    assert attempt(job, context_of(study), here, lambda step, metrics: None, print) is None


KILLED = """
import os, signal, sys
from study import tracking
from study.execution import attempts, place
from study.jobs import from_text, verdict, Context
verdict.judge = lambda *arguments, **options: os.kill(os.getpid(), signal.SIGKILL)
text, where = sys.argv[1:]
attempts.attempt(from_text(text), Context.model_validate_json(where), place.Place("10.0.0.3"), lambda *_: None, print)
"""


def test_killed_between_the_training_and_the_verdict(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL; the next run trains nothing again and judges."""
    from study.jobs import to_text

    job = trial_jobs(study)[0]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, to_text(job), context_of(study).model_dump_json()], check=False
    )
    assert done.returncode == -signal.SIGKILL
    before = record(study, job)
    assert before.status == "FINISHED"
    assert before.tags[f"added.{job.follow_ups[0].key}"] == "RUNNING"
    assert not before.metrics.keys() & set(NAMES)
    trained: list[str] = []
    train = TrialJob.run
    monkeypatch.setattr(TrialJob, "run", lambda self, *rest: trained.append(self.key) or train(self, *rest))
    assert driven(study) == {}
    assert job.key not in trained
    after = record(study, job)
    assert [len(after.metrics[name]) for name in NAMES] == [1] * 4
    assert after.tags[f"added.{job.follow_ups[0].key}"] == "FINISHED"
    assert {name: after.metrics[name] for name in before.metrics} == before.metrics
    assert before.artifacts.items() <= after.artifacts.items()


def test_a_lost_process_repeats_the_verdict_alone(study: Study, here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Tune does: it makes another attempt at the trial, which is done."""
    job, failing = trial_jobs(study)[0], [OSError("connection lost")]

    def flaky(*arguments: Any, **options: Any) -> Any:
        if failing:
            raise failing.pop()
        return judge(*arguments, **options)

    monkeypatch.setattr(verdict, "judge", flaky)
    once = partial(attempt, job, context_of(study), here, lambda step, metrics: None, print)
    with pytest.raises(OSError, match="connection lost"):
        once()
    assert record(study, job).status == "FINISHED"
    monkeypatch.setattr(TrialJob, "run", lambda *arguments: pytest.fail("it is done already"))
    assert once() is None
    assert "accuracy_real" in record(study, job).metrics


def test_a_verdict_that_fails_is_no_failure_of_the_trial(
    study: Study, here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise ValueError("no such encoder here")

    job = trial_jobs(study)[0]
    with monkeypatch.context() as patch:
        patch.setattr(verdict, "judge", refuse)
        assert attempt(job, context_of(study), here, lambda step, metrics: None, print) is None
        failures = driven(study)
        assert set(failures.values()) == {"no such encoder here"}
        assert len(failures) == 2
        assert all("behind real encoders" in name for name in failures)
    assert {found.info.status for found in snapshot(study).of_kind("trial")} == {"FINISHED"}
    assert driven(study) == failures, "what failed by itself is not repeated"
    assert driven(study, retry_failed=True) == {}
    assert "accuracy_real" in record(study, job).metrics


def test_a_trial_whose_result_waits_is_judged_by_the_next_stage(
    study: Study, here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights are not with the tracker yet."""
    job = trial_jobs(study)[0]
    with monkeypatch.context() as patch:
        patch.setattr(RunLogger, "close", lambda self, ending, artifacts: False)  # the tracker is away
        forbid(patch)
        assert attempt(job, context_of(study), here, lambda step, metrics: None, print) is None
        assert record(study, job).status == "RUNNING"
    assert driven(study) == {}
    assert "accuracy_real" in record(study, job).metrics


def test_another_panel_takes_the_place_of_the_first(study: Study) -> None:
    """Metrics are those of the panel that the study asks for now, also when it goes back to an earlier one."""
    first, second = study, study.model_copy(update={"evaluation": Panel(("webp:50",), windows=3, seed=1)})
    histories = []
    for number, asked in enumerate((first, second, first, first), 1):
        assert driven(asked) == {}
        job = trial_jobs(asked)[0]
        later = job.follow_ups[0]
        found = record(asked, job)
        document = json.loads(found.artifacts["verdict.json"])
        assert document["panel"]["codecs"] == list(asked.evaluation.codecs)
        latest = run_of(asked, job).data.metrics["accuracy_real"]
        assert latest == document["accuracy"]
        assert found.tags[KEY] == later.key
        assert found.tags[f"added.{later.key}"] == "FINISHED"
        histories.append([step for step, _ in found.metrics["accuracy_real"]])
        assert histories[-1] == list(range(4, 4 + min(number, 3)))
    other = trial_jobs(second)[0].follow_ups[0].key
    assert found.tags[f"added.{other}"] == "REPLACED"
    assert trial_jobs(first)[0].key == trial_jobs(second)[0].key, "no trial is trained again"


def test_verdicts_of_a_study_on_gpus_are_jobs_for_cpus(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[set[str], str, float]] = []

    def schedule(jobs: Any, where: Context, resources: Resources, *rest: object) -> dict[str, str]:
        asked.append(({job.kind for job in jobs}, where.device, resources.gpus))
        return {}

    monkeypatch.setattr(scheduler, "schedule", schedule)
    on_gpus = study.model_copy(update={"resources": Resources(gpus=0.5)})
    jobs = trial_jobs(on_gpus)
    with at_work(on_gpus, lambda study, address: None, "local", False) as session:
        stage("trials", session, jobs)
        stage("verdicts", session, [later for job in jobs for later in job.follow_ups])
    assert asked == [({"trial"}, "cuda", 0.5), ({"verdict"}, "cpu", 0.0)]


def test_a_finished_trial_has_not_failed_with_what_follows_it(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every attempt at its verdict lost the process: Tune gives up the trial, which has long been done."""

    def schedule(jobs: Any, where: Context, *rest: object) -> dict[str, str]:
        assert [worker.run(job, where) for job in jobs] == [None] * len(jobs)
        return {job.key: "its process or node was lost" for job in jobs}

    monkeypatch.setattr(scheduler, "schedule", schedule)
    jobs = trial_jobs(study)
    with at_work(study, lambda study, address: None, "local", False) as session:
        assert stage("trials", session, jobs) == {}


def test_its_progress_is_in_photographs_and_members(study: Study) -> None:
    job = trial_jobs(study)[0]
    assert worker.run(job, context_of(study)) is None
    (later,) = job.follow_ups
    steps: list[int] = []
    assert worker.run(later, context_of(study), lambda step, metrics: steps.append(step)) is None
    assert later.steps == 6
    assert steps == [1, 2, 3, 4, 5, 6, 6], "and then the metrics"


def test_keys_of_verdicts(study: Study) -> None:
    job = trial_jobs(study)[0]
    plain = VerdictJob.plan(job, Panel())
    others = [
        VerdictJob.plan(job, Panel(**changed))
        for changed in (
            {"codecs": ("jpeg:50",)},
            {"photographs": 1},
            {"megapixels": 1.0},
            {"windows": 5},
            {"seed": 1},
        )
    ]
    assert len({other.key for other in (plain, *others)}) == 6
    assert {other.run_key for other in others} == {job.key}
    assert job.model_copy(update={"evaluation": Panel(windows=3)}).key == job.key
