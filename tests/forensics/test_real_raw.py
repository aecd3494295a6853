"""The whole path below study/ on real RAW files: import, develop, pre-train, train jointly."""

from pathlib import Path

import numpy as np
import pytest
import torch

import models
from cameras.importing import import_camera
from cameras.pairs import Pairs
from forensics.training import build_model, train
from forensics.trial import Split, Training, Trial, Validation
from models.fidelity import psnr
from models.pretrain import Pretraining, pretrain

CAMERAS = {"Canon EOS 30D": ("*.CR2", "RGGB"), "Nikon D5000": ("nikon*.dng", "GBRG")}


@pytest.fixture(scope="module", params=CAMERAS)
def real(request: pytest.FixtureRequest, shared_raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    """Imported photographs of a real camera, each cut into a left and a right half: there is but one of the 30D."""
    pattern, cfa = CAMERAS[request.param]
    files = sorted(shared_raw.glob(pattern))
    imported = import_camera(request.param, files, tmp_path_factory.mktemp("cameras"), orientation="any", workers=0)
    assert len(imported) == len(files)
    whole = Pairs.open(imported.folder)
    assert (whole.camera.lower(), whole.cfa) == (request.param.lower(), cfa)
    halves = []
    for i in range(len(whole)):
        bayer, target = (array[0].movedim(0, -1).numpy() for array in whole.image(i))
        middle = bayer.shape[1] // 2
        halves += [(bayer[:, :middle], target[:, : 2 * middle]), (bayer[:, middle:], target[:, 2 * middle :])]
    return Pairs.from_images([tuple(map(np.ascontiguousarray, half)) for half in halves], cfa, whole.cam2srgb, cfa)


def test_inet_starts_30_db_from_the_standard_pipeline(real: Pairs) -> None:
    nip = models.build("INet", cfa=real.cfa, cam2srgb=real.cam2srgb.tolist())
    for i in range(len(real)):
        bayer, target = real.image(i)
        with torch.no_grad():
            developed = torch.cat([nip(strip) for strip in bayer.split(bayer.shape[2] // 4, dim=2)], dim=2)
        assert psnr(developed, target[:, :, : developed.shape[2]]).item() >= 30


@pytest.mark.parametrize("isp", ["INet", "UNet"])
def test_real_photographs_can_be_trained_on(real: Pairs, isp: str) -> None:
    nip = models.build(isp, cfa=real.cfa, cam2srgb=real.cam2srgb.tolist())
    settings = Pretraining(
        patch=16, batch=4, learning_rate=1e-3, max_iterations=20, check_every=10, validation_patch=32
    )
    losses: list[float] = []
    pretrained = pretrain(
        nip,
        real,
        torch.tensor([0]),
        torch.tensor([1]),
        settings,
        on_metrics=lambda step, metrics: losses.append(metrics["loss_nip"]),
    )
    assert min(losses[1:]) < losses[0], "pre-training brings the NIP nearer to the target"
    trial = Trial(
        "real",
        isp,
        0.01,
        split=Split(1, 1),
        training=Training(iterations=8, batch=2, patch=16),
        validation=Validation(every=4, accuracy_patches=5, fidelity_patches=2),
    )
    outcome = train(trial, real, pretrained.nip)
    assert set(outcome.history) == {4, 8}
    for before, after in ((pretrained.nip, outcome.nip), (build_model(trial, pretrained.nip).fan, outcome.fan)):
        changed = [
            name for name, value in before.named_parameters() if not torch.equal(value, after.get_parameter(name))
        ]
        assert changed == [name for name, _ in before.named_parameters()], "every weight takes part in joint training"
    assert outcome.scores.psnr > 10
