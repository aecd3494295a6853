"""Scenes that one camera took twice, with a long and a short exposure: RAW files in two folders.

    FOLDER/long/SCENE…      the scene with enough light
    FOLDER/short/SCENE…     the same scene with a fraction of the light

The part of a name before the first "_" or "." is the scene, as in the data of Chen, Chen, Xu & Koltun, "Learning to see
in the dark", CVPR 2018, where 00001_00_10s.ARW and 00001_00_0.04s.ARW belong together. Simulated cameras write such
folders.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from cameras import folders
from cameras.container import SUFFIXES, looks_raw
from cameras.dng import write_dng
from cameras.raw import RawFrame
from cameras.scenes import scene_sources
from cameras.simulate import SimulatedCamera, capture
from prnu.crops import crop_box

LONG, SHORT = "long", "short"
BLOWN = 0.9  # of white: brighter pixels of a long exposure may be saturated
HEAD = 2**16  # first bytes of a file that, with its name and size, identify it


@dataclass(frozen=True)
class Exposures:
    """One scene as two RAW files of one camera."""

    long: Path
    short: Path


def find(folder: Path | str) -> list[Exposures]:
    """Find the scenes of a folder that have both exposures, sorted by name.

    If a scene has several files of one kind, the first one counts.

    Raises:
        ValueError: there are no such folders, or no scene has both exposures.
    """
    folder = folders.expand(folder)
    by_kind = [_scenes(folder / kind) for kind in (LONG, SHORT)]
    both = sorted(by_kind[0].keys() & by_kind[1].keys())
    if not both:
        raise ValueError(
            f"{folder}: no file in {LONG}/ ({len(by_kind[0])} scenes) has one in {SHORT}/ ({len(by_kind[1])} scenes) "
            "whose name begins alike, up to the first '_' or '.'"
        )
    return [Exposures(by_kind[0][scene], by_kind[1][scene]) for scene in both]


def _scenes(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; RAW files of low light lie in {LONG}/ and {SHORT}/")
    files = folders.within(folder, SUFFIXES, looks_raw)
    return {file.name.replace(".", "_").partition("_")[0]: file for file in reversed(files)}


def identity(scenes: Iterable[Exposures]) -> str:
    """SHA-256 of the names, the sizes and the first 64 kB of all files, in any folder."""
    digest = hashlib.sha256()
    for file in (file for taken in scenes for file in (taken.long, taken.short)):
        with file.open("rb") as content:
            digest.update(f"{file.name}/{file.stat().st_size}/".encode() + content.read(HEAD))
    return digest.hexdigest()


def take(
    camera: SimulatedCamera, scene: np.ndarray, folder: Path, name: str, rng: np.random.Generator, exposure: float
) -> Exposures:
    """Take a scene (H, W, 3), linear sRGB in [0, 1], with all its light and with the fraction `exposure` of it.

    Both DNG files have the same sensor pattern.

    Raises:
        ValueError: a scene of another shape, or an exposure outside ]0, 1].
    """
    if not 0 < exposure <= 1:
        raise ValueError(f"a short exposure lies between 0 and 1, the long one, not at {exposure}")
    taken = Exposures(*(folder / kind / f"{name}.dng" for kind in (LONG, SHORT)))
    for file, light in ((taken.long, 1.0), (taken.short, exposure)):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_dng(file, capture(camera, scene, rng, light), camera)
    return taken


def planned(folder: Path | None, sha256: str | None) -> list[Exposures]:
    """The scenes in a folder, if there is one.

    Raises:
        ValueError: their `identity` is another.
    """
    if folder is None:
        return []
    found = find(folder)
    if identity(found) != sha256:
        raise ValueError(f"the files in {folder} are not those that the job was planned with")
    return found


def take_scene(
    camera: SimulatedCamera,
    number: int,
    folder: Path,
    exposure: float,
    *,
    scenes: str,
    height: int,
    width: int,
    seed: int,
) -> Exposures:
    """Take a scene of its own by a simulated camera, that no other experiment has seen; `scenes` as in a study file."""
    sources = list(scene_sources(scenes).values())
    scene = sources[number % len(sources)](height, width, np.random.default_rng((seed, 1, number)))
    rng = np.random.default_rng((seed, 1, number, *camera.identity))
    return take(camera, scene, folder, f"{number:04d}", rng, exposure)


@dataclass(frozen=True)
class Look:
    """Properties of a pair of files. gain: the light of the long exposure divided by that of the short one.

    height, width: of the photograph.
    """

    gain: float
    camera: str
    cfa: str
    height: int
    width: int


@cache
def look(taken: Exposures) -> Look:
    """Open both files and measure the gain: time, aperture and sensitivity may differ.

    The gain is the median ratio of pixels, because noise and movements between the exposures hardly change a median.
    Only pixels count that are in the brighter half of those that are not blown out in the long exposure.

    Raises:
        ValueError: the files are of two cameras or sizes, or the short exposure is no darker than the long one.
        RawError: a file is not a RAW file of a Bayer sensor.
    """
    long, short = (RawFrame.open(file) for file in (taken.long, taken.short))
    if (long.camera, long.cfa, long.bayer.shape) != (short.camera, short.cfa, short.bayer.shape):
        raise ValueError(f"{taken.long} and {taken.short} are not of one camera and one size")
    seen = long.bayer < BLOWN
    bright = seen & (long.bayer > 0) & (long.bayer >= np.median(long.bayer[seen])) if seen.any() else seen
    share = float(np.median(short.bayer[bright] / long.bayer[bright])) if bright.any() else 0.0
    if not 0 < share <= 1:
        raise ValueError(
            f"{taken.short}: no darker than {taken.long}, or one is all black or white: are they exchanged?"
        )
    height, width = (2 * side for side in long.bayer.shape[:2])
    return Look(1 / share, long.camera, long.cfa, height, width)


def check(scenes: Sequence[Exposures], others: Sequence[Exposures], pixels: int) -> None:
    """Open all files, to refuse unfit ones before the training and not after it.

    Raises:
        ValueError: scenes are of several cameras or sizes, others are among them, or their central crops of so many
            pixels have another size; and as `look`.
    """
    first = look(scenes[0])
    _, _, *size = crop_box(first.height, first.width, pixels)
    for taken in scenes:
        found = look(taken)
        if (found.camera, found.cfa, found.height, found.width) != (first.camera, first.cfa, first.height, first.width):
            raise ValueError(f"{taken.long} is of another camera or size than {scenes[0].long}")
    for taken in others:
        found = look(taken)
        if taken in scenes:
            raise ValueError(f"{taken.long} is among the scenes of the camera itself")
        _, _, *theirs = crop_box(found.height, found.width, pixels)
        if theirs != size:
            raise ValueError(
                f"crops of {taken.long} are {theirs[0]}×{theirs[1]}, those of {scenes[0].long} {size[0]}×{size[1]}: "
                "choose fewer pixels, so that they are of one size"
            )


def frames(taken: Exposures, pixels: int) -> tuple[RawFrame, RawFrame]:
    """The central crops of a pair, of at most so many pixels; the short one is amplified by the gain.

    Raises ValueError and RawError as `look`.
    """
    long, short = (_cropped(RawFrame.open(file), pixels) for file in (taken.long, taken.short))
    return long, replace(short, bayer=np.clip(look(taken).gain * short.bayer, 0, 1, dtype=np.float32))


def _cropped(frame: RawFrame, pixels: int) -> RawFrame:
    """The part of a frame that `prnu.crops.central_crop` takes of the photograph."""
    h, w, _ = frame.bayer.shape
    top, left, height, width = (side // 2 for side in crop_box(2 * h, 2 * w, pixels))
    return replace(frame, bayer=np.ascontiguousarray(frame.bayer[top : top + height, left : left + width]))
