"""Open a RAW file as a normalised Bayer stack, or refuse it with the reason.

LibRaw (through rawpy) decodes the file. This module calibrates the numbers as the paper's pipeline does (section 3.1,
steps 1 and 2): subtract black, divide by saturation, balance white. LibRaw also opens damaged and unusual files, so
everything that is not certainly a complete, plain Bayer frame is a ``RawError``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cameras.tiff import Container, read_container

CFA_PATTERNS = ("RGGB", "BGGR", "GBRG", "GRBG")  # the 2×2 cell in row-major order
PLANE_COLORS = (0, 1, 1, 2)  # planes of a Bayer stack are R, G1, G2, B: which of R, G, B each holds

# RAW files that are TIFF containers. CR2 and DNG are tested with real files; the others pass the same checks.
SUFFIXES = (".arw", ".cr2", ".dng", ".nef", ".pef")

# LibRaw's flip (mirror columns 1, mirror rows 2, transpose 4) -> EXIF orientation
EXIF_ORIENTATION = {0: 1, 1: 2, 2: 4, 3: 3, 4: 5, 5: 8, 6: 6, 7: 7}

# linear sRGB -> XYZ (D65), IEC 61966-2-1
SRGB_TO_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])

MOST_CONDITION = 1e4  # condition number of a colour matrix; those of real cameras stay below 10


class RawError(ValueError):
    """A file that is not a complete, plain Bayer frame. The message names the file and the reason."""


def sample_positions(cfa: str) -> tuple[int, int, int, int]:
    """The positions of R, G1, G2, B in the 2×2 cell, in row-major order; G1 is the first green.

    Raises ValueError if ``cfa`` is none of the four Bayer patterns.
    """
    if cfa not in CFA_PATTERNS:
        raise ValueError(f"unknown Bayer pattern {cfa!r}: use one of {', '.join(CFA_PATTERNS)}")
    return cfa.index("R"), cfa.index("G"), cfa.rindex("G"), cfa.index("B")


@dataclass(frozen=True)
class RawFrame:
    """One calibrated exposure in sensor orientation.

    bayer: (h, w, 4) float32 in [0, 1], planes R, G1, G2, B; black-levelled, white-balanced, clipped.
    cfa: the 2×2 cell in row-major order, e.g. "GBRG".
    cam2srgb: (3, 3) float32, white-balanced camera RGB -> linear sRGB; rows sum to 1, so that white stays white.
    white_balance: (3,) float32 gains that ``bayer`` already contains, G = 1.
    camera: make and model.
    orientation: EXIF 1..8, how a viewer should turn the picture; this code does not turn it.
    """

    bayer: np.ndarray
    cfa: str
    cam2srgb: np.ndarray
    white_balance: np.ndarray
    camera: str
    orientation: int

    @classmethod
    def open(cls, path: str | Path) -> "RawFrame":
        """Decode the visible area of a RAW file, cropped to whole 2×2 cells.

        White is the level that LibRaw states, even if a file holds larger numbers: the greens of a Nikon D5000 end at
        3840, the level stated, but red goes up to 4095. The level at which the first channel saturates is the white of
        all channels; otherwise blown-out highlights, whose greens are too small, would turn magenta.

        Raises RawError for anything but a complete, plain Bayer frame.
        """
        with open_raw(path) as (raw, container):
            colors = raw.color_desc.decode()  # LibRaw's four colours; index 3 is the second green
            # The pattern of the visible area, not of the sensor: margins may have odd sizes.
            cell = raw.raw_colors_visible[:2, :2]
            try:
                return cls.from_mosaic(
                    raw.raw_image_visible,
                    cfa="".join(colors[c] for c in cell.flat),
                    black=np.array(raw.black_level_per_channel)[cell],  # by colour in LibRaw, by position here
                    white=raw.white_level,
                    white_balance=np.array(raw.camera_whitebalance[:3]) / raw.camera_whitebalance[1],
                    cam2srgb=_cam2srgb(np.array(raw.color_matrix), np.array(raw.rgb_xyz_matrix)),
                    camera=_camera_name(container),
                    orientation=EXIF_ORIENTATION[raw.sizes.flip],
                )
            except ValueError as error:  # the file holds unfit numbers
                raise RawError(f"{path}: {error}") from error

    @classmethod
    def from_mosaic(
        cls,
        mosaic: np.ndarray,
        cfa: str,
        black: np.ndarray | float,
        white: float,
        white_balance: np.ndarray,
        cam2srgb: np.ndarray,
        camera: str,
        orientation: int = 1,
    ) -> "RawFrame":
        """Calibrate raw sensor numbers: (x − black) / (white − black), clipped, times the gains, clipped.

        Args:
            mosaic: (H, W) integers; an odd last row or column is dropped.
            black: (2, 2) by position in the cell, or one level for all.
            white: the level that becomes 1.
            white_balance: (3,) with G = 1.
            cam2srgb: (3, 3), rows sum to 1.

        Raises:
            ValueError: arguments that do not fit.
        """
        positions = sample_positions(cfa)
        black = np.broadcast_to(np.asarray(black, np.float32), (2, 2)).reshape(4)
        white_balance = np.asarray(white_balance, np.float32)
        cam2srgb = np.asarray(cam2srgb, np.float32)
        if mosaic.ndim != 2 or min(mosaic.shape) < 2:
            raise ValueError(f"a mosaic is (H, W) with at least one 2×2 cell, not {mosaic.shape}")
        if not black.max() < white:
            raise ValueError(f"the white level {white:g} must lie above the black level {black.max():g}")
        if white_balance.shape != (3,) or not min(white_balance) > 0 or white_balance[1] != 1:
            raise ValueError(f"white balance must be three positive gains with G = 1, not {white_balance}")
        if cam2srgb.shape != (3, 3) or not np.allclose(cam2srgb.sum(1), 1, atol=1e-3):
            raise ValueError(f"cam2srgb must be 3×3 with rows that sum to 1, not {cam2srgb.tolist()}")
        height, width = (side // 2 * 2 for side in mosaic.shape)
        bayer = np.empty((height // 2, width // 2, 4), np.float32)
        for plane, (position, gain) in enumerate(zip(positions, white_balance[list(PLANE_COLORS)], strict=True)):
            y, x = divmod(position, 2)
            linear = (mosaic[y:height:2, x:width:2] - black[position]) / np.float32(white - black[position])
            bayer[..., plane] = np.clip(np.clip(linear, 0, 1) * gain, 0, 1)
        return cls(bayer, cfa, cam2srgb, white_balance, camera, orientation)


@contextmanager
def open_raw(path: str | Path) -> Iterator[tuple[Any, Container]]:
    """Open a complete, plain Bayer frame in LibRaw. Raises RawError for any other file."""
    import rawpy  # only reading RAW files needs LibRaw; training does not

    path = Path(path)
    container = _check_file(path)
    try:
        raw = rawpy.imread(str(path))
        raw.unpack()
    except (rawpy.LibRawError, OSError) as error:
        raise RawError(f"{path}: LibRaw cannot decode it ({_reason(error)})") from error
    with raw:
        flat = raw.raw_type == rawpy.RawType.Flat  # one number per pixel
        if reason := _frame_problem(raw, flat) or _data_problem(raw.raw_image_visible, raw.white_level):
            raise RawError(f"{path}: {reason}")
        yield raw, container


def _check_file(path: Path) -> Container:
    if not path.is_file():
        raise RawError(f"{path}: {'not a regular file' if path.exists() else 'no such file'}")
    if path.suffix.lower() not in SUFFIXES:
        kind = f"{path.suffix} files are" if path.suffix else "a file without a suffix is"
        raise RawError(f"{path}: {kind} not supported; use {' '.join(SUFFIXES)}, or convert it to DNG")
    size = path.stat().st_size
    if size == 0:
        raise RawError(f"{path}: empty file")
    try:
        container = read_container(path)
    except (ValueError, OSError) as error:
        raise RawError(f"{path}: {error}") from error
    if container.end > size:
        raise RawError(f"{path}: truncated: its contents reach to byte {container.end}, the file has {size}")
    return container


def _frame_problem(raw: Any, flat: bool) -> str:
    """The reason why the decoded data are no plain Bayer frame, or ""."""
    if not flat or raw.num_colors != 3:
        return "not a Bayer mosaic: its pixels are full-colour or monochrome (linear DNG, sRAW)"
    if raw.raw_pattern is None or raw.raw_pattern.shape != (2, 2):
        shape = "none" if raw.raw_pattern is None else "×".join(map(str, raw.raw_pattern.shape))
        return f"not a Bayer mosaic: its colour filter cell is {shape}, not 2×2 (X-Trans has 6×6)"
    colors = raw.color_desc.decode()
    cfa = "".join(colors[c] for c in raw.raw_colors_visible[:2, :2].flat)
    if cfa not in CFA_PATTERNS:
        return f"not a Bayer mosaic: its colour filter cell is {cfa}, not one of {', '.join(CFA_PATTERNS)}"
    gains = np.array(raw.camera_whitebalance[:3])
    if not (np.isfinite(gains) & (gains > 0)).all():
        return "no white balance of the shot in the file"
    if not (np.any(raw.color_matrix) or np.any(raw.rgb_xyz_matrix)):
        return "no colour matrix, neither in the file nor known to LibRaw for this camera"
    if not max(raw.black_level_per_channel) < raw.white_level:
        return f"white level {raw.white_level} does not lie above black levels {raw.black_level_per_channel}"
    return ""


def _data_problem(mosaic: np.ndarray, white: int) -> str:
    """The reason why the numbers are no picture, or "". LibRaw returns whatever a damaged file decodes to."""
    if min(mosaic.shape) < 2:
        return f"no picture: {mosaic.shape[1]}×{mosaic.shape[0]} pixels"
    if all(plane.min() == plane.max() for plane in (mosaic[y::2, x::2] for y in (0, 1) for x in (0, 1))):
        return f"no picture: every pixel has one value ({mosaic[0, 0]})"
    if mosaic.max() > 2 * white:
        return f"damaged: samples reach {mosaic.max()} where white is {white}"
    if empty := int((mosaic.max(axis=1) == 0).sum()):
        return f"damaged: {empty} of {len(mosaic)} rows are all zero"
    return ""


def _cam2srgb(color_matrix: np.ndarray, rgb_xyz_matrix: np.ndarray) -> np.ndarray:
    """White-balanced camera RGB -> linear sRGB, (3, 3) with rows that sum to 1.

    LibRaw fills ``color_matrix`` (3×4) from a DNG. For most other files it is zero, and LibRaw has XYZ -> camera
    (``rgb_xyz_matrix``, 4×3) in its table. Then, as in dcraw's cam_xyz_coeff: compute sRGB -> camera through XYZ, scale
    each row so that sRGB white gives (1, 1, 1), as white balancing does, and invert the matrix.

    Raises ValueError for a matrix that maps different colours to the same.
    """
    in_file = color_matrix.any()
    matrix = color_matrix[:, :3] if in_file else rgb_xyz_matrix[:3] @ SRGB_TO_XYZ
    if not np.isfinite(matrix).all() or np.linalg.cond(matrix) > MOST_CONDITION:
        raise ValueError("its colour matrix cannot be inverted")
    if not in_file:
        matrix = np.linalg.inv(matrix / matrix.sum(1, keepdims=True))
    return matrix / matrix.sum(1, keepdims=True)


def _camera_name(container: Container) -> str:
    """Make and model, or the model alone if it starts with the make: "Canon EOS 30D", "PENTAX K-5"."""
    make, model = container.make, container.model
    first = make.split()[0].lower() if make else ""
    name = model if first and model.lower().startswith(first) else f"{make} {model}"
    return name.strip() or "unknown camera"


def _reason(error: Exception) -> str:
    reason = error.args[0] if error.args else type(error).__name__
    return reason.decode() if isinstance(reason, bytes) else str(reason)
