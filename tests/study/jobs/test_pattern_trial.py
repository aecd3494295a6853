"""A trial of Pattern starts from the file of its base, with the tile that the trial asks for."""

import shutil
from pathlib import Path

import torch
from small_study import Data

import models
from cameras.pairs import Index
from forensics.trial import Split, Training, Trial, Validation
from study.jobs import Callbacks, Context
from study.jobs.trial import TrialJob
from study.storage.cache import file_sha256


def test_it_starts_from_the_file_of_its_base(data: Data, tmp_path: Path) -> None:
    folder = shutil.copytree(data.folder, tmp_path / "storage")
    index = Index.read(folder / "cameras" / data.camera)
    unet = models.build("UNet", torch.Generator().manual_seed(7), cfa=index.cfa, cam2srgb=index.cam2srgb)
    file = folder / "nips" / "base.safetensors"
    models.save(file, unet)
    trial = Trial(
        data.camera,
        "Pattern",
        0.01,
        split=Split(2, 1),
        training=Training(iterations=2, batch=1, patch=16, pattern=6),
        validation=Validation(every=2, accuracy_patches=1, fidelity_patches=1, textured=False),
    )
    job = TrialJob.plan(trial, {}, "nips/base.safetensors", file_sha256(file), index.data_hash)
    context = Context(storage=str(folder), cache=None, tracking_uri="", experiment_id="")
    job.run(context, Callbacks(), None, tmp_path)
    nip = models.load(tmp_path / "nip.safetensors")
    assert (nip.name, nip.settings["side"]) == ("Pattern", 6)
    assert nip.tile.any()
    assert all(torch.equal(nip.nip.state_dict()[key], value) for key, value in unet.state_dict().items())
