"""NIPs that start as the standard pipeline: the curve out of hinges, and whole untrained networks."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import models
from cameras.develop import develop
from cameras.pairs import Pairs
from cameras.raw import CFA_PATTERNS, RawFrame
from models.bayer import SampleSelection, bilinear_cells, bilinear_kernels
from models.fidelity import psnr
from models.hinges import Hinges, gamma_chords, gamma_hinges
from models.nip import develop as nip_develop
from models.pretrain import Pretraining, starting_nip

CAM2SRGB = np.array([[1.8, -0.6, -0.2], [-0.2, 1.6, -0.4], [0.0, -0.5, 1.5]], np.float32)
Y = torch.linspace(0, 1, 2001, dtype=torch.float64)
STANDARD = Pretraining(start="standard")
UNTRAINED = {"UNet": 48, "DNet": 56}  # dB at least, to the standard pipeline with bilinear demosaicing


def decibel(curve: torch.Tensor) -> float:
    return -10 * math.log10((curve - Y).square().mean().item())


def pairs_of(cfa: str) -> Pairs:
    """Facts about a camera, and one small photograph."""
    image = np.zeros((16, 16, 4), np.uint16), np.zeros((32, 32, 3), np.uint8)
    return Pairs.from_images([image], cfa, CAM2SRGB, "test")


def test_two_layers_of_two_hinges_are_the_gamma_curve() -> None:
    hinges = gamma_hinges()
    curve = hinges(Y**2.2)
    assert decibel(curve) > 48
    assert (curve.diff() > 0).all()
    assert abs(curve[0]) < 0.03, "black"
    assert curve[-1].item() == pytest.approx(1, abs=0.01), "white"


def test_no_small_change_of_a_hinge_brings_it_nearer() -> None:
    hinges = gamma_hinges()
    y = torch.linspace(0, 1, 401, dtype=torch.float64)  # those that it was fitted to

    def error(changed: Hinges) -> float:
        return (changed(y**2.2) - y).square().sum().item()

    best = error(hinges)
    for number, values in enumerate(hinges):
        for position in range(values.numel()):
            for change in (-1e-3, 1e-3):
                other = values.clone()
                other.view(-1)[position] += change
                assert error(Hinges(*hinges[:number], other, *hinges[number + 1 :])) > best, (number, position)


def test_weights_into_a_hinge_and_out_of_it_are_equally_large() -> None:
    a, _, w, _, c, _ = gamma_hinges()
    torch.testing.assert_close(w.abs().amax(dim=1), c.abs())
    assert (w.abs().amax(dim=0) / a.abs()).log().abs().max() < math.log(2)


@pytest.mark.parametrize("count", [4, 21])
def test_chords_meet_the_gamma_curve_at_equal_steps(count: int) -> None:
    t, c = gamma_chords(count)
    assert (c > 0).all()

    def curve(y: torch.Tensor) -> torch.Tensor:
        return 1 - F.relu(t - y[:, None] ** 2.2) @ c

    steps = torch.linspace(0, 1, count + 1, dtype=torch.float64)
    torch.testing.assert_close(curve(steps), steps)
    middle = (steps[1:] ** 2.2 + steps[:-1] ** 2.2) / 2
    torch.testing.assert_close(curve(middle ** (1 / 2.2)), (steps[1:] + steps[:-1]) / 2)
    if count == 21:
        assert decibel(curve(Y)) > 52


@pytest.mark.parametrize("cfa", CFA_PATTERNS)
def test_one_convolution_of_bayer_stacks_demosaics_bilinearly(cfa: str, generator: torch.Generator) -> None:
    bayer = torch.rand(2, 4, 9, 7, generator=generator)
    cells = F.pixel_shuffle(F.conv2d(bayer, bilinear_cells(cfa), padding=1), 2)
    torch.testing.assert_close(cells, F.conv2d(SampleSelection(cfa)(bayer), bilinear_kernels(3), padding=1))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("cfa", CFA_PATTERNS)
@pytest.mark.parametrize("name", [*UNTRAINED, "Pattern"])
def test_untrained_it_is_nearly_the_standard_pipeline(
    name: str, cfa: str, precision: str, generator: torch.Generator
) -> None:
    """With colours out of gamut, and dark ones."""
    bayer = torch.rand(4, 24, 20, generator=generator) ** 2.2
    pixels = np.ascontiguousarray(bayer.movedim(0, -1).numpy())
    frame = RawFrame(pixels, cfa, CAM2SRGB, np.ones(3, np.float32), "test", 1)
    target = torch.from_numpy(develop(frame, "bilinear")).movedim(-1, 0)[None]
    nip = starting_nip(name, pairs_of(cfa), STANDARD).eval()
    inside = (..., slice(2, -2), slice(2, -2))
    distance = psnr(nip_develop(nip, bayer[None], precision)[inside], target[inside]).item()
    assert distance > UNTRAINED[models.pretrained_as(name)] - (8 if precision == "bfloat16" else 0)
    random = starting_nip(name, pairs_of(cfa), replace(STANDARD, start="random")).eval()
    assert psnr(random(bayer[None])[inside], target[inside]).item() < 20


@pytest.mark.parametrize("name", models.NIPS)
def test_only_the_first_and_the_last_layers_differ_from_a_random_start(name: str) -> None:
    pairs = pairs_of("GBRG")
    given = models.build(name, torch.Generator().manual_seed(3), cfa="GBRG", cam2srgb=CAM2SRGB.tolist())
    random = starting_nip(name, pairs, Pretraining(seed=3)).state_dict()
    assert all(torch.equal(value, given.state_dict()[key]) for key, value in random.items()), "as ever"
    standard = starting_nip(name, pairs, replace(STANDARD, seed=3)).state_dict()
    assert {key: value.shape for key, value in standard.items()} == {key: value.shape for key, value in random.items()}
    differing = {key.removeprefix("nip.") for key in random if not torch.equal(random[key], standard[key])}
    c1, c9 = "down.0", "up.3"
    assert (
        differing
        == {
            "INet": set(),
            "ClassicISP": set(),
            "DNet": {"c17.weight", "c17.bias", "rgb.weight"},
            # biases of c₁ are zero in any case
            "UNet": {f"{c}.c{i}.weight" for c in (c1, c9) for i in (1, 2)}
            | {f"{c9}.c1.bias", f"{c9}.c2.bias", "c10.weight", "c10.bias"},
        }[models.pretrained_as(name)]
    )
    if name == "UNet":
        for key, width in ((f"{c1}.c1", 12), (f"{c1}.c2", 12), (f"{c9}.c1", 24), (f"{c9}.c2", 24)):
            assert torch.equal(standard[f"{key}.weight"][width:], random[f"{key}.weight"][width:]), "the rest is random"


def test_a_nip_without_such_a_start_says_so() -> None:
    class Other(models.NIP):
        pass

    with pytest.raises(ValueError, match=r"Other cannot start as the standard pipeline: use .*random"):
        Other().start_as_standard()
