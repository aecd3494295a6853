"""A study that lacks nothing, with a camera, a tracker and a pre-trained NIP."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from checked_study import study_in

import models
from cameras.pairs import append
from study import tracking
from study.jobs.plan import resolve
from study.jobs.pretraining import NIP_FILE, NIP_HASH
from study.settings import Study
from study.storage import Storage


@pytest.fixture(autouse=True)
def own_tracking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage with a camera, a database, and a NIP whose pre-training is finished."""
    folder = tmp_path_factory.mktemp("pristine")
    rng = np.random.default_rng(0)
    for number in range(3):
        bayer, target = rng.random((24, 32, 4)), rng.random((48, 64, 3))
        camera = {"cfa": "RGGB", "cam2srgb": np.eye(3), "camera": "a camera"}
        append(folder / "cameras" / "little", f"image {number}", bayer, target, **camera)
    study = study_in(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        client, experiment_id = tracking.connect(study)
        job = resolve(study, None).pretrainings[0]
    models.save(folder / NIP_FILE, models.build("INet"))
    store = Storage(str(folder))
    tags = {tracking.KEY: job.key, "kind": job.kind, NIP_HASH: store.sha256(NIP_FILE)}
    run = client.create_run(experiment_id, tags=tags)
    client.log_artifact(run.info.run_id, str(folder / NIP_FILE))
    client.set_terminated(run.info.run_id)
    store.upload(folder / NIP_FILE, job.weights)
    return folder


@pytest.fixture
def study(pristine: Path, tmp_path: Path) -> Study:
    """A study on a copy of that storage. Artifacts lie where they were."""
    return study_in(shutil.copytree(pristine, tmp_path / "storage"))
