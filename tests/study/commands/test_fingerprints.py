"""The PRNU experiments as jobs: what decides their keys, and what is left in their runs."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import synthetic_fingerprints
import torch
from mlflow import MlflowClient

import models
from cameras.dng import simulate_folder
from cameras.importing import import_camera
from cameras.pairs import Index, Pairs
from cameras.simulate import PRESETS
from forensics.trial import Distribution
from models.pretrain import Pretraining
from prnu import experiment, exposures, lowlight
from prnu.pipelines import developments, images_of_other_camera
from study.commands import fingerprints
from study.execution import worker
from study.execution.driver import Session
from study.jobs import Context
from study.jobs.fingerprints import FingerprintJob, JointNip, PretrainedNip
from study.jobs.low_light import DarkFolders, LowLightJob
from study.jobs.trial import TrialJob
from study.settings import Fingerprints, LowLight, Simulation, Study, StudyError, planned
from study.storage.cache import file_sha256

SMALL = Fingerprints(
    estimation=3,
    prediction=2,
    evaluation=2,
    window=33,
    stride=16,
    forgery=64,
    low_light=LowLight(scenes=10, training=5),
)
SIMULATION = Simulation(preset="sim-rggb", images=7, height=128, width=160)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two simulated cameras and a pre-trained NIP."""
    folder = tmp_path_factory.mktemp("storage")
    for name in ("sim-rggb", "sim-gbrg"):
        files = simulate_folder(PRESETS[name], folder / "simulated" / name, 7, 128, 160, seed=0)
        import_camera(name, files, folder / "cameras", limit=7, orientation="any", demosaic="bilinear", workers=1)
    pairs = Index.read(folder / "cameras" / "sim-rggb")
    models.save(folder / "nips" / "inet.safetensors", models.build("INet", cfa=pairs.cfa, cam2srgb=pairs.cam2srgb))
    return folder


def context_in(storage: Path, client: MlflowClient, experiment_id: str = "0") -> Context:
    return Context(storage=str(storage), cache=None, tracking_uri=client.tracking_uri, experiment_id=experiment_id)


def job_in(storage: Path, **changes: object) -> FingerprintJob:
    hashes = {name: Index.read(storage / "cameras" / name).data_hash for name in ("sim-rggb", "sim-gbrg")}
    nip = storage / "nips" / "inet.safetensors"
    content = {
        "camera": "sim-rggb",
        "simulation": SIMULATION,
        "data_hash": hashes["sim-rggb"],
        "others": {"sim-gbrg": hashes["sim-gbrg"]},
        "pretrained": (PretrainedNip(name="INet", file="nips/inet.safetensors", sha256=file_sha256(nip)),),
        "joint": (),
        "settings": SMALL,
        "channel": Distribution(),
    }
    return FingerprintJob.plan(**(content | changes))


def run(job: FingerprintJob | LowLightJob, context: Context) -> tuple[str | None, list[int]]:
    """Why it failed, and the steps that it reported."""
    seen: list[int] = []
    return worker.run(job, context, lambda steps, metrics: seen.append(steps)), seen


def test_a_camera_is_compared_by_all_its_pipelines(
    storage: Path, client: MlflowClient, experiment_id: str, tmp_path: Path
) -> None:
    job, context = job_in(storage), context_in(storage, client, experiment_id)
    failure, seen = run(job, context)
    assert failure is None
    assert seen[-1] == job.steps
    assert seen == sorted(seen)
    (found,) = client.search_runs([experiment_id], f"tags.trial_key = '{job.key}'")
    assert found.info.status == "FINISHED"
    assert found.data.tags["kind"] == "prnu"
    result = experiment.load(client.download_artifacts(found.info.run_id, "fingerprints.safetensors", str(tmp_path)))
    assert result.pipelines == ("libraw", "standard", "INet")
    assert result.correlations.shape == (3, 3)
    assert found.data.metrics["f1_matching"] == pytest.approx(result.mean_f1.diagonal().mean().item())
    views = {(attribution.pipeline, attribution.view) for attribution in result.attributions}
    assert len(views) == 6, "developed and received, of three pipelines"
    assert all(len(a.same) == len(a.other) == SMALL.evaluation for a in result.attributions)
    recoveries = {(recovery.pipeline, recovery.view): recovery for recovery in result.recoveries}
    assert recoveries.keys() == views
    assert recoveries["standard", "developed"].images == (1, 2, 3)
    assert recoveries["standard", "developed"].correlations[-1] > 10 * recoveries["standard", "developed"].chance
    assert run(job, context) == (None, []), "what is done is not repeated"


def test_the_crop_of_a_pipeline_is_a_crop_of_the_whole(storage: Path) -> None:
    """The margin is wider than INet and LibRaw see."""
    pairs = Pairs.open(storage / "cameras" / "sim-rggb")
    nip = models.load(storage / "nips" / "inet.safetensors")
    how, all_of_it = (developments(pairs, {"INet": nip}, pixels, "cpu") for pixels in (32 * 40, 128 * 160))
    with torch.no_grad():
        for name in ("libraw", "standard", "INet"):
            whole = all_of_it[name](0)
            assert whole.shape == (1, 3, 128, 160)
            torch.testing.assert_close(how[name](0), experiment.central_crop(whole, 32 * 40))


def test_raw_files_count_for_nothing(storage: Path, client: MlflowClient, experiment_id: str, tmp_path: Path) -> None:
    """A worker has only what the storage holds of a camera, whatever is known of where it came from."""
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(storage, elsewhere, ignore=shutil.ignore_patterns("simulated"))
    for index in elsewhere.glob("cameras/*/index.json"):
        index.write_text(index.read_text().replace(str(storage), "/nowhere"))
    job = job_in(elsewhere)
    assert job.key == job_in(storage).key
    assert run(job, context_in(elsewhere, client, experiment_id))[0] is None
    (found,) = client.search_runs([experiment_id], f"tags.trial_key = '{job.key}'")
    result = experiment.load(client.download_artifacts(found.info.run_id, "fingerprints.safetensors", str(tmp_path)))
    assert result.pipelines == ("libraw", "standard", "INet")


def test_a_key_is_of_the_content_alone(storage: Path) -> None:
    job = job_in(storage)
    joint = JointNip(name="UNet λ=0.1", lam=0.1, trial_key="aa", run_id="1")
    one, two = (job_in(storage, joint=(joint.model_copy(update={"run_id": run}),)) for run in "12")
    assert one.key == two.key != job.key
    brighter = SMALL.model_copy(update={"low_light": LowLight(exposure=0.1)})
    assert job_in(storage, settings=brighter).key == job.key
    assert job_in(storage, settings=SMALL.model_copy(update={"window": 65})).key != job.key


def test_other_pairs_than_planned_are_refused(storage: Path, client: MlflowClient, experiment_id: str) -> None:
    failure, _ = run(job_in(storage, data_hash="0" * 64), context_in(storage, client, experiment_id))
    assert failure is not None
    assert "are not those that the job was planned with" in failure


def low_light_job(source: Simulation | DarkFolders, **changes: object) -> LowLightJob:
    content = {
        "camera": "sim-rggb",
        "source": source,
        "pretraining": replace(Pretraining(), patch=16, batch=2, max_iterations=2, check_every=2, validation_patch=32),
        "settings": SMALL.low_light,
        "pixels": SMALL.pixels,
        "evaluation": SMALL.evaluation,
        "seed": SMALL.seed,
    }
    return LowLightJob.plan(**(content | changes))


def test_low_light(client: MlflowClient, experiment_id: str, storage: Path, tmp_path: Path) -> None:
    job = low_light_job(SIMULATION)
    failure, seen = run(job, context_in(storage, client, experiment_id))
    assert failure is None
    assert seen == sorted(seen)
    assert seen[-1] == job.steps
    (found,) = client.search_runs([experiment_id], f"tags.trial_key = '{job.key}'")
    path = client.download_artifacts(found.info.run_id, "low_light.json", str(tmp_path))
    table = lowlight.LowLight.from_json(json.loads(Path(path).read_text()))
    assert table.pipelines == ("libRAW (long)", "libRAW (short)", "UNet (short)")
    assert found.data.metrics["pce_libraw_long"] == pytest.approx(table.average_pce[0])


@pytest.fixture
def dark(tmp_path: Path) -> DarkFolders:
    """Pairs of two cameras, as people have them in folders."""
    rng = np.random.default_rng(0)
    for folder, name, count in (("mine", "sim-rggb", 10), ("other", "sim-gbrg", 2)):
        for number in range(count):
            exposures.take(PRESETS[name], rng.random((128, 160, 3)), tmp_path / folder, f"{number}_a", rng, 1 / 8)
    mine, other = tmp_path / "mine", tmp_path / "other"
    sha256, others_sha256 = (exposures.identity(exposures.find(folder)) for folder in (mine, other))
    return DarkFolders(folder=mine, sha256=sha256, others=other, others_sha256=others_sha256)


def test_low_light_from_folders(
    client: MlflowClient, experiment_id: str, storage: Path, dark: DarkFolders, tmp_path: Path
) -> None:
    job, context = low_light_job(dark), context_in(storage, client, experiment_id)
    assert run(job, context)[0] is None
    (found,) = client.search_runs([experiment_id], f"tags.trial_key = '{job.key}'")
    path = client.download_artifacts(found.info.run_id, "low_light.json", str(tmp_path))
    table = lowlight.LowLight.from_json(json.loads(Path(path).read_text()))
    assert [(len(a.same), len(a.other)) for a in table.attributions] == [(2, 2)] * 3

    moved = dark.folder.rename(tmp_path / "moved")
    elsewhere = dark.model_copy(update={"folder": moved})
    again = low_light_job(elsewhere)
    assert again.key == job.key, "where the files lie is no part of the key"
    simulated = SMALL.low_light.model_copy(update={"exposure": 0.2, "iterations": 2})
    assert low_light_job(elsewhere, settings=simulated).key == job.key
    swapped = dark.model_copy(update={"sha256": dark.others_sha256, "others_sha256": dark.sha256})
    assert low_light_job(swapped).key != job.key
    (moved / "long" / "0_a.dng").write_bytes(b"another file")
    failure, _ = run(again.model_copy(update={"key": "0" * 64}), context)
    assert failure is not None
    assert "are not those that the job was planned with" in failure


def test_a_study_names_folders_of_low_light(dark: DarkFolders, storage: Path, client: MlflowClient) -> None:
    study = Study.model_validate(
        {
            "name": "dark",
            "cameras": [
                "real",
                {"name": "sim", "simulate": {"preset": "sim-gbrg"}},
                {"name": "sim 2", "simulate": {"preset": "sim-rggb"}},
            ],
            "isps": ["INet"],
            "lambdas": ["fixed"],
            "seeds": 1,
            "pretraining": {"max_iterations": 100},
            "prnu": {
                "evaluation": 2,
                "low_light": {
                    "scenes": 10,
                    "training": 5,
                    "iterations": 7,
                    "folder": str(dark.folder),
                    "others": str(dark.others),
                },
            },
        }
    )
    session = Session(study, {}, client, context_in(storage, client), "local", False)
    simulated, real = fingerprints._low_light_jobs(session)
    assert (simulated.camera, real.camera) == ("sim", "Simulated R1")
    assert real.source == dark
    assert real.pretraining.max_iterations == 7
    narrow = study.model_copy(update={"prnu": study.prnu.model_copy(update={"evaluation": 4})})
    with pytest.raises(StudyError, match="has 10 scenes, but training: 5, evaluation: 4 and a fingerprint need 11"):
        fingerprints._low_light_jobs(replace(session, study=narrow))
    with pytest.raises(ValueError, match="another folder than that of the camera"):
        LowLight(others=dark.folder)
    assert dark.others is not None
    for file in (dark.others / "short").iterdir():
        file.unlink()
    with pytest.raises(StudyError, match=r"prnu.low_light: .*other: no file in long/ \(2 scenes\)"):
        fingerprints._low_light_jobs(session)


def test_the_page_holds_every_camera(
    client: MlflowClient, experiment_id: str, storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their results come out of MLflow one after the other, as files of one name."""
    monkeypatch.chdir(tmp_path)
    context = context_in(storage, client, experiment_id)
    names, jobs = ("one", "two"), []
    for seed, name in enumerate(names):
        result = synthetic_fingerprints.camera(name, seed=seed, size=128 + 64 * seed)
        job = job_in(storage).model_copy(update={"camera": name, "key": name * 20})
        file = tmp_path / "fingerprints.safetensors"
        experiment.save(file, result)
        run = client.create_run(experiment_id, tags={"kind": "prnu", "trial_key": job.key})
        client.log_artifact(run.info.run_id, str(file))
        client.set_terminated(run.info.run_id)
        jobs.append(job)
    study = Study.model_validate(
        {
            "name": "page",
            "storage": str(tmp_path),
            "cameras": list(names),
            "isps": ["INet"],
            "lambdas": ["fixed"],
            "seeds": 1,
        }
    )
    written = fingerprints._publish(Session(study, {}, client, context, "local", False), jobs, [])
    assert written == tmp_path / "reports" / "page" / "prnu.html"
    for camera, side in zip(names, (128, 192), strict=True):
        assert f"Maps of tampering probability, {camera}" in written.read_text()
        assert f"crops of {side} × {side} px" in written.read_text()


def test_other_cameras_show_other_scenes_than_the_fingerprint(storage: Path) -> None:
    """Simulated cameras see the same scenes, but their pairs are stored in orders of their own."""
    own, other = (Index.read(storage / "cameras" / name).names for name in ("sim-rggb", "sim-gbrg"))
    scenes = [[int(name.split("-")[2]) for name in names] for names in (own, other)]
    assert scenes[0] != scenes[1]
    assert sorted(scenes[0]) == sorted(scenes[1]) == list(range(7))
    for seed in range(20):
        split = experiment.split(own, SMALL.estimation, SMALL.prediction, SMALL.evaluation, seed)
        chosen = images_of_other_camera(other, own, split, SMALL.evaluation, seed)
        assert len(set(chosen)) == SMALL.evaluation
        assert {scenes[1][i] for i in chosen}.isdisjoint(scenes[0][i] for i in split.estimation)


def test_the_pretrained_nip_below_a_pattern_is_examined_once_under_its_own_name() -> None:
    names = [str(number) for number in range(7)]
    study = Study.model_validate(
        {
            "name": "small",
            "cameras": ["one"],
            "isps": ["UNet", "Pattern"],
            "lambdas": [0.1],
            "seeds": 1,
            "prnu": {"estimation": 3, "prediction": 2, "evaluation": 2, "low_light": {"scenes": 50}},
        }
    )
    jobs = [TrialJob.plan(item.trial, {}, "nips/one", "e" * 64, "d" * 64) for item in planned(study)]
    session: Any = SimpleNamespace(
        study=study,
        snapshot=lambda: SimpleNamespace(finished={job.key: run_of(job) for job in jobs}),
        grid=lambda snapshot: SimpleNamespace(ready=jobs),
        cameras={"one": SimpleNamespace(names=names, data_hash="d" * 64)},
    )
    (job,) = fingerprints._fingerprint_jobs(session, [], jobs)
    assert [nip.name for nip in job.pretrained] == ["UNet"]
    assert [nip.name for nip in job.joint] == ["UNet λ=0.1", "Pattern λ=0.1"]


def run_of(job: TrialJob) -> Any:
    return SimpleNamespace(info=SimpleNamespace(run_id=job.key))


def test_photographs_go_through_a_channel_that_draws_nothing() -> None:
    drawn = {"robust": {"codec": "jpeg:30-95"}}
    content = {"name": "s", "cameras": ["a"], "isps": ["UNet"], "lambdas": ["fixed"], "seeds": 1, "channel": drawn}
    assert fingerprints._channel(Study.model_validate(content)) == Distribution()
    beside = [{"channel": {"paper": {"codec": "jpeg:70"}}}]
    assert fingerprints._channel(Study.model_validate({**content, "also": beside})) == Distribution(codec="jpeg:70")
    for codec in ("learned:16", "learned_jpeg:40"):
        learned = {**content, "channel": {"codec": [codec, "jpeg:60"]}}
        assert fingerprints._channel(Study.model_validate(learned)) == Distribution(codec="jpeg:60")
