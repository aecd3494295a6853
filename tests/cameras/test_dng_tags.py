"""Every row of the table in docs/raw.md, tried with DNGs that tifffile writes; expected numbers come from formulas."""

import re
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from cameras import RawError, RawFrame
from cameras.container import read_container
from cameras.develop import develop_libraw
from cameras.dngtags import TAGS
from cameras.raw import SRGB_TO_XYZ

TABLE = Path(__file__).resolve().parents[2] / "docs" / "raw.md"
HEIGHT, WIDTH, WHITE = 64, 96, 4000
BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, SRATIONAL = 1, 2, 3, 4, 5, 7, 10
MATRIX = np.array([[0.73, -0.14, -0.05], [-0.85, 1.6, 0.26], [-0.24, 0.28, 0.81]])
WARM = np.array([[0.8, -0.2, -0.1], [-0.7, 1.5, 0.2], [-0.2, 0.3, 0.6]])  # the same camera in the light of a bulb
GAINS = np.array([2, 1, 1.5])
D65, BULB = 21, 17
NUMBER = {name: code for code, name in reversed(list(tifffile.TIFF.TAGS.items()))}  # of two CFAPatterns, TIFF/EP's


def noise(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(7).integers(0, WHITE, (height, width)).astype(np.uint16)


def fractions(*values: float) -> tuple[int, ...]:
    parts = [Fraction(float(value)).limit_denominator(10**6) for value in values]
    return tuple(number for part in parts for number in (part.numerator, part.denominator))


def matrix(values: np.ndarray) -> tuple:
    return SRATIONAL, 9, fractions(*np.asarray(values).flat)


def shorts(*values: int) -> tuple:
    return SHORT, len(values), values if len(values) > 1 else values[0]


def rationals(*values: float) -> tuple:
    return RATIONAL, len(values), fractions(*values)


def srationals(*values: float) -> tuple:
    return SRATIONAL, len(values), fractions(*values)


def write(path: Path, data: np.ndarray, photometric: int = 32803, **changes: tuple | None) -> Path:
    """A plain DNG with an RGGB cell; ``changes`` are (type, count, value) by the tag's name, None: no such tag."""
    tags: dict[str, tuple | None] = {
        "Make": (ASCII, 0, "Maker"),
        "Model": (ASCII, 0, "Model"),
        "CFARepeatPatternDim": shorts(2, 2),
        "CFAPattern": (BYTE, 4, bytes([0, 1, 1, 2])),
        "DNGVersion": (BYTE, 4, bytes([1, 4, 0, 0])),
        "UniqueCameraModel": (ASCII, 0, "Maker Model"),
        "WhiteLevel": (LONG, 1, WHITE),
        "ColorMatrix1": matrix(MATRIX),
        "AsShotNeutral": rationals(*1 / GAINS),
        "CalibrationIlluminant1": shorts(D65),
    }
    extra = [(number(name), *tag, True) for name, tag in (tags | changes).items() if tag]
    tifffile.imwrite(path, data, photometric=photometric, metadata=None, software=False, extratags=extra)
    return path


def number(name: str) -> int:
    """tifffile's number of a tag; of the few that it does not know, the one in the code."""
    return NUMBER[name] if name in NUMBER else TAGS[name]


def calibrated(
    mosaic: np.ndarray,
    black: Callable[[np.ndarray, np.ndarray], np.ndarray] = lambda y, x: 0 * y,
    white: float = WHITE,
    gains: np.ndarray = GAINS,
    corner: tuple[int, int] = (0, 0),
) -> np.ndarray:
    """What a frame of an RGGB sensor holds: pixel by pixel, from the formula of the specification (chapter 5).

    black: from rows and columns counted from the ActiveArea's corner. LibRaw shows sensors from even rows and columns.
    """
    top, left = (start + start % 2 for start in corner)
    y, x = np.mgrid[top : mosaic.shape[0], left : mosaic.shape[1]]
    y, x = y - corner[0], x - corner[1]
    seen, level = mosaic[top:, left:].astype(float), black(y, x)
    colour = np.array([[0, 1], [1, 2]])[y % 2, x % 2]
    values = np.clip(np.clip((seen - level) / (white - level), 0, 1) * (gains / gains.min())[colour], 0, 1)
    values, colour = (part[: len(part) // 2 * 2, : part.shape[1] // 2 * 2] for part in (values, colour))
    cell = colour[:2, :2].ravel()
    order = [*np.flatnonzero(cell == 0), *np.flatnonzero(cell == 1), *np.flatnonzero(cell == 2)]
    return np.stack([values[i // 2 :: 2, i % 2 :: 2] for i in order], axis=-1)


class Attempt:
    """Write DNGs with some tags; they open with these numbers, or are refused."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "a.dng"

    def opens(self, expected: np.ndarray | None = None, data: np.ndarray | None = None, **changes: Any) -> RawFrame:
        mosaic = noise() if data is None else data
        frame = RawFrame.open(write(self.path, mosaic, **changes))
        np.testing.assert_allclose(frame.bayer, calibrated(mosaic) if expected is None else expected, atol=3e-6)
        return frame

    def refused(self, reason: str, data: np.ndarray | None = None, **changes: Any) -> None:
        write(self.path, noise() if data is None else data, **changes)
        self.refused_as_it_is(reason)

    def refused_as_it_is(self, reason: str) -> None:
        with pytest.raises(RawError, match=rf"a\.dng: {reason}"):
            RawFrame.open(self.path)


# ---- one test a row ------------------------------------------------------------------------------------------


def make_model(dng: Attempt) -> None:
    changes = {"Make": (ASCII, 0, "NIKON CORPORATION"), "Model": (ASCII, 0, "NIKON D90")}
    assert dng.opens(**changes).camera == "NIKON D90"
    assert dng.opens().camera == "Maker Model"


def orientation(dng: Attempt) -> None:
    for value in range(1, 9):
        assert dng.opens(Orientation=shorts(value)).orientation == value


def preview(path: Path, kinds: list[int], photometric: int = 32803) -> None:
    """A DNG with several pictures of those NewSubfileTypes; the first directory is the whole DNG."""
    write(path, noise(), NewSubfileType=(LONG, 1, kinds[0]))
    for kind in kinds[1:]:
        tags = [(NUMBER["CFARepeatPatternDim"], *shorts(2, 2), True)] * (photometric == 32803)
        tags += [(NUMBER["NewSubfileType"], LONG, 1, kind, True)]
        tags += [(NUMBER["CFAPattern"], BYTE, 4, bytes([0, 1, 1, 2]), True)] * (photometric == 32803)
        tifffile.imwrite(
            path,
            noise()[:32, :48] // 2,
            photometric=photometric,
            metadata=None,
            append=True,
            extratags=tags,
        )


def new_subfile_type(dng: Attempt) -> None:
    for kinds in ([0, 1], [0, 4], [0, 0x10001]):
        preview(dng.path, kinds)
        np.testing.assert_allclose(RawFrame.open(dng.path).bayer, calibrated(noise()), atol=3e-6)
    preview(dng.path, [0, 0])
    dng.refused_as_it_is("NewSubfileType: the file has 2 RAW pictures")
    preview(dng.path, [1])
    dng.refused_as_it_is("NewSubfileType and PhotometricInterpretation name no RAW picture")


def photometric_interpretation(dng: Attempt) -> None:
    without = {"CFARepeatPatternDim": None, "CFAPattern": None}
    dng.refused("not a Bayer mosaic", np.stack([noise()] * 3, -1), photometric=34892, **without)
    content = write(dng.path, noise(), **without).read_bytes()
    tag = struct.pack("<HHI", 262, SHORT, 1)
    assert content.count(tag) == 1
    dng.path.write_bytes(content.replace(tag + struct.pack("<H", 32803), tag + struct.pack("<H", 34892)))
    dng.refused_as_it_is("not a Bayer mosaic")


def bits_per_sample(dng: Attempt) -> None:
    small = (noise() // 16).astype(np.uint8)
    dng.opens(calibrated(small, white=250), small, WhiteLevel=shorts(250))
    dng.refused("BitsPerSample is 32", noise().astype(np.uint32))


def sample_format(dng: Attempt) -> None:
    for kind in (np.float32, np.float16):
        for brightest in (1, 4):
            dng.refused("SampleFormat is floating point", (brightest * noise() / WHITE).astype(kind), WhiteLevel=None)


def compression(dng: Attempt) -> None:
    content = write(dng.path, noise()).read_bytes()
    tag = struct.pack("<HHI", 259, SHORT, 1)
    assert content.count(tag) == 1
    dng.path.write_bytes(content.replace(tag + struct.pack("<H", 1), tag + struct.pack("<H", 52546)))
    dng.refused_as_it_is("LibRaw cannot decode it")


def backward_version(dng: Attempt) -> None:
    dng.opens(DNGBackwardVersion=(BYTE, 4, bytes([1, 7, 1, 0])))
    dng.refused("DNGBackwardVersion is 1 8 0 0", DNGBackwardVersion=(BYTE, 4, bytes([1, 8, 0, 0])))


def cfa(dng: Attempt) -> None:
    for cell in ("RGGB", "BGGR", "GRBG", "GBRG"):
        codes = bytes("RGB".index(letter) for letter in cell)
        assert RawFrame.open(write(dng.path, noise(), CFAPattern=(BYTE, 4, codes))).cfa == cell
    dng.refused("not a Bayer mosaic", CFAPattern=(BYTE, 4, bytes([0, 0, 1, 2])))
    x_trans = bytes("RGB".index(letter) for letter in "GGRGGBGGBGGRBRGRBGGGBGGRGGRGGBRBGBRG")
    dng.refused("not a Bayer mosaic.*6×6", CFARepeatPatternDim=shorts(6, 6), CFAPattern=(BYTE, 36, x_trans))


def plane_color(dng: Attempt) -> None:
    dng.opens(CFAPlaneColor=(BYTE, 3, bytes([0, 1, 2])))
    dng.refused("CFAPlaneColor is 2 1 0", CFAPlaneColor=(BYTE, 3, bytes([2, 1, 0])))
    dng.refused("CFAPlaneColor is 0 1 2 3", CFAPlaneColor=(BYTE, 4, bytes([0, 1, 2, 3])))


def layout(dng: Attempt) -> None:
    dng.opens(CFALayout=shorts(1))
    for value in range(2, 10):
        dng.refused(f"CFALayout is {value}, not rectangular", CFALayout=shorts(value))


def linearization(dng: Attempt) -> None:
    table = (np.arange(256) ** 2 / 16.5).astype(int)
    stored = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH)).astype(np.uint8)
    dng.opens(calibrated(table[stored]), stored, LinearizationTable=shorts(*table.tolist()))


def black(dng: Attempt) -> None:
    rng = np.random.default_rng(3)
    for shape in [(1, 1), (1, 2), (2, 1), (2, 2), (4, 4), (1, 4), (3, 5), (2, 8)]:
        levels = rng.integers(0, 300, shape)
        dng.opens(
            calibrated(noise(), lambda y, x, levels=levels: levels[y % len(levels), x % levels.shape[1]]),
            BlackLevelRepeatDim=shorts(*shape),
            BlackLevel=shorts(*levels.ravel().tolist()),
        )
    dng.opens(calibrated(noise(), lambda y, x: 0 * y + 64.25), BlackLevel=rationals(64.25))
    dng.refused("BlackLevel has 3 values", BlackLevelRepeatDim=shorts(2, 2), BlackLevel=shorts(1, 2, 3))
    dng.refused("BlackLevel has a value", BlackLevel=(RATIONAL, 1, (1, 0)))
    write(dng.path, noise(), BlackLevelRepeatDim=shorts(4, 4), BlackLevel=shorts(*range(0, 160, 10)))
    with pytest.raises(RawError, match="LibRaw takes other black levels"):
        develop_libraw(dng.path)


def delta(dng: Attempt, name: str, size: int, axis: int) -> None:
    steps = np.random.default_rng(4).integers(-40, 40, size)
    dng.opens(
        calibrated(noise(), lambda y, x: 100 + steps[(y, x)[axis]]),
        BlackLevel=shorts(100),
        **{name: srationals(*steps.tolist())},
    )
    dng.opens(
        calibrated(noise(), lambda y, x: np.array([[90, 100], [110, 130]])[y % 2, x % 2] + steps[(y, x)[axis]]),
        BlackLevelRepeatDim=shorts(2, 2),
        BlackLevel=shorts(90, 100, 110, 130),
        **{name: srationals(*steps.tolist())},
    )
    dng.refused(f"{name} has {size - 1} values", **{name: srationals(*steps[1:].tolist())})


def white(dng: Attempt) -> None:
    dng.opens(calibrated(noise(), white=3000), WhiteLevel=shorts(3000))
    dng.opens(calibrated(noise(), white=65535), WhiteLevel=None)
    small = (noise() // 16).astype(np.uint8)
    dng.opens(calibrated(small, white=255), small, WhiteLevel=None)
    dng.refused("white level 100 does not lie above", noise() // 40, WhiteLevel=shorts(100), BlackLevel=shorts(100))


def active_area(dng: Attempt) -> None:
    levels, down, across = np.array([[10, 200], [300, 40]]), np.arange(64) % 7, np.arange(96) % 5
    for top, left in [(0, 0), (2, 4), (1, 0), (0, 1), (1, 1), (3, 5)]:
        frame = dng.opens(
            calibrated(
                noise(),
                lambda y, x: levels[y % 2, x % 2] + down[y] + across[x],
                corner=(top, left),
            ),
            ActiveArea=(LONG, 4, (top, left, HEIGHT, WIDTH)),
            BlackLevelRepeatDim=shorts(2, 2),
            BlackLevel=shorts(*levels.ravel().tolist()),
            BlackLevelDeltaV=srationals(*down[: HEIGHT - top].tolist()),
            BlackLevelDeltaH=srationals(*across[: WIDTH - left].tolist()),
        )
        assert frame.cfa == ("RGGB", "GRBG", "GBRG", "BGGR")[2 * (top % 2) + left % 2]
    write(
        dng.path,
        noise(),
        ActiveArea=(LONG, 4, (1, 1, HEIGHT, WIDTH)),
        BlackLevelRepeatDim=shorts(2, 2),
        BlackLevel=shorts(*levels.ravel().tolist()),
    )
    with pytest.raises(RawError, match="LibRaw takes other black levels"):
        develop_libraw(dng.path)


def masked(dng: Attempt) -> None:
    area = {"ActiveArea": (LONG, 4, (0, 4, HEIGHT, WIDTH)), "MaskedAreas": (LONG, 4, (0, 0, HEIGHT, 4))}
    dng.opens(calibrated(noise(), lambda y, x: 0 * y + 50, corner=(0, 4)), BlackLevel=shorts(50), **area)
    dng.refused("MaskedAreas without BlackLevel", **area)


def scale(dng: Attempt) -> None:
    dng.opens(DefaultScale=rationals(1, 1))
    dng.refused("DefaultScale is 2 1", DefaultScale=rationals(2, 1))


def camera_to_srgb(xyz_to_camera: np.ndarray) -> np.ndarray:
    forward = xyz_to_camera @ SRGB_TO_XYZ
    return np.linalg.inv(forward / forward.sum(1, keepdims=True))


def matrix_1(dng: Attempt) -> None:
    np.testing.assert_allclose(dng.opens().cam2srgb, camera_to_srgb(MATRIX), atol=1e-4)
    dng.refused("no colour matrix", ColorMatrix1=None)
    dng.refused("its colour matrix cannot be inverted", ColorMatrix1=matrix(np.ones((3, 3))))


def matrix_2(dng: Attempt) -> None:
    one = {"ColorMatrix1": matrix(WARM), "CalibrationIlluminant1": shorts(BULB)}
    two = {"ColorMatrix2": matrix(MATRIX), "CalibrationIlluminant2": shorts(D65)}
    np.testing.assert_allclose(dng.opens(**one, **two).cam2srgb, camera_to_srgb(MATRIX), atol=1e-4)
    other = two | {"CalibrationIlluminant2": shorts(255)}
    dng.refused(
        "CalibrationIlluminant2 is no light", **one, **other, AsShotNeutral=None, AsShotWhiteXY=rationals(0.3, 0.3)
    )


def matrix_3(dng: Attempt) -> None:
    three = {"ColorMatrix3": matrix(WARM)}
    np.testing.assert_allclose(dng.opens(**three).cam2srgb, camera_to_srgb(MATRIX), atol=1e-4)
    dng.refused(
        "AsShotWhiteXY together with ColorMatrix3", **three, AsShotNeutral=None, AsShotWhiteXY=rationals(0.3, 0.3)
    )


def calibration(dng: Attempt) -> None:
    body = np.array([[1.1, 0.05, 0], [0, 1, 0.02], [0.03, 0, 0.9]])
    signed = {"CameraCalibrationSignature": (ASCII, 0, "one"), "ProfileCalibrationSignature": (ASCII, 0, "one")}
    for signatures in ({}, signed):
        frame = dng.opens(CameraCalibration1=matrix(body), **signatures)
        np.testing.assert_allclose(frame.cam2srgb, camera_to_srgb(body @ MATRIX), atol=1e-4)
    signed["ProfileCalibrationSignature"] = (ASCII, 0, "two")
    frame = dng.opens(CameraCalibration1=matrix(body), **signed)
    np.testing.assert_allclose(frame.cam2srgb, camera_to_srgb(MATRIX), atol=1e-4)
    with pytest.raises(RawError, match="another matrix"):
        develop_libraw(dng.path)


def analog_balance(dng: Attempt) -> None:
    """It scales the rows of the matrix, which white balance undoes; it counts where white is given as xy."""
    balance = np.array([2, 1, 0.5])
    changes = {"AnalogBalance": rationals(*balance)}
    np.testing.assert_allclose(dng.opens(**changes).cam2srgb, camera_to_srgb(MATRIX), atol=1e-4)
    expected = calibrated(noise(), gains=1 / (balance * (MATRIX @ xyz(0.3127, 0.329))))
    dng.opens(expected, **changes, AsShotNeutral=None, AsShotWhiteXY=rationals(0.3127, 0.329))


def xyz(x: float, y: float) -> np.ndarray:
    return np.array([x, y, 1 - x - y]) / y


def planck(temperature: float) -> tuple[float, float]:
    """Chromaticity of a black body, 1667 to 4000 K (Kim et al., US patent 7024034)."""
    t = 1000 / temperature
    x = -0.2661239 * t**3 - 0.2343589 * t**2 + 0.8776956 * t + 0.179910
    a = (
        (-1.1063814, -1.34811020, 2.18555832, -0.20219683)
        if temperature < 2222
        else (-0.9549476, -1.37418593, 2.09137015, -0.16748867)
    )
    return x, float(np.polyval(a, x))


def neutral(dng: Attempt) -> None:
    dng.opens()
    low = np.array([0.81, 1, 1.5])  # red needs less than green: its gain becomes 1, white stays white
    mosaic = np.maximum(noise(), WHITE * (np.arange(WIDTH) < 20)).astype(np.uint16)
    frame = dng.opens(calibrated(mosaic, gains=low), mosaic, AsShotNeutral=rationals(*1 / low))
    np.testing.assert_allclose(frame.white_balance, low / 0.81, rtol=1e-5)
    assert (frame.bayer[:, :10] == 1).all()
    dng.refused("no white balance of the shot", AsShotNeutral=None)


def white_xy(dng: Attempt) -> None:
    def gains_of(x: float, y: float, **changes: Any) -> np.ndarray:
        mosaic = noise()
        frame = RawFrame.open(write(dng.path, mosaic, AsShotNeutral=None, AsShotWhiteXY=rationals(x, y), **changes))
        gains = frame.white_balance.astype(float)
        np.testing.assert_allclose(frame.bayer, calibrated(mosaic, gains=gains), atol=1e-5)
        return gains

    def gains_by(values: np.ndarray, x: float, y: float) -> np.ndarray:
        gains = 1 / (values @ xyz(x, y))
        return gains / gains.min()

    for white in ((0.3127, 0.329), (0.4476, 0.4074), (0.3457, 0.3585)):
        np.testing.assert_allclose(gains_of(*white), gains_by(MATRIX, *white), rtol=1e-4)
    two = {
        "ColorMatrix1": matrix(WARM),
        "CalibrationIlluminant1": shorts(BULB),
        "ColorMatrix2": matrix(MATRIX),
        "CalibrationIlluminant2": shorts(D65),
    }
    for share, white in [
        (0.0, (0.3127, 0.329)),
        (0.0, (0.25, 0.25)),
        (1.0, planck(2000)),
        (0.5, planck(3963)),
        (0.75, planck(3316)),
    ]:
        blend = share * WARM + (1 - share) * MATRIX
        np.testing.assert_allclose(gains_of(*white, **two), gains_by(blend, *white), rtol=5e-3)
    assert np.abs(gains_by(WARM, *planck(3963)) / gains_by(MATRIX, *planck(3963)) - 1).max() > 0.1, (
        "a test that can fail"
    )
    np.testing.assert_allclose(  # AsShotNeutral, where there are both
        dng.opens(AsShotWhiteXY=rationals(0.4476, 0.4074)).white_balance, GAINS, rtol=1e-5
    )
    dng.refused("AsShotWhiteXY is 0 0.3", AsShotNeutral=None, AsShotWhiteXY=rationals(0, 0.3))
    dng.refused("AsShotWhiteXY 0.7 0.02", AsShotNeutral=None, AsShotWhiteXY=rationals(0.7, 0.02))


OPCODES = {
    1: "WarpRectilinear",
    2: "WarpFisheye",
    3: "FixVignetteRadial",
    4: "FixBadPixelsConstant",
    5: "FixBadPixelsList",
    6: "TrimBounds",
    7: "MapTable",
    8: "MapPolynomial",
    9: "GainMap",
    10: "DeltaPerRow",
    11: "DeltaPerColumn",
    12: "ScalePerRow",
    13: "ScalePerColumn",
    14: "WarpRectilinear2",
    99: "opcode 99",
}


def opcodes(*numbers: int) -> tuple:
    content = struct.pack(">I", len(numbers))
    content += b"".join(struct.pack(">4I", number, 0x01030000, 1, 8) + bytes(8) for number in numbers)
    return UNDEFINED, len(content), content


def opcode_list(dng: Attempt, name: str) -> None:
    dng.opens(**{name: opcodes()})
    for code, opcode in OPCODES.items():
        dng.refused(rf"{name} changes the pixels \({opcode}\)", **{name: opcodes(code)})
    dng.refused(rf"{name} changes the pixels \(TrimBounds, GainMap\)", **{name: opcodes(6, 9, 9)})
    dng.refused(f"{name} is cut off", **{name: (UNDEFINED, 12, struct.pack(">3I", 2, 9, 0))})


def only_one(name: str) -> Callable[[Attempt], None]:
    def test(dng: Attempt) -> None:
        count = 2 if name == "SubTileBlockSize" else 1
        dng.opens(**{name: (LONG, count, (1,) * count if count > 1 else 1)})
        dng.refused(f"{name} is 2", **{name: (LONG, count, (2,) * count if count > 1 else 2)})

    return test


def unused(**changes: tuple) -> Callable[[Attempt], None]:
    """A tag that changes neither the pixels nor the matrix."""

    def test(dng: Attempt) -> None:
        for name, tag in changes.items():
            np.testing.assert_allclose(dng.opens(**{name: tag}).cam2srgb, camera_to_srgb(MATRIX), atol=1e-4)

    return test


def dng_serial(dng: Attempt) -> None:
    dng.opens(CameraSerialNumber=(ASCII, 0, "0012345"))
    assert read_container(dng.path).serial == "0012345"


def exif_serial(dng: Attempt) -> None:
    """tifffile writes no EXIF directory: one is put at the end of the file, linked by a tag that is renamed."""
    content = bytearray(write(dng.path, noise(), InterColorProfile=(LONG, 1, 0)).read_bytes())
    content += b"\0" * (len(content) % 2)
    entry = content.index(struct.pack("<HHI", 34675, LONG, 1))
    content[entry : entry + 12] = struct.pack("<HHII", 34665, LONG, 1, len(content))
    text = b"body 77\0"
    content += struct.pack("<HHHIII", 1, 42033, ASCII, len(text), len(content) + 18, 0) + text
    dng.path.write_bytes(content)
    assert read_container(dng.path).serial == "body 77"
    np.testing.assert_allclose(RawFrame.open(dng.path).bayer, calibrated(noise()), atol=3e-6)


ROWS: dict[str, Callable[[Attempt], None]] = {
    "Make, Model": make_model,
    "Orientation": orientation,
    "NewSubfileType": new_subfile_type,
    "PhotometricInterpretation": photometric_interpretation,
    "BitsPerSample": bits_per_sample,
    "SampleFormat": sample_format,
    "Compression": compression,
    "DNGBackwardVersion": backward_version,
    "CFARepeatPatternDim, CFAPattern": cfa,
    "CFAPlaneColor": plane_color,
    "CFALayout": layout,
    "LinearizationTable": linearization,
    "BlackLevelRepeatDim, BlackLevel": black,
    "BlackLevelDeltaH": lambda dng: delta(dng, "BlackLevelDeltaH", WIDTH, 1),
    "BlackLevelDeltaV": lambda dng: delta(dng, "BlackLevelDeltaV", HEIGHT, 0),
    "WhiteLevel": white,
    "ActiveArea": active_area,
    "MaskedAreas": masked,
    "DefaultScale": scale,
    "ColorMatrix1, CalibrationIlluminant1": matrix_1,
    "ColorMatrix2, CalibrationIlluminant2": matrix_2,
    "ColorMatrix3": matrix_3,
    "CameraCalibration1, CameraCalibrationSignature, ProfileCalibrationSignature": calibration,
    "AnalogBalance": analog_balance,
    "AsShotNeutral": neutral,
    "AsShotWhiteXY": white_xy,
    "OpcodeList1": lambda dng: opcode_list(dng, "OpcodeList1"),
    "OpcodeList2": lambda dng: opcode_list(dng, "OpcodeList2"),
    "OpcodeList3": lambda dng: opcode_list(dng, "OpcodeList3"),
    "SubTileBlockSize": only_one("SubTileBlockSize"),
    "RowInterleaveFactor": only_one("RowInterleaveFactor"),
    "ColumnInterleaveFactor": only_one("ColumnInterleaveFactor"),
    "CameraSerialNumber": dng_serial,
    "BodySerialNumber (EXIF)": exif_serial,
    "DefaultCropOrigin, DefaultCropSize": unused(DefaultCropOrigin=rationals(8, 8), DefaultCropSize=rationals(80, 48)),
    "BaselineExposure": unused(BaselineExposure=srationals(1.5)),
    "BayerGreenSplit": unused(BayerGreenSplit=(LONG, 1, 500)),
    "LinearResponseLimit": unused(LinearResponseLimit=rationals(0.5)),
    "ForwardMatrix1": unused(ForwardMatrix1=matrix(WARM)),
}


def table() -> dict[str, str]:
    """The rows of the table of tags: names and numbers."""
    rows = re.findall(r"^\| (.*?) \| ([\d, ]+) \|", TABLE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) == len(dict(rows))
    return dict(rows)


@pytest.mark.parametrize("row", table())
def test_row(row: str, tmp_path: Path) -> None:
    ROWS[row](Attempt(tmp_path))


def test_the_table_names_every_tag_that_is_read() -> None:
    assert table().keys() == ROWS.keys()
    named: dict[str, int] = {}
    for names, numbers in table().items():
        plain = names.replace(" (EXIF)", "").split(", ")
        named |= dict(zip(plain, map(int, numbers.split(", ")), strict=True))
    # One of CameraCalibration1 and 2 stands for both; every DNG has a DNGVersion.
    assert TAGS.keys() - named.keys() == {"CameraCalibration2", "DNGVersion"}
    for name, code in named.items():
        assert TAGS.get(name, code) == code
        assert NUMBER.get(name, code) == code, "tifffile knows it by another number"
