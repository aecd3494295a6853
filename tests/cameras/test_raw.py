"""RawFrame: real files of two cameras, DNGs of all four phases, and everything that must be refused."""

import dataclasses
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cameras import RawError, RawFrame
from cameras.dng import write_dng
from cameras.raw import CFA_PATTERNS, EXIF_ORIENTATION, sample_positions
from cameras.simulate import PRESETS

CANON = "canon-eos-30d_IMG_5952.CR2"
NIKON = "nikon-d5000_sample1.dng"
HEIGHT, WIDTH = 64, 96
BYTE, SHORT, LONG, RATIONAL, SRATIONAL = 1, 3, 4, 5, 10


def noise(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 4000, (height, width)).astype(np.uint16)


def dng(path: Path, data: np.ndarray, photometric: int = 32803, **changes: tuple | None) -> Path:
    """A DNG with an RGGB cell, black 0 and white 4000, unless ``changes`` say otherwise (None: no such tag)."""
    import tifffile

    tags: dict[str, tuple | None] = {
        "make": (271, 2, 0, "Maker"),
        "model": (272, 2, 0, "Model"),
        "orientation": (274, SHORT, 1, 1),
        "cfa_size": (33421, SHORT, 2, (2, 2)),
        "cfa": (33422, BYTE, 4, bytes([0, 1, 1, 2])),
        "version": (50706, BYTE, 4, bytes([1, 4, 0, 0])),
        "unique": (50708, 2, 0, "Maker Model"),
        "white": (50717, LONG, 1, 4000),
        "matrix": (50721, SRATIONAL, 9, [v for m in np.eye(3, dtype=int).flat for v in (int(m), 1)]),
        "neutral": (50728, RATIONAL, 3, (1, 2, 1, 1, 2, 3)),
        "illuminant": (50778, SHORT, 1, 21),
    }
    tags |= changes
    extra = [(*tag, True) for tag in tags.values() if tag]
    tifffile.imwrite(path, data, photometric=photometric, metadata=None, software=False, extratags=extra)
    return path


def monochrome(path: Path) -> None:
    """A linear DNG with one sample a pixel; tifffile refuses to write that, so its tag is changed."""
    content = dng(path, noise(), cfa=None, cfa_size=None).read_bytes()
    tag = struct.pack("<HHI", 262, SHORT, 1)
    assert content.count(tag) == 1
    path.write_bytes(content.replace(tag + struct.pack("<H", 32803), tag + struct.pack("<H", 34892)))


# ---- real files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "camera", "cfa", "shape"),
    [(CANON, "Canon EOS 30D", "RGGB", (1174, 1761, 4)), (NIKON, "NIKON D5000", "GBRG", (1434, 2155, 4))],
)
def test_real_camera(shared_raw: Path, name: str, camera: str, cfa: str, shape: tuple[int, int, int]) -> None:
    frame = RawFrame.open(shared_raw / name)
    assert (frame.camera, frame.cfa, frame.bayer.shape, frame.orientation) == (camera, cfa, shape, 1)
    assert frame.bayer.dtype == frame.cam2srgb.dtype == frame.white_balance.dtype == np.float32
    assert 0 <= frame.bayer.min() < 0.05 < frame.bayer.max() <= 1
    assert frame.white_balance.min() == 1
    np.testing.assert_allclose(frame.cam2srgb.sum(1), 1, atol=1e-6)
    # The two greens see the same scene: were the phase wrong, they would differ as red and blue do.
    r, g1, g2, b = frame.bayer.reshape(-1, 4)[::1009].T
    assert np.abs(g1 - g2).mean() < 0.5 * np.abs(r - b).mean()


def test_black_level_of_each_channel_and_visible_area(shared_raw: Path) -> None:
    """Against LibRaw's numbers, read sample by sample."""
    import rawpy

    frame = RawFrame.open(shared_raw / CANON)
    gains = frame.white_balance[[0, 1, 1, 2]]
    with rawpy.imread(str(shared_raw / CANON)) as raw:
        for plane, position in enumerate(sample_positions(frame.cfa)):
            for cell in ((0, 0), (500, 333), (1173, 1760)):
                y, x = 2 * cell[0] + position // 2, 2 * cell[1] + position % 2
                black = raw.black_level_per_channel[raw.raw_color(y + 12, x + 74)]
                value = (int(raw.raw_value_visible(y, x)) - black) / (4095 - black) * gains[plane]
                assert frame.bayer[(*cell, plane)] == pytest.approx(np.clip(value, 0, 1), abs=1e-6)
        assert raw.black_level_per_channel == [128, 128, 128, 127]


def test_blown_out_highlights_are_white(shared_raw: Path) -> None:
    """The greens of this file saturate at 3840: with any higher white, highlights would be magenta."""
    bayer = RawFrame.open(shared_raw / "nikon-d5000_sample3.dng").bayer
    blown = bayer[(bayer[..., 1] == 1) & (bayer[..., 2] == 1)]
    assert len(blown) > 1e6
    assert (blown.mean(0) > 0.99).all()


def test_matrix_from_the_table_equals_the_matrix_in_the_file(shared_raw: Path) -> None:
    """The D5000's DNG carries a matrix and LibRaw's table has one: both must give nearly the same colours."""
    import rawpy

    from cameras.raw import _cam2srgb

    with rawpy.imread(str(shared_raw / NIKON)) as raw:
        table = _cam2srgb(np.zeros((3, 4)), raw.rgb_xyz_matrix)
        np.testing.assert_allclose(table, _cam2srgb(raw.color_matrix, raw.rgb_xyz_matrix), atol=0.02)


@pytest.mark.parametrize(
    ("color_matrix", "rgb_xyz_matrix"),
    [
        (np.full((3, 4), np.nan), np.zeros((4, 3))),
        (np.zeros((3, 4)), np.full((4, 3), np.nan)),
        (np.zeros((3, 4)), np.ones((4, 3))),
    ],
    ids=["NaN in the file", "NaN in the table", "singular in the table"],
)
def test_an_impossible_matrix_is_a_raw_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, color_matrix: np.ndarray, rgb_xyz_matrix: np.ndarray
) -> None:
    import cameras.raw

    path, cam2srgb = dng(tmp_path / "a.dng", noise()), cameras.raw._cam2srgb
    monkeypatch.setattr("cameras.raw._cam2srgb", lambda *_: cam2srgb(color_matrix, rgb_xyz_matrix))
    with pytest.raises(RawError, match=r"a\.dng: its colour matrix cannot be inverted$"):
        RawFrame.open(path)


# ---- DNGs of every kind ------------------------------------------------------------------------------------


def test_presets_cover_the_four_phases() -> None:
    assert {camera.cfa for camera in PRESETS.values()} == set(CFA_PATTERNS)


@pytest.mark.parametrize("cfa", CFA_PATTERNS)
def test_planes_and_levels_by_position(tmp_path: Path, cfa: str) -> None:
    """A number to each position: each comes out in the plane of its letter with the black of its place."""
    black, white, samples = np.array([[10, 20], [30, 40]]), 1040, np.array([[110, 220], [430, 540]])
    mosaic = np.tile(samples, (HEIGHT // 2, WIDTH // 2)).astype(np.uint16)
    mosaic[:2, :2] += 1  # not constant
    camera = dataclasses.replace(
        PRESETS["sim-rggb"], cfa=cfa, black=tuple(black.flat), white=white, white_balance=(1.5, 1, 1.25)
    )
    write_dng(tmp_path / "a.dng", mosaic, camera)
    expected, gains = {"R": [], "G": [], "B": []}, {"R": 1.5, "G": 1, "B": 1.25}
    for letter, level, number in zip(cfa, black.flat, samples.flat, strict=True):
        expected[letter].append(min((number - level) / (white - level) * gains[letter], 1))
    np.testing.assert_allclose(
        RawFrame.open(tmp_path / "a.dng").bayer[5, 5],
        [*expected["R"], *expected["G"], *expected["B"]],
        atol=1e-5,
    )


def test_orientation_is_exif_and_the_stack_stays(tmp_path: Path) -> None:
    mosaic = noise()
    upright = RawFrame.open(dng(tmp_path / "1.dng", mosaic)).bayer
    for orientation in range(1, 9):
        path = dng(tmp_path / "turned.dng", mosaic, orientation=(274, SHORT, 1, orientation))
        opened = RawFrame.open(path)
        assert opened.orientation == orientation
        np.testing.assert_array_equal(opened.bayer, upright)
    assert sorted(EXIF_ORIENTATION.values()) == list(range(1, 9))


def test_odd_sides_lose_their_last_row_and_column(tmp_path: Path) -> None:
    mosaic = noise(HEIGHT + 1, WIDTH + 1)
    opened = RawFrame.open(dng(tmp_path / "odd.dng", mosaic)).bayer
    whole = RawFrame.open(dng(tmp_path / "even.dng", mosaic[:HEIGHT, :WIDTH])).bayer
    np.testing.assert_array_equal(opened, whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mosaic": np.zeros((4, 4, 1))}, "mosaic"),
        ({"cfa": "RGBG"}, "RGBG"),
        ({"black": 100.0}, "white level 100"),
        ({"white_balance": np.array([1, 1, 0])}, "white balance"),
        ({"white_balance": np.array([1, 1, np.nan])}, "white balance"),
        ({"black": np.zeros((3, 3))}, "black levels"),
        ({"cam2srgb": 2 * np.eye(3)}, "rows that sum to 1"),
    ],
)
def test_from_mosaic_refuses(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {
        "mosaic": np.ones((4, 4), np.uint16),
        "cfa": "RGGB",
        "black": 0,
        "white": 100,
        "white_balance": np.ones(3),
        "cam2srgb": np.eye(3),
        "camera": "none",
    }
    assert RawFrame.from_mosaic(**good).bayer[0, 0, 0] == np.float32(0.01)
    with pytest.raises(ValueError, match=message):
        RawFrame.from_mosaic(**(good | change))


@pytest.mark.parametrize("name", ["a", "a.raw", "a.tif", "a.jpg", os.fsdecode(b"caf\xe9.dng")])
def test_the_content_decides_not_the_name(tmp_path: Path, name: str) -> None:
    expected = RawFrame.open(dng(tmp_path / "a.dng", noise())).bayer
    shutil.move(tmp_path / "a.dng", tmp_path / name)
    np.testing.assert_array_equal(RawFrame.open(tmp_path / name).bayer, expected)
    (tmp_path / name).write_text("no photograph")
    with pytest.raises(RawError, match="not a RAW file") as refusal:
        RawFrame.open(tmp_path / name)
    str(refusal.value).encode()  # it can be printed


@pytest.mark.parametrize("magic", [b"IIRO", b"IIRS", b"IIU\0"], ids=["ORF", "ORF of other models", "RW2"])
def test_tiff_files_with_another_magic_number(tmp_path: Path, magic: bytes) -> None:
    content = dng(tmp_path / "a.dng", noise()).read_bytes()
    (tmp_path / "a.bin").write_bytes(magic + content[4:])
    expected = RawFrame.open(tmp_path / "a.dng")
    opened = RawFrame.open(tmp_path / "a.bin")
    assert opened.camera == expected.camera
    np.testing.assert_array_equal(opened.bayer, expected.bayer)
    (tmp_path / "a.bin").write_bytes(magic + content[4:-100])
    with pytest.raises(RawError, match="truncated"):
        RawFrame.open(tmp_path / "a.bin")


def night(lamps: bool) -> np.ndarray:
    """A camera that subtracts its own black: most of the frame is 0, with single bright pixels and one lamp."""
    rng = np.random.default_rng(2)
    mosaic = np.where(rng.random((HEIGHT, WIDTH)) < 0.01, rng.integers(1, 5, (HEIGHT, WIDTH)), 0)
    if lamps:
        mosaic[10:20, 30:50] = 4000
    mosaic[40:] = 0
    return mosaic.astype(np.uint16)


@pytest.mark.parametrize("lamps", [True, False])
def test_a_night_frame_without_black_level_is_no_damage(tmp_path: Path, lamps: bool) -> None:
    frame = RawFrame.open(dng(tmp_path / "a.dng", night(lamps)))
    assert (frame.bayer[20:] == 0).all()
    assert frame.bayer.max() > 0
    with pytest.raises(RawError, match=r"damaged: .* rows are all zero"):  # one that keeps its black level has none
        RawFrame.open(dng(tmp_path / "b.dng", night(lamps), black=(50714, SHORT, 1, 64)))


@pytest.mark.parametrize("rows", [slice(60, 64), slice(0, 3), slice(30, 40)])
def test_missing_rows_beside_light_are_damage(tmp_path: Path, rows: slice) -> None:
    """Read noise alone is enough: half of its samples are above 0."""
    mosaic = np.maximum(np.random.default_rng(0).normal(0, 3, (HEIGHT, WIDTH)).round(), 0).astype(np.uint16)
    mosaic[5, 5] = 1000
    RawFrame.open(dng(tmp_path / "a.dng", mosaic))
    mosaic[rows] = 0
    with pytest.raises(RawError, match=f"damaged: {rows.stop - rows.start} of 64 rows"):
        RawFrame.open(dng(tmp_path / "a.dng", mosaic))


# ---- refused -----------------------------------------------------------------------------------------------

RGB = np.random.default_rng(0).integers(0, 4000, (HEIGHT, WIDTH, 3)).astype(np.uint16)
X_TRANS = bytes("RGB".index(letter) for letter in "GGRGGBGGBGGRBRGRBGGGBGGRGGRGGBRBGBRG")

REFUSED: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "missing": ("a.dng", lambda path: None, "no such file"),
    "folder": ("a.dng", lambda path: path.mkdir(), "not a regular file"),
    "empty": ("a.CR2", lambda path: path.write_bytes(b""), "empty"),
    "text": ("a.NEF", lambda path: path.write_text("this is no photograph\n" * 99), "not a RAW file of a known kind"),
    "header": ("a.nef", lambda path: path.write_bytes(b"II*\0\x08"), "truncated"),
    "headerless": ("a.raw", lambda path: path.write_bytes(noise().tobytes()), "not a RAW file of a known kind"),
    "zero": ("a.dng", lambda path: dng(path, 0 * noise()), "every pixel has one value"),
    "constant": ("a.dng", lambda path: dng(path, 0 * noise() + 700), "every pixel has one value"),
    "empty rows": ("a.dng", lambda path: dng(path, noise() * (np.arange(64) < 60)[:, None]), "4 of 64 rows"),
    "garbage": ("a.dng", lambda path: dng(path, noise() * np.uint16(16)), "where white is 4000"),
    "photo": ("a.dng", lambda path: dng(path, RGB, 2, version=None, cfa=None, cfa_size=None), "not RAW file"),
    "linear DNG": ("a.dng", lambda path: dng(path, RGB, 34892, cfa=None, cfa_size=None), "full-colour"),
    "monochrome": ("a.dng", monochrome, "full-colour or monochrome"),
    "X-Trans": (
        "a.dng",
        lambda path: dng(path, noise(), cfa=(33422, BYTE, 36, X_TRANS), cfa_size=(33421, SHORT, 2, (6, 6))),
        "6×6",
    ),
    "not Bayer": (
        "a.dng",
        lambda path: dng(path, noise(), cfa=(33422, BYTE, 4, bytes([0, 0, 1, 2]))),
        "cell is RRGB",
    ),
    "no balance": ("a.dng", lambda path: dng(path, noise(), neutral=None), "white balance"),
    "no matrix": ("a.dng", lambda path: dng(path, noise(), matrix=None), "colour matrix"),
    "singular matrix": (
        "a.dng",
        lambda path: dng(path, noise(), matrix=(50721, SRATIONAL, 9, [*[1, 1, 2, 1, 3, 1] * 3])),
        "colour matrix cannot be inverted",
    ),
    "nearly singular matrix": (
        "a.dng",
        lambda path: dng(path, noise(), matrix=(50721, SRATIONAL, 9, [v for m in range(1, 10) for v in (m, 1)])),
        "colour matrix cannot be inverted",
    ),
    "black": ("a.dng", lambda path: dng(path, noise(), black=(50714, SHORT, 1, 4000)), "does not lie above black"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(tmp_path: Path, case: str) -> None:
    name, make, reason = REFUSED[case]
    path = tmp_path / name
    make(path)
    with pytest.raises(RawError) as refusal:
        RawFrame.open(path)
    message = str(refusal.value)
    assert str(path) in message
    assert reason in message
    assert "\n" not in message


@pytest.mark.parametrize("name", [CANON, NIKON])
def test_refuses_real_files_cut_short(shared_raw: Path, tmp_path: Path, name: str) -> None:
    whole = (shared_raw / name).read_bytes()
    path = tmp_path / name
    for length in (4, 9, 300, 5_000, 90_000, len(whole) // 3, len(whole) - 50_000, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(RawError, match="truncated"):
            RawFrame.open(path)


@pytest.mark.parametrize("name", [CANON, NIKON])
@pytest.mark.parametrize("part", [0.3, 0.99])
def test_refuses_real_files_whose_end_never_arrived(shared_raw: Path, tmp_path: Path, name: str, part: float) -> None:
    """Full length, but zeros from some point on: a download that reserved its space."""
    path = tmp_path / name
    shutil.copyfile(shared_raw / name, path)
    with path.open("r+b") as file:
        size = path.stat().st_size
        file.seek(int(part * size))
        file.write(bytes(size - file.tell()))
    with pytest.raises(RawError, match=r"damaged|cannot decode"):
        RawFrame.open(path)


def test_any_bytes_are_a_frame_or_a_raw_error(tmp_path: Path) -> None:
    """Bytes of the directory replaced at random: nothing but a RawError, and no gigabytes of memory."""
    whole, rng = (
        dng(tmp_path / "whole.dng", noise(32, 48), black=(50714, SHORT, 1, 64)).read_bytes(),
        np.random.default_rng(0),
    )
    refused = 0
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(rng.integers(1, 3)):
            content[rng.integers(8, len(whole) - 2 * 32 * 48)] = rng.choice([0, 1, 2, 7, 10, 255])
        (tmp_path / "odd.dng").write_bytes(content)
        try:
            RawFrame.open(tmp_path / "odd.dng")
        except RawError:
            refused += 1
    assert 30 < refused < 300


def test_refuses_a_simulated_file_cut_anywhere(tmp_path: Path) -> None:
    whole = dng(tmp_path / "whole.dng", noise(32, 48)).read_bytes()
    RawFrame.open(tmp_path / "whole.dng")
    for length in range(0, len(whole), 7):
        (tmp_path / "cut.dng").write_bytes(whole[:length])
        with pytest.raises(RawError):
            RawFrame.open(tmp_path / "cut.dng")
