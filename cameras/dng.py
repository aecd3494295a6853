"""DNG files (Adobe DNG Specification 1.4.0.0) of simulated cameras and of Bayer stacks; LibRaw opens them like any RAW
file.
"""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from cameras import atomic, folders
from cameras.pairs import BYTES_PER_BAYER_PIXEL, BYTES_PER_CELL
from cameras.raw import SRGB_TO_XYZ, sample_positions
from cameras.scenes import scene_sources
from cameras.simulate import SimulatedCamera, capture

BYTE, ASCII, SHORT, LONG, RATIONAL, SRATIONAL = 1, 2, 3, 4, 5, 10  # TIFF field types
COLOR_FILTER_ARRAY = 32803  # PhotometricInterpretation
CFA_COLORS = "RGB"  # their numbers in CFAPattern are their positions here
D65 = 21  # CalibrationIlluminant1
FULL_SCALE = 65535  # white of a stack

SETTINGS = "simulation.json"
BYTES_PER_PIXEL = 2  # of the mosaic


def write_dng(path: str | Path, mosaic: np.ndarray, camera: SimulatedCamera) -> None:
    """Write a mosaic (H, W) uint16 as an uncompressed DNG, atomically. Equal mosaics give equal bytes."""
    content = encode(
        mosaic,
        cfa=camera.cfa,
        black=camera.black,
        white=camera.white,
        color_matrix=_fractions(np.array(camera.color_matrix), 10_000),
        white_balance=camera.white_balance,
        make=camera.make,
        model=camera.model,
        serial=str(camera.body),
    )
    atomic.write(path, content)


def encode_stack(bayer: np.ndarray, cfa: str, cam2srgb: np.ndarray) -> bytes:
    """A DNG of a calibrated Bayer stack, as pairs hold it: no black level, white balanced already.

    Args:
        bayer: (h, w, 4) in [0, 1], planes R, G1, G2, B; stored with 16 bits.
        cfa: the 2×2 cell in row-major order.
        cam2srgb: (3, 3), white-balanced camera RGB -> linear sRGB.
    """
    height, width, _ = bayer.shape
    mosaic = np.empty((2 * height, 2 * width), np.uint16)
    for plane, position in enumerate(sample_positions(cfa)):
        y, x = divmod(position, 2)
        mosaic[y::2, x::2] = np.rint(bayer[..., plane] * FULL_SCALE)
    return encode(
        mosaic,
        cfa=cfa,
        black=(0, 0, 0, 0),
        white=FULL_SCALE,
        color_matrix=_fractions(np.linalg.inv(np.float64(cam2srgb)) @ np.linalg.inv(SRGB_TO_XYZ), 1_000_000),
        white_balance=(1, 1, 1),
    )


def encode(
    mosaic: np.ndarray,
    *,
    cfa: str,
    black: Sequence[int],
    white: int,
    color_matrix: list[int],
    white_balance: Sequence[float],
    make: str = "Bayer",
    model: str = "stack",
    serial: str = "0",
) -> bytes:
    """The content of an uncompressed DNG.

    Args:
        mosaic: (H, W) uint16.
        black: levels by position in the cell, row-major. white: the level of a full well.
        color_matrix: XYZ -> camera RGB for D65, as ColorMatrix1: numerator and denominator of every value, in turn.
        white_balance: as-shot gains of R, G, B with G = 1.
    """
    import tifffile  # needed only to write files

    tags = {
        "Make": (271, ASCII, 0, make),
        "Model": (272, ASCII, 0, model),
        "Orientation": (274, SHORT, 1, 1),
        "CFARepeatPatternDim": (33421, SHORT, 2, (2, 2)),
        "CFAPattern": (33422, BYTE, 4, bytes(CFA_COLORS.index(color) for color in cfa)),
        "DNGVersion": (50706, BYTE, 4, bytes((1, 4, 0, 0))),
        "DNGBackwardVersion": (50707, BYTE, 4, bytes((1, 1, 0, 0))),
        "UniqueCameraModel": (50708, ASCII, 0, f"{make} {model}"),
        "CFAPlaneColor": (50710, BYTE, 3, bytes((0, 1, 2))),
        "CFALayout": (50711, SHORT, 1, 1),  # rectangular
        "BlackLevelRepeatDim": (50713, SHORT, 2, (2, 2)),
        "BlackLevel": (50714, SHORT, 4, tuple(black)),
        "WhiteLevel": (50717, LONG, 1, white),
        "ColorMatrix1": (50721, SRATIONAL, 9, color_matrix),
        "AsShotNeutral": (50728, RATIONAL, 3, _fractions(1 / np.array(white_balance), 1_000_000)),
        "CameraSerialNumber": (50735, ASCII, 0, serial),
        "CalibrationIlluminant1": (50778, SHORT, 1, D65),
    }
    content = io.BytesIO()
    tifffile.imwrite(
        content,
        mosaic,
        byteorder="<",
        photometric=COLOR_FILTER_ARRAY,
        rowsperstrip=len(mosaic),  # one strip
        metadata=None,
        software=False,  # no version of tifffile and no date: they would change the bytes
        extratags=[(*tag, True) for tag in tags.values()],
    )
    return content.getvalue()


def simulate_folder(
    camera: SimulatedCamera,
    folder: str | Path,
    count: int,
    height: int,
    width: int,
    seed: int,
    scenes: str | Path = "dead-leaves",
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Take ``count`` pictures with a simulated camera: DNG files ``<camera name>-0000.dng``, … in ``folder``.

    A picture depends only on the settings, the seed and its number. So a second call makes only the missing pictures,
    and a larger count adds to those that are there. Cameras with the same seed see the same scenes, each with its own
    noise. ``simulation.json`` in the folder keeps the settings.

    Args:
        height, width: of the pictures in pixels; even, and at least 32.
        scenes: a kind of `cameras.scenes.scene_sources`. If there are fewer photographs than pictures, they are used
            in turn, each time another part of them; then a split over pictures does not separate photographs.
        progress: called as ``progress(done, count)`` after every picture.

    Returns:
        The files' paths.

    Raises:
        ValueError: the folder holds pictures made with other settings, or the size is odd or below 32.
    """
    if height % 2 or width % 2 or min(height, width) < 32:
        raise ValueError(f"pictures of {height}×{width}: height and width must be even and at least 32")
    folder, sources = folders.expand(folder), scene_sources(scenes)
    record = settings_record(camera, height, width, seed, scenes)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / SETTINGS).exists():
        atomic.write(folder / SETTINGS, record)
    elif (folder / SETTINGS).read_bytes() != record:
        raise ValueError(f"{folder} holds pictures of other settings (see {SETTINGS}); choose another folder")

    paths = [folder / f"{camera.name}-{number:04d}.dng" for number in range(count)]
    sources_in_turn = list(sources.values())
    for number, path in enumerate(paths):
        if not path.exists():
            source = sources_in_turn[number % len(sources)]
            scene = source(height, width, np.random.default_rng((seed, number)))
            noise = np.random.default_rng((seed, number, *camera.identity))
            write_dng(path, capture(camera, scene, noise), camera)
        if progress is not None:
            progress(number + 1, count)
    return paths


def settings_record(
    camera: SimulatedCamera, height: int, width: int, seed: int, scenes: str | Path = "dead-leaves"
) -> bytes:
    """What ``simulation.json`` holds: all that decides what a picture of a given number shows.

    Raises ValueError as `scene_sources` does.
    """
    settings = {
        "camera": asdict(camera),
        "height": height,
        "width": width,
        "seed": seed,
        "scenes": list(scene_sources(scenes)),
    }
    return json.dumps(settings, indent=2).encode()


def simulated_size(count: int, height: int, width: int) -> int:
    """Bytes of so many simulated photographs: their DNG files, and the pairs that are imported from them."""
    return count * (height * width // 4) * (4 * BYTES_PER_PIXEL + BYTES_PER_BAYER_PIXEL + BYTES_PER_CELL)


def _fractions(values: np.ndarray, denominator: int) -> list[int]:
    """Numerator and denominator of every value, in turn."""
    return [part for value in values.flat for part in (round(float(value) * denominator), denominator)]
