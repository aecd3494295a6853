"""Open a RAW file as a normalised Bayer stack, or refuse it with the reason.

LibRaw (through rawpy) decodes the file. This module calibrates the numbers as the paper's pipeline does (section 3.1,
steps 1 and 2): subtract black, divide by saturation, balance white. LibRaw also opens damaged and unusual files, so
everything that is not certainly a complete, plain Bayer frame is a ``RawError``. What files are is decided by their
content; docs/raw.md lists what is read and what is refused.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cameras.container import Container, read_container
from cameras.dngtags import TAGS, DngTags, read_dng_tags
from cameras.errors import printable

CFA_PATTERNS = ("RGGB", "BGGR", "GBRG", "GRBG")  # the 2×2 cell in row-major order
PLANE_COLORS = (0, 1, 1, 2)  # planes of a Bayer stack are R, G1, G2, B: which of R, G, B each holds

# LibRaw's flip (mirror columns 1, mirror rows 2, transpose 4) -> EXIF orientation
EXIF_ORIENTATION = {0: 1, 1: 2, 2: 4, 3: 3, 4: 5, 5: 8, 6: 6, 7: 7}

# linear sRGB -> XYZ (D65), IEC 61966-2-1
SRGB_TO_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])

MOST_CONDITION = 1e4  # condition number of a colour matrix; those of real cameras stay below 10
# Light or noise in a row: of so many neighbours, more than this share is above 0. Of noise around 0 it is nearly half.
LIT_BLOCK, LIT_SHARE = 256, 0.3


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
    white_balance: (3,) float32 gains that ``bayer`` already contains; the smallest is 1.
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
        with open_raw(path) as opened:
            raw = opened.raw
            colors = raw.color_desc.decode()  # LibRaw's four colours; index 3 is the second green
            try:
                return cls.from_mosaic(
                    raw.raw_image_visible,
                    # The pattern of the visible area, not of the sensor: margins may have odd sizes.
                    cfa="".join(colors[c] for c in raw.raw_colors_visible[:2, :2].flat),
                    black=opened.black,
                    white=opened.white,
                    white_balance=opened.white_balance,
                    cam2srgb=opened.cam2srgb,
                    camera=opened.container.camera,
                    orientation=EXIF_ORIENTATION[raw.sizes.flip],
                )
            except ValueError as error:  # the file holds unfit numbers
                raise RawError(f"{printable(path)}: {error}") from error

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

        The gains are divided by the smallest: were one below 1, blown-out highlights, which all channels record as 1,
        would not be white.

        Args:
            mosaic: (H, W) integers; an odd last row or column is dropped.
            black: one level for all, (2, 2) by position in the cell, or (H, W).
            white: the level that becomes 1.
            white_balance: (3,) positive.
            cam2srgb: (3, 3), rows sum to 1.

        Raises:
            ValueError: arguments that do not fit.
        """
        positions = sample_positions(cfa)
        black = np.asarray(black, np.float32)
        black = np.broadcast_to(black, (2, 2)) if black.size == 1 else black
        white_balance = np.asarray(white_balance, np.float32)
        cam2srgb = np.asarray(cam2srgb, np.float32)
        if mosaic.ndim != 2 or min(mosaic.shape) < 2:
            raise ValueError(f"a mosaic is (H, W) with at least one 2×2 cell, not {mosaic.shape}")
        if black.shape not in ((2, 2), mosaic.shape):
            raise ValueError(f"black levels are (2, 2) or one for every pixel, not {black.shape}")
        if not black.max() < white:
            raise ValueError(f"the white level {white:g} must lie above the black level {black.max():g}")
        if white_balance.shape != (3,) or not (np.isfinite(white_balance) & (white_balance > 0)).all():
            raise ValueError(f"white balance must be three positive gains, not {white_balance}")
        white_balance = white_balance / white_balance.min()
        if cam2srgb.shape != (3, 3) or not np.allclose(cam2srgb.sum(1), 1, atol=1e-3):
            raise ValueError(f"cam2srgb must be 3×3 with rows that sum to 1, not {cam2srgb.tolist()}")
        height, width = (side // 2 * 2 for side in mosaic.shape)
        bayer = np.empty((height // 2, width // 2, 4), np.float32)
        for plane, (position, gain) in enumerate(zip(positions, white_balance[list(PLANE_COLORS)], strict=True)):
            y, x = divmod(position, 2)
            level = black[y:height:2, x:width:2]  # (1, 1) of a cell
            linear = (mosaic[y:height:2, x:width:2] - level) / np.float32(white - level)
            bayer[..., plane] = np.clip(np.clip(linear, 0, 1) * gain, 0, 1)
        return cls(bayer, cfa, cam2srgb, white_balance, camera, orientation)


@dataclass(frozen=True)
class OpenedRaw:
    """A file that LibRaw has decoded, and its calibration.

    black: (2, 2) by position in the visible area's cell, or (H, W). white: the level that becomes 1.
    white_balance: (3,) gains with G = 1. cam2srgb: (3, 3), rows sum to 1.
    libraw_agrees: LibRaw itself uses these levels, so that its own development is of the same frame.
    """

    raw: Any
    container: Container
    black: np.ndarray
    white: float
    white_balance: np.ndarray
    cam2srgb: np.ndarray
    libraw_agrees: bool


@contextmanager
def open_raw(path: str | Path) -> Iterator[OpenedRaw]:
    """Open a complete, plain Bayer frame in LibRaw. Raises RawError for any other file."""
    import rawpy  # only reading RAW files needs LibRaw; training does not

    path = Path(path)
    try:
        container, tags = _check_file(path)
        with path.open("rb") as file:  # LibRaw takes names in UTF-8 only; this file may have another
            raw = rawpy.imread(file)
        raw.unpack()
    except rawpy.LibRawError as error:
        raise RawError(f"{printable(path)}: LibRaw cannot decode it ({_reason(error)})") from error
    except (ValueError, OSError) as error:
        raise RawError(f"{printable(path)}: {_reason(error)}") from error
    with raw:
        flat = raw.raw_type == rawpy.RawType.Flat  # one number per pixel
        try:
            if reason := _frame_problem(raw, flat):
                raise ValueError(reason)
            opened = _calibration(raw, container, tags)
            if reason := _data_problem(raw.raw_image_visible, opened.black, opened.white):
                raise ValueError(reason)
        except ValueError as error:
            raise RawError(f"{printable(path)}: {error}") from error
        yield opened


def _check_file(path: Path) -> tuple[Container, DngTags | None]:
    """The container of a complete file, and a DNG's own tags. Raises ValueError with the reason, or OSError."""
    if not path.is_file():
        raise ValueError("not a regular file" if path.exists() else "no such file")
    size = path.stat().st_size
    if size == 0:
        raise ValueError("empty file")
    container = read_container(path, frozenset(TAGS.values()))
    if container.end > size:
        raise ValueError(f"truncated: its contents reach to byte {container.end}, the file has {size}")
    return container, read_dng_tags(container.directories)


def _calibration(raw: Any, container: Container, tags: DngTags | None) -> OpenedRaw:
    """Levels, gains and matrix: from a DNG's own tags where LibRaw does not take them from there. Raises ValueError."""
    cell = raw.raw_colors_visible[:2, :2]
    black = libraw_black = np.array(raw.black_level_per_channel)[cell]  # by colour in LibRaw, by position here
    white = raw.white_level
    gains = np.array(raw.camera_whitebalance[:3])
    cam2srgb = None
    if tags is not None:
        black = tags.black_levels(raw.sizes.top_margin, raw.sizes.left_margin, *raw.raw_image_visible.shape)
        gains = gains if tags.neutral is None else 1 / tags.neutral
        if tags.xyz2cam is not None:
            cam2srgb = _cam2srgb(np.zeros((3, 4)), tags.xyz2cam)
    if not (np.isfinite(gains) & (gains > 0)).all():
        raise ValueError("no white balance of the shot in the file")
    if not np.max(black) < white:
        raise ValueError(f"white level {white:g} does not lie above black level {np.max(black):g}")
    agrees = black.shape == (2, 2) and np.abs(black - libraw_black).max() <= 0.5
    if cam2srgb is None:
        cam2srgb = _cam2srgb(np.array(raw.color_matrix), np.array(raw.rgb_xyz_matrix))
    else:
        agrees = False
    return OpenedRaw(raw, container, black, white, gains / gains[1], cam2srgb, agrees)


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
    if not (np.any(raw.color_matrix) or np.any(raw.rgb_xyz_matrix)):
        return "no colour matrix, neither in the file nor known to LibRaw for this camera"
    if raw.sizes.pixel_aspect != 1:
        return "its pixels are not square"
    return ""


def _data_problem(mosaic: np.ndarray, black: np.ndarray, white: float) -> str:
    """The reason why the numbers are no picture, or "". LibRaw returns whatever a damaged file decodes to."""
    if min(mosaic.shape) < 2:
        return f"no picture: {mosaic.shape[1]}×{mosaic.shape[0]} pixels"
    if all(plane.min() == plane.max() for plane in (mosaic[y::2, x::2] for y in (0, 1) for x in (0, 1))):
        return f"no picture: every pixel has one value ({mosaic[0, 0]})"
    if mosaic.max() > 2 * white:
        return f"damaged: samples reach {mosaic.max()} where white is {white:g}"
    if empty := _missing_rows(mosaic, black):
        return f"damaged: {empty} of {len(mosaic)} rows are all zero"
    return ""


def _missing_rows(mosaic: np.ndarray, black: np.ndarray) -> int:
    """The number of rows that were never written: they are all zero.

    A camera that keeps its black level never records a row of zeros. One that subtracts it does so at night; but there
    the rows beside it are nearly black, too, while the rows beside missing ones are full of light or noise.
    """
    written = mosaic > 0
    empty = np.logical_not(written.any(axis=1))
    if not empty.any() or black.min() > 0:
        return int(empty.sum())
    block = min(LIT_BLOCK, mosaic.shape[1])
    blocks = written[:, : mosaic.shape[1] // block * block].reshape(len(mosaic), -1, block)
    lit: np.ndarray = blocks.mean(2).max(1) > LIT_SHARE
    cut = (empty[1:] & lit[:-1]) | (empty[:-1] & lit[1:])
    return int(empty.sum()) if cut.any() else 0


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


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror  # without the file's name
    reason = error.args[0] if error.args else type(error).__name__
    return reason.decode() if isinstance(reason, bytes) else str(reason)
