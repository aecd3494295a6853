"""Trials on composites: metrics, rows, maps and keys; PRNU beside; the command and the report's section."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load
from small_study import Record, recorded

from cameras.pairs import Index
from forensics import localisation
from forensics.localisation import Localisation, auc
from study import results, tracking
from study.commands.localise import localise
from study.execution import worker
from study.execution.cameras import prepare_cameras
from study.jobs import from_text, keys, to_text
from study.jobs.localise import FILE, KEY, MAPS, LocaliseJob, prnu_detector
from study.jobs.plan import context, resolve
from study.jobs.trial import TrialJob
from study.report.page import report
from study.results import localised
from study.settings import Study, StudyError, load_study

STUDY = """
name: composites
cameras:
  - {name: small-rggb, simulate: {preset: sim-rggb, images: 12, height: 96, width: 128}}
  - {name: small-gbrg, simulate: {preset: sim-gbrg, images: 12, height: 96, width: 128}}
isps: [INet]
lambdas: [0.01, fixed]
seeds: 1
split: {train: 8, validation: 2, test: 2}
pretraining: {patch: 16, batch: 2, max_iterations: 2, check_every: 2, validation_patch: 32}
training: {patch: 16, batch: 2, iterations: 4}
validation: {every: 2, accuracy_patches: 2, fidelity_patches: 1, textured: false}
evaluation: {codecs: ["jpeg:50"], windows: 2}
localisation: {fingerprint: 8, window: 9, sizes: [0.125]}
"""
KINDS = ["pristine", "sharpen", "gaussian", "jpeg:80", "resample", "standard pipeline", "other camera"]
SMALL = Localisation(fingerprint=8, window=9, sizes=(0.125,))

pytestmark = pytest.mark.usefixtures("without_ray")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """With finished trials of the first camera."""
    folder = tmp_path_factory.mktemp("composites")
    (folder / "study.yaml").write_text(STUDY)
    study = load_study(str(folder / "study.yaml")).model_copy(update={"storage": str(folder / "results")})
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        prepare_cameras(study)
        where = context(study, tracking.connect(study)[1])
        assert worker.run(resolve(study, snapshot(study)).pretrainings[0], where) is None
        with pytest.raises(StudyError, match="no finished trial"):
            localise(study, lambda study, address: None)
        for job in trial_jobs(study):
            assert worker.run(job, where) is None
        yield study


def snapshot(study: Study) -> tracking.Snapshot:
    return tracking.snapshot(*tracking.connect(study))


def trial_jobs(study: Study) -> list[TrialJob]:
    return resolve(study, snapshot(study)).ready


def record(study: Study, job: TrialJob) -> Record:
    return recorded(*tracking.connect(study), job.key)


def test_settings_of_the_study_file(study: Study) -> None:
    assert study.localisation == SMALL


def test_a_study_on_composites(study: Study, tmp_path: Path) -> None:
    table, failures = localise(study, lambda study, address: None)
    assert failures == {}
    jobs = trial_jobs(study)
    assert len(table) == len(jobs) == 2
    for line, job in zip(table.to_dict("records"), jobs, strict=True):
        found = record(study, job)
        document = json.loads(found.artifacts[FILE])
        assert document["prnu"] == "tried"
        assert document["settings"] == json.loads(json.dumps(vars(SMALL)))
        for prefix, photographs in (("", "validation"), ("test_", "test")):
            for name, detector in (("", "fan"), ("prnu_", "prnu")):
                rows = [r for r in document["rows"] if (r["photographs"], r["detector"]) == (photographs, detector)]
                assert [row["kind"] for row in rows] == 2 * KINDS
                assert len({row["photograph"] for row in rows}) == 2
                altered = [row for row in rows if row["kind"] != "pristine"]
                pristine = [row for row in rows if row["kind"] == "pristine"]
                expected = {
                    **{each: np.mean([row[each] for row in altered]) for each in ("auc", "f1", "iou", "everything")},
                    "pristine_flagged": np.mean([row["flagged"] for row in pristine]),
                    "pristine_alarms": np.mean([row["flagged"] > 0 for row in pristine]),
                }
                for each, value in expected.items():
                    ((step, logged),) = found.metrics[f"{prefix}localise_{name}{each}"]
                    assert (step, logged) == (4, pytest.approx(value))
        assert line["auc"] == found.metrics["test_localise_auc"][0][1]
        assert line["prnu_f1"] == found.metrics["test_localise_prnu_f1"][0][1]
        assert found.metrics["localise_seconds"][0][1] > 0
        tensors = load(found.artifacts[MAPS])
        assert {name.rpartition("/")[0] for name in tensors} == {
            f"{kind} {0 if kind == 'pristine' else 0.125:g} jpeg:70" for kind in KINDS
        }
        rows = [row for row in document["rows"] if row["photographs"] == "test" and row["detector"] == "fan"]
        scores, truth = (tensors[f"sharpen 0.125 jpeg:70/{name}"] for name in ("fan", "truth"))
        assert rows[1]["auc"] == pytest.approx(
            auc(torch.from_numpy(scores.astype(np.float32)), torch.from_numpy(truth).bool()), abs=0.01
        )
        assert found.tags[KEY] == LocaliseJob.plan(job, other_camera(study), SMALL).key
    again, failures = localise(study, lambda study, address: None)
    assert again.equals(table)
    assert failures == {}
    assert len(record(study, jobs[0]).metrics["localise_auc"]) == 1, "what is done is not repeated"

    shot = snapshot(study)
    rows = localised.localised(shot, results.trials(shot))
    assert set(rows["photographs"]) == {"test"}, "validation has chosen the thresholds"
    page = report("composites", shot, tmp_path, resolve(study, shot).table)
    text = " ".join(re.sub(r"<[^>]+>", " ", page.read_text()).split())
    assert "Where a photograph was altered" in text
    assert "Of 1 joint setting, joint training finds altered regions better" in text
    assert "PRNU was not tried" not in text
    assert len(list((tmp_path / "figures").glob("localisation-*.pdf"))) == 2
    numbers = (tmp_path / "tables" / "localisation.csv").read_text()
    assert len(numbers.splitlines()) == 1 + 2 * 2
    for name in ("localisation", "localisation-kinds"):
        assert (tmp_path / "tables" / f"{name}.tex").read_text().isascii()


def other_camera(study: Study) -> tuple[str, str]:
    """Foreign content comes from the next camera."""
    return "small-gbrg", Index.read(Path(study.storage) / "cameras" / "small-gbrg").data_hash


def test_other_settings_take_the_place_of_the_first(study: Study) -> None:
    other = study.model_copy(update={"localisation": replace(SMALL, fingerprint=9, photographs=1, seed=3)})
    for asked in (study, other, study):
        localise(asked, lambda study, address: None)
        found = record(study, trial_jobs(study)[0])
        document = json.loads(found.artifacts[FILE])
        assert document["settings"]["seed"] == asked.localisation.seed
        latest = found.metrics["localise_auc"][-1][1]
        rows = [r for r in document["rows"] if (r["photographs"], r["detector"]) == ("validation", "fan")]
        assert latest == pytest.approx(np.mean([row["auc"] for row in rows if row["auc"] is not None]))
        if asked is other:
            assert document["prnu"].startswith("8 training photographs are too few for a fingerprint")
            assert {row["detector"] for row in document["rows"]} == {"fan"}
            assert "localise_prnu_auc" in found.metrics, "of before"
            shot = snapshot(study)
            assert set(localised.localised(shot, results.trials(shot))["prnu"]) == {document["prnu"]}


def test_its_progress_is_in_photographs_received(study: Study) -> None:
    trial = trial_jobs(study)[0]
    job = LocaliseJob.plan(trial, other_camera(study), replace(SMALL, photographs=1, seed=9))
    steps: list[int] = []
    where = context(study, tracking.connect(study)[1])
    assert worker.run(from_text(to_text(job)), where, lambda step, metrics: steps.append(step)) is None
    assert job.steps == 14
    assert steps == [*range(1, 15), 14]


def test_keys_of_localisations(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    trial, other = trial_jobs(study)[:2]
    changes = {
        "codecs": ("jpeg:50",),
        "sizes": (0.1,),
        "shapes": ("square",),
        "photographs": 1,
        "megapixels": 2.0,
        "fingerprint": 31,
        "window": 65,
        "seed": 1,
    }
    assert changes.keys() == vars(Localisation()).keys()
    jobs = [LocaliseJob.plan(trial, None, Localisation(**{name: value})) for name, value in changes.items()]  # type: ignore[arg-type]
    jobs += [LocaliseJob.plan(trial, ("a", "b" * 64), Localisation()), LocaliseJob.plan(other, None, Localisation())]
    plain = LocaliseJob.plan(trial, None, Localisation())
    assert len({job.key for job in (plain, *jobs)}) == len(jobs) + 1
    assert {job.run_key for job in jobs} == {trial.key, other.key}
    assert LocaliseJob.plan(trial, ("c", "b" * 64), Localisation()).key == jobs[-2].key, "a name is no content"
    assert keys.differences({"localisation": vars(Localisation())}) == {}, "the defaults are the baseline"
    monkeypatch.setattr(localisation, "VERSION", localisation.VERSION + 1)
    assert LocaliseJob.plan(trial, None, Localisation()).key != plain.key


def test_prnu_finds_content_without_the_fingerprint() -> None:
    """A sensor with a strong pattern, behind a mild codec."""
    generator = torch.Generator().manual_seed(0)
    pattern = 0.05 * torch.randn(96, 128, generator=generator)

    def shot(K: torch.Tensor | float) -> torch.Tensor:
        light = torch.nn.functional.interpolate(torch.rand(1, 3, 6, 8, generator=generator), (96, 128), mode="bicubic")
        taken = (0.3 + 0.4 * light) * (1 + K) + 0.005 * torch.randn(1, 3, 96, 128, generator=generator)
        return (255 * taken).round().clamp(0, 255).byte()

    settings = Localisation(codecs=("jpeg:95",), window=17, fingerprint=4)
    detect = prnu_detector([shot(pattern) for _ in range(16)], settings)
    truth = torch.zeros(96, 128, dtype=torch.bool)
    truth[30:62, 50:90] = True
    composite = torch.where(truth, shot(0.0), shot(pattern))
    assert auc(detect(composite, "jpeg:95"), truth) > 0.9
