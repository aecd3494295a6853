"""Pipelines and channel of a study as the experiment needs them; photographs of other cameras to compare."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from cameras.develop import develop_stack_libraw
from cameras.pairs import Pairs
from cameras.simulate import PRESETS, prnu_pattern
from channel import Channel, encode
from channel.filters import average
from models.nip import NIP, develop
from prnu.crops import central_crop, crop_box
from prnu.experiment import DEVELOPED, RECEIVED, Develop, Split

MARGIN = 32  # Bayer pixels around the crop that a pipeline gets as well: more than most of any receptive field


def developments(pairs: Pairs, nips: Mapping[str, NIP], pixels: int, device: str) -> dict[str, Develop]:
    """For each pipeline, a function that develops the central `pixels` of image i of a camera: (1, 3, H, W) in [0, 1].

    LibRaw, too, gets the pairs' Bayer stacks and no RAW files: those lie where they were imported, and elsewhere the
    same experiment would have another result.

    Args:
        nips: neural pipelines by name, on `device`.
    """

    def libraw(bayer: Tensor) -> Tensor:
        stack = bayer[0].movedim(0, -1).numpy()
        return torch.from_numpy(develop_stack_libraw(stack, pairs.cfa, pairs.cam2srgb)).movedim(-1, 0)[None]

    def neural(nip: NIP, bayer: Tensor) -> Tensor:
        return develop(nip, bayer.to(device), "float32")

    def standard(i: int) -> Tensor:
        return central_crop(pairs.image(i)[1], pixels)

    centre = partial(_centre, pairs, pixels)
    how: dict[str, Develop] = {"libraw": partial(centre, libraw), "standard": standard}
    return how | {name: partial(centre, partial(neural, nip.eval())) for name, nip in nips.items()}


def _centre(pairs: Pairs, pixels: int, pipeline: Callable[[Tensor], Tensor], i: int) -> Tensor:
    """Develop only the crop and a margin around it: a whole photograph of 24 Mpx would take a NIP minutes."""
    bayer, target = pairs.image(i)
    top, left, height, width = (side // 2 for side in crop_box(target.shape[-2], target.shape[-1], pixels))
    above, before = min(MARGIN, top), min(MARGIN, left)
    developed = pipeline(bayer[..., top - above : top + height + MARGIN, left - before : left + width + MARGIN])
    return developed[..., 2 * above :, 2 * before :][..., : 2 * height, : 2 * width]


def received(downsample: int, codec: str, photograph: Tensor) -> Tensor:
    """A photograph (1, 3, h, w) in [0, 1] after the channel: shrunk, and compressed by the real encoder."""
    shrunk = Channel(downsample, "none")(photograph)
    if codec == "none":
        return shrunk
    pixels = (shrunk * 255).round().clamp(0, 255).to(torch.uint8)
    return encode(pixels, codec).to(shrunk.device, torch.float32) / 255


def true_patterns(preset: str, height: int, width: int, pixels: int, downsample: int) -> dict[str, Tensor]:
    """The pattern (h, w) of a simulated sensor as it lies in photographs, before and after the channel."""
    K = torch.from_numpy(prnu_pattern(PRESETS[preset], height, width))
    K = central_crop(K[None, None], pixels)
    return {DEVELOPED: K[0, 0], RECEIVED: average(K, downsample)[0, 0]}


def images_of_other_camera(
    names: Sequence[str], own_names: Sequence[str], own: Split, count: int, seed: int
) -> tuple[int, ...]:
    """Choose images of another camera to compare with the fingerprint of this one.

    Simulated cameras take the same scenes, numbered by their names, but each camera stores them in its own order. The
    scenes of the fingerprint are left out; otherwise, the scene might match although the sensor does not. (If there are
    fewer photographs than pictures, scenes repeat; this case is not handled.)
    """
    seen = {sorted(own_names).index(own_names[i]) for i in own.estimation}
    others = [name for number, name in enumerate(sorted(names)) if number not in seen]
    order = torch.randperm(len(others), generator=torch.Generator().manual_seed(seed))
    return tuple(names.index(others[i]) for i in order[:count])
