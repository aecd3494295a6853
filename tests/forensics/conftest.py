"""A small simulated camera in memory, and NIPs that start from it."""

import numpy as np
import pytest

import models
from cameras.develop import develop
from cameras.pairs import Pairs
from cameras.scenes import dead_leaves
from cameras.simulate import PRESETS, capture, frame


@pytest.fixture(scope="session")
def pairs() -> Pairs:
    """Four photographs of 96×128 px."""
    camera = PRESETS["sim-gbrg"]
    frames = [
        frame(camera, capture(camera, dead_leaves(96, 128, np.random.default_rng(i)), np.random.default_rng(9 + i)))
        for i in range(4)
    ]
    return Pairs.from_images([(f.bayer, develop(f)) for f in frames], camera.cfa, camera.cam2srgb, camera.name)


@pytest.fixture
def nip(pairs: Pairs) -> models.NIP:
    return models.build("INet", cfa=pairs.cfa, cam2srgb=pairs.cam2srgb.tolist())
