"""Demosaicing of Bayer mosaics in torch: bilinear, and Menon 2007 as the paper's pipeline uses it.

A mosaic is (N, 1, H, W) with even H and W. It is divided into the four planes of its 2×2 cells (N, H/2, W/2), one per
*site* (y, x) of the cell. Each formula is evaluated only at the sites that need it. Outside the image, the mosaic is
continued by reflection about its outermost pixels, which keeps the pattern.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from cameras.raw import sample_positions

Site = tuple[int, int]
Planes = dict[Site, Tensor]  # a signal over the whole image, or over some of its sites

VERTICAL, HORIZONTAL = -2, -1  # axes of a plane
AXES = (VERTICAL, HORIZONTAL)

STRIP = 256  # rows that are processed at a time
REACH = 8  # largest number of rows on either side that a row depends on; even, to keep the pattern

# The sum of the variation along an axis: positions and weights (dy, dx, weight). The variation between two pixels is
# stored at the first of them; therefore the neighbourhood of the centre begins before it.
COST_TAPS = {
    HORIZONTAL: (
        (-2, -2, 1), (-2, 0, 1), (-1, -1, 1), (0, -2, 3), (0, 0, 3), (1, -1, 1), (2, -2, 1), (2, 0, 1)
    ),
    VERTICAL: (
        (-2, -2, 1), (-2, 0, 3), (-2, 2, 1), (-1, -1, 1), (-1, 1, 1), (0, -2, 1), (0, 0, 3), (0, 2, 1)
    ),
}  # fmt: skip


def mosaic_from_stack(bayer: Tensor, cfa: str) -> Tensor:
    """Bayer stack (N, 4, h, w), planes R, G1, G2, B -> mosaic (N, 1, 2h, 2w)."""
    order = [sample_positions(cfa).index(position) for position in range(4)]
    return F.pixel_shuffle(bayer[:, order], 2)


def stack_from_mosaic(mosaic: Tensor, cfa: str) -> Tensor:
    """Mosaic (N, 1, H, W) with even sides -> Bayer stack (N, 4, H/2, W/2), planes R, G1, G2, B."""
    return F.pixel_unshuffle(mosaic, 2)[:, list(sample_positions(cfa))]


def bilinear(mosaic: Tensor, cfa: str) -> Tensor:
    """Demosaicing in which each colour is the mean of its nearest samples: (N, 1, H, W) -> (N, 3, H, W), same dtype."""
    return _in_strips(_bilinear, mosaic, cfa)


def menon(mosaic: Tensor, cfa: str) -> Tensor:
    """Directional filtering with a posteriori decision, refined: (N, 1, H, W) -> (N, 3, H, W), same dtype.

    D. Menon, S. Andriani, G. Calvagno, "Demosaicing With Directional Filtering and a posteriori Decision",
    IEEE Transactions on Image Processing 16(1), 2007. The result is not clipped.
    """
    return _in_strips(_menon, mosaic, cfa)


def _in_strips(method: Callable[[Tensor, str], Tensor], mosaic: Tensor, cfa: str) -> Tensor:
    """Apply a method to strips of rows: the same result with less memory."""
    if mosaic.ndim != 4 or mosaic.shape[1] != 1 or any(side < 2 or side % 2 for side in mosaic.shape[2:]):
        raise ValueError(f"a mosaic is (N, 1, H, W) with even H and W, not {tuple(mosaic.shape)}")
    strips = []
    for top in range(0, mosaic.shape[2], STRIP):
        start = max(top - REACH, 0)
        strip = method(mosaic[:, :, start : top + STRIP + REACH], cfa)
        strips.append(strip[:, :, top - start : top - start + STRIP])
    return torch.cat(strips, 2) if len(strips) > 1 else strips[0]


def _bilinear(mosaic: Tensor, cfa: str) -> Tensor:
    raw, red, blue = _take_apart(mosaic, cfa)
    R, G, B = {red: raw[red]}, {s: raw[s] for s in _greens(red)}, {blue: raw[blue]}
    for colour, site, opposite in ((R, red, blue), (B, blue, red)):
        G[site] = (_mean(raw, site, VERTICAL) + _mean(raw, site, HORIZONTAL)) / 2
        for axis in AXES:
            green = _across(site, axis)
            colour[green] = _mean(colour, green, axis)
        colour[opposite] = _mean(colour, opposite, HORIZONTAL)
    return _put_together(R, G, B)


def _menon(mosaic: Tensor, cfa: str) -> Tensor:
    raw, red, blue = _take_apart(mosaic, cfa)
    G = {site: raw[site] for site in _greens(red)}

    # Green along either axis by a 5-tap filter, and the better of the two at each pixel. In double precision: otherwise
    # rounding would decide between equally good ones, which are frequent in clipped highlights and 8-bit data.
    exact = {site: plane.double() for site, plane in raw.items()}
    directional: dict[int, Planes] = {}
    cost: dict[int, Planes] = {}
    for axis in AXES:
        directional[axis] = {
            site: _mean(exact, site, axis) + (exact[site] - _mean(exact, site, axis, distance=2)) / 2
            for site in (red, blue)
        }
        cost[axis] = _cost({site: exact[site] - directional[axis][site] for site in (red, blue)}, axis)
    horizontal = {site: cost[VERTICAL][site] >= cost[HORIZONTAL][site] for site in (red, blue)}
    for site in (red, blue):
        green = torch.where(horizontal[site], directional[HORIZONTAL][site], directional[VERTICAL][site])
        G[site] = green.to(mosaic.dtype)

    # Colour differences are smooth: interpolate R − G and B − G at the greens, and D = R − B everywhere.
    R_G, B_G = _difference(raw, G, red), _difference(raw, G, blue)
    D = {site: R_G[site] - B_G[site] for site in _greens(red)}
    for site in (red, blue):
        D[site] = torch.where(horizontal[site], _mean(D, site, HORIZONTAL), _mean(D, site, VERTICAL))

    # Refining: low-pass filter the differences along the chosen axis, first for green, then for what depends on green.
    for difference, site in ((R_G, red), (B_G, blue)):
        G[site] = raw[site] - _low_pass(difference, site, horizontal[site])
    R_G, B_G = _difference(raw, G, red), _difference(raw, G, blue)
    D |= {site: R_G[site] - B_G[site] for site in _greens(red)}

    R = {site: G[site] + R_G[site] for site in _greens(red)}
    B = {site: G[site] + B_G[site] for site in _greens(red)}
    R |= {red: raw[red], blue: raw[blue] + _low_pass(D, blue, horizontal[blue])}
    B |= {blue: raw[blue], red: raw[red] - _low_pass(D, red, horizontal[red])}
    return _put_together(R, G, B)


def _difference(raw: Planes, G: Planes, site: Site) -> Planes:
    """The colour sampled at ``site`` minus green, at this site and, interpolated, at the greens next to it."""
    difference = {site: raw[site] - G[site]}
    for axis in AXES:
        green = _across(site, axis)
        difference[green] = _mean(difference, green, axis)
    return difference


def _low_pass(signal: Planes, site: Site, horizontal: Tensor) -> Tensor:
    """Mean of each pixel and its two neighbours along the axis chosen for it."""
    neighbours = torch.where(horizontal, _mean(signal, site, HORIZONTAL), _mean(signal, site, VERTICAL))
    return (signal[site] + 2 * neighbours) / 3


def _cost(chroma: Planes, axis: int) -> Planes:
    """The variation along ``axis`` of the chroma estimated along it, summed over the neighbourhood COST_TAPS.

    Variation is the difference between a pixel and the pixel two positions later; outside the image it is zero.
    """
    variation = {
        site: F.pad((plane - _pixel(chroma, site, axis, 2)).abs(), (1, 1, 1, 1)) for site, plane in chroma.items()
    }
    cost = {}
    for site, plane in chroma.items():
        height, width = plane.shape[-2:]
        cost[site] = torch.zeros_like(plane)
        for dy, dx, weight in COST_TAPS[axis]:
            (row, y), (column, x) = divmod(site[0] + dy, 2), divmod(site[1] + dx, 2)
            tap = variation[y, x].narrow(VERTICAL, row + 1, height).narrow(HORIZONTAL, column + 1, width)
            cost[site] += tap if weight == 1 else tap * weight
    return cost


def _mean(signal: Planes, site: Site, axis: int, distance: int = 1) -> Tensor:
    """Mean of the two pixels at a distance before and after each pixel of a site, along an axis."""
    return (_pixel(signal, site, axis, -distance) + _pixel(signal, site, axis, distance)) / 2


def _pixel(signal: Planes, site: Site, axis: int, offset: int) -> Tensor:
    """For each pixel of a site, the pixel at ``offset`` (−2 .. 2) from it along an axis."""
    cells, parity = divmod(site[axis] + offset, 2)
    plane = signal[(parity, site[1]) if axis == VERTICAL else (site[0], parity)]
    if cells == 0:
        return plane
    size = plane.shape[axis]
    inside = plane.narrow(axis, max(cells, 0), size - 1)
    # Pixel −2 + parity, reflected about pixel 0, lies in cell 1 − parity; the other end is its mirror image.
    reflected = min(1 - parity, size - 1) if cells < 0 else max(size - 1 - parity, 0)
    outside = plane.narrow(axis, reflected, 1)
    return torch.cat([outside, inside] if cells < 0 else [inside, outside], axis)


def _across(site: Site, axis: int) -> Site:
    """The site next to this one along an axis."""
    return (1 - site[0], site[1]) if axis == VERTICAL else (site[0], 1 - site[1])


def _greens(red: Site) -> tuple[Site, Site]:
    """The two green sites: in the red rows and in the blue rows."""
    return _across(red, HORIZONTAL), _across(red, VERTICAL)


def _take_apart(mosaic: Tensor, cfa: str) -> tuple[Planes, Site, Site]:
    """Planes (N, H/2, W/2) by site, the red site and the blue site."""
    r, _, _, b = sample_positions(cfa)
    planes = {(y, x): mosaic[:, 0, y::2, x::2].contiguous() for y in (0, 1) for x in (0, 1)}
    return planes, divmod(r, 2), divmod(b, 2)


def _put_together(*colours: Planes) -> Tensor:
    """Three signals, each with all four sites -> (N, 3, H, W)."""
    count, height, width = colours[0][0, 0].shape
    rgb = colours[0][0, 0].new_empty(count, len(colours), 2 * height, 2 * width)
    for channel, colour in enumerate(colours):
        for (y, x), plane in colour.items():
            rgb[:, channel, y::2, x::2] = plane
    return rgb
