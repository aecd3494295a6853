"""A start for the learned codec: weights by which it is the DCT of JPEG, with chroma at half the resolution.

    RGB ─ 4 Y of 2×2 pixels, mean Cb, mean Cr ─ 2×2 of those ─ 2×2 of those: DCT ÷ steps ─ codes
    RGB ─ Y, Cb and Cr interpolated ─────────── 2×2 of those ─ 2×2 of those: inverse DCT ─── × steps

Random weights first have to learn what has been known since Ahmed et al. 1974. From here on, a training improves a
codec: by the residual blocks, which start as the identity, and by weights that have no effect at first. A signal s
passes a leaky ReLU of slope a as two features, of s and −s: s = (lrelu(s) − lrelu(−s)) / (1 + a).
"""

import math
from itertools import product

import torch
from torch import Tensor, nn

from channel.codecs.jpeg import RGB_TO_YCBCR, YCBCR_TO_RGB, dct_matrix
from channel.learned.codebook import CENTRES
from channel.learned.network import SLOPE, Autoencoder

SIGNALS = 6  # of 2×2 pixels: four of Y, one of Cb, one of Cr
LEAST_WIDTH = 2 * 4 * SIGNALS
COEFFICIENTS = {16: (12, 2), 32: (24, 4), 64: (48, 8)}  # by features: those of Y, and those of Cb and of Cr each
# By which coefficients are divided: the step with the least squared error + 100·bits per pixel on 10 photographs for
# training. For another weight β it is proportional to √β: a bit per coefficient divides the squared error by four.
STEP, RATE_WEIGHT = 28.0, 100.0
CELL = list(product((0, 1), (0, 1)))  # the four places of 2×2
NEXT = 0.25  # share of a neighbour where chroma is interpolated; of the place itself 0.75


@torch.no_grad()
def start_as_dct(codec: Autoencoder, rate_weight: float = RATE_WEIGHT) -> None:
    """Sets the weights by which the codec is a DCT.

    Args:
        codec: of any features.
        rate_weight: β, squared error on the 8-bit scale that a bit per pixel may cost.

    Raises:
        ValueError: the codec is too narrow.
    """
    width = codec.settings["width"]
    if width < LEAST_WIDTH:
        raise ValueError(f"a codec of width {width} cannot start as the DCT: use {LEAST_WIDTH} or more")
    transform, steps = basis(codec.settings["features"], max(1.0, STEP * math.sqrt(rate_weight / RATE_WEIGHT)))
    to_codes, to_signals = transform / steps[:, None], (transform * steps[:, None]).mT / 127.5**2
    encoder, decoder = codec.encoder, codec.decoder

    W = _cleared(encoder.to_half, range(2 * SIGNALS), at=2)  # (feature, RGB, 2, 2)
    for place, (y, x) in enumerate(CELL):
        of_pixel = torch.zeros(SIGNALS, 3)
        of_pixel[place] = torch.tensor(RGB_TO_YCBCR[0])
        of_pixel[4:] = torch.tensor(RGB_TO_YCBCR[1:]) / 4
        W[0 : 2 * SIGNALS : 2, :, y, x], W[1 : 2 * SIGNALS : 2, :, y, x] = of_pixel, -of_pixel
    W = _cleared(encoder.to_quarter, range(8 * SIGNALS), at=2)
    for place, (y, x) in enumerate(CELL):
        for signal in range(SIGNALS):
            one = 2 * (SIGNALS * place + signal)
            _read(W[one, :, y, x], signal, 1)
            _read(W[one + 1, :, y, x], signal, -1)
    W = _cleared(encoder.to_eighth, range(len(transform)), at=2)
    for place, (y, x) in enumerate(CELL):
        for signal, column in enumerate(to_codes[:, 4 * SIGNALS * place :][:, : 4 * SIGNALS].unbind(1)):
            _read(W[:, :, y, x].mT, signal, column)

    W = _cleared(decoder.to_quarter, range(4 * 4 * SIGNALS), at=1)
    for place, signal in product(range(4), range(4 * SIGNALS)):
        W[4 * signal + place, :, 0, 0] = to_signals[4 * SIGNALS * place + signal]
    W = _cleared(decoder.to_half, range(4 * 2 * SIGNALS), at=1)
    for place, signal, sign in product(range(4), range(SIGNALS), (0, 1)):
        W[4 * (2 * signal + sign) + place, SIGNALS * place + signal, 0, 0] = 1 - 2 * sign
    W = _cleared(decoder.to_full, range(12))
    to_rgb = torch.tensor(YCBCR_TO_RGB)
    for colour, (place, (y, x)) in product(range(3), enumerate(CELL)):
        pixel = W[4 * colour + place]
        _read(pixel[:, 1, 1], place, to_rgb[colour, 0])
        for (near_y, rows), (near_x, columns) in product(
            ((1, 1 - NEXT), (2 * y, NEXT)), ((1, 1 - NEXT), (2 * x, NEXT))
        ):
            for signal in (4, 5):
                _read(pixel[:, near_y, near_x], signal, rows * columns * to_rgb[colour, signal - 3])


def basis(features: int, step: float) -> tuple[Tensor, Tensor]:
    """Returns the transform of the 96 signals of 8×8 pixels, from -1 to 1, into coefficients on the 8-bit scale.

    Returns:
        Its rows (features, 96), of length 127.5 and at right angles, and the steps (features,) by which coefficients
        are divided: all alike, but at least so large for the means that their codes reach black and white.
    """
    of_y, of_chroma = COEFFICIENTS[features]
    rows, steps = [], []
    for plane, size, number in (("Y", 8, of_y), ("Cb", 4, of_chroma), ("Cr", 4, of_chroma)):
        D = dct_matrix(size, torch.float32)
        for u, v in sorted(product(range(size), repeat=2), key=lambda place: (sum(place), max(place)))[:number]:
            block, row = torch.outer(D[u], D[v]), torch.zeros(4, 4, SIGNALS)
            for (q, (qy, qx)), (p, (py, px)) in product(enumerate(CELL), repeat=2):
                if plane == "Y":
                    row[q, p, :4] = torch.stack([block[4 * qy + 2 * py + y, 4 * qx + 2 * px + x] for y, x in CELL])
                else:
                    row[q, p, 4 if plane == "Cb" else 5] = block[2 * qy + py, 2 * qx + px]
            rows.append(127.5 * row.flatten())
            steps.append(max(step, 0 if u + v else size * 127.5 / (CENTRES / 2 - 1)))
    return torch.stack(rows), torch.tensor(steps)


def _cleared(layer: nn.Conv2d, outputs: range, at: int | None = None) -> Tensor:
    """Sets all weights of some outputs to zero; returns the layer's weights, from a place of the kernel on."""
    layer.weight[list(outputs)] = 0
    return layer.weight if at is None else layer.weight[:, :, at:, at:]


def _read(weights: Tensor, signal: int, factor: Tensor | float) -> None:
    """Sets the weights (features, …) by which a signal is read off its two features, times a factor (…)."""
    weights[2 * signal], weights[2 * signal + 1] = factor / (1 + SLOPE), -factor / (1 + SLOPE)
