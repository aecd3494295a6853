"""Scenes for simulated cameras: what the lens sees, linear sRGB (H, W, 3) float32 in [0, 1].

A *scene source* is a function ``(height, width, rng) -> scene``. ``scene_sources`` finds the sources of a kind:
procedural dead leaves, the photographs that scikit-image ships, or any folder of photographs.

Dead leaves (Lee, Mumford & Huang, "Occlusion models for natural images", IJCV 2001): opaque leaves, whose radii
follow the scale-invariant density r^-3, are dropped on top of each other. The picture has the edges, the marginal
statistics and the spectrum of natural images. Here the leaves also have texture and shading, because a forensic
network uses texture.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cameras import folders
from cameras.errors import one_line

if TYPE_CHECKING:
    from PIL import Image

SceneSource = Callable[[int, int, np.random.Generator], np.ndarray]

PHOTO_SUFFIXES = (".avif", ".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
SHIPPED_PHOTOS = ("astronaut", "chelsea", "coffee", "rocket", "stereo_motorcycle")  # need no download

SMALLEST_LEAF = 4.0  # radius in pixels; finer detail is the leaves' texture
COVERAGE = 6.0  # area of all leaves divided by that of the frame: about e^-6 = 0.2 % of the ground stays bare
SUPERELLIPSES = (1.0, 2.0, 2.0, 2.0, 4.0, 12.0)  # exponents: a diamond, discs and ellipses, boards
PLACES = 10  # regions of a scene with leaves of one kind
TEXTURE_SIZE = 512  # textures are periodic tiles of this size
TEXTURES = (  # slope of the amplitude spectrum 1/f^slope, stretch across one axis (wood, cloth, hair)
    (0.3, 1.0),
    (0.8, 1.0),
    (1.2, 1.0),
    (0.8, 4.0),
    (0.8, 0.25),
    (1.2, 6.0),
)


def scene_sources(kind: str | Path) -> dict[str, SceneSource]:
    """Scene sources by name. kind: "dead-leaves", "scikit-image", or the path of a folder of photographs.

    Raises ValueError if the folder does not exist, holds no photograph, or holds one that cannot be read.
    """
    if kind == "dead-leaves":
        return {kind: dead_leaves}
    if kind == "scikit-image":
        return {name: partial(_shipped_photo, name) for name in SHIPPED_PHOTOS}
    folder = folders.expand(kind)
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder of photographs; give one, or dead-leaves, or scikit-image")
    paths = folders.within(folder, PHOTO_SUFFIXES)
    if not paths:
        raise ValueError(f"{folder} holds no photograph ({' '.join(PHOTO_SUFFIXES)})")
    for path in paths:
        _open_photo(path).close()  # reads only the header: refuse a file now, not in the middle of the work
    return {path.relative_to(folder).as_posix(): partial(_photo_file, path) for path in paths}


# --- dead leaves ---


def dead_leaves(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A procedural scene (height, width, 3): textured and shaded leaves under uneven light."""
    seen, centre, radius = _drop_leaves(height, width, rng)  # seen: (H, W) which leaf a pixel shows
    leaves = len(radius)

    # All effects multiply the light, so their logarithms are added: a leaf's bend towards the light or away from it,
    # its texture, the illumination, its colour.
    rows, columns = np.indices((height, width), sparse=True, dtype=np.float32)
    bend = (rng.normal(0, 0.22, (leaves, 2)) / radius[:, None]).astype(np.float32)
    light = bend[seen, 0] * (rows - centre[seen, 0]) + bend[seen, 1] * (columns - centre[seen, 1])
    flat = rng.random(leaves) < 0.35
    contrast = np.where(flat, 0, rng.exponential(0.22, leaves)).astype(np.float32)
    light += contrast[seen] * _texture(seen, leaves, rng)
    light += _illumination(height, width, rng)
    scene = _leaf_colours(centre, rng)[seen] + light[..., None]
    np.exp(scene, out=scene)

    # Exposure: the median becomes a middle grey, as a light meter does it, but at most 2 or 3 % blow out.
    median, bright = np.quantile(scene[::4, ::4], (0.5, 0.98))
    scene *= min(rng.uniform(0.12, 0.25) / median, 1.1 / bright)
    return np.clip(scene, 0, 1, out=scene)


def _drop_leaves(height: int, width: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The number of the topmost leaf at each pixel (H, W); the leaves' centres (n, 2) as row, column; radii (n,)."""
    smallest, largest = SMALLEST_LEAF, max(0.5 * min(height, width), 2 * SMALLEST_LEAF)
    mean_square = 2 * np.log(largest / smallest) / (smallest**-2 - largest**-2)  # of r under the density r^-3
    field = (height + 2 * smallest, width + 2 * smallest)
    leaves = 1 + int(COVERAGE * field[0] * field[1] / (np.pi * mean_square))

    # The inverse of the cumulative distribution of r^-3.
    radius = (smallest**-2 - rng.random(leaves) * (smallest**-2 - largest**-2)) ** -0.5
    centre = rng.uniform(-smallest, np.array(field) - smallest, (leaves, 2))
    # Superellipses |u|^p + |v|^p <= 1, where (u, v) is the offset turned and divided by the two semi-axes.
    exponent = rng.choice(SUPERELLIPSES, leaves)
    stretch = np.exp(rng.normal(0, 0.35, leaves))
    angle = rng.uniform(0, np.pi, leaves)
    semi_axes = np.stack((radius * stretch, radius / stretch), axis=1)
    to_u = np.stack((np.cos(angle), np.sin(angle)), axis=1) / semi_axes[:, :1]
    to_v = np.stack((-np.sin(angle), np.cos(angle)), axis=1) / semi_axes[:, 1:]
    corners = np.where(exponent > 2, np.sqrt(2), 1)  # distance of the corners, in semi-axes
    reach = (semi_axes.max(axis=1) * corners)[:, None]
    first = np.maximum(np.ceil(centre - reach), 0).astype(int)
    last = np.minimum(np.floor(centre + reach) + 1, (height, width)).astype(int)

    # Leaf 0 is the ground; every later leaf hides what lies below. Lists are faster than arrays in this long loop.
    seen = np.zeros((height, width), np.int32)
    rows, columns = np.indices((height, width), sparse=True, dtype=np.float32)
    every = zip(*(a.tolist() for a in (first, last, centre, to_u, to_v, exponent)), strict=True)
    for leaf, ((top, left), (bottom, right), (y, x), (uy, ux), (vy, vx), p) in enumerate(every):
        if leaf == 0 or top >= bottom or left >= right:
            continue
        down, across = rows[top:bottom] - y, columns[:, left:right] - x
        u, v = np.abs(uy * down + ux * across), np.abs(vy * down + vx * across)
        inside = u * u + v * v <= 1 if p == 2 else u**p + v**p <= 1
        seen[top:bottom, left:right][inside] = leaf
    radius[0], centre[0] = 0.5 * np.hypot(height, width), (height / 2, width / 2)
    return seen, centre.astype(np.float32), radius.astype(np.float32)


def _leaf_colours(centre: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Logarithm of the leaves' linear sRGB (n, 3), uncorrelated along three axes.

    Most variance is in lightness, less along daylight (sky blue to brown), least from magenta to green, as in natural
    scenes (Ruderman, Cronin & Chiao, JOSA A 1998). Leaves that lie together are mostly of one kind, like foliage or a
    wall: a scene has a few places, each with a colour; the leaves near a place have variations of its colour.
    """
    axes = np.array(((1, 1, 1), (1, 0, -1), (-1, 2, -1))) / np.sqrt(((3,), (2,), (6,)))
    place = rng.uniform(centre.min(axis=0), centre.max(axis=0), (PLACES, 2))
    place_colour = rng.normal((0, 0.1, 0.05), (1.1, 0.45, 0.16), (PLACES, 3))
    stray = rng.normal(0, 0.12 * np.ptp(centre, axis=0), centre.shape)
    nearest = np.linalg.norm((centre + stray)[:, None] - place, axis=2).argmin(axis=1)
    own_colour = rng.normal(0, (1.2, 0.2, 0.08), (len(centre), 3))
    return ((place_colour[nearest] + own_colour) @ axes).astype(np.float32)


def _texture(seen: np.ndarray, leaves: int, rng: np.random.Generator) -> np.ndarray:
    """Texture of unit variance (H, W): every leaf shows a random part of one of the textures."""
    tiles = np.stack([_noise(TEXTURE_SIZE, slope, stretch, rng) for slope, stretch in TEXTURES])
    corner = rng.integers(TEXTURE_SIZE, size=(leaves, 2), dtype=np.int32)
    height, width = seen.shape
    rows, columns = np.indices((height, width), sparse=True, dtype=np.int32)
    kind = rng.integers(len(tiles), size=leaves)
    row, column = rows + corner[seen, 0], columns + corner[seen, 1]
    return tiles[kind[seen], row % TEXTURE_SIZE, column % TEXTURE_SIZE]


def _noise(size: int, slope: float, stretch: float, rng: np.random.Generator) -> np.ndarray:
    """Periodic Gaussian noise (size, size) of unit variance with the amplitude spectrum 1/f^slope."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None] * stretch, np.fft.rfftfreq(size))
    frequency[0, 0] = np.inf  # no mean
    white = np.fft.rfft2(rng.standard_normal((size, size)))
    noise = np.fft.irfft2(white * frequency**-slope, s=(size, size))
    return (noise / noise.std()).astype(np.float32)


def _illumination(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Logarithm of the light that falls on the scene (H, W): a few waves at least as long as the frame."""
    rows, columns = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)
    light = np.zeros((height, width))
    for _ in range(6):
        down, across = rng.uniform(-1, 1, 2)  # cycles per frame
        light += rng.normal(0, 0.2) * np.cos(2 * np.pi * (down * rows + across * columns + rng.random()))
    return light.astype(np.float32)


# --- photographs ---


def srgb_to_linear(encoded: np.ndarray) -> np.ndarray:
    """Inverse of the sRGB curve (IEC 61966-2-1), any shape: uint8 -> float32 in [0, 1]."""
    values = np.arange(256) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return linear.astype(np.float32)[encoded]


def photo_scene(photograph: np.ndarray, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A random part of a photograph (H, W, 3) uint8 sRGB as a scene (height, width, 3), perhaps flipped.

    A larger photograph is first reduced 2 to 4 times in linear light, or as far as its size allows: this removes the
    traces of its own demosaicing and compression. A smaller one is continued by reflection, because a scene from an
    enlarged photograph would have no fine detail.
    """
    from PIL import Image  # photographs need Pillow; procedural scenes need only numpy

    scene = srgb_to_linear(photograph)
    spare = min(scene.shape[0] / height, scene.shape[1] / width)
    if spare > 1:
        factor = rng.uniform(min(2.0, spare), min(4.0, spare))
        size = max(width, round(scene.shape[1] / factor)), max(height, round(scene.shape[0] / factor))
        planes = [Image.fromarray(plane) for plane in np.moveaxis(scene, 2, 0)]
        scene = np.stack([np.asarray(plane.resize(size, Image.Resampling.BOX)) for plane in planes], axis=2)
    below, beside = max(0, height - scene.shape[0]), max(0, width - scene.shape[1])
    scene = np.pad(scene, ((0, below), (0, beside), (0, 0)), mode="symmetric")
    y, x = rng.integers(scene.shape[0] - height + 1), rng.integers(scene.shape[1] - width + 1)
    scene = scene[y : y + height, x : x + width]
    return np.ascontiguousarray(scene[:, ::-1] if rng.random() < 0.5 else scene)


def _open_photo(path: Path) -> "Image.Image":
    from PIL import Image  # as above

    try:
        return Image.open(path)
    except OSError as error:
        raise ValueError(f"{path} is no readable photograph ({one_line(error)}); take it out of the folder") from error


def _photo_file(path: Path, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    from PIL import ImageOps  # as above

    with _open_photo(path) as image:
        try:
            photograph = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        except OSError as error:
            raise ValueError(f"{path} is damaged ({one_line(error)}); take it out of the folder") from error
    return photo_scene(photograph, height, width, rng)


def _shipped_photo(name: str, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    import skimage.data  # no other scene needs scikit-image

    photograph = getattr(skimage.data, name)()
    if isinstance(photograph, tuple):  # left and right view and their disparity
        photograph = photograph[0]
    return photo_scene(photograph, height, width, rng)
