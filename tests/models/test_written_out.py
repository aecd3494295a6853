"""Every pipeline written out from its weights alone, in plain arithmetic, borders and odd sizes included.

Weights and statistics are disturbed first, so that no layer is the identity and no bias is zero.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import models
from cameras.raw import CFA_PATTERNS

CAM2SRGB = [[1.8, -0.6, -0.2], [-0.2, 1.6, -0.4], [0.0, -0.5, 1.5]]
SIZES = [(4, 4), (5, 7), (16, 16), (19, 34)]


def disturbed(name: str, generator: torch.Generator, **settings: object) -> models.NIP:
    """A pipeline in float64 whose weights, biases and statistics all differ from their start."""
    nip = models.build(name, torch.Generator().manual_seed(1), **settings).double()
    with torch.no_grad():
        for key, value in nip.state_dict().items():
            noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
            if key.endswith("running_var"):
                value.copy_(0.5 + noise.square())
            elif value.is_floating_point():
                value.add_((0.1 if value.ndim < 4 else 0.02) * noise)
    return nip


def random_stack(size: tuple[int, int], generator: torch.Generator) -> Tensor:
    return torch.rand(2, 4, *size, generator=generator, dtype=torch.float64)


def assert_develops_as(nip: models.NIP, bayer: Tensor, expected: Tensor) -> None:
    """Equal everywhere, and not because most pixels are clipped to 0 or 1."""
    assert ((expected > 0) & (expected < 1)).double().mean() > 0.3
    with torch.no_grad():
        torch.testing.assert_close(nip(bayer), expected.clamp(0, 1), rtol=1e-9, atol=1e-9)


# --- the operations, each in its own words ---


def leaky(x: Tensor, slope: float = 0.2) -> Tensor:
    return torch.where(x > 0, x, slope * x)


def zeros_around(x: Tensor, margin: int = 1) -> Tensor:
    framed = x.new_zeros(*x.shape[:2], x.shape[2] + 2 * margin, x.shape[3] + 2 * margin)
    framed[..., margin:-margin, margin:-margin] = x
    return framed


def mirrored(x: Tensor, margin: int = 1) -> Tensor:
    """Continues x beyond its border, which is not repeated: 2 1 | 0 1 2 … n−1 | n−2 n−3."""
    for dim in (2, 3):
        size = x.shape[dim]
        index = [abs(i) if i < size else 2 * (size - 1) - i for i in range(-margin, size + margin)]
        x = x.index_select(dim, torch.tensor(index))
    return x


def largest_of_2x2(x: Tensor) -> Tensor:
    """An odd last row or column is a cell by itself."""
    whole = x.new_full((*x.shape[:2], x.shape[2] + x.shape[2] % 2, x.shape[3] + x.shape[3] % 2), -torch.inf)
    whole[..., : x.shape[2], : x.shape[3]] = x
    corners = [whole[..., dy::2, dx::2] for dy in (0, 1) for dx in (0, 1)]
    return torch.stack(corners).amax(dim=0)


def depth_to_space(x: Tensor) -> Tensor:
    """(N,12,h,w) → (N,3,2h,2w): channel 4·colour + 2·dy + dx goes to row 2y + dy, column 2x + dx."""
    rgb = x.new_empty(len(x), 3, 2 * x.shape[2], 2 * x.shape[3])
    for colour in range(3):
        for dy in (0, 1):
            for dx in (0, 1):
                rgb[:, colour, dy::2, dx::2] = x[:, 4 * colour + 2 * dy + dx]
    return rgb


def twice_as_large(x: Tensor, weight: Tensor) -> Tensor:
    """A transposed 2×2 convolution of stride 2: each pixel becomes its own cell of 2×2; weight is (in, out, 2, 2)."""
    result = x.new_empty(len(x), weight.shape[1], 2 * x.shape[2], 2 * x.shape[3])
    for dy in (0, 1):
        for dx in (0, 1):
            result[..., dy::2, dx::2] = torch.einsum("nihw,io->nohw", x, weight[:, :, dy, dx])
    return result


def sparse_rgb(bayer: Tensor, cfa: str) -> Tensor:
    """(N,4,h,w) planes R, G₁, G₂, B → (N,3,2h,2w): each sample where the sensor measured it, zeros elsewhere."""
    rgb = bayer.new_zeros(len(bayer), 3, 2 * bayer.shape[2], 2 * bayer.shape[3])
    greens = 0
    for position, colour in enumerate(cfa):
        plane = {"R": 0, "G": 1 + greens, "B": 3}[colour]
        greens += colour == "G"
        rgb[:, "RGB".index(colour), position // 2 :: 2, position % 2 :: 2] = bayer[:, plane]
    return rgb


# --- the pipelines ---


@pytest.mark.parametrize("size", SIZES)
def test_unet(size: tuple[int, int], generator: torch.Generator) -> None:
    nip = disturbed("UNet", generator)
    with torch.no_grad():  # most of its pixels shall lie between 0 and 1
        nip.c10.weight.mul_(0.1)
        nip.c10.bias.add_(0.5)
    w = nip.state_dict()

    def c(x: Tensor, name: str) -> Tensor:
        for layer in ("c1", "c2"):
            x = leaky(F.conv2d(zeros_around(x), w[f"{name}.{layer}.weight"], w[f"{name}.{layer}.bias"]))
        return x

    bayer = random_stack(size, generator)
    c1 = c(bayer, "down.0")
    c2 = c(largest_of_2x2(c1), "down.1")
    c3 = c(largest_of_2x2(c2), "down.2")
    c4 = c(largest_of_2x2(c3), "down.3")
    x = c(largest_of_2x2(c4), "down.4")
    for number, skip in enumerate((c4, c3, c2, c1)):
        s = twice_as_large(x, w[f"s.{number}.weight"])[..., : skip.shape[2], : skip.shape[3]]
        x = c(torch.cat((s, skip), dim=1), f"up.{number}")
    expected = depth_to_space(F.conv2d(x, w["c10.weight"], w["c10.bias"]))
    assert len(w) == 2 * 2 * 9 + 4 + 2
    assert_develops_as(nip, bayer, expected)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cfa", CFA_PATTERNS)
@pytest.mark.parametrize("thawed", [False, True])
def test_dnet(thawed: bool, cfa: str, size: tuple[int, int], generator: torch.Generator) -> None:
    """Frozen, it normalises by its running statistics, otherwise by those of the batch."""
    nip = disturbed("DNet", generator, cfa=cfa).freeze_statistics(not thawed).train()
    w = {key: value.clone() for key, value in nip.state_dict().items()}  # a thawed forward pass changes statistics
    bayer = random_stack(size, generator)

    x = bayer
    for number in range(15):
        x = F.conv2d(x, w[f"c.{number}.0.weight"])
        if thawed:
            mean, variance = x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3), unbiased=False)
        else:
            mean, variance = w[f"c.{number}.1.running_mean"], w[f"c.{number}.1.running_var"]
        mean, variance = mean[:, None, None], variance[:, None, None]
        scale, offset = (w[f"c.{number}.1.{name}"][:, None, None] for name in ("weight", "bias"))
        x = mirrored(leaky((x - mean) / (variance + 1e-5).sqrt() * scale + offset, 0))
    x = torch.cat((depth_to_space(x), sparse_rgb(bayer, cfa)), dim=1)
    x = mirrored(leaky(F.conv2d(x, w["c17.weight"], w["c17.bias"]), 0))
    expected = F.conv2d(x, w["rgb.weight"])
    assert sum(key.startswith("c.") and key.endswith("0.weight") for key in w) == 15
    assert_develops_as(nip, bayer, expected)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cfa", CFA_PATTERNS)
def test_inet(cfa: str, size: tuple[int, int], generator: torch.Generator) -> None:
    nip = disturbed("INet", generator, cfa=cfa, cam2srgb=CAM2SRGB)
    w = nip.state_dict()
    bayer = random_stack(size, generator)
    camera = F.conv2d(mirrored(sparse_rgb(bayer, cfa), 2), w["demosaic.weight"])
    srgb = torch.einsum("nihw,oi->nohw", camera, w["colour.weight"][..., 0, 0])
    encoded = torch.einsum("nihw,oi->nohw", srgb, w["encode.weight"][..., 0, 0]) + w["encode.bias"][:, None, None]
    decoded = torch.einsum("nihw,oi->nohw", encoded.tanh(), w["decode.weight"][..., 0, 0])
    assert_develops_as(nip, bayer, decoded + w["decode.bias"][:, None, None])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cfa", CFA_PATTERNS)
def test_classic_isp(cfa: str, size: tuple[int, int], generator: torch.Generator) -> None:
    nip = disturbed("ClassicISP", generator, cfa=cfa, cam2srgb=CAM2SRGB)
    w = nip.state_dict()
    bayer = random_stack(size, generator)
    mosaic = sparse_rgb(bayer, cfa)

    def neighbours(x: Tensor, weights: list[list[float]]) -> Tensor:
        framed, total = mirrored(x), torch.zeros_like(x)
        for dy, row in enumerate(weights):
            for dx, weight in enumerate(row):
                total += weight * framed[..., dy : dy + x.shape[2], dx : dx + x.shape[3]]
        return total

    cross = [[0, 1 / 4, 0], [1 / 4, 1, 1 / 4], [0, 1 / 4, 0]]
    square = [[1 / 4, 1 / 2, 1 / 4], [1 / 2, 1, 1 / 2], [1 / 4, 1 / 2, 1 / 4]]
    colours = zip(mosaic.split(1, dim=1), (square, cross, square), strict=True)
    bilinear = torch.cat([neighbours(plane, weights) for plane, weights in colours], dim=1)

    x = mosaic
    for layer in (0, 2, 4, 6):
        x = leaky(F.conv2d(zeros_around(x), w[f"cnn.{layer}.weight"], w[f"cnn.{layer}.bias"]))
    correction = w["alpha"] * F.conv2d(x, w["cnn.8.weight"], w["cnn.8.bias"]).tanh()
    camera = (bilinear + correction).clamp(0, 1)
    srgb = torch.einsum("nihw,oi->nohw", camera, torch.tensor(CAM2SRGB).double()).clamp(0, 1)
    assert_develops_as(nip, bayer, srgb ** (1 / 2.2))
