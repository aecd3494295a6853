"""What a DNG says about itself in its own tags (Adobe DNG Specification 1.7.1.0), where LibRaw says too little.

LibRaw reads most tags. It takes averages of some black levels, forgets others, knows no AsShotWhiteXY, and skips
opcodes. So the levels are read here, and a file with a tag that would change the pixels in another way is refused.
``docs/raw.md`` lists every tag; a test goes through that list.
"""

import struct
from dataclasses import dataclass

import numpy as np

from cameras.container import COLOR_FILTER_ARRAY, DNG_VERSION, LINEAR_RAW, PHOTOMETRIC
from cameras.tiff import Directory, Value

TAGS = {
    "NewSubfileType": 254,
    "BitsPerSample": 258,
    "PhotometricInterpretation": PHOTOMETRIC,
    "SampleFormat": 339,
    "DNGVersion": DNG_VERSION,
    "DNGBackwardVersion": 50707,
    "CFAPlaneColor": 50710,
    "CFALayout": 50711,
    "BlackLevelRepeatDim": 50713,
    "BlackLevel": 50714,
    "BlackLevelDeltaH": 50715,
    "BlackLevelDeltaV": 50716,
    "DefaultScale": 50718,
    "ColorMatrix1": 50721,
    "ColorMatrix2": 50722,
    "CameraCalibration1": 50723,
    "CameraCalibration2": 50724,
    "AnalogBalance": 50727,
    "AsShotNeutral": 50728,
    "AsShotWhiteXY": 50729,
    "CalibrationIlluminant1": 50778,
    "CalibrationIlluminant2": 50779,
    "ActiveArea": 50829,
    "MaskedAreas": 50830,
    "CameraCalibrationSignature": 50931,
    "ProfileCalibrationSignature": 50932,
    "SubTileBlockSize": 50974,
    "RowInterleaveFactor": 50975,
    "OpcodeList1": 51008,
    "OpcodeList2": 51009,
    "OpcodeList3": 51022,
    "ColorMatrix3": 52531,
    "ColumnInterleaveFactor": 52547,
}

NEWEST = (1, 7, 1, 0)  # of the versions of the specification that this code knows
MOST_BITS = 16

# Tags of which only one value is a plain mosaic of square pixels, stored one after the other.
ONLY: dict[str, tuple[int, ...]] = {
    "CFAPlaneColor": (0, 1, 2),
    "CFALayout": (1,),
    "SampleFormat": (1,),
    "SubTileBlockSize": (1, 1),
    "RowInterleaveFactor": (1,),
    "ColumnInterleaveFactor": (1,),
}
MEANINGS: dict[tuple[str, tuple], str] = {
    ("CFALayout", (1,)): "rectangular",
    ("SampleFormat", (1,)): "integers",
    ("SampleFormat", (3,)): "floating point",
}

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
}

# Correlated colour temperatures (K) of the EXIF light sources, as in Adobe's DNG SDK
TEMPERATURES = {
    **dict.fromkeys((3, 17), 2850),  # tungsten, standard light A
    **dict.fromkeys((1, 4, 9, 18, 20), 5500),  # daylight, flash, fine weather, standard light B, D55
    **dict.fromkeys((10, 19, 21), 6500),  # cloudy, standard light C, D65
    **dict.fromkeys((11, 22), 7500),  # shade, D75
    **dict.fromkeys((2, 14), 4150),  # fluorescent light, cool white
    12: 6400,  # fluorescent light: daylight
    13: 5050,  # fluorescent light: day white
    15: 3450,  # fluorescent light: white
    23: 5000,  # D50
    24: 3200,  # studio tungsten
}
DAYLIGHT = 6500  # of sRGB's white


@dataclass(frozen=True)
class DngTags:
    """Calibration of a DNG.

    corner: row and column of the ActiveArea's corner on the sensor; black levels count from there.
    black: (rows, columns) pattern of black levels. delta_v, delta_h: what is added by row and by column, or empty.
    neutral: (3,) camera RGB of white computed from AsShotWhiteXY, or None where AsShotNeutral says it.
    xyz2cam: (3, 3) XYZ -> camera RGB for the light nearest to daylight, with CameraCalibration; None without one.
    """

    corner: tuple[int, int]
    black: np.ndarray
    delta_v: np.ndarray
    delta_h: np.ndarray
    neutral: np.ndarray | None
    xyz2cam: np.ndarray | None

    def black_levels(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Black levels of an area of the sensor: (2, 2) where such a cell says it all, else (height, width).

        Raises ValueError if rows or columns of the area have no BlackLevelDeltaV or BlackLevelDeltaH.
        """
        y, x = top - self.corner[0], left - self.corner[1]
        rows, columns = self.black.shape
        plain = not (self.delta_v.any() or self.delta_h.any())
        size = (2, 2) if plain and 2 % rows == 0 and 2 % columns == 0 else (height, width)
        levels = self.black[np.ix_(np.arange(y, y + size[0]) % rows, np.arange(x, x + size[1]) % columns)]
        if plain:
            return levels
        for name, delta, start, count in (("V", self.delta_v, y, height), ("H", self.delta_h, x, width)):
            if delta.size and not 0 <= start <= start + count <= delta.size:
                raise ValueError(f"BlackLevelDelta{name} has {delta.size} values, not one for every row or column")
        if self.delta_v.size:
            levels = levels + self.delta_v[y : y + height, None]
        if self.delta_h.size:
            levels = levels + self.delta_h[None, x : x + width]
        return levels


def read_dng_tags(directories: tuple[Directory, ...]) -> DngTags | None:
    """Read the calibration of a DNG; None for files of other formats.

    Args:
        directories: of the file, with the values of TAGS.

    Raises:
        ValueError: a tag with a value that is not supported; the message begins with the tag's name.
    """
    if not any(DNG_VERSION in directory for directory in directories):
        return None
    first = next(directory for directory in directories if DNG_VERSION in directory)
    version = _numbers(first, "DNGBackwardVersion", (1, 1, 0, 0))
    if version > NEWEST:
        raise ValueError(f"DNGBackwardVersion is {_text(version)}; this program knows versions up to {_text(NEWEST)}")
    raw = _raw_directory(directories)
    _refuse_unusual(raw)
    return DngTags(
        corner=_corner(raw),
        black=_black(raw),
        delta_v=np.array(_numbers(raw, "BlackLevelDeltaV")),
        delta_h=np.array(_numbers(raw, "BlackLevelDeltaH")),
        neutral=_neutral(first),
        xyz2cam=_calibrated(first),
    )


def _raw_directory(directories: tuple[Directory, ...]) -> Directory:
    """The directory of the picture itself: a mosaic that is neither preview nor mask, depth map or enhanced picture."""
    pictures = [
        directory
        for directory in directories
        if directory.get(PHOTOMETRIC) in ((COLOR_FILTER_ARRAY,), (LINEAR_RAW,))
        and directory.get(TAGS["NewSubfileType"], (0,)) == (0,)
    ]
    if not pictures:
        raise ValueError("NewSubfileType and PhotometricInterpretation name no RAW picture in this DNG")
    if len(pictures) > 1:
        raise ValueError(f"NewSubfileType: the file has {len(pictures)} RAW pictures (a composite)")
    return pictures[0]


def _refuse_unusual(raw: Directory) -> None:
    for name, plain in ONLY.items():
        if (found := _numbers(raw, name, plain)) != plain:
            found_text, plain_text = (MEANINGS.get((name, value), _text(value)) for value in (found, plain))
            raise ValueError(f"{name} is {found_text}, not {plain_text}")
    if (bits := max(_numbers(raw, "BitsPerSample", (MOST_BITS,)))) > MOST_BITS:
        raise ValueError(f"BitsPerSample is {bits}; at most {MOST_BITS} are supported")
    horizontal, vertical = _numbers(raw, "DefaultScale", (1, 1), count=2)
    if horizontal != vertical:
        raise ValueError(f"DefaultScale is {_text((horizontal, vertical))}: pixels are not square")
    if TAGS["MaskedAreas"] in raw and TAGS["BlackLevel"] not in raw:
        raise ValueError("MaskedAreas without BlackLevel: black would have to be measured")
    for name in ("OpcodeList1", "OpcodeList2", "OpcodeList3"):
        if opcodes := _opcodes(name, raw.get(TAGS[name], b"")):
            raise ValueError(f"{name} changes the pixels ({', '.join(opcodes)}), which is not supported")


def _opcodes(name: str, content: Value) -> list[str]:
    """Names of the opcodes in a list; it is big-endian in every file."""
    if not content:
        return []
    if not isinstance(content, bytes):
        raise ValueError(f"{name} is no list of opcodes")
    found: list[str] = []
    try:
        count, position = struct.unpack(">I", content[:4])[0], 4
        while len(found) < count:
            number, _, _, size = struct.unpack(">4I", content[position : position + 16])
            position += 16 + size
            found.append(OPCODES.get(number, f"opcode {number}"))
    except struct.error:
        raise ValueError(f"{name} is cut off") from None
    return list(dict.fromkeys(found))


def _corner(raw: Directory) -> tuple[int, int]:
    top, left, *_ = _numbers(raw, "ActiveArea", (0, 0, 0, 0), count=4)
    return int(top), int(left)


def _black(raw: Directory) -> np.ndarray:
    rows, columns = (int(side) for side in _numbers(raw, "BlackLevelRepeatDim", (1, 1), count=2))
    if TAGS["BlackLevel"] not in raw:
        return np.zeros((1, 1))
    levels = _numbers(raw, "BlackLevel")
    if len(levels) != rows * columns:
        raise ValueError(f"BlackLevel has {len(levels)} values, BlackLevelRepeatDim says {rows}×{columns}")
    return np.array(levels).reshape(rows, columns)


# --- Colour: XYZ -> camera is AnalogBalance · CameraCalibration · ColorMatrix (specification, chapter 6) ---


def _neutral(first: Directory) -> np.ndarray | None:
    """The camera RGB (3,) of the white AsShotWhiteXY, or None without that tag or beside AsShotNeutral."""
    if TAGS["AsShotNeutral"] in first or TAGS["AsShotWhiteXY"] not in first:
        return None
    x, y = _numbers(first, "AsShotWhiteXY", count=2)
    if not (x > 0 and y > 0 and x + y <= 1):
        raise ValueError(f"AsShotWhiteXY is {_text((x, y))}, which is no colour")
    neutral = _xyz_to_camera(first, _temperature(x, y)) @ np.array([x / y, 1, (1 - x - y) / y])
    if not (np.isfinite(neutral).all() and (neutral > 0).all()):
        raise ValueError(f"AsShotWhiteXY {_text((x, y))} is no colour that this camera can see")
    return neutral


def _calibrated(first: Directory) -> np.ndarray | None:
    """XYZ -> camera RGB where the file has CameraCalibration (LibRaw multiplies it in another order), else None."""
    if not any(TAGS[f"CameraCalibration{i}"] in first for i in (1, 2)):
        return None
    numbers = [i for i in (1, 2) if TAGS[f"ColorMatrix{i}"] in first]
    if not numbers:
        return None
    nearest = min(numbers, key=lambda i: abs(TEMPERATURES.get(_illuminant(first, i), np.inf) - DAYLIGHT))
    return _analog_balance(first) @ _calibration(first, nearest) @ _matrix(first, f"ColorMatrix{nearest}")


def _xyz_to_camera(first: Directory, temperature: float) -> np.ndarray:
    """XYZ -> camera RGB (3, 3) for light of a colour temperature, interpolated between two calibrations."""
    if TAGS["ColorMatrix3"] in first:
        raise ValueError("AsShotWhiteXY together with ColorMatrix3 is not supported")
    numbers = [i for i in (1, 2) if TAGS[f"ColorMatrix{i}"] in first]
    if not numbers:
        raise ValueError("AsShotWhiteXY without a colour matrix (ColorMatrix1) says nothing")
    weights = {numbers[0]: 1.0}
    if len(numbers) == 2:
        unknown = [i for i in numbers if _illuminant(first, i) not in TEMPERATURES]
        if unknown:
            raise ValueError(f"CalibrationIlluminant{unknown[0]} is no light of known temperature")
        one, two = (1 / TEMPERATURES[_illuminant(first, i)] for i in numbers)
        share = float(np.clip((1 / temperature - two) / (one - two), 0, 1)) if one != two else 1.0
        weights = {1: share, 2: 1 - share}
    matrix = sum(weight * _matrix(first, f"ColorMatrix{i}") for i, weight in weights.items())
    calibration = sum(weight * _calibration(first, i) for i, weight in weights.items())
    return _analog_balance(first) @ calibration @ matrix


def _analog_balance(first: Directory) -> np.ndarray:
    return np.diag(_numbers(first, "AnalogBalance", (1, 1, 1), count=3))


def _calibration(first: Directory, number: int) -> np.ndarray:
    """CameraCalibration, which counts only if both signatures are the same; else the identity."""
    name = f"CameraCalibration{number}"
    signatures = (first.get(TAGS[f"{what}CalibrationSignature"], "") for what in ("Camera", "Profile"))
    return _matrix(first, name) if TAGS[name] in first and len(set(signatures)) == 1 else np.eye(3)


def _matrix(first: Directory, name: str) -> np.ndarray:
    return np.array(_numbers(first, name, count=9)).reshape(3, 3)


def _illuminant(first: Directory, number: int) -> int:
    return int(_numbers(first, f"CalibrationIlluminant{number}", (0,), count=1)[0])


def _temperature(x: float, y: float) -> float:
    """Correlated colour temperature in K of a chromaticity (McCamy, Color Research & Application 17(2), 1992)."""
    n = (x - 0.3320) / (0.1858 - y) if y != 0.1858 else 0.0
    return max(449 * n**3 + 3525 * n**2 + 6823.3 * n + 5520.33, 1.0)


# --- Values ---


def _numbers(directory: Directory, name: str, default: tuple[float, ...] = (), count: int | None = None) -> tuple:
    """The finite numbers of a tag, or the default without it. Raises ValueError if they are others, or too few."""
    value = directory.get(TAGS[name], default)
    numbers = value if isinstance(value, tuple) else ()
    wanted = len(numbers) if count is None else count
    if not np.isfinite(numbers).all() or len(numbers) != wanted or (TAGS[name] in directory and not numbers):
        raise ValueError(f"{name} has a value that is not supported")
    return numbers


def _text(numbers: tuple[float, ...]) -> str:
    return " ".join(f"{number:g}" for number in numbers)
