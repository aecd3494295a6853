"""Random aligned patches of a camera's pairs: places are drawn on the host, patches are gathered where the pairs are.

A place is an image and the upper left corner (y, x) of a patch, in Bayer pixels. These are whole 2×2 cells: every patch
has the camera's own CFA phase, and its target patch begins at (2y, 2x).

Places without content can be rejected (paper, section 5.2). With σ², the variance of the target patch in [0, 1] over
all its pixels and colours, a place is

    rejected             if        σ² < 0.01
    kept at 50 %         if 0.01 ≤ σ² < 0.02
    always kept          if 0.02 ≤ σ²

Places are drawn from pairs on the host, by a generator on the CPU. So they are the same for every device, and so are
the patches, up to the last bit of a quotient. `cameras.feed` brings them to a GPU.
"""

from dataclasses import dataclass

import torch

from cameras.pairs import Pairs, bayer_to_float, target_to_float

# Raise it when a change of this code changes results: keys of finished work that used it then no longer match.
VERSION = 1
FLAT, TEXTURED = 0.01, 0.02  # patches of less variance than FLAT are rejected, of TEXTURED or more always kept
ROUND_VALUES = 2**23  # the filter examines candidates in rounds of about so many target values
MOST_CANDIDATES = 20_000  # before the filter gives up; at least 200 for every patch requested


@dataclass(frozen=True, eq=False)
class Patches:
    """Aligned patches: bayer (n, 4, p, p) and target (n, 3, 2p, 2p), float32 in [0, 1]."""

    bayer: torch.Tensor
    target: torch.Tensor

    def __len__(self) -> int:
        return len(self.bayer)


@dataclass(frozen=True, eq=False)
class Places:
    """Places of n patches: image, y, x, each (n,) int64; y and x in Bayer pixels. They are drawn on the host."""

    image: torch.Tensor
    y: torch.Tensor
    x: torch.Tensor

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, selection: slice | torch.Tensor) -> "Places":
        return Places(self.image[selection], self.y[selection], self.x[selection])

    def to(self, device: torch.device | str) -> "Places":
        return Places(self.image.to(device), self.y.to(device), self.x.to(device))


def sample(
    pairs: Pairs, images: torch.Tensor, count: int, patch: int, generator: torch.Generator, textured: bool
) -> Patches:
    """Draw a random batch for training: for each patch an image, uniformly, and a place in it, uniformly.

    Args:
        pairs: of one camera, on the host.
        images: (k,) int64, indices of the images to draw from.
        count: number of patches.
        patch: side p of a patch in Bayer pixels; the target patch is 2p wide.
        generator: on the CPU; only its state decides what is drawn.
        textured: reject places without content.

    Raises:
        ValueError: an image is smaller than the patch, or (almost) no place is textured.
    """
    return gather(pairs, random_places(pairs, images, count, patch, generator, textured), patch)


def fixed(
    pairs: Pairs, images: torch.Tensor, per_image: int, patch: int, generator: torch.Generator, textured: bool
) -> Patches:
    """Draw a fixed validation set: `per_image` patches of every image, image after image, otherwise as `sample`.

    Raises:
        ValueError: an image is smaller than the patch, or has no textured place.
    """
    return gather(pairs, fixed_places(pairs, images, per_image, patch, generator, textured), patch)


def gather(pairs: Pairs, places: Places, patch: int) -> Patches:
    """The patches at given places, which are on the device of `pairs`."""
    return patches_of(gather_bayer(pairs, places, patch), gather_target(pairs, places, patch))


def patches_of(bayer: torch.Tensor, target: torch.Tensor) -> Patches:
    """Patches out of the stored integers that `gather_bayer` and `gather_target` return."""
    return Patches(bayer_to_float(bayer), target_to_float(target))


def gather_bayer(pairs: Pairs, places: Places, patch: int) -> torch.Tensor:
    """The stored Bayer patches at given places, (n, p, p, 4) int16."""
    # A Bayer pixel is 4 × 16 bits, copied as one int64.
    lines = _gather_lines(pairs.bayer.view(torch.int64), pairs, places, patch, scale=1)
    return lines.view(torch.int16).view(len(places), patch, patch, 4)


def gather_target(pairs: Pairs, places: Places, patch: int) -> torch.Tensor:
    """The stored target patches at given places, (n, 2p, 2p, 3) uint8."""
    return _gather_lines(pairs.target, pairs, places, patch, scale=2).view(-1, 2 * patch, 2 * patch, 3)


def _gather_lines(pixels: torch.Tensor, pairs: Pairs, places: Places, patch: int, scale: int) -> torch.Tensor:
    """All lines of the patches out of (pixels, channels), whose images are `scale` times as wide as Bayer stacks."""
    side, channels = scale * patch, pixels.shape[1]
    width = scale * pairs.width[places.image]
    first = scale**2 * pairs.offset[places.image] + scale * places.y * width + scale * places.x  # (n,) upper left pixel
    lines = first[:, None] + width[:, None] * torch.arange(side, device=pairs.device)  # (n, side) begin of every line
    # All runs of `side` pixels form one overlapping view.
    runs = pixels.as_strided((len(pixels) - side + 1, channels * side), (channels, 1))
    return runs.index_select(0, lines.flatten())


def random_places(
    pairs: Pairs, images: torch.Tensor, count: int, patch: int, generator: torch.Generator, textured: bool
) -> Places:
    """The places of `sample`."""
    _check(pairs, images, count, patch)

    def draw(number: int) -> Places:
        chosen = torch.randint(len(images), (number,), generator=generator)
        return _anywhere(pairs, images[chosen], patch, generator)

    if not textured:
        return draw(count)
    # Rejection sampling: keep the first `count` accepted places of a stream of independent candidates.
    accepted: list[Places] = []
    missing, tried = count, 0
    largest_round = ROUND_VALUES // (12 * patch**2)
    while missing:
        if tried >= max(MOST_CANDIDATES, 200 * count):
            raise ValueError(
                f"no textured patches in {len(images)} images of {pairs.camera}: only {count - missing} of "
                f"{tried} of {2 * patch} × {2 * patch} pixels passed the variance filter (at least {FLAT}); "
                "use images with more content, or no filter"
            )
        candidates = draw(max(8, min(2 * missing, largest_round)))
        coin = torch.rand(len(candidates), generator=generator) < 0.5
        variance = _variance(gather_target(pairs, candidates, patch))
        keep = (variance >= TEXTURED) | ((variance >= FLAT) & coin)
        accepted.append(candidates[keep.nonzero().flatten()[:missing]])
        missing, tried = missing - len(accepted[-1]), tried + len(candidates)
    image, y, x = (torch.cat([getattr(part, name) for part in accepted]) for name in ("image", "y", "x"))
    return Places(image, y, x)


def fixed_places(
    pairs: Pairs,
    images: torch.Tensor,
    per_image: int,
    patch: int,
    generator: torch.Generator,
    textured: bool,
    device: torch.device | str = "cpu",
) -> Places:
    """The places of `fixed`. A GPU as `device` finds textured places faster: the targets are moved one by one."""
    _check(pairs, images, per_image, patch)
    every = images.repeat_interleave(per_image)
    if not textured:
        return _anywhere(pairs, every, patch, generator)
    corners = [_textured_corners(pairs, image, per_image, patch, generator, device) for image in images.tolist()]
    return _at_corner(pairs, every, torch.cat(corners), patch)


def _check(pairs: Pairs, images: torch.Tensor, count: int, patch: int) -> None:
    if count < 1 or patch < 1 or len(images) < 1:
        raise ValueError(f"{count} patches of {patch} Bayer pixels from {len(images)} images: there are none")
    too_small = images[torch.minimum(pairs.height, pairs.width)[images] < patch].tolist()
    if too_small:
        image = too_small[0]
        height, width = int(pairs.height[image]), int(pairs.width[image])
        raise ValueError(
            f"{pairs.names[image]} ({pairs.camera}) has {2 * width} × {2 * height} pixels, "
            f"too few for a patch of {2 * patch} × {2 * patch}"
        )


def _anywhere(pairs: Pairs, image: torch.Tensor, patch: int, generator: torch.Generator) -> Places:
    """One uniformly random place in each image."""
    corners = (pairs.height[image] - patch + 1) * (pairs.width[image] - patch + 1)
    # The remainder of 62 random bits has a bias towards small numbers below 2⁻³⁰.
    drawn = torch.randint(1 << 62, image.shape, generator=generator)
    return _at_corner(pairs, image, drawn % corners, patch)


def _at_corner(pairs: Pairs, image: torch.Tensor, corner: torch.Tensor, patch: int) -> Places:
    """The place with number `corner` among all places of an image, in row-major order."""
    columns = pairs.width[image] - patch + 1
    return Places(image, corner // columns, corner % columns)


def _variance(target: torch.Tensor) -> torch.Tensor:
    """Variance of every patch in [0, 1] over pixels and colours: (n, H, W, 3) uint8 -> (n,) float64."""
    sums = []
    for patch in target.flatten(1):  # a single patch fits into a CPU's cache: five times faster than all at once
        values = patch.to(torch.float64)  # in which sums of these integers are exact, in any order
        sums.append(torch.stack((values.sum(), values.dot(values))))
    mean, square = (torch.stack(sums) / target[0].numel()).unbind(1)
    return (square - mean**2) / 255**2


def _textured_corners(
    pairs: Pairs, image: int, count: int, patch: int, generator: torch.Generator, device: torch.device | str
) -> torch.Tensor:
    """Random textured places of one image: (count,) numbers for `_at_corner`.

    Summed-area tables (Crow 1984) give the variance of all patches at once: an image with few textured places takes
    as long as any other, and an image without any is recognised for certain.
    """
    offset, height, width = (int(extent[image]) for extent in (pairs.offset, pairs.height, pairs.width))
    target = pairs.target[4 * offset : 4 * (offset + height * width)].to(device)
    cells = torch.zeros(2, height, width, dtype=torch.int32, device=device)  # Σx and Σx² of 2×2 RGB pixels
    for line in target.view(height, 2, width, 6).unbind(1):
        for part in line.unbind(2):
            values = part.to(torch.int32)
            cells += torch.stack((values, values.square()))
    table = torch.nn.functional.pad(cells.cumsum(1).cumsum(2), (1, 0, 1, 0))  # (2, h+1, w+1)
    rows = table[:, patch:] - table[:, :-patch]
    total, squares = (rows[:, :, patch:] - rows[:, :, :-patch]).to(torch.float64) / (12 * patch**2)
    variance = (squares - total**2) / 255**2  # (h-p+1, w-p+1)
    weight = (variance >= FLAT).long() + (variance >= TEXTURED).long()  # 0 rejected, 1 kept at 50 %, 2 always
    cumulative = weight.flatten().cumsum(0)
    if not int(cumulative[-1]):
        raise ValueError(
            f"no textured patches in {pairs.names[image]} ({pairs.camera}): none of "
            f"{2 * patch} × {2 * patch} pixels has a variance of {FLAT} or more; "
            "use images with more content, or no filter"
        )
    drawn = torch.randint(int(cumulative[-1]), (count,), generator=generator)
    return torch.searchsorted(cumulative, drawn.to(device), right=True).cpu()
