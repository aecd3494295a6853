"""What a study will still cost, held against what was measured and what is really written."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunData, RunInfo, RunTag
from safetensors.torch import save_file

import models
from cameras.dng import simulate_folder
from cameras.importing import import_camera
from cameras.simulate import PRESETS
from channel import Manipulations
from channel.learned import Autoencoder
from forensics import FAN
from models.checkpoint import save_checkpoint
from study import tracking
from study.jobs.codec_pretraining import CodecPretrainingJob
from study.jobs.plan import Grid, resolve
from study.jobs.pretraining import PretrainingJob
from study.jobs.trial import TrialJob
from study.preflight.check import _copies
from study.preflight.estimate import Estimate, estimate, last_end
from study.settings import Study, load_study, planned
from study.tracking import Snapshot

STUDY = {
    "name": "estimated",
    "cameras": ["one", "another"],
    "isps": ["INet", "UNet"],
    "lambdas": [0.1, "fixed"],
    "seeds": 2,
    "training": {"patch": 32, "batch": 5, "iterations": 100},
    "pretraining": {"patch": 16, "batch": 5, "max_iterations": 1000},
}


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study.model_validate({**STUDY, "storage": str(tmp_path)})


def grid_of(study: Study) -> Grid:
    """All jobs of a study as if its cameras were there, and its NIPs, too."""
    items = tuple(planned(study))
    pretrainings, codecs = {}, {}
    for item in items:
        of_nip = (item.trial.camera, item.trial.isp, item.trial.split, item.pretraining)
        pretrainings[of_nip] = PretrainingJob.plan(*of_nip, "data")
        if item.codec_pretraining is not None:
            of_codec = (item.trial.camera, item.trial.split, item.codec_pretraining)
            codecs[of_codec] = CodecPretrainingJob.plan(*of_codec, "data")
    jobs = tuple(TrialJob.plan(item.trial, item.axes, "nip", "hash", "data") for item in items)
    return Grid(items, tuple(pretrainings.values()), tuple(codecs.values()), jobs)


def estimated(study: Study, grid: Grid, runs: Sequence[Run] = (), slots: int = 1) -> Estimate:
    return estimate(study, grid, Snapshot(MlflowClient("http://nowhere"), "0", {}, tuple(runs)), slots)


def finished(
    job: PretrainingJob | CodecPretrainingJob | TrialJob,
    seconds: float,
    key: str = "",
    threads: int = 1,
    status: str = "FINISHED",
    verdict: float | None = None,
    **changes: str,
) -> Run:
    """A run of a job; with a ``key`` that of another one, whose params are different by ``changes``."""
    params = {name: str(value) for name, value in job.params.items()} | changes
    tags = {tracking.KEY: key or job.key, "kind": job.kind, "threads": str(threads), **job.tags}
    judged = [] if verdict is None else [Metric("verdict_seconds", verdict, 0, 0)]
    data = RunData(
        metrics=[Metric("seconds", seconds, 0, 0), *judged],
        params=[Param(name, value) for name, value in params.items()],
        tags=[RunTag(name, value) for name, value in tags.items()],
    )
    return Run(RunInfo(job.key, "0", "test", status, 0, 1, "active"), data)


def one(found: Estimate, kind: str, isp: str) -> Any:
    (jobs,) = [jobs for jobs in found.jobs if (jobs.kind, jobs.isp) == (kind, isp)]
    return jobs


def trials(found: Estimate) -> tuple[int, int]:
    """All, and finished ones."""
    jobs = [jobs for jobs in found.jobs if jobs.kind == "trials"]
    return sum(job.count for job in jobs), sum(job.finished for job in jobs)


# --- Time ---


def test_what_was_never_measured_is_unknown_and_named(study: Study) -> None:
    found = estimated(study, resolve(study, None))
    assert (*trials(found), found.hours) == (16, 0, 0)
    assert set(found.unknown) == {"INet pre-training", "UNet pre-training", "INet trials", "UNet trials"}
    assert one(found, "pre-training", "INet").count == 2


def test_the_verdict_that_follows_a_trial_takes_time_too(study: Study) -> None:
    grid = grid_of(study)
    joint = [job for job in grid.ready if job.trial.isp == "INet" and job.trial.joint]
    fixed = [job for job in grid.ready if job.trial.isp == "INet" and not job.trial.joint]
    runs = [finished(joint[0], 60, verdict=6), *(finished(job, 20) for job in fixed)]
    assert one(estimated(study, grid, runs), "trials", "INet").seconds == pytest.approx((len(joint) - 1) * 66)


def test_hours_are_medians_of_finished_runs_scaled_by_iterations(study: Study) -> None:
    grid = grid_of(study)
    joint = [job for job in grid.ready if job.trial.isp == "INet" and job.trial.joint]
    fixed = [job for job in grid.ready if job.trial.isp == "INet" and not job.trial.joint]
    runs = [finished(job, seconds) for job, seconds in zip(joint[:3], (50, 60, 1000), strict=True)]
    runs.append(finished(fixed[0], 20))
    found = estimated(study, grid, runs)
    inet = one(found, "trials", "INet")
    assert (inet.count, inet.finished) == (8, 4)
    assert inet.seconds == pytest.approx(1 * 60 + 3 * 20)
    assert found.unknown == ("INet pre-training", "UNet pre-training", "UNet trials")
    assert found.hours == pytest.approx(120 / 3600)

    longer = study.model_copy(update={"training": {**study.training, "iterations": 300}})
    assert one(estimated(longer, grid_of(longer), runs), "trials", "INet").seconds == pytest.approx(
        3 * (4 * 60 + 4 * 20)
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"training.patch": "64"},
        {"training.batch": "20"},
        {"training.precision": "bfloat16"},
        {"validation.every": "1"},
        {"channel.codec": "jpeg:80"},
        {"manipulations": "('sharpen',)"},
        {"isp": "DNet"},
        {"lambda": "fixed"},
    ],
)
def test_runs_of_other_settings_measure_nothing(study: Study, changes: dict[str, str]) -> None:
    grid = grid_of(study)
    job = next(job for job in grid.ready if job.trial.isp == "INet" and job.trial.joint)
    alike = [finished(job, 10, "another key", camera="a third camera", seed="7", **{"lambda": "0.5"})]
    other = [finished(job, 10, "another key", **changes)]
    study = study.model_copy(update={"lambdas": (0.1,)})
    assert one(estimated(study, grid_of(study), alike), "trials", "INet").seconds == pytest.approx(40)
    assert one(estimated(study, grid_of(study), other), "trials", "INet").seconds is None


def test_pretraining_stops_as_early_as_it_did(study: Study) -> None:
    grid = grid_of(study)
    job = grid.pretrainings[0]
    runs = [finished(job, 30)]
    jobs = one(estimated(study, grid, runs), "pre-training", job.isp)
    assert (jobs.count, jobs.finished, jobs.seconds) == (2, 1, pytest.approx(30))
    twice = study.model_copy(update={"pretraining": {**study.pretraining, "max_iterations": 2000}})
    assert one(estimated(twice, grid_of(twice), runs), "pre-training", job.isp).seconds == pytest.approx(2 * 60)
    other = study.model_copy(update={"pretraining": {**study.pretraining, "batch": 6}})
    assert one(estimated(other, grid_of(other), runs), "pre-training", job.isp).seconds is None


def test_hours_are_those_of_devices(study: Study) -> None:
    def hours(**resources: float) -> tuple[str, float]:
        asking = study.model_copy(update={"resources": study.resources.model_copy(update=resources)})
        grid = grid_of(asking)
        threads = asking.resources.cpus
        runs = [finished(job, 3600, threads=threads) for job in grid.ready if job.trial.seed == 0]
        found = estimated(asking, grid, runs)
        return found.device, found.hours

    assert hours(cpus=2) == ("CPU", pytest.approx(8 * 2))
    assert hours(cpus=2, gpus=0.25) == ("GPU", pytest.approx(8 * 0.25))


def test_other_threads_measure_nothing(study: Study) -> None:
    grid = grid_of(study)
    runs = [finished(job, 10) for job in grid.ready if job.trial.seed == 0]
    assert estimated(study, grid, runs).hours > 0
    asking = study.model_copy(update={"resources": study.resources.model_copy(update={"cpus": 2})})
    assert estimated(asking, grid, runs).hours == 0


@pytest.mark.parametrize("status", ["KILLED", "RUNNING"])
def test_what_has_not_finished_is_still_to_do_and_measures_nothing(study: Study, status: str) -> None:
    grid = grid_of(study)
    runs = [finished(job, 10, status=status) for job in (*grid.ready, *grid.pretrainings)]
    found, untouched = (estimated(study, grid, them) for them in (runs, []))
    assert found == untouched


@pytest.mark.parametrize("status", ["KILLED", "RUNNING"])
def test_of_a_job_in_progress_counts_what_is_left(study: Study, status: str) -> None:
    grid = grid_of(study)
    first, second, third, *_ = [job for job in grid.ready if job.trial.isp == "INet" and job.trial.joint]
    study = study.model_copy(update={"isps": ("INet",), "lambdas": (0.1,)})
    runs = [finished(first, 60), finished(second, 45, status=status), finished(third, 75, status=status)]
    inet = one(estimated(study, grid_of(study), runs), "trials", "INet")
    assert (inet.count, inet.finished) == (4, 1)
    assert inet.seconds == pytest.approx((60 - 45) + 0 + 60), "none takes less than no time"


def test_what_failed_by_itself_takes_no_time(study: Study) -> None:
    grid = grid_of(study)
    first, second, *_ = [job for job in grid.ready if job.trial.isp == "INet" and job.trial.joint]
    study = study.model_copy(update={"isps": ("INet",), "lambdas": (0.1,)})
    runs = [finished(first, 60), finished(second, 1, status="FAILED")]
    inet = one(estimated(study, grid_of(study), runs), "trials", "INet")
    assert (inet.count, inet.finished, inet.seconds) == (4, 1, pytest.approx(2 * 60))


@pytest.mark.parametrize(
    ("seconds", "slots", "end"),
    [
        ([], 3, 0),
        ([5], 3, 5),
        ([1, 2, 3], 1, 6),
        ([1, 2, 3], 2, 4),  # the third begins at 1
        ([3, 3, 3, 9], 3, 12),
        ([9, 3, 3, 3], 2, 9),
        ([1] * 1320, 8, 165),
    ],
)
def test_jobs_begin_as_soon_as_a_slot_is_free(seconds: list[float], slots: int, end: float) -> None:
    assert last_end(seconds, slots) == end


def test_time_to_go_is_that_of_every_nip_on_its_own(study: Study) -> None:
    """Of INet, which takes 10 s, three times as many trials are done as of UNet, which takes 100 s."""
    grid = grid_of(study)
    seconds = {"INet": 10, "UNet": 100}
    done = [job for job in grid.ready if job.trial.seed == 0 or (job.trial.isp == "INet" and job.trial.camera == "one")]
    runs = [finished(job, seconds[job.trial.isp]) for job in done]
    runs += [finished(job, 7) for job in grid.pretrainings]
    left = [seconds[job.trial.isp] for job in grid.ready if job not in done]
    assert sorted(left) == [10, 10, 100, 100, 100, 100]
    for slots, end in ((1, 420), (2, 210), (4, 110), (100, 100)):
        found = estimated(study, grid, runs, slots)
        assert (found.slots, found.seconds_to_go) == (slots, pytest.approx(end)), f"{slots} slots"


def test_trials_begin_after_all_pretrainings(study: Study) -> None:
    grid = grid_of(study)
    runs = [finished(job, 50) for job in grid.pretrainings if job.camera == "one"]
    runs += [finished(job, 10) for job in grid.ready if job.trial.seed == 0]
    assert estimated(study, grid, runs, 100).seconds_to_go == pytest.approx(50 + 10)
    assert estimated(study, grid, runs, 1).seconds_to_go == pytest.approx(2 * 50 + 8 * 10)


def test_codecs_are_pretrained_first_and_trials_behind_them_are_apart(study: Study) -> None:
    changes = {"isps": ("INet",), "lambdas": ("fixed",), "channel": {"codec": "learned:16"}}
    study = study.model_copy(
        update=changes | {"training": {**study.training, "codec_lambda": [None, 0.1, 0.2]}, "seeds": (0,)}
    )
    grid = grid_of(study)
    assert len(grid.codecs) == 2, "of each camera"
    learning = [job for job in grid.ready if job.trial.codec_learns]
    unchanged = [job for job in grid.ready if not job.trial.codec_learns]
    runs = [*(finished(job, 7) for job in grid.pretrainings), finished(grid.codecs[0], 50)]
    runs += [finished(learning[0], 30), finished(unchanged[0], 20)]
    found = estimated(study, grid, runs)
    codecs = one(found, "pre-training", "learned:16")
    assert (codecs.count, codecs.finished, codecs.seconds) == (2, 1, pytest.approx(50))
    assert one(found, "trials", "INet").seconds == pytest.approx(3 * 30 + 20)
    assert found.seconds_to_go == pytest.approx(50 + 3 * 30 + 20)


def test_a_finished_study_costs_nothing(study: Study) -> None:
    grid = grid_of(study)
    runs = [finished(job, 10) for job in (*grid.ready, *grid.pretrainings)]
    found = estimated(study, grid, runs)
    assert (*trials(found), found.hours, found.unknown, found.written) == (16, 16, 0, (), 0)


# --- Bytes ---


def test_bytes_are_those_of_real_files(study: Study, tmp_path: Path) -> None:
    """One trial of DNet and its pre-training, written as they are."""
    study = study.model_copy(update={"cameras": study.cameras[:1], "isps": ("DNet",), "lambdas": (0.1,), "seeds": (0,)})
    (item,) = planned(study)
    nip, fan = models.build("DNet"), FAN(len(Manipulations(item.trial.manipulations).classes))
    folder = tmp_path / "files"
    folder.mkdir()
    models.save(folder / "nip", nip)
    models.save(folder / "fan", fan)
    side = 2 * item.trial.training.patch
    save_file({name: torch.zeros(6, 3, side, side, dtype=torch.uint8) for name in "abc"}, folder / "examples")
    artifacts = sum(path.stat().st_size for path in folder.iterdir())
    modules = {"nip": nip, "fan": fan}
    adam = torch.optim.Adam([weight for module in modules.values() for weight in module.parameters()])
    for module in modules.values():
        for weight in module.parameters():
            weight.grad = torch.zeros_like(weight)
    adam.step()
    save_checkpoint(tmp_path / "checkpoint", modules, {"adam": adam}, {}, {}, {})
    checkpoint = (tmp_path / "checkpoint").stat().st_size

    # With its NIP at hand, only the trial is left.
    grid = grid_of(study)
    runs = [finished(job, 1) for job in grid.pretrainings]
    found = estimated(study, grid, runs)
    assert found.artifacts == pytest.approx(artifacts, rel=5e-3)
    assert found.checkpoints == pytest.approx(3 * checkpoint, rel=5e-3)
    assert found.nips == 0
    before = estimated(study, resolve(study, None))
    assert before.nips == pytest.approx((folder / "nip").stat().st_size, rel=5e-3)
    assert before.artifacts == pytest.approx(artifacts + (folder / "nip").stat().st_size, rel=5e-3)


def test_bytes_of_a_codec_are_those_of_its_files(study: Study, tmp_path: Path) -> None:
    study = study.model_copy(update={"cameras": study.cameras[:1], "isps": ("INet",), "lambdas": (0.1,), "seeds": (0,)})
    behind_jpeg = estimated(study, grid_of(study))
    study = study.model_copy(update={"channel": {"codec": "learned:16"}, "codec_pretraining": {"width": 64}})
    grid = grid_of(study)
    models.save(tmp_path / "codec", Autoencoder(16, 64))
    written = (tmp_path / "codec").stat().st_size
    found = estimated(study, grid)
    assert found.nips - behind_jpeg.nips == pytest.approx(written, rel=5e-3)
    more = found.artifacts - behind_jpeg.artifacts
    assert more == pytest.approx(2 * written, rel=2e-2), "of the pre-training's run, and of the trial's"
    (name,) = [name for name, size in _copies({}, grid).items() if size == found.nips - behind_jpeg.nips]
    assert name == f"nips/{grid.codecs[0].key[:16]}"


def test_checkpoints_are_those_of_the_jobs_that_run_at_once(study: Study) -> None:
    grid = grid_of(study)
    runs = [finished(job, 1) for job in grid.pretrainings]
    alone, few, all_at_once = (estimated(study, grid, runs, slots).checkpoints for slots in (1, 4, 1000))
    assert few == 4 * alone, "the largest count: four joint trials of UNet"
    assert 4 * alone < all_at_once < 16 * alone, "the others are smaller"


def test_simulated_cameras_are_written_once(tmp_path: Path) -> None:
    study = Study.model_validate(
        {
            **STUDY,
            "storage": str(tmp_path),
            "cameras": [{"name": "new", "simulate": {"preset": "sim-rggb", "images": 2, "height": 96, "width": 128}}],
        }
    )
    expected = estimated(study, resolve(study, None)).simulated
    simulation = study.cameras[0].simulate
    assert simulation is not None
    files = simulate_folder(
        PRESETS[simulation.preset], tmp_path / "raw", 2, simulation.height, simulation.width, seed=0
    )
    import_camera("new", files, tmp_path / "cameras", limit=2, workers=0)
    written = [path for path in tmp_path.rglob("*") if path.suffix in (".dng", ".u16", ".u8")]
    assert sum(path.stat().st_size for path in written) == pytest.approx(expected, rel=0.02)
    assert estimated(study, resolve(study, None)).simulated == 0


def test_the_paper_takes_what_its_presets_say() -> None:
    """1,320 trials, 12 NIPs, 440 trials' worth of each ISP: a sum by hand from the parameter counts of the paper."""
    study = load_study("paper").model_copy(update={"storage": "nowhere"})
    found = estimated(study, resolve(study, None))
    assert trials(found) == (1320, 0)
    counts = {"INet": 321, "UNet": 7_760_268, "DNet": 493_976}
    weights = sum(440 * 4 * (count + 1_341_990) for count in counts.values()) + 4 * sum(4 * c for c in counts.values())
    examples = 1320 * 3 * 6 * 3 * 256**2
    assert found.artifacts == pytest.approx(weights + examples, rel=0.01)
    assert one(found, "trials", "UNet").count == 440
    assert one(found, "pre-training", "UNet").count == 4
