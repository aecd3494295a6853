"""Evaluation of a study behind codecs: a job for each trial and codec adds to the trial's own run, once."""

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run
from small_study import Line, recorded

import models
from forensics import FAN, evaluation
from forensics.evaluation import RULES
from study import tracking
from study.commands.evaluate import evaluate
from study.execution import worker
from study.execution.cameras import prepare_cameras
from study.execution.driver import at_work, stage
from study.execution.run_logger import RunLogger
from study.jobs import Callbacks, Context
from study.jobs.evaluation import EvaluationJob, metric, parse_codecs, short_name
from study.jobs.plan import context, resolve
from study.jobs.pretraining import open_pairs
from study.jobs.trial import TrialJob
from study.settings import Study, StudyError, load_study
from study.storage import Storage

STUDY = """
name: judged
cameras: [{name: small-rggb, simulate: {preset: sim-rggb, images: 5, height: 96, width: 128}}]
isps: [INet]
lambdas: [0.01, fixed, 0.1]
seeds: 1
split: {train: 2, validation: 2, test: 1}
pretraining: {patch: 16, batch: 2, max_iterations: 2, check_every: 2, validation_patch: 32}
training: {patch: 16, batch: 2, iterations: 4}
validation: {every: 2, accuracy_patches: 5, fidelity_patches: 1, textured: false}
evaluation: {codecs: ["jpeg:50"], windows: 3}
channel: {downsample: [2]}
"""
FINISHED = (0.01, "fixed")

pytestmark = pytest.mark.usefixtures("without_ray")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """Pre-trained, with two of its three trials finished."""
    folder = tmp_path_factory.mktemp("evaluate")
    (folder / "study.yaml").write_text(STUDY)
    study = load_study(str(folder / "study.yaml")).model_copy(update={"storage": str(folder / "results")})
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        prepare_cameras(study)
        where = context_of(study)
        (pretraining,) = resolve(study, snapshot(study)).pretrainings
        assert worker.run(pretraining, where) is None
        trials = [job for job in resolve(study, snapshot(study)).ready if job.trial.lam in FINISHED]
        assert [worker.run(job, where) for job in trials] == [None, None]
        yield study


def context_of(study: Study) -> Context:
    return context(study, tracking.connect(study)[1])


def snapshot(study: Study) -> tracking.Snapshot:
    return tracking.snapshot(*tracking.connect(study))


def run(study: Study, *codecs: str, retry_failed: bool = False) -> tuple[Any, dict[str, str]]:
    return evaluate(study, codecs, lambda study, address: None, retry_failed=retry_failed)


def runs(study: Study) -> list[Run]:
    """The finished trials."""
    return [run for run in snapshot(study).of_kind("trial") if run.info.status == "FINISHED"]


def trial(study: Study, lam: object) -> TrialJob:
    return next(job for job in resolve(study, snapshot(study)).ready if job.trial.lam == lam)


def documents(study: Study, run: Run) -> dict[str, Any]:
    """What the run keeps of its evaluations, by codec."""
    client, experiment_id = tracking.connect(study)
    artifacts = recorded(client, experiment_id, run.data.tags["trial_key"]).artifacts
    found = [json.loads(content) for path, content in artifacts.items() if path.startswith("evaluation/")]
    assert {f"evaluation/{short_name(document['codec'])}.json" for document in found} <= artifacts.keys()
    return {document["codec"]: document for document in found}


def test_evaluated_once_and_added_to(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    client = MlflowClient(tracking.tracking_uri(study))
    before = {run.info.run_id: run for run in runs(study)}
    table, failures = run(study, "jpeg:50,30")
    assert failures == {}
    assert list(table["lambda"]) == list(FINISHED)
    assert list(table["channel.downsample"]) == [2, 2]
    setting = ["trial_key", "camera", "isp", "lambda", "seed", "channel.downsample"]
    assert list(table.columns) == [*setting, "photographs", "dJPEG", "jpeg:50", "jpeg:30"]
    assert set(table["photographs"]) == {"test"}
    first = {trial.data.tags["trial_key"]: documents(study, trial) for trial in runs(study)}
    for trial in runs(study):
        key, logged = trial.data.tags["trial_key"], first[trial.data.tags["trial_key"]]
        row = table[table["trial_key"] == key].iloc[0]
        assert trial.info == before[trial.info.run_id].info, "the trial itself is as it was, and ended when it ended"
        assert trial.data.params == before[trial.info.run_id].data.params
        assert logged.keys() == {"dJPEG", "jpeg:30", "jpeg:50"}
        # On this machine, behind the trial's own channel, it repeats the trial's last validation.
        assert logged["dJPEG"]["accuracy"] == trial.data.metrics["accuracy"] == trial.data.metrics["accuracy_dJPEG"]
        assert row["dJPEG"] == logged["dJPEG"]["test"]["accuracy"] == trial.data.metrics["test_accuracy"]
        assert logged["jpeg:50"]["accuracy"] == trial.data.metrics["accuracy_jpeg_50"]
        assert row["jpeg:50"] == logged["jpeg:50"]["test"]["accuracy"] == trial.data.metrics["test_accuracy_jpeg_50"]
        for document in logged.values():
            assert (document["patches_per_image"], document["images"]) == (5, 2)
            assert document["classes"] == ["native", "sharpen", "gaussian", "jpeg", "resample"]
            assert document["pillow"] == version("pillow")
            test = document["test"]
            assert (test["patches_per_image"], test["images"]) == (5, 1)
            assert trial.data.metrics[f"test_{metric(document['codec'])}"] == test["accuracy"]
            assert torch.tensor(document["confusion"]).shape == (5, 5)
            assert {rule: list(by_number) for rule, by_number in document["fusion"].items()} == {
                rule: ["1", "2", "5"] for rule in RULES
            }
        assert trial.data.tags["pillow"] == version("pillow")
        states = [value for name, value in trial.data.tags.items() if name.startswith("added.")]
        assert states == ["FINISHED"] * 3
        one = logged["jpeg:30"]["fusion"]["majority"]["1"]
        assert one[0] == pytest.approx(trial.data.metrics["accuracy_jpeg_30"])

    run(study, "jpeg:50", "webp:40", "jpeg:50:4:2:0")
    for trial in runs(study):
        again = documents(study, trial)
        earlier = first[trial.data.tags["trial_key"]]
        assert again.keys() == {"dJPEG", "jpeg:30", "jpeg:50", "webp:40", "jpeg:50:4:2:0"}
        assert {codec: again[codec] for codec in earlier} == earlier
        assert set(trial.data.metrics) >= {"accuracy_webp_40", "accuracy_jpeg_50_420"}
        assert len(client.get_metric_history(trial.info.run_id, "accuracy_jpeg_50")) == 1

    def computed(*arguments: object, **options: object) -> None:
        raise AssertionError("there is nothing left to compute")

    monkeypatch.setattr(evaluation, "evaluate", computed)
    again, failures = run(study, "jpeg:50,30")
    assert again.equals(table)
    assert failures == {}


def test_results_wait_for_a_tracker_that_is_away(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights are read, and then the tracker is gone until all jobs have ended."""

    def away(client: MlflowClient, *rest: Any) -> RunLogger:
        return RunLogger(Line(client, lambda: "down"), *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(worker, "RunLogger", away)
        table, failures = run(study, "jpeg:88")
    assert failures == {}
    assert len(table) == 2
    assert Storage(study.storage).names("pending") == []
    client = MlflowClient(tracking.tracking_uri(study))
    for trial in runs(study):
        assert documents(study, trial)["jpeg:88"]["accuracy"] == trial.data.metrics["accuracy_jpeg_88"]
        assert len(client.get_metric_history(trial.info.run_id, "accuracy_jpeg_88")) == 1


def test_interrupted_before_the_metrics_it_is_evaluated_again(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*arguments: object, **options: object) -> None:
        raise OSError("connection lost")

    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "evaluate", lost)
        table, failures = run(study, "jpeg:89")
    assert set(failures.values()) == {"its process or node was lost"}
    assert len(failures) == 2
    assert all("behind jpeg:89" in name for name in failures)
    assert len(table) == 0, "a trial has a row when it is evaluated behind all codecs"
    key = EvaluationJob.plan(trial(study, 0.01), "jpeg:89").key
    state = f"added.{key}"
    assert [run.data.tags[state] for run in runs(study) if state in run.data.tags] == [
        "KILLED: its process or node was lost"
    ]
    assert {run.info.status for run in runs(study)} == {"FINISHED"}
    assert not any("accuracy_jpeg_89" in run.data.metrics for run in runs(study))
    table, failures = run(study, "jpeg:89")
    assert (len(table), failures) == (2, {})
    assert [run.data.tags[state] for run in runs(study) if state in run.data.tags] == ["FINISHED"]
    for found in runs(study):
        assert documents(study, found)["jpeg:89"]["accuracy"] == found.data.metrics["accuracy_jpeg_89"]


def test_a_failure_is_reported_until_it_is_retried(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(trial: Any, pairs: Any, nip: Any, fan: Any, codecs: Any, *rest: Any, **options: Any) -> Any:
        raise ValueError(f"{codecs} is beyond me")

    before = {run.info.run_id: run for run in runs(study)}
    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "evaluate", refuse)
        _, failures = run(study, "jpeg:90")
    assert set(failures.values()) == {"['jpeg:90'] is beyond me"}
    for found in runs(study):
        assert found.info == before[found.info.run_id].info
        assert "failure" not in found.data.tags
        assert "FAILED: ['jpeg:90'] is beyond me" in found.data.tags.values()
    table, again = run(study, "jpeg:90")
    assert again == failures, "what failed by itself is not repeated"
    assert len(table) == 0
    table, failures = run(study, "jpeg:90", retry_failed=True)
    assert (len(table), failures) == (2, {})
    assert run(study, "jpeg:90")[1] == {}


def test_a_job_that_failed_and_was_lost_when_it_was_retried_runs_again(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    error: Exception = ValueError("at first")

    def fail(*arguments: object, **options: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "evaluate", fail)
        assert set(run(study, "jpeg:91")[1].values()) == {"at first"}
        error = OSError("connection lost")
        assert set(run(study, "jpeg:91", retry_failed=True)[1].values()) == {"its process or node was lost"}
    table, failures = run(study, "jpeg:91")
    assert (len(table), failures) == (2, {})


def test_the_trials_have_their_flip(study: Study) -> None:
    finished = [run for run in snapshot(study).of_kind("trial") if run.info.status == "FINISHED"]
    assert len(finished) == len(FINISHED)
    assert all(0 < run.data.metrics["flip"] < 1 for run in finished)


def test_the_weights_are_those_of_the_trial(study: Study, tmp_path: Path) -> None:
    run(study, "jpeg:70")
    found = next(run for run in runs(study) if run.data.params["lambda"] == "0.01")
    client = MlflowClient(tracking.tracking_uri(study))
    nip, fan = (
        Path(client.download_artifacts(found.info.run_id, f"{name}.safetensors", str(tmp_path)))
        for name in ("nip", "fan")
    )
    job = trial(study, 0.01)
    judged = evaluation.evaluate(
        job.trial,
        open_pairs(context_of(study), "small-rggb", job.data_hash),
        models.load(nip),
        models.load(fan, build=lambda name, classes: FAN(classes)),
        ["jpeg:70"],
    )
    logged = documents(study, found)["jpeg:70"]
    assert torch.equal(torch.tensor(logged["confusion"], dtype=torch.float64), judged.confusion("jpeg:70"))


def test_its_progress_is_in_patches(study: Study) -> None:
    job, steps = EvaluationJob.plan(trial(study, 0.01), "jpeg:60"), list[int]()
    assert worker.run(job, context_of(study), lambda step, metrics: steps.append(step)) is None
    assert job.steps == 15
    assert steps == [2, 4, 6, 8, 10, 12, 14, 15, 15], "batches of two, the test image, and then the metrics"


def test_it_computes_as_the_study_says(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    original = evaluation.evaluate

    def watched(*arguments: Any, **options: Any) -> Any:
        asked.append(options["deterministic"])
        return original(*arguments, **options)

    monkeypatch.setattr(evaluation, "evaluate", watched)
    where = context_of(study).model_copy(update={"deterministic": False})
    EvaluationJob.plan(trial(study, 0.01), "jpeg:65").run(where, Callbacks(), None, tmp_path)
    assert asked == [False, False], "validation and test images"


def test_codecs_of_a_command_line() -> None:
    texts = ["jpeg:30,50,070", "webp:50", "jpeg:50:4:2:0", "jpeg:30:4:4:4", "avif:40,50:4:4:4"]
    codecs = ("jpeg:30", "jpeg:50", "jpeg:70", "webp:50", "jpeg:50:4:2:0", "avif:40:4:4:4", "avif:50:4:4:4")
    assert parse_codecs(texts) == parse_codecs(codecs) == codecs
    names = [metric(codec) for codec in codecs]
    assert names[:5] == [
        "accuracy_jpeg_30",
        "accuracy_jpeg_50",
        "accuracy_jpeg_70",
        "accuracy_webp_50",
        "accuracy_jpeg_50_420",
    ]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("codecs", "message"),
    [
        (["jpeg:50", "png:1"], "unknown codec 'png:1"),
        (["jpeg:50,101"], "unknown codec 'jpeg:101"),
        (["jpeg"], "unknown codec 'jpeg"),
        (["jpeg:50,"], "unknown codec 'jpeg:"),
        (["webp:50:4:4:4"], "subsampling of webp is 4:2:0"),
        ([], "no codec"),
    ],
)
def test_an_unknown_codec_is_refused_first_of_all(codecs: list[str], message: str) -> None:
    nowhere = load_study("smoke").model_copy(update={"storage": "/nowhere"})
    with pytest.raises(StudyError, match=message) as error:
        run(nowhere, *codecs)
    assert "\n" not in str(error.value)


def test_without_a_finished_trial_there_is_nothing_to_evaluate(study: Study) -> None:
    unfinished = study.model_copy(update={"lambdas": (0.1,)})
    with pytest.raises(StudyError, match="no finished trial"):
        run(unfinished, "jpeg:50")


def test_lost_weights_are_named(study: Study) -> None:
    found = next(run for run in runs(study) if run.data.params["lambda"] == "fixed")
    (weights,) = (study.folder / "artifacts").rglob(f"{found.info.run_id}/**/fan.safetensors")
    hidden = weights.rename(weights.with_suffix(".hidden"))
    try:
        _, failures = run(study, "jpeg:99")
    finally:
        hidden.rename(weights)
    (reason,) = failures.values()
    assert reason == f"run {found.info.run_id} has lost fan.safetensors"
    assert run(study, "jpeg:99", retry_failed=True)[1] == {}


@pytest.mark.parametrize("there", [False, True])
def test_a_trial_that_has_not_finished_is_one_clear_failure(study: Study, there: bool) -> None:
    job = EvaluationJob.plan(trial(study, 0.1), "jpeg:50")
    client, experiment_id = tracking.connect(study)
    if there:
        begun = tracking.open_run(client, experiment_id, worker.describe(job.trial, context_of(study)))
    with at_work(study, lambda study, address: None, "local", False) as session:
        failures = stage("evaluation", session, [job])
    (name,) = failures
    assert name == f"small-rggb INet λ=0.1 seed=0 behind jpeg:50 ({job.key[:8]})"
    if there:
        assert failures[name] == "small-rggb INet λ=0.1 seed=0 has not finished"
        client.delete_run(begun.info.run_id)
    else:
        assert failures[name] == f"the run that {job.name} adds to is not there: run the study again"
        assert tracking.find(client, experiment_id, job.run_key) is None, "nor was one begun"
