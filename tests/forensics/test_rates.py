"""Rate and distortion of codecs: against Pillow, scikit-image and torchmetrics."""

import io
import math
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

import models
from channel.codecs import build
from forensics.compression.coders import coders
from forensics.compression.rates import Rate, rates, read, write_csv
from tests.forensics.known_rates import HEIGHT, WIDTH, leaves, rate


@pytest.fixture(scope="module")
def picture() -> torch.Tensor:
    return leaves()


BY_PILLOW = {
    "jpeg": {"format": "jpeg", "quality": 40, "subsampling": "4:4:4"},
    "jpeg:4:2:0": {"format": "jpeg", "quality": 40, "subsampling": "4:2:0"},
    "webp": {"format": "webp", "quality": 40},
    "avif": {"format": "avif", "quality": 40, "subsampling": "4:2:0", "max_threads": 2},
    "jpeg2000": {
        "format": "jpeg2000",
        "irreversible": True,
        "quality_mode": "dB",
        "quality_layers": [40],
    },
}


@pytest.mark.parametrize("codec", BY_PILLOW)
def test_a_rate_is_that_of_the_file(picture: torch.Tensor, codec: str) -> None:
    (found,) = rates([("leaves", picture)], coders([codec], ["40"]))
    pixels = picture.movedim(0, -1).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, **BY_PILLOW[codec])  # type: ignore[arg-type]
    decoded = np.asarray(Image.open(file).convert("RGB"))

    assert (found.photograph, found.codec, found.quality) == ("leaves", codec, "40")
    assert (found.height, found.width, found.bytes) == (HEIGHT, WIDTH, len(file.getvalue()))
    assert found.bpp == 8 * len(file.getvalue()) / (HEIGHT * WIDTH)
    assert found.psnr == pytest.approx(peak_signal_noise_ratio(pixels, decoded), abs=1e-3)
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
    by_scikit = structural_similarity(pixels / 255, decoded / 255, channel_axis=-1, **window)
    assert found.ssim == pytest.approx(by_scikit, abs=1e-4)
    both = (torch.tensor(one / 255).movedim(-1, 0)[None] for one in (decoded, pixels))
    by_torchmetrics = multiscale_structural_similarity_index_measure(*both, data_range=1.0).item()
    assert found.ms_ssim == pytest.approx(by_torchmetrics, abs=1e-3)


def test_every_codec_is_measured_on_every_photograph(picture: torch.Tensor) -> None:
    told: list[Rate] = []
    compared = coders(["webp", "jpeg"], ["20,10", "webp=30"])
    found = rates([("a", picture), ("b", picture.flip(2))], compared, told.append)
    assert [(one.photograph, one.codec, one.quality) for one in found] == [
        (photograph, *setting) for photograph in "ab" for setting in (("webp", "30"), ("jpeg", "10"), ("jpeg", "20"))
    ]
    assert told == found


def test_an_encoder_that_refuses_a_photograph_is_named() -> None:
    with pytest.raises(ValueError, match=r"^webp, quality 50: .*16383"):
        rates([("panorama", torch.zeros(3, 8, 16384, dtype=torch.uint8))], coders(["webp"], ["50"]))


def test_photographs_are_read_as_they_are_or_as_means(tmp_path: Path, picture: torch.Tensor) -> None:
    large = picture.repeat(1, 2, 2)[:, :, :-1]
    file = tmp_path / "photograph.png"
    Image.fromarray(large.movedim(0, -1).numpy()).save(file)
    assert torch.equal(read(file), large)
    whole = large[:, :, : WIDTH * 2 - 2].double().unflatten(1, (-1, 2)).unflatten(3, (-1, 2)).mean((2, 4))
    assert (read(file, 2).double() - whole).abs().max() <= 0.5 + 1e-4
    with pytest.raises(ValueError, match="91×97 pixels: MS-SSIM needs 176×176"):
        read(file, 4)


@pytest.mark.parametrize("names", [["jpeg"], ["webp"], ["avif"], ["jpeg2000"]])
def test_default_sweeps_rise(picture: torch.Tensor, names: list[str]) -> None:
    found = rates([("a", picture)], coders(names))
    assert 6 <= len(found) <= 10
    assert all(one.bpp < other.bpp and one.psnr < other.psnr for one, other in pairwise(found))
    assert found[-1].bpp > 1


@pytest.mark.parametrize(
    ("names", "qualities", "message"),
    [
        (["gif"], [], "unknown codec 'gif': write one of jpeg, webp"),
        (["jpeg:50"], [], "subsampling of jpeg"),
        (["webp:4:4:4"], [], "subsampling of webp"),
        (["jpeg"], ["0"], "jpeg:0"),
        (["jpeg"], ["101"], "jpeg:101"),
        (["jpeg"], ["10-20"], "--qualities 10-20: write"),
        (["jpeg"], ["webp=10"], "webp is not among the codecs"),
        (["learned"], [], "unknown codec 'learned'"),
        (["no.safetensors"], [], "no.safetensors: there is no such file"),
    ],
)
def test_errors_name_the_codec(names: list[str], qualities: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]*$") as error:
        coders(names, qualities)
    assert message in str(error.value)


def test_a_table_has_a_column_for_every_field(tmp_path: Path) -> None:
    write_csv(tmp_path / "rates.csv", [rate("jpeg", psnr=math.inf)], Rate)
    head, row = (tmp_path / "rates.csv").read_text().splitlines()
    assert head.split(",") == [field.name for field in fields(Rate)]
    assert row == "a,jpeg,1,8,8,8,1,inf,0.9,0.9"


# --- codecs that learned ---


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of three codecs: two of 16 features, one of 32."""
    folder = tmp_path_factory.mktemp("weights")
    files = {}
    for seed, (name, features) in enumerate({"cheap": 16, "dear": 16, "wide": 32}.items()):
        codec = build("learned", features=features, width=4, generator=torch.Generator().manual_seed(seed))
        files[name] = folder / f"{name}.safetensors"
        models.save(files[name], codec)
    return files


def test_files_of_one_architecture_are_one_curve(weights: dict[str, Path], picture: torch.Tensor) -> None:
    compared = coders([str(weights["cheap"]), "jpeg", str(weights["dear"])], ["50"])
    assert [coder.name for coder in compared] == ["learned", "jpeg"]
    found = rates([("a", picture)], compared)
    assert [one.quality for one in found] == ["cheap", "dear", "50"]
    for one in found[:2]:
        codec = models.load(weights[one.quality], build=build)
        data = codec.compress(picture)
        assert one.bytes == len(data)
        decoded = codec.decompress(data).movedim(0, -1).numpy()
        assert one.psnr == pytest.approx(peak_signal_noise_ratio(picture.movedim(0, -1).numpy(), decoded), abs=1e-3)


def test_other_architectures_are_other_curves(weights: dict[str, Path]) -> None:
    compared = coders([str(file) for file in weights.values()])
    assert [coder.name for coder in compared] == ["learned features=16 width=4", "learned features=32 width=4"]
    assert [[setting.quality for setting in coder.sweep] for coder in compared] == [["cheap", "dear"], ["wide"]]
