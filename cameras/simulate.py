"""Simulated cameras: turn a scene into a sensor's mosaic whose every ingredient is known.

    scene -- lens, anti-alias filter --> camera matrix, white balance^-1, CFA --> light at each pixel
          -- exposure, PRNU 1 + K, well, shot and read noise --> electrons -- gain, black, rounding --> mosaic

A pixel holds min(Poisson((1 + K) · light), well) + Gaussian electrons: the multiplicative PRNU of Chen,
Fridrich, Goljan & Lukáš (IEEE TIFS 2008) with the signal-dependent noise of Foi et al. (IEEE TIP 2008).
Only numpy is needed.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from cameras.raw import PLANE_COLORS, SRGB_TO_XYZ, RawFrame, sample_positions

Matrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]

SENSOR_TILE = 256  # the PRNU pattern is drawn in tiles of this side: a small frame needs only some of them


@dataclass(frozen=True)
class SimulatedCamera:
    """One camera body.

    name: its name in a study. make, model: as written in its files.
    cfa: the 2×2 cell in row-major order.
    color_matrix: XYZ -> camera RGB for D65, as DNG's ColorMatrix1.
    white_balance: as-shot gains of R, G, B with G = 1.
    black: levels by position in the cell, row-major. white: level of a full well. bits: of the converter.
    full_well: electrons at saturation. read_noise: standard deviation in electrons.
    prnu: standard deviation of the pattern K. blur: σ in pixels of lens and anti-alias filter together.
    body: number of this body; bodies of one model differ only in their PRNU pattern.

    Raises ValueError for values that contradict each other.
    """

    name: str
    make: str
    model: str
    cfa: str
    color_matrix: Matrix
    white_balance: tuple[float, float, float]
    black: tuple[int, int, int, int]
    white: int
    bits: int
    full_well: float
    read_noise: float
    prnu: float
    blur: float
    body: int = 1

    def __post_init__(self) -> None:
        sample_positions(self.cfa)  # raises an error for an unknown Bayer pattern
        if not 0 <= min(self.black) <= max(self.black) < self.white < 2**self.bits <= 2**16:
            raise ValueError(f"camera {self.name} needs 0 <= black < white < 2^bits and at most 16 bits")
        if self.white_balance[1] != 1 or min(self.white_balance) <= 0:
            raise ValueError(f"camera {self.name} needs three positive white balance gains, that of green 1")
        if self.full_well <= 0 or min(self.read_noise, self.prnu, self.blur) < 0:
            raise ValueError(f"camera {self.name} needs full_well > 0 and read_noise, prnu, blur >= 0")

    @property
    def identity(self) -> tuple[int, int]:
        """Seeds that no other body of this or another model has."""
        return zlib.crc32(f"{self.make} {self.model}".encode()), self.body

    @property
    def srgb2cam(self) -> np.ndarray:
        """Linear sRGB -> white-balanced camera RGB, (3, 3): rows sum to 1, so that white stays white."""
        matrix = np.array(self.color_matrix) @ SRGB_TO_XYZ
        return matrix / matrix.sum(axis=1, keepdims=True)

    @property
    def cam2srgb(self) -> np.ndarray:
        """White-balanced camera RGB -> linear sRGB, (3, 3) float32, as in a RawFrame."""
        return np.linalg.inv(self.srgb2cam).astype(np.float32)


def prnu_pattern(camera: SimulatedCamera, height: int, width: int) -> np.ndarray:
    """The PRNU pattern K of this body, (height, width) float32: white noise of standard deviation ``camera.prnu``.

    Frames begin at the sensor's top left corner, so a smaller pattern is a crop of a larger one.
    """
    K = np.empty((height, width), np.float32)
    for y in range(0, height, SENSOR_TILE):
        for x in range(0, width, SENSOR_TILE):
            rng = np.random.default_rng((*camera.identity, y, x))
            tile = camera.prnu * rng.standard_normal((SENSOR_TILE, SENSOR_TILE), np.float32)
            K[y : y + SENSOR_TILE, x : x + SENSOR_TILE] = tile[: height - y, : width - x]
    return K


def capture(camera: SimulatedCamera, scene: np.ndarray, rng: np.random.Generator, exposure: float = 1.0) -> np.ndarray:
    """Take a picture: scene (H, W, 3), linear sRGB in [0, 1], with even H and W -> mosaic (H, W) uint16.

    exposure: factor of the light; at 1, the green pixels of a white scene are just saturated.
    Raises ValueError for a scene of another shape.
    """
    if scene.ndim != 3 or scene.shape[0] % 2 or scene.shape[1] % 2 or scene.shape[2] != 3:
        raise ValueError(f"a scene is (H, W, 3) with even H and W, not {scene.shape}")
    height, width = scene.shape[:2]
    srgb2sensor = camera.srgb2cam / np.array(camera.white_balance)[:, None]
    sensor_rgb = lens_blur(scene, camera.blur) @ srgb2sensor.T.astype(np.float32)
    light = np.clip(color_filter(sensor_rgb, camera.cfa), 0, None)  # 1 fills the well

    K = prnu_pattern(camera, height, width)
    expected = camera.full_well * exposure * light * np.clip(1 + K, 0, None)
    electrons = np.minimum(rng.poisson(expected), camera.full_well)
    electrons = electrons + camera.read_noise * rng.standard_normal((height, width))

    black = np.tile(np.reshape(camera.black, (2, 2)), (height // 2, width // 2))
    numbers = black + (camera.white - black) / camera.full_well * electrons
    return np.clip(np.rint(numbers), 0, 2**camera.bits - 1).astype(np.uint16)


def frame(camera: SimulatedCamera, mosaic: np.ndarray) -> RawFrame:
    """The RawFrame of a mosaic (H, W), equal to that of its DNG file."""
    return RawFrame.from_mosaic(
        mosaic,
        cfa=camera.cfa,
        black=np.reshape(camera.black, (2, 2)),
        white=camera.white,
        white_balance=np.array(camera.white_balance),
        cam2srgb=camera.cam2srgb,
        camera=f"{camera.make} {camera.model}",
    )


def lens_blur(scene: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of lens and anti-alias filter, (H, W, 3) -> same; edge pixels are repeated beyond the frame."""
    if sigma == 0:
        return scene
    radius = int(np.ceil(4 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).astype(np.float32)
    height, width = scene.shape[:2]
    wide = np.pad(scene, ((radius, radius), (radius, radius), (0, 0)), mode="edge")
    down = sum(weight * wide[i : i + height] for i, weight in enumerate(kernel))
    return sum(weight * down[:, i : i + width] for i, weight in enumerate(kernel))


def color_filter(rgb: np.ndarray, cfa: str) -> np.ndarray:
    """Keep the colour of each pixel that the colour filter array passes: (H, W, 3) -> (H, W)."""
    mosaic = np.empty_like(rgb[..., 0])
    for position, color in zip(sample_positions(cfa), PLANE_COLORS, strict=True):
        y, x = divmod(position, 2)
        mosaic[y::2, x::2] = rgb[y::2, x::2, color]
    return mosaic


# Four models, one of each Bayer pattern. Their matrices are those that raw converters publish for four SLRs of 2006 to
# 2009; levels and noise are of the order of such cameras at ISO 200 to 400. None is a model of a certain camera.
PRESETS: Mapping[str, SimulatedCamera] = MappingProxyType(
    {
        camera.name: camera
        for camera in (
            SimulatedCamera(
                name="sim-rggb",
                make="Simulated",
                model="R1",
                cfa="RGGB",
                color_matrix=(
                    (0.6257, -0.0303, -0.1000),
                    (-0.7880, 1.5621, 0.2396),
                    (-0.1714, 0.1904, 0.7046),
                ),
                white_balance=(2.17, 1.0, 1.45),
                black=(128, 128, 128, 127),
                white=3840,
                bits=12,
                full_well=30_000,
                read_noise=8.0,
                prnu=0.010,
                blur=0.8,
            ),
            SimulatedCamera(
                name="sim-gbrg",
                make="Simulated",
                model="G1",
                cfa="GBRG",
                color_matrix=(
                    (0.7309, -0.1403, -0.0519),
                    (-0.8474, 1.6008, 0.2622),
                    (-0.2433, 0.2826, 0.8064),
                ),
                white_balance=(1.73, 1.0, 1.39),
                black=(0, 0, 0, 0),
                white=3880,
                bits=12,
                full_well=25_000,
                read_noise=6.0,
                prnu=0.012,
                blur=0.9,
            ),
            SimulatedCamera(
                name="sim-bggr",
                make="Simulated",
                model="B1",
                cfa="BGGR",
                color_matrix=(
                    (0.9437, -0.2811, -0.0774),
                    (-0.8405, 1.6215, 0.2290),
                    (-0.0710, 0.0596, 0.7181),
                ),
                white_balance=(1.62, 1.0, 1.71),
                black=(64, 62, 63, 64),
                white=4095,
                bits=12,
                full_well=18_000,
                read_noise=10.0,
                prnu=0.015,
                blur=0.7,
            ),
            SimulatedCamera(
                name="sim-grbg",
                make="Simulated",
                model="G2",
                cfa="GRBG",
                color_matrix=(
                    (0.6071, -0.0747, -0.0856),
                    (-0.7653, 1.5365, 0.2441),
                    (-0.2025, 0.2553, 0.7315),
                ),
                white_balance=(2.05, 1.0, 1.52),
                black=(1023, 1024, 1024, 1023),
                white=15600,
                bits=14,
                full_well=40_000,
                read_noise=5.0,
                prnu=0.008,
                blur=1.0,
            ),
        )
    }
)
