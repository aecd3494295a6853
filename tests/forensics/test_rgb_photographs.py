"""From a folder of photographs in RGB to a FAN that has learned from them: no RAW file is needed."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

import models
from cameras.dng import simulate_folder
from cameras.importing import import_camera
from cameras.pairs import Pairs
from cameras.scenes import dead_leaves
from cameras.simulate import PRESETS
from forensics.training import build_model, train
from forensics.trial import Split, Training, Trial, Validation
from models.fidelity import psnr


def test_a_fan_learns_from_photographs_in_rgb(tmp_path: Path) -> None:
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for number in range(3):
        linear = dead_leaves(128, 128, np.random.default_rng(number))
        Image.fromarray(np.rint(255 * linear ** (1 / 2.2)).astype(np.uint8)).save(photographs / f"{number}.png")
    files = simulate_folder(PRESETS["sim-rggb"], tmp_path / "raw", 3, 128, 128, seed=0, scenes=photographs)
    imported = import_camera("rgb", files, tmp_path / "cameras", demosaic="bilinear", orientation="any", workers=0)
    pairs = Pairs.open(imported.folder)

    nip = models.build("ClassicISP", cfa=pairs.cfa, cam2srgb=pairs.cam2srgb.tolist())
    given = [
        torch.from_numpy(np.asarray(Image.open(path))).movedim(-1, 0)[None] / 255 for path in photographs.iterdir()
    ]
    with torch.no_grad():
        developed = [nip(pairs.image(number)[0]) for number in range(len(pairs))]
    for photograph in given:
        turned = (photograph, photograph.flip(-1))  # a scene may be the photograph's mirror image
        assert max(psnr(picture, each).item() for picture in developed for each in turned) > 20

    trial = Trial(
        "rgb",
        "ClassicISP",
        "fixed",
        split=Split(2, 1),
        training=Training(iterations=4, batch=2, patch=16),
        validation=Validation(every=4, accuracy_patches=3, fidelity_patches=2, textured=False),
    )
    outcome = train(trial, pairs, nip)
    started = build_model(trial, nip).fan.state_dict()
    assert all(not torch.equal(started[name], value) for name, value in outcome.fan.named_parameters())
    assert all(torch.equal(value, outcome.nip.state_dict()[name]) for name, value in nip.state_dict().items())
