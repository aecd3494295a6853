"""Evaluation of a study in MLflow: what is logged, and that it is logged once."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run

import models
from forensics import FAN, evaluation
from forensics.evaluation import RULES
from study import tracking
from study.execution.cameras import open_cameras, prepare_cameras
from study.execution.worker import open_pairs, perform
from study.jobs.evaluation import evaluate, metric, parse_codecs
from study.jobs.plan import place, resolve
from study.settings import Study, StudyError, load_study

STUDY = """
name: judged
cameras: [{name: small-rggb, simulate: {preset: sim-rggb, images: 4, height: 96, width: 128}}]
isps: [INet]
lambdas: [0.01, fixed, 0.1]
seeds: 1
split: {train: 2, validation: 2}
pretraining: {patch: 16, batch: 2, max_iterations: 2, check_every: 2, validation_patch: 32}
training: {patch: 16, batch: 2, iterations: 4}
validation: {every: 2, accuracy_patches: 5, fidelity_patches: 1, textured: false}
channel: {downsample: [2]}
"""
FINISHED = (0.01, "fixed")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """Pre-trained, with two of its three trials finished; without Ray."""
    folder = tmp_path_factory.mktemp("evaluate")
    (folder / "study.yaml").write_text(STUDY)
    study = load_study(str(folder / "study.yaml")).model_copy(update={"storage": str(folder / "results")})
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        prepare_cameras(study)
        cameras = open_cameras(study)
        where = place(study, tracking.connect(study)[1])
        jobs = list(resolve(study, cameras, where).pretrainings)
        assert [perform(job, lambda step: None) for job in jobs] == [None]
        trials = [job for job in resolve(study, cameras, where).ready if job.trial.lam in FINISHED]
        assert [perform(job, lambda step: None) for job in trials] == [None, None]
        yield study


def runs(study: Study) -> list[Run]:
    client, experiment = tracking.connect(study)
    return list(client.search_runs([experiment], "tags.kind = 'trial'"))


def document(study: Study, run: Run, folder: Path) -> dict:
    client = MlflowClient(tracking.tracking_uri(study))
    return json.loads(Path(client.download_artifacts(run.info.run_id, "evaluation.json", str(folder))).read_text())


def test_judged_once_and_added_to(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = MlflowClient(tracking.tracking_uri(study))
    table = evaluate(study, ["jpeg:50,30"])
    assert list(table["lambda"]) == list(FINISHED)
    assert list(table["channel.downsample"]) == [2, 2]
    first = {run.data.tags["trial_key"]: document(study, run, tmp_path) for run in runs(study)}
    for run in runs(study):
        key, logged = run.data.tags["trial_key"], first[run.data.tags["trial_key"]]
        row = table[table["trial_key"] == key].iloc[0]
        assert run.info.status == "FINISHED"
        assert set(logged["codecs"]) == {"jpeg:30", "jpeg:50"}
        # On this machine, behind the trial's own channel, it is the trial's last validation once more.
        assert row["dJPEG"] == logged["dJPEG"]["accuracy"] == run.data.metrics["accuracy"]
        assert row["jpeg:50"] == logged["codecs"]["jpeg:50"]["accuracy"] == run.data.metrics["accuracy_jpeg_50"]
        assert (logged["patches_per_image"], logged["images"]) == (5, 2)
        for scores in (logged, *logged["codecs"].values()):
            assert {rule: list(by_number) for rule, by_number in scores["fusion"].items()} == {
                rule: ["1", "2", "5"] for rule in RULES
            }
        one = logged["codecs"]["jpeg:30"]["fusion"]["majority"]["1"]
        assert one[0] == pytest.approx(run.data.metrics["accuracy_jpeg_30"])

    evaluate(study, ["jpeg:50", "webp:40", "jpeg:50:4:2:0"])
    for run in runs(study):
        again = document(study, run, tmp_path)
        before = first[run.data.tags["trial_key"]]
        assert set(again["codecs"]) == {"jpeg:30", "jpeg:50", "webp:40", "jpeg:50:4:2:0"}
        assert {**again, "codecs": None} == {**before, "codecs": None}
        assert {codec: again["codecs"][codec] for codec in before["codecs"]} == before["codecs"]
        assert set(run.data.metrics) >= {"accuracy_webp_40", "accuracy_jpeg_50_420"}
        assert len(client.get_metric_history(run.info.run_id, "accuracy_jpeg_50")) == 1

    def computed(*arguments: object) -> None:
        raise AssertionError("there is nothing left to compute")

    monkeypatch.setattr(evaluation, "evaluate", computed)
    third = evaluate(study, ["jpeg:50,30"])
    assert third.equals(table)


def test_interrupted_before_the_metrics_it_is_judged_again(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> None:
        raise OSError("connection lost")

    with monkeypatch.context() as patch:
        patch.setattr(tracking, "log_metrics", lost)
        with pytest.raises(StudyError, match="connection lost"):
            evaluate(study, ["jpeg:88"])
    assert not any("accuracy_jpeg_88" in run.data.metrics for run in runs(study))
    assert len(evaluate(study, ["jpeg:88"])) == 2
    for run in runs(study):
        assert document(study, run, tmp_path)["codecs"]["jpeg:88"]["accuracy"] == run.data.metrics["accuracy_jpeg_88"]


def test_the_weights_are_those_of_the_trial(study: Study, tmp_path: Path) -> None:
    evaluate(study, ["jpeg:70"])
    run = next(run for run in runs(study) if run.data.params["lambda"] == "0.01")
    client = MlflowClient(tracking.tracking_uri(study))
    nip, fan = (
        Path(client.download_artifacts(run.info.run_id, f"{name}.safetensors", str(tmp_path)))
        for name in ("nip", "fan")
    )
    cameras = open_cameras(study)
    job = next(job for job in resolve(study, cameras, place(study, "")).ready if job.trial.lam == 0.01)
    judged = evaluation.evaluate(
        job.trial,
        open_pairs(job, "small-rggb"),
        models.load(nip),
        models.load(fan, build=lambda name, classes: FAN(classes)),
        ["jpeg:70"],
    )
    logged = document(study, run, tmp_path)["codecs"]["jpeg:70"]
    assert torch.equal(torch.tensor(logged["confusion"], dtype=torch.float64), judged.confusion("jpeg:70"))


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
def test_an_unknown_codec_is_refused_before_anything_is_looked_at(codecs: list[str], message: str) -> None:
    nowhere = load_study("smoke").model_copy(update={"storage": "/nowhere"})
    with pytest.raises(StudyError, match=message) as error:
        evaluate(nowhere, codecs)
    assert "\n" not in str(error.value)


def test_without_a_finished_trial_there_is_nothing_to_judge(study: Study) -> None:
    unfinished = study.model_copy(update={"lambdas": (0.1,)})
    with pytest.raises(StudyError, match="no finished trial"):
        evaluate(unfinished, ["jpeg:50"])


def test_lost_weights_are_named(study: Study) -> None:
    run = next(run for run in runs(study) if run.data.params["lambda"] == "fixed")
    (weights,) = (study.folder / "artifacts").rglob(f"{run.info.run_id}/**/fan.safetensors")
    hidden = weights.rename(weights.with_suffix(".hidden"))
    try:
        with pytest.raises(StudyError, match=run.info.run_id) as error:
            evaluate(study, ["jpeg:99"])
        assert "\n" not in str(error.value)
    finally:
        hidden.rename(weights)
