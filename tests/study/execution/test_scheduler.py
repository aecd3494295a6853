"""The search space of Ray Tune, and what is reported to it; without a cluster."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import tune
from ray.tune.search.variant_generator import generate_variants

from forensics import Trial
from forensics.trial import Distribution, Split
from models.pretrain import Pretraining
from study.execution import failures, place, scheduler, worker
from study.jobs import Context, Job, to_text
from study.jobs.evaluation import EvaluationJob
from study.jobs.pretraining import PretrainingJob
from study.jobs.trial import TrialJob
from study.settings import Resources

DATA, NIP = "d" * 64, "e" * 64
CONTEXT = Context(storage="/storage", cache=None, tracking_uri="http://nobody", experiment_id="7", threads=3)


def trial(lam: Any, codec: str = "jpeg:50", axes: dict[str, Any] | None = None) -> TrialJob:
    settings = Trial("camera", "UNet", lam, seed=2, channel=Distribution(codec=codec))
    return TrialJob.plan(settings, axes or {}, "nips/x.safetensors", NIP, DATA)


PRETRAINING = PretrainingJob.plan("camera", "INet", Split(), Pretraining(), DATA)
TRIALS = [trial(lam, codec, {"channel.codec": codec}) for lam in (0.1, "fixed") for codec in ("jpeg:50", "jpeg:90")]


def configs(jobs: list[Job]) -> list[dict[str, Any]]:
    """What Tune makes of the search space: the config of every trial, in order."""
    return [config for _, config in generate_variants(scheduler._search_space(jobs))]


def test_the_search_space_names_the_axes() -> None:
    assert configs([*TRIALS]) == [{"key": job.key, **job.axes} for job in TRIALS]
    first = configs([*TRIALS])[0]
    assert (
        first.items()
        >= {"camera": "camera", "isp": "UNet", "lambda": 0.1, "seed": 2, "channel.codec": "jpeg:50"}.items()
    )


def test_the_grid_is_of_keys_alone() -> None:
    """If axes were grids too, they would multiply the trials."""
    space = scheduler._search_space([*TRIALS])
    assert space["key"] == tune.grid_search([job.key for job in TRIALS])
    assert {name for name, domain in space.items() if isinstance(domain, dict)} == {"key"}


def test_jobs_of_several_kinds_share_a_search_space() -> None:
    """As in the PRNU experiments. A job that lacks an axis has None there."""
    evaluation = EvaluationJob.plan(TRIALS[0], "webp:50")
    listed = trial(0.2, axes={"manipulations": ["sharpen"]})
    for config, job in zip(configs([PRETRAINING, evaluation, listed]), (PRETRAINING, evaluation, listed), strict=True):
        assert config["key"] == job.key
        assert {name: value for name, value in config.items() if value is not None} == {"key": job.key, **job.axes}
    assert configs([PRETRAINING, evaluation])[1]["codec"] == "webp:50"


Run = Callable[..., str | None]  # stands for worker.run


@pytest.fixture(autouse=True)
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of this machine's processes."""
    monkeypatch.setattr(place, "notes_folder", lambda: tmp_path)


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The reports to Tune."""
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(tune, "report", found.append)
    return found


def run_on_worker(job: Job, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "run", run)
    plan = {other.key: to_text(other) for other in (*TRIALS, PRETRAINING)}
    scheduler.run_on_worker({"key": job.key}, plan, CONTEXT.model_dump_json(), {})


def test_a_worker_runs_the_job_of_its_key(reports: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    def run(job: Job, context: Context, *rest: object) -> None:
        seen.append((job, context))

    seen: list[tuple[Job, Context]] = []
    for job in (TRIALS[3], PRETRAINING):
        run_on_worker(job, run, monkeypatch)
    assert seen == [(TRIALS[3], CONTEXT), (PRETRAINING, CONTEXT)]
    assert [report["iteration"] for report in reports] == [TRIALS[3].steps, PRETRAINING.steps]
    assert all(report["ended"] and report["failure"] is None for report in reports)


def test_a_worker_reports_iteration_accuracy_psnr_and_ssim(
    reports: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(job: Job, context: Context, on_progress: Any, say: Any, judge: Any) -> None:
        for step in range(1, 11):
            on_progress(step, {})  # within a second, so not reported
        on_progress(10, {"accuracy": 0.5, "psnr": 30.0, "ssim": 0.9, "loss_fan": 1.0})
        say("tracking is away")
        on_progress(20, {"accuracy": 0.6, "loss_fan": 0.9})

    run_on_worker(TRIALS[0], run, monkeypatch)
    first, remark, second, last = reports
    assert first == {"iteration": 10, "accuracy": 0.5, "psnr": 30.0, "ssim": 0.9}
    assert remark == {**first, "remark": "tracking is away"}
    assert second == {"iteration": 20, "accuracy": 0.6, "psnr": 30.0, "ssim": 0.9}
    assert last == {**second, "iteration": TRIALS[0].steps, "failure": None, "ended": True}


def test_a_worker_reports_progress_now_and_then(reports: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def run(job: Job, context: Context, on_progress: Any, say: Any, judge: Any) -> str:
        nonlocal now
        for step in range(1, 101):
            now += scheduler.REPORT_SECONDS / 10
            on_progress(step, {})
        return "loss is not finite"

    monkeypatch.setattr(scheduler, "time", SimpleNamespace(monotonic=lambda: now))
    run_on_worker(TRIALS[0], run, monkeypatch)
    *progress, last = reports
    assert 9 <= len(progress) <= 11
    assert all(math.isnan(report["accuracy"]) for report in progress), "nothing was validated yet"
    assert last["failure"] == "loss is not finite"
    assert last["ended"]


def test_the_watcher_passes_on_what_tune_reports(capsys: pytest.CaptureFixture[str]) -> None:
    progress: list[tuple[str, int, bool]] = []
    failures: dict[str, str] = {}
    watcher = scheduler._Watcher(lambda *arguments: progress.append(arguments), failures)
    one, two = (SimpleNamespace(config={"key": key}, error_file=None) for key in ("a" * 32, "b" * 32))
    watcher.on_trial_result(0, [], one, {"iteration": 3, "remark": "tracking is away"})
    watcher.on_trial_result(0, [], one, {"iteration": 9, "failure": None, "ended": True})
    watcher.on_trial_result(0, [], two, {"iteration": 9, "failure": "loss is not finite", "ended": True})
    watcher.on_trial_recover(0, [], two)
    watcher.on_trial_error(0, [], one)
    assert progress == [
        ("a" * 32, 3, False),
        ("a" * 32, 9, True),
        ("b" * 32, 9, True),
        ("a" * 32, 0, True),
    ]
    assert failures == {"b" * 32: "loss is not finite", "a" * 32: "its process or node was lost"}
    assert capsys.readouterr().err.splitlines() == [
        "aaaaaaaa: tracking is away",
        "bbbbbbbb: its process or node was lost; it resumes from its last checkpoint",
    ]
    assert json.dumps(watcher.__getstate__()) == "{}", "Tune's notes hold nothing of it"


def test_a_worker_has_the_credentials_of_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an argument, and before the job runs."""
    for name in scheduler.HANDED_ON:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
    given = scheduler.credentials()
    assert given == {"MLFLOW_TRACKING_PASSWORD": "hunter2"}
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
    seen: list[str | None] = []

    def run(*arguments: object) -> None:
        seen.append(os.environ.get("MLFLOW_TRACKING_PASSWORD"))

    monkeypatch.setattr(tune, "report", lambda metrics: None)
    monkeypatch.setattr(worker, "run", run)
    job = TRIALS[0]
    scheduler.run_on_worker({"key": job.key}, {job.key: to_text(job)}, CONTEXT.model_dump_json(), given)
    assert seen == ["hunter2"]


@pytest.mark.parametrize("name", ["MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "PGPASSWORD"])
def test_passwords_travel_whatever_they_open(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracking server, a bucket, a tracking database."""
    monkeypatch.setenv(name, "hunter2")
    assert scheduler.credentials()[name] == "hunter2"


def test_a_reason_is_what_was_raised_not_the_advice_below(tmp_path: Path) -> None:
    trial = SimpleNamespace(error_file=str(tmp_path / "error.txt"))
    raised = (
        "Failure # 1 (occurred at 2026-11-26_04-00-00)\nray::ImplicitFunc.train() (pid=7, ip=10.0.0.3)\n"
        '  File "/code/forensics/training.py", line 1, in train\n    loss.backward()\n'
        "torch.AcceleratorError: CUDA error: an illegal memory access was encountered\n"
        "CUDA kernel errors might be asynchronously reported at some other API call\n"
        "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"
    )
    Path(trial.error_file).write_text(raised)
    reason = "torch.AcceleratorError: CUDA error: an illegal memory access was encountered"
    assert scheduler._reason(trial) == reason
    Path(trial.error_file).write_text(
        raised + "Failure # 2 (occurred at 2026-11-26_04-01-00)\nOSError: no space left\n"
    )
    assert scheduler._reason(trial) == "OSError: no space left"


def test_a_stage_begins_without_notes_on_its_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As often as a job may fail counts anew. Notes on the jobs of another study stay."""
    context = CONTEXT.model_copy(update={"storage": str(tmp_path / "storage")})
    other = "f" * 32
    for key in (TRIALS[0].key, other):
        failures.note(context.store, key, failures.MEMORY, "10.0.0.3", "a traceback")
    found: list[str] = []

    def fit() -> None:
        found.extend(failure.key for failure in failures.failures(context.store))

    monkeypatch.setattr(tune, "with_parameters", lambda run, **parameters: run)
    monkeypatch.setattr(tune, "with_resources", lambda run, resources: run)
    monkeypatch.setattr(tune, "Tuner", lambda *arguments, **options: SimpleNamespace(fit=fit))
    scheduler.schedule([*TRIALS], context, Resources(), tmp_path / "ray", lambda *arguments: None)
    assert found == [other]
