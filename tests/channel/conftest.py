"""Natural photographs for the tests of the channel."""

import numpy as np
import pytest
import torch


@pytest.fixture(scope="session")
def photographs() -> torch.Tensor:
    """Crops (4, 3, 192, 224) uint8 of photographs that scikit-image ships as PNG."""
    from skimage import data

    crops = [
        data.astronaut()[:192, 120:344],
        data.astronaut()[280:472, 40:264],
        data.chelsea()[60:252, 100:324],
        data.coffee()[150:342, 60:284],
    ]
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()
