"""A study behind a codec that learns: pre-training, trials, verdicts by real files, and what the report says."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from small_study import recorded

import models
from cameras.pairs import Pairs
from channel.codecs import build
from channel.codecs.learning import LearningCodec
from forensics import Outcome, train
from forensics.compression.pretraining import fidelity
from forensics.package import load_package
from forensics.panel import OWN, judge
from study import results, tracking
from study.commands.export import by_run, export
from study.commands.rerun import rerun
from study.execution import worker
from study.execution.cameras import prepare_cameras
from study.jobs import Context
from study.jobs.plan import Grid, context, resolve
from study.report.page import report
from study.results import own_codec
from study.settings import Study, StudyError, load_study
from study.storage import Storage

STUDY = """
name: codecs
cameras: [{name: small-rggb, simulate: {preset: sim-rggb, images: 8, height: 96, width: 128}}]
isps: [INet]
lambdas: [fixed]
seeds: 1
split: {train: 4, validation: 2, test: 2}
pretraining: {patch: 16, batch: 2, max_iterations: 2, check_every: 2, validation_patch: 32}
codec_pretraining: {width: 8, patch: 16, batch: 2, iterations: 4, check_every: 2, precision: float32}
training: {patch: 32, batch: 2, iterations: 4, codec_lambda: [null, 0.01], learning_rate: 1.0e-3}
validation: {every: 2, accuracy_patches: 2, fidelity_patches: 1, textured: false}
channel: {codec: ["learned:16", "learned_jpeg:50"], storage: 8-bit}
evaluation: {codecs: [own, "jpeg:50"], windows: 2}
"""

pytestmark = pytest.mark.usefixtures("without_ray")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """Finished."""
    folder = tmp_path_factory.mktemp("codecs")
    (folder / "study.yaml").write_text(STUDY)
    study = load_study(str(folder / "study.yaml")).model_copy(update={"storage": str(folder / "results")})
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        prepare_cameras(study)
        where = place(study)
        assert not grid(study).ready, "no trial begins before its codec is there"
        for job in grid(study).before_trials:
            assert worker.run(job, where) is None
        for trial in grid(study).ready:
            assert worker.run(trial, where) is None
            for later in trial.follow_ups:
                assert worker.run(later, where) is None
        yield study


def place(study: Study) -> Context:
    return context(study, tracking.connect(study)[1])


def grid(study: Study) -> Grid:
    return resolve(study, tracking.snapshot(*tracking.connect(study)))


def loaded(folder: Path, content: bytes) -> LearningCodec:
    (folder / "codec.safetensors").write_bytes(content)
    return models.load(folder / "codec.safetensors", build=build)


def test_a_pretraining_leaves_its_codec_in_the_storage(study: Study, tmp_path: Path) -> None:
    (job,) = grid(study).codecs
    run = recorded(place(study).client, place(study).experiment_id, job.key)
    assert run.status == "FINISHED" and run.params["codec_pretraining.features"] == "16"
    stored = Storage(study.storage).read(job.weights)
    assert stored == run.artifacts["codec.safetensors"]
    codec = loaded(tmp_path, stored)
    pairs = Pairs.open(Path(study.storage) / "cameras" / "small-rggb")
    *_, test = job.split.images(pairs.names)
    expected = fidelity(codec, pairs, test, job.codec_pretraining)  # type: ignore[arg-type]
    for name, value in expected.items():
        assert run.metrics[f"test_{name}"] == [(4, pytest.approx(value))]
    assert [step for step, _ in run.metrics["psnr"]] == [0, 2, 4]


def test_a_study_behind_a_codec_that_learns(study: Study, tmp_path: Path) -> None:
    """Its verdict is that of its own run's networks and codec, and of the files that this codec writes."""
    where = place(study)
    jobs = grid(study).ready
    assert len(jobs) == 4
    pretrained = loaded(tmp_path, Storage(study.storage).read(grid(study).codecs[0].weights))
    for job in jobs:
        run = recorded(where.client, where.experiment_id, job.key)
        codec = loaded(tmp_path, run.artifacts["codec.safetensors"])
        start = pretrained if job.trial.needs_codec else job.trial.channel.build().learned
        assert start is not None
        moved = any(not torch.equal(value, codec.state_dict()[key]) for key, value in start.state_dict().items())
        assert moved == job.trial.codec_learns
        assert ("loss_codec" in run.metrics) == job.trial.codec_learns

        nip, fan, of_channel, _ = job.trained(where)
        pairs = Pairs.open(Path(study.storage) / "cameras" / "small-rggb")
        for prefix, on_test in (("", False), ("test_", True)):
            verdict = judge(job.trial, pairs, nip, fan, study.evaluation, on_test=on_test, codec=of_channel)
            assert run.metrics[f"{prefix}bpp_own"][-1][1] == pytest.approx(verdict.bits[OWN])
            assert run.metrics[f"{prefix}psnr_own"][-1][1] == pytest.approx(verdict.psnr[OWN])
            assert run.metrics[f"{prefix}accuracy_real_own"][-1][1] == pytest.approx(verdict.accuracy(OWN))
        document: Any = json.loads(run.artifacts["verdict.json"])
        assert document["members"]["jpeg:50"]["bpp"] > 0 and document["unseen"] == ["jpeg:50"]


def test_a_rerun_repeats_a_trial_and_compares_its_codec(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    where = place(study)
    (job,) = [job for job in grid(study).ready if job.trial.needs_codec and job.trial.codec_learns]
    again = partial(rerun, job.key, study.storage, where.tracking_uri)
    monkeypatch.setattr("study.commands.rerun.set_up_process", lambda context: None)
    assert again().identical

    def changed(*args: Any, **kwargs: Any) -> Outcome:
        outcome = train(*args, **kwargs)
        assert outcome.codec is not None
        next(outcome.codec.parameters()).data += 1e-3
        return outcome

    monkeypatch.setattr("study.jobs.trial.train", changed)
    assert again().difference.startswith("weights codec.")
    path = Path(study.storage) / grid(study).codecs[0].weights
    hidden = path.rename(path.with_name("hidden"))
    with pytest.raises(StudyError, match=r"codecs/.* is missing: python -m study pretrain"):
        again()
    hidden.rename(path)


def test_a_trial_behind_a_codec_that_learns_can_be_handed_over(study: Study, tmp_path: Path) -> None:
    (job,) = [job for job in grid(study).ready if job.trial.needs_codec and job.trial.codec_learns]
    export(by_run(job.key, place(study).tracking_uri), study.storage, tmp_path / "package", onnx=False)
    assert load_package(tmp_path / "package").trial == job.trial
    assert "λ" not in (tmp_path / "package.html").read_text("utf-8").partition("</h1>")[0], "its NIP did not learn"


def test_a_damaged_codec_in_the_storage_is_fetched_from_its_run(study: Study) -> None:
    (job,) = grid(study).codecs
    path = Path(study.storage) / job.weights
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    assert worker.run(job, place(study)) is None
    assert path.read_bytes() == whole


def test_the_report_has_a_row_for_each(study: Study, tmp_path: Path) -> None:
    snapshot = tracking.snapshot(*tracking.connect(study))
    rows = own_codec.own_codecs(results.trials(snapshot))
    assert sorted(rows["codec"]) == ["learned", "learned", "learned_jpeg", "learned_jpeg"]
    assert rows["codec_lambda"].notna().sum() == 2 and (rows["bpp"] > 0).all()
    page = report("codecs", snapshot, tmp_path, grid(study).table).read_text(encoding="utf-8")
    assert "Behind the channel’s own codec" in page and "learned_jpeg:50" in page
    assert (tmp_path / "tables" / "own-codec.csv").exists()
    assert "No trial trains an ISP jointly" in page and "PSNR (dB) against accuracy" not in page
