"""All pipelines in one body, then what is particular to each."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from precisions import needs_bfloat16

import models
from cameras.develop import develop
from cameras.raw import CFA_PATTERNS, RawFrame
from models.classic import _Gamma
from models.dnet import BatchNorm
from models.fidelity import psnr
from models.nip import clip, layout, move
from models.nip import develop as nip_develop
from models.precision import autocast

CAM2SRGB = [[1.8, -0.6, -0.2], [-0.2, 1.6, -0.4], [0.0, -0.5, 1.5]]
PARAMETERS = {"INet": 321, "UNet": 7_760_268, "DNet": 493_976, "ClassicISP": 28_740}


def frame(bayer: torch.Tensor, cfa: str) -> RawFrame:
    """A frame around one Bayer stack (4,h,w)."""
    pixels = np.ascontiguousarray(bayer.movedim(0, -1).numpy())
    return RawFrame(pixels, cfa, np.array(CAM2SRGB, np.float32), np.ones(3, np.float32), "test", 1)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts(name: str) -> None:
    """The first three are the paper's (its supplement, Tables 2–4)."""
    assert sum(parameter.numel() for parameter in models.build(name).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("size", [(8, 8), (5, 4), (19, 34)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", models.NIPS)
def test_shape_type_range_and_gradients(
    name: str, layout: torch.memory_format, size: tuple[int, int], generator: torch.Generator
) -> None:
    bayer = torch.rand(2, 4, *size, generator=generator)
    nip = models.build(name, torch.Generator().manual_seed(1), cam2srgb=CAM2SRGB)
    expected = nip(bayer)
    nip = nip.to(memory_format=layout)
    for reduced in (False, True):
        nip.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=reduced):
            developed = nip(bayer.to(memory_format=layout))
        assert developed.shape == (2, 3, 2 * size[0], 2 * size[1])
        assert developed.dtype == torch.float32
        assert developed.min() >= 0
        assert developed.max() <= 1
        torch.testing.assert_close(developed, expected, rtol=0, atol=0.05 if reduced else 5e-5)  # an 80th of a level
        developed.sum().backward()
        # ClassicISP's CNN ends in zeros at the start, so that nothing before them has a gradient yet
        learning = nip.cnn[-1].parameters() if name == "ClassicISP" else nip.parameters()
        for parameter in learning:
            assert parameter.grad is not None
            assert parameter.grad.isfinite().all()
            assert parameter.grad.any()


@needs_bfloat16
@pytest.mark.parametrize("name", models.NIPS)
def test_developed_pixels_are_finer_than_bfloat16(name: str, generator: torch.Generator) -> None:
    """Where the last layer computes in bfloat16, all pixels lie on its grid."""
    nip = models.build(name, torch.Generator().manual_seed(1), cam2srgb=CAM2SRGB)
    developed = nip_develop(nip, torch.rand(2, 4, 16, 16, generator=generator), "bfloat16")
    inside = developed[(developed > 0) & (developed < 1)]
    assert len(inside) > 100
    assert (inside != inside.bfloat16()).float().mean() > 0.5


@pytest.mark.parametrize("name", models.NIPS)
def test_gradient_is_the_derivative(name: str, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in (name, models.pretrained_as(name)):
        # its gradient is no derivative, on purpose
        monkeypatch.setattr(f"{models.NIPS[each].__module__}.clip", lambda y: y)
    nip = models.build(name, cfa="GBRG").double()
    bayer = 0.2 + 0.5 * torch.rand(1, 4, 5, 6, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(nip, bayer.requires_grad_(), fast_mode=True)


@pytest.mark.parametrize("name", models.NIPS)
@pytest.mark.parametrize("training", [False, True])
def test_an_image_does_not_depend_on_its_batch(name: str, training: bool, generator: torch.Generator) -> None:
    nip = models.build(name).train(training)
    bayer = torch.rand(3, 4, 8, 8, generator=generator)
    before = copy.deepcopy(nip.state_dict())
    torch.testing.assert_close(nip(bayer)[:1], nip(bayer[:1]), rtol=0, atol=1e-5)
    assert all(torch.equal(value, before[key]) for key, value in nip.state_dict().items())


def test_thawed_statistics_are_those_of_batches_until_frozen_again(generator: torch.Generator) -> None:
    nip = models.build("DNet").freeze_statistics(False).train()
    bayer = torch.rand(3, 4, 8, 8, generator=generator)
    thawed = nip(bayer)
    assert (thawed[:1] - nip(bayer[:1])).abs().max() > 1e-3
    layers = [module for module in nip.modules() if isinstance(module, BatchNorm)]
    assert len(layers) == 15
    assert all(layer.running_mean is not None and layer.running_mean.any() for layer in layers)
    torch.testing.assert_close(nip.eval()(bayer)[:1], nip(bayer[:1]), rtol=0, atol=1e-5)
    nip.freeze_statistics().train()
    torch.testing.assert_close(nip(bayer)[:1], nip(bayer[:1]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", models.NIPS)
def test_starting_weights_come_from_the_generator_alone(name: str) -> None:
    state = torch.get_rng_state()
    a, b = (models.build(name, torch.Generator().manual_seed(0)).state_dict() for _ in range(2))
    default = models.build(name).state_dict()
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a[key], b[key]) and torch.equal(a[key], default[key]) for key in a)
    if name in ("UNet", "DNet", "ClassicISP"):
        other = models.build(name, torch.Generator().manual_seed(1)).state_dict()
        assert any(not torch.equal(a[key], other[key]) for key in a)


def test_he_weights_of_unet_have_the_deviation_of_their_fan_in() -> None:
    """The fan-in counted: what one output pixel sums up where all inputs and weights are one."""
    nip = models.build("UNet")
    layers = [m for m in nip.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.ConvTranspose2d)]
    assert len(layers) == 18 + 4 + 1
    for layer in layers:
        weight = layer.weight.detach()
        counting = copy.deepcopy(layer)
        torch.nn.init.ones_(counting.weight)
        if counting.bias is not None:
            torch.nn.init.zeros_(counting.bias)
        fan_in = counting(torch.ones(1, layer.in_channels, 6, 6)).max().item()
        expected = (2 / (1 + 0.2**2) / fan_in) ** 0.5
        tolerance = 5 / (2 * weight.numel()) ** 0.5  # five standard deviations of a sample's deviation
        assert weight.std().item() == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("name", models.NIPS)
def test_settings_build_it_again(name: str, generator: torch.Generator) -> None:
    nip = models.build(name, cfa="GRBG", cam2srgb=np.array(CAM2SRGB, np.float32))
    again = models.build(nip.name, **json.loads(json.dumps(nip.settings)))
    assert again.settings == nip.settings
    x = torch.rand(1, 4, 8, 8, generator=generator)
    assert torch.equal(again(x), nip(x))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("Unet", {}, "no pipeline is called 'Unet'.*UNet"),
        ("UNet", {"depth": 3}, "UNet has no setting 'depth'.*cfa"),
        ("UNet", {"cfa": "XTRANS"}, "unknown Bayer pattern"),
        ("INet", {"cam2srgb": [[1, 0], [0, 1]]}, "3×3"),
        ("INet", {"cam2srgb": (torch.eye(3) / 0).tolist()}, "finite"),
    ],
)
def test_impossible_settings_are_refused(name: str, settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        models.build(name, **settings)


def test_clip_passes_the_gradient_straight_through() -> None:
    y = torch.tensor([-3.0, 0.0, 0.5, 1.0, 1e9], requires_grad=True)
    clip(y).sum().backward()
    assert clip(y).tolist() == [0, 0, 0.5, 1, 1]
    assert y.grad is not None
    assert y.grad.tolist() == [1, 1, 1, 1, 1]
    assert clip(y.bfloat16()).dtype == torch.float32


def test_gradient_of_the_gamma_curve_is_bounded_below_one_level() -> None:
    x = torch.tensor([0.0, 0.5 / 255, 1 / 255, 0.02, 0.5, 1.0], requires_grad=True)
    _Gamma.apply(x).sum().backward()
    levels = [1 / 255, 1 / 255, 1 / 255, 0.02, 0.5, 1.0]
    assert x.grad is not None
    assert x.grad.tolist() == pytest.approx([level ** (1 / 2.2 - 1) / 2.2 for level in levels])


def test_what_starts_as_the_standard_pipeline_is_near_it_before_training(generator: torch.Generator) -> None:
    bayer = torch.rand(4, 12, 10, generator=generator) ** 2.2
    target = torch.from_numpy(develop(frame(bayer, "RGGB"), "bilinear")).movedim(-1, 0)[None]
    inside = (..., slice(2, -2), slice(2, -2))
    for name, nip in models.NIPS.items():
        developed = models.build(name, cam2srgb=CAM2SRGB)(bayer[None])
        assert (psnr(developed[inside], target[inside]).item() > 40) == nip.starts_as_standard, name


@pytest.mark.parametrize("cfa", CFA_PATTERNS)
def test_untrained_classic_isp_is_the_standard_pipeline(cfa: str, generator: torch.Generator) -> None:
    bayer = torch.rand(4, 12, 10, generator=generator).square()  # with colours out of gamut and dark ones
    target = torch.from_numpy(develop(frame(bayer, cfa), "bilinear")).movedim(-1, 0)
    developed = models.build("ClassicISP", cfa=cfa, cam2srgb=CAM2SRGB)(bayer[None])[0]
    torch.testing.assert_close(developed[:, 2:-2, 2:-2], target[:, 2:-2, 2:-2], rtol=0, atol=1e-4)


@pytest.mark.parametrize("cfa", CFA_PATTERNS)
def test_untrained_inet_is_nearly_the_standard_pipeline(cfa: str, generator: torch.Generator) -> None:
    bayer = torch.rand(4, 12, 10, generator=generator) ** 2.2
    target = torch.from_numpy(develop(frame(bayer, cfa), "bilinear")).movedim(-1, 0)[None]
    developed = models.build("INet", cfa=cfa, cam2srgb=CAM2SRGB)(bayer[None])
    inside = (..., slice(2, -2), slice(2, -2))
    assert psnr(developed[inside], target[inside]).item() > 40


def test_inet_starts_with_the_gamma_curve(shared_photos: Path) -> None:
    """Over photographs, shadows included, and at black and white."""
    from PIL import Image

    inet = models.build("INet")
    paths = sorted(shared_photos.glob("*.webp"))[::16]
    photos = [torch.from_numpy(np.array(Image.open(path).convert("RGB"))[::4, ::4] / 255) for path in paths]
    photos.append(torch.zeros(8, 8, 3))
    photos.append(torch.ones(8, 8, 3))
    for photo in photos:
        y = photo.movedim(-1, 0)[None].float()
        developed = clip(inet.decode(torch.tanh(inet.encode(y**2.2))))
        assert psnr(developed, y).item() > 40


def test_inet_starts_near_the_targets_of_real_cameras(shared_raw: Path) -> None:
    paths = [path for path in sorted(shared_raw.iterdir()) if path.suffix.lower() in (".cr2", ".dng")]
    assert paths
    for path in paths:
        raw = RawFrame.open(path)
        h, w = (side // 2 - 192 for side in raw.bayer.shape[:2])
        raw = replace(raw, bayer=np.ascontiguousarray(raw.bayer[h : h + 384, w : w + 384]))
        target = torch.from_numpy(develop(raw)).movedim(-1, 0)[None]
        inet = models.build("INet", cfa=raw.cfa, cam2srgb=raw.cam2srgb)
        developed = inet(torch.from_numpy(raw.bayer).movedim(-1, 0)[None])
        assert psnr(developed, target).item() > 30, path.name


@pytest.mark.parametrize("native", [False, True])
def test_bfloat16_is_for_processors_that_are_made_for_it(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere it would only be imitated, five times slower than float32 (NOTES.md): a laptop would take hours."""
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: native)
    x, convolution = torch.rand(1, 2, 8, 8), torch.nn.Conv2d(2, 2, 3)
    for precision in ("float32", "bfloat16"):
        reduced = native and precision == "bfloat16"
        with autocast(x, precision):
            assert convolution(x).dtype == (torch.bfloat16 if reduced else torch.float32)
        assert layout(x.device, precision) == (torch.channels_last if reduced else torch.contiguous_format)
        move(convolution, "cpu", precision)
        assert convolution.weight.is_contiguous(memory_format=layout(x.device, precision))
