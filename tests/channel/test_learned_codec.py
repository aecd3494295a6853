"""The learned codec: its codebook against brute force, its files in other processes, damaged and foreign bytes."""

import copy
import math
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy as scipy_entropy
from torch import Tensor

import channel.codecs
import models
from channel import quantization
from channel.codecs import CODECS
from channel.learned import FEATURES, Autoencoder, bitstream, codebook

CENTRES = np.arange(-15, 17)

DECODE = """
import sys
from pathlib import Path
import torch
import channel.codecs, models
torch.set_num_threads(int(sys.argv[1]))
folder = Path(sys.argv[2])
codec = models.load(folder / "codec.safetensors", build=channel.codecs.build)
sys.stdout.buffer.write(codec.decompress((folder / "picture").read_bytes()).numpy().tobytes())
"""


def kernel(value: float) -> np.ndarray:
    """Student's t of one value, centre by centre, in 80 bits, where it does not underflow."""
    weights = np.array([(1 + (np.longdouble(25) * (value - c)) ** 2 / 50) ** (-51 / np.longdouble(2)) for c in CENTRES])
    return (weights / weights.sum()).astype(float)


def untrained(width: int = 16) -> Autoencoder:
    """A codec none of whose weights is zero or one."""
    generator = torch.Generator().manual_seed(3)
    codec = Autoencoder(16, width, generator)
    with torch.no_grad():
        codec.scale.mul_(3)
        for parameter in codec.parameters():
            parameter.add_(0.1 / width * torch.randn(parameter.shape, generator=generator))
    return codec


@pytest.fixture(scope="module")
def codec(photographs: Tensor) -> Autoencoder:
    """A codec whose tables are those of the photographs' codes, as after a training."""
    codec = untrained().eval()
    codec.histogram.copy_(codebook.histograms(codebook.assign(codec.encode(photographs / 255))).detach())
    return codec


# --- Codebook ---


@pytest.mark.parametrize("value", [0.0, 0.2, -3.49, 7.5, 16.0, 16.4, -15.3, 21.0, -40.0])
def test_soft_assignment_is_students_t(value: float) -> None:
    weights = codebook.assign(torch.tensor([[value]], dtype=torch.float64))[0, 0]
    np.testing.assert_allclose(weights.numpy(), kernel(value), rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(codebook.assign(torch.tensor(value)), kernel(value), atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.floats(-60, 60))
def test_forward_is_the_nearest_centre(value: float) -> None:
    values = torch.tensor(value, dtype=torch.float64)
    found = codebook.quantise(values, codebook.assign(values)).item()
    assert abs(found - value) == pytest.approx(np.abs(CENTRES - value).min(), abs=1e-12)
    assert CENTRES[codebook.to_codes(values)] == found == codebook.to_values(codebook.to_codes(values))


@pytest.mark.parametrize("value", [0.02, 0.47, -2.5, 3.52, 15.49, 16.2, -17.0])
def test_backward_is_the_slope_of_the_mean_centre(value: float) -> None:
    x = torch.tensor([value], dtype=torch.float64, requires_grad=True)
    (7 * codebook.quantise(x, codebook.assign(x))).sum().backward()
    step = 1e-6
    slope = ((kernel(value + step) - kernel(value - step)) @ CENTRES) / (2 * step)
    assert x.grad is not None
    assert x.grad.item() == pytest.approx(7 * slope, rel=1e-5, abs=1e-8)


def test_entropy_is_scipys_and_has_the_gradient_of_the_soft_histogram(generator: torch.Generator) -> None:
    values = 2 * torch.randn(2, 3, 2, 2, dtype=torch.float64, generator=generator)

    def bits(values: np.ndarray) -> np.ndarray:
        by_feature = np.moveaxis(values, 1, 0).reshape(3, -1)
        return np.array(
            [scipy_entropy(np.mean([kernel(v) for v in feature], axis=0), base=2) for feature in by_feature]
        )

    x = values.clone().requires_grad_()
    found = codebook.entropy(codebook.histograms(codebook.assign(x)))
    np.testing.assert_allclose(found.detach(), bits(values.numpy()), rtol=1e-6)
    found.sum().backward()
    assert x.grad is not None
    for place in [(0, 0, 0, 0), (1, 2, 1, 0), (1, 1, 0, 1)]:
        step = np.zeros(values.shape)
        step[place] = 1e-5
        slope = (bits(values.numpy() + step) - bits(values.numpy() - step)).sum() / 2e-5
        assert x.grad[place].item() == pytest.approx(slope, rel=1e-4, abs=1e-6)


def test_cross_entropy_counts_every_code(generator: torch.Generator) -> None:
    codes = torch.randint(0, 32, (2, 3, 4, 5), generator=generator)
    tables = codebook.tables(torch.rand(3, 32, generator=generator) ** 4)
    assert tables.min() > 0
    np.testing.assert_allclose(tables.sum(dim=1), 1, rtol=1e-12)
    by_hand = [-sum(math.log2(tables[c, k]) for c in range(3) for k in picture[c].flatten()) for picture in codes]
    np.testing.assert_allclose(codebook.bits(codes, tables), by_hand)


def test_a_code_that_was_never_seen_can_be_written() -> None:
    never = codebook.tables(torch.eye(32)[:1])
    assert 0 < never[0, 1] < 1e-4 and never[0, 0] > 0.999


# --- Network ---


@pytest.mark.parametrize("features", FEATURES)
def test_any_size_passes_and_cells_are_eight_pixels(features: int, generator: torch.Generator) -> None:
    codec = Autoencoder(features, 8)
    images = torch.rand(2, 3, 19, 33, generator=generator)
    assert codec.codes(images).shape == (2, features, 3, 5)
    decoded = codec(images)
    assert decoded.shape == images.shape and decoded.min() >= 0 and decoded.max() <= 1
    padded = torch.from_numpy(np.pad(images.numpy(), ((0, 0), (0, 0), (0, 5), (0, 7)), mode="edge"))
    assert torch.equal(codec.codes(images), codec.codes(padded))
    with torch.no_grad():
        torch.testing.assert_close(codec(images), codec(padded)[..., :19, :33])
        torch.testing.assert_close(codec(images), decoded)


def test_loss_is_distortion_and_weighted_rate(generator: torch.Generator) -> None:
    codec = untrained(width=8).double()
    codec.rate_weight = 40.0
    images = torch.rand(2, 3, 20, 30, generator=generator, dtype=torch.float64)
    decoded = codec(images)
    histogram = codebook.assign(codec.encode(images)).mean(dim=(0, 2, 3)).detach().numpy()
    rate = sum(scipy_entropy(of_feature, base=2) for of_feature in histogram) * (3 * 4) / (20 * 30)
    assert codec.rate().item() == pytest.approx(rate, rel=1e-6)
    expected = (255 * (decoded - images)).square().mean().item() + 40 * rate
    assert codec.aux_loss().item() == pytest.approx(expected, rel=1e-9)
    codec.aux_loss().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in codec.parameters())
    assert codec.scale.grad is not None and codec.scale.grad != 0


def test_a_copy_knows_of_no_forward_pass(generator: torch.Generator) -> None:
    codec = untrained(width=8)
    codec(torch.rand(1, 3, 16, 16, generator=generator))
    with pytest.raises(ValueError, match="the codec learned has compressed nothing yet"):
        copy.deepcopy(codec).aux_loss()
    codec.aux_loss().backward()


def test_tables_follow_the_histograms_of_training_alone(photographs: Tensor) -> None:
    images, codec = photographs[:2] / 255, untrained()
    start = codec.histogram.clone()
    codec.eval()(images)
    with torch.no_grad():
        codec.train()(images)
    assert torch.equal(codec.histogram, start)
    expected = 0.98 * start + 0.02 * codebook.assign(codec.encode(images)).mean(dim=(0, 2, 3)).detach()
    codec(images)
    torch.testing.assert_close(codec.histogram, expected)


def test_starting_weights_are_the_generators(generator: torch.Generator) -> None:
    first, second, other = (Autoencoder(16, 8, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    for key, weight in first.state_dict().items():
        assert torch.equal(weight, second.state_dict()[key])
        drawn = "weight" in key and "second" not in key
        assert torch.equal(weight, other.state_dict()[key]) != drawn, key


def test_bfloat16_is_for_convolutions_alone(generator: torch.Generator) -> None:
    codec, images = untrained(width=8), torch.rand(1, 3, 32, 32, generator=generator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert codec.encode(images).dtype == codec(images).dtype == codec.rate().dtype == torch.float32
        file = codec.compress((255 * images[0]).byte())
    assert file == codec.compress((255 * images[0]).byte())


@pytest.mark.parametrize("wrong", [{"features": 24}, {"width": 7}, {"width": 0}])
def test_impossible_settings_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Autoencoder(**wrong)


def test_it_is_rebuilt_from_a_file(codec: Autoencoder, photographs: Tensor, tmp_path: Path) -> None:
    models.save(tmp_path / "codec", codec)
    loaded = models.load(tmp_path / "codec", build=channel.codecs.build)
    assert loaded.compress(photographs[0]) == codec.compress(photographs[0])
    assert CODECS["learned"].learning is Autoencoder and CODECS["learned"].qualities == FEATURES == (16, 32, 64)
    models.save(tmp_path / "nip", models.build("INet"))
    with pytest.raises(ValueError, match="INet is no codec that learns: learned, learned_jpeg are"):
        models.load(tmp_path / "nip", build=channel.codecs.build)


# --- Files ---


def test_a_file_holds_what_the_network_decodes(codec: Autoencoder, photographs: Tensor) -> None:
    for picture in (photographs[0], photographs[1][:, :37, :101]):
        with torch.no_grad():
            decoded = quantization.to_levels(codec(picture[None] / 255))[0]
        found = codec.decompress(codec.compress(picture))
        assert found.dtype == torch.uint8 and found.shape == picture.shape
        differ = (found - decoded).abs()  # float32 against float64 may round to either side
        assert differ.max() <= 1 and (differ > 0).float().mean() < 1e-3


def test_the_estimate_is_the_size_of_the_file(codec: Autoencoder, photographs: Tensor) -> None:
    pictures = torch.cat([torch.cat(list(photographs), dim=2)] * 2, dim=1)[None]  # one of 384×896 pixels
    estimates = codec.bits(codec.codes(pictures / 255)) / 8
    for picture, estimate in zip(pictures, estimates.tolist(), strict=True):
        assert len(codec.compress(picture)) == pytest.approx(estimate, rel=0.01)


def test_another_process_decodes_the_same_pixels(codec: Autoencoder, photographs: Tensor, tmp_path: Path) -> None:
    models.save(tmp_path / "codec.safetensors", codec)
    (tmp_path / "picture").write_bytes(codec.compress(photographs[2]))
    here = codec.decompress((tmp_path / "picture").read_bytes())
    threads = "2" if torch.get_num_threads() == 1 else "1"
    there = subprocess.run([sys.executable, "-c", DECODE, threads, tmp_path], capture_output=True, check=True)
    assert there.stdout == here.numpy().tobytes()


def test_tiles_do_not_show(codec: Autoencoder, monkeypatch: pytest.MonkeyPatch, photographs: Tensor) -> None:
    file = codec.compress(photographs[3])
    whole = codec.decompress(file)
    for tile in (5, 8):
        monkeypatch.setattr(bitstream, "TILE", tile)
        assert torch.equal(codec.decompress(file), whole)


def test_decoding_needs_no_more_values_than_it_says(codec: Autoencoder) -> None:
    decoder = codec.decoder.double()
    values = torch.zeros(1, 16, 1, 25, dtype=torch.float64)
    changed = values.clone()
    changed[..., 12] = 1
    with torch.no_grad():
        columns = (decoder(changed) - decoder(values)).abs().amax(dim=(0, 1, 2)).nonzero().flatten()
    decoder.float()
    reach = decoder.REACH
    assert columns.min() >= 8 * (12 - reach) and columns.max() < 8 * (13 + reach)
    assert columns.min() < 8 * (13 - reach), "it needs them"


# --- Damage ---


def crafted(codec: Autoencoder, payload: bytes, height: int, width: int, magic: bytes = bitstream.MAGIC) -> bytes:
    """A file with a valid checksum."""
    header = bitstream.HEADER.pack(magic, bitstream.fingerprint(codec), height, width)
    return header + bitstream.CHECKSUM.pack(zlib.crc32(header + payload)) + payload


def assert_refused(codec: Autoencoder, data: bytes, why: str = "") -> None:
    with pytest.raises(ValueError, match=why) as caught:
        codec.decompress(data)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def small(codec: Autoencoder, photographs: Tensor) -> bytes:
    return codec.compress(photographs[0][:, :50, :60])


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_files_are_refused(codec: Autoencoder, small: bytes, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["flipped", "cut", "longer", "foreign"]))
    if kind == "flipped":
        place, bit = data.draw(st.integers(0, len(small) - 1)), data.draw(st.integers(0, 7))
        damaged = small[:place] + bytes([small[place] ^ 1 << bit]) + small[place + 1 :]
    elif kind == "cut":
        damaged = small[: data.draw(st.integers(0, len(small) - 1))]
    elif kind == "longer":
        damaged = small + data.draw(st.binary(min_size=1, max_size=20))
    else:
        damaged = data.draw(st.sampled_from([b"", bitstream.MAGIC])) + data.draw(st.binary(max_size=200))
    assert_refused(codec, damaged, "compressed")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 2**16 - 1), st.integers(0, 2**16 - 1))
def test_forged_files_are_pictures_or_refused(codec: Autoencoder, payload: bytes, height: int, width: int) -> None:
    """With a true checksum there is an error or some picture, never one of a size that the bytes cannot hold."""
    try:
        picture = codec.decompress(crafted(codec, payload, height, width))
    except ValueError as error:
        assert str(error).startswith("the compressed picture is damaged") and "\n" not in str(error)
    else:
        assert picture.shape == (3, height, width) and height * width < 10**6


def test_what_is_refused_says_why(codec: Autoencoder, small: bytes, photographs: Tensor) -> None:
    payload = small[bitstream.START :]
    assert_refused(codec, b"", "these 0 bytes are no picture that the learned codec compressed")
    assert_refused(codec, small[:10], "was cut after 10 bytes")
    assert_refused(codec, small[:-1], "checksum does not match")
    assert_refused(codec, crafted(codec, payload, 50, 60, b"FLC\x02"), "no picture that the learned codec compressed")
    assert_refused(codec, crafted(codec, payload + bytes(4), 50, 60), "of another length than its codes")
    assert_refused(codec, crafted(codec, payload + b"0123", 50, 60), "of another length than its codes")
    assert_refused(codec, crafted(codec, payload, 8, 8), "of another length than its codes")
    assert_refused(codec, crafted(codec, payload, 0, 60), "cannot hold 0×60 pixels")
    assert_refused(codec, crafted(codec, payload, 2**16 - 1, 2**16 - 1), "cannot hold 65535×65535 pixels")
    assert_refused(untrained(), small, "compressed with other weights")
    with pytest.raises(ValueError, match="compresses no picture of 0×5 pixels"):
        codec.compress(torch.zeros(3, 0, 5, dtype=torch.uint8))
