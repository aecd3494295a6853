"""Files of JPEG with tables that learn, their tables as text, and both in programs that other people wrote."""

import io
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from channel.codecs.codec import to_file
from channel.codecs.jpeg import estimated_quality, quantization_tables
from channel.codecs.learned_jpeg import LearnedJPEG, for_cjpeg
from tests.channel.changed_tables import learned
from tests.study.report.driven_chromium import opened

SUBSAMPLINGS = ("4:4:4", "4:2:0")
# T.81, figure A.6: the place in the zigzag of each coefficient, row by row.
ZIGZAG = """0 1 5 6 14 15 27 28 2 4 7 13 16 26 29 42 3 8 12 17 25 30 41 43 9 11 18 24 31 40 44 53
    10 19 23 32 39 45 52 54 20 22 33 38 46 51 55 60 21 34 37 47 50 56 59 61 35 36 48 49 57 58 62 63"""


def pixels(data: bytes) -> torch.Tensor:
    with Image.open(io.BytesIO(data)) as image:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


# --- files ---


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
def test_a_file_holds_the_tables_and_is_baseline(photographs: torch.Tensor, subsampling: str) -> None:
    codec = learned(70, subsampling)
    data = codec.compress(photographs[0])
    tables = codec.tables().int().flatten(1)
    assert not torch.equal(tables[0], tables[0].view(8, 8).T.flatten())  # or the order could not be told
    places = torch.tensor([int(place) for place in ZIGZAG.split()])
    found = {}
    for match in re.finditer(rb"\xff\xdb(..)", data[: data.index(b"\xff\xda")], re.DOTALL):  # of 8 bits, in zigzag
        segment = data[match.end() : match.start() + 2 + int.from_bytes(match[1], "big")]
        for start in range(0, len(segment), 65):
            found[segment[start]] = torch.tensor(list(segment[start + 1 : start + 65]))[places]
    assert sorted(found) == [0, 1]
    assert torch.equal(torch.stack((found[0], found[1])).int(), tables)
    assert data.count(b"\xff\xc0") == 1 and b"\xff\xc2" not in data  # SOF0: baseline, neither progressive nor 16 bits
    with Image.open(io.BytesIO(data)) as image:
        assert [layer[:3] for layer in image.layer] == [
            (1, *((1, 1) if subsampling == "4:4:4" else (2, 2))),
            (2, 1, 1),
            (3, 1, 1),
        ]
        assert [layer[3] for layer in image.layer] == [0, 1, 1]


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
def test_what_training_sees_is_what_the_file_holds(photographs: torch.Tensor, subsampling: str) -> None:
    """As close as dJPEG is to libjpeg."""
    codec = learned(60, subsampling, "round")
    with torch.no_grad():
        errors = 255 * codec(photographs / 255) - codec.through_files(photographs)[0]
    assert 10 * torch.log10(255**2 / errors.square().mean()) > 43
    other = LearnedJPEG(60, "round", subsampling).through_files(photographs)[0]
    errors = 255 * codec(photographs / 255) - other
    assert 10 * torch.log10(255**2 / errors.square().mean()) < 40  # the tables matter


def test_bytes_are_decoded_as_pillow_does(photographs: torch.Tensor) -> None:
    codec = learned()
    data = codec.compress(photographs[1, :, :51, :67])
    decoded = LearnedJPEG(10).decompress(data)  # a file brings its own tables
    assert decoded.dtype == torch.uint8 and decoded.shape == (3, 51, 67)
    assert torch.equal(decoded, pixels(data))
    assert torch.equal(codec.through_files(photographs[:, :, :51, :67])[0][1], decoded)


def test_noise_at_the_highest_quality_is_written(generator: torch.Generator) -> None:
    """Beyond what Pillow reserves for optimized codes."""
    noise = torch.randint(256, (3, 256, 384), generator=generator, dtype=torch.uint8)
    codec = LearnedJPEG(100)
    decoded = codec.decompress(codec.compress(noise))
    assert (decoded.int() - noise.int()).abs().max() <= 5


@pytest.mark.parametrize("damage", ("cut", "header", "empty", "png", "start"))
def test_damaged_bytes_are_refused(photographs: torch.Tensor, damage: str) -> None:
    data = learned().compress(photographs[0])
    damaged = {
        "cut": data[: len(data) // 2],
        "header": data[:40],
        "empty": b"",
        "png": to_file(photographs[0].permute(1, 2, 0).contiguous().numpy(), format="PNG"),
        "start": data[:2] + bytes(300) + data[302:],
    }[damage]
    with pytest.raises(ValueError, match=r"^[^\n]*JPEG[^\n]*$"):
        learned().decompress(damaged)


# --- quality and export ---


def test_quality_of_libjpegs_tables_is_exact() -> None:
    for quality in range(1, 101):
        found = estimated_quality(quantization_tables(quality))
        assert torch.equal(quantization_tables(found), quantization_tables(quality)), quality
    assert len({tuple(quantization_tables(quality).flatten().tolist()) for quality in range(1, 101)}) == 100


def test_quality_of_other_tables_is_between(photographs: torch.Tensor) -> None:
    assert estimated_quality(learned(70).tables()) in range(64, 77)
    finer, coarser = quantization_tables(80), quantization_tables(40)
    assert 40 < estimated_quality((finer.float() * coarser).sqrt().round()) < 80


@pytest.mark.skipif(shutil.which("cjpeg") is None, reason="needs cjpeg: apt-get install libjpeg-turbo-progs")
@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
def test_cjpeg_writes_the_same_file(photographs: torch.Tensor, subsampling: str, tmp_path: Path) -> None:
    codec = learned(70, subsampling)
    (tmp_path / "tables.txt").write_text(for_cjpeg(codec.tables()))
    Image.fromarray(photographs[0].permute(1, 2, 0).contiguous().numpy()).save(tmp_path / "picture.ppm")
    sample = "1x1" if subsampling == "4:4:4" else "2x2"
    done = subprocess.run(
        ["cjpeg", "-qtables", "tables.txt", "-sample", sample, "-dct", "int", "-optimize", "picture.ppm"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert torch.equal(pixels(done.stdout), pixels(codec.compress(photographs[0])))


def test_exported_tables_are_in_natural_order() -> None:
    tables = learned().tables()
    lines = [line for line in for_cjpeg(tables).splitlines() if line and not line.startswith("#")]
    numbers = torch.tensor([[int(number) for number in line.split()] for line in lines])
    assert torch.equal(numbers.view(2, 8, 8), tables.int().long())


# --- other programs ---


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
def test_opens_in_imagemagick(photographs: torch.Tensor, subsampling: str, tmp_path: Path) -> None:
    program = next((name for name in ("magick", "convert") if is_imagemagick(name)), None)
    if program is None:
        pytest.skip("needs ImageMagick: apt-get install imagemagick")
    data = learned(70, subsampling).compress(photographs[0])
    (tmp_path / "learned.jpg").write_bytes(data)
    done = subprocess.run([program, "learned.jpg", "ppm:-"], cwd=tmp_path, capture_output=True, check=True)
    assert done.stderr == b""
    assert (pixels(done.stdout).int() - pixels(data).int()).abs().max() <= 2


def is_imagemagick(name: str) -> bool:
    if shutil.which(name) is None:
        return False
    return b"ImageMagick" in subprocess.run([name, "-version"], capture_output=True, check=False).stdout[:40]


def test_opens_in_chromium(photographs: torch.Tensor, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    H, W = photographs.shape[-2:]
    contents = [learned(70, subsampling).compress(photographs[0]) for subsampling in SUBSAMPLINGS]
    for number, content in enumerate(contents):
        (tmp_path / f"{number}.jpg").write_bytes(content)
    pictures = "".join(f'<img src="{number}.jpg" style="display: block">' for number in range(len(contents)))
    (tmp_path / "page.html").write_text(f'<body style="margin: 0">{pictures}')
    with opened(browser, tmp_path / "profile") as page:
        page.open(tmp_path / "page.html")
        assert page.ask("[...document.images].map(one => [one.naturalWidth, one.naturalHeight])") == [[W, H]] * 2
        page.screenshot(tmp_path / "shown.png", 0, 0, W, 2 * H)
        assert page.complaints == []
    with Image.open(tmp_path / "shown.png") as shown:
        seen = torch.from_numpy(np.array(shown.convert("RGB"))).permute(2, 0, 1)
    expected = torch.cat([pixels(content) for content in contents], dim=1)
    assert (seen.int() - expected.int()).abs().max() <= 2
