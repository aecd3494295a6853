"""Codecs to compare, each with the qualities at which it is measured: real encoders, and codecs that learned."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import models
from cameras.errors import printable
from cameras.folders import expand
from channel import CODECS, codecs, compress, decompress
from channel.codecs import Encoder
from channel.codecs.learning import LearningCodec

# Qualities at which a photograph of 1 megapixel takes about 0.1 to 3 bits per pixel; of other codecs, SPREAD are taken.
QUALITIES = {
    "jpeg": (2, 5, 10, 20, 40, 60, 75, 85, 92),
    "webp": (1, 5, 20, 40, 60, 80, 90, 95),
    "avif": (10, 20, 30, 40, 50, 60, 70, 80, 90),
    "jpeg2000": (24, 26, 28, 30, 33, 36, 39, 42),
}
SPREAD = 8
SUFFIX = ".safetensors"  # of weights


@dataclass(frozen=True)
class Setting:
    """A codec at one quality.

    Attributes:
        quality: as the encoder takes it; of a codec that learned, the name of the file with its weights.
        compress: makes the bytes of a file of a picture (3, H, W) uint8.
        decompress: makes a picture (3, H, W) uint8 of such bytes.
    """

    quality: str
    compress: Callable[[Tensor], bytes]
    decompress: Callable[[bytes], Tensor]


@dataclass(frozen=True)
class Coder:
    """A codec to compare.

    Attributes:
        name: under which it is shown.
        sweep: the settings at which it is measured.
        every: all settings that it has.
        rising: whether the rate rises along ``every``.
    """

    name: str
    sweep: tuple[Setting, ...]
    every: tuple[Setting, ...]
    rising: bool


def default_names() -> list[str]:
    """Returns the names of all codecs with a real encoder."""
    return [name for name, codec in CODECS.items() if codec.encode]


def coders(names: Sequence[str], qualities: Sequence[str] = ()) -> list[Coder]:
    """Returns codecs in the order in which they are first named.

    Args:
        names: of real encoders, ``jpeg`` or with a chroma subsampling ``jpeg:4:2:0``; and files with the weights of
            codecs that learned. Files of one architecture become one codec, each file one of its settings.
        qualities: of real encoders in place of the default ones: ``10,30,50`` for all of them, ``jpeg=10,30,50`` for
            one.

    Raises:
        ValueError: an unknown codec or quality, or no file of weights.
    """
    chosen = _chosen(qualities)
    files = list(dict.fromkeys(expand(name) for name in names if name.endswith(SUFFIX)))
    of_file = {file: coder for coder, group in _learned(files) for file in group}
    found = [
        of_file[expand(name)] if name.endswith(SUFFIX) else _encoder(name, chosen.get(name, chosen.get("")))
        for name in names
    ]
    if unknown := chosen.keys() - {"", *names}:
        raise ValueError(f"--qualities {min(unknown)}=…: {min(unknown)} is not among the codecs")
    return list({coder.name: coder for coder in found}.values())


def _chosen(qualities: Sequence[str]) -> dict[str, list[str]]:
    """Qualities by the name of a codec; those for all have no name."""
    found = {}
    for text in qualities:
        name, _, numbers = text.rpartition("=")
        if not re.fullmatch(r"\d+(,\d+)*", numbers):
            raise ValueError(f"--qualities {text}: write 10,30,50 for all encoders, or jpeg=10,30,50 for one")
        found[name] = numbers.split(",")
    return found


def _encoder(text: str, qualities: Sequence[str] | None) -> Coder:
    name, _, subsampling = text.partition(":")
    if name not in default_names():
        raise ValueError(f"unknown codec {text!r}: write one of {', '.join(default_names())}, or a {SUFFIX} file")
    all_of_it = CODECS[name].qualities
    default = QUALITIES.get(name) or all_of_it[:: max(1, len(all_of_it) // SPREAD)]

    def setting(quality: int | str) -> Setting:
        codec = str(Encoder.parse(f"{name}:{quality}:{subsampling}"))
        return Setting(str(quality), partial(compress, codec=codec), partial(decompress, codec=codec))

    sweep = sorted(set(map(int, qualities))) if qualities else default
    return Coder(text, tuple(map(setting, sweep)), tuple(map(setting, all_of_it)), rising=True)


# --- codecs that learned ---


def _learned(files: Iterable[Path]) -> list[tuple[Coder, list[Path]]]:
    """A codec for every architecture in the files, and its files."""
    groups: dict[str, dict[Path, LearningCodec]] = {}
    for file in files:
        codec = models.load(file, build=codecs.build).eval()
        groups.setdefault(_architecture(codec), {})[file] = codec
    found = []
    for architecture, group in groups.items():
        alone = sum(other.partition(" ")[0] == architecture.partition(" ")[0] for other in groups) == 1
        settings = tuple(
            Setting(printable(file.stem), torch.no_grad()(codec.compress), torch.no_grad()(codec.decompress))
            for file, codec in group.items()
        )
        if len({setting.quality for setting in settings}) < len(settings):
            raise ValueError(f"two files are named {printable(next(iter(group)).name)}: rename one")
        name = architecture.partition(" ")[0] if alone else architecture
        found.append((Coder(name, settings, settings, rising=False), list(group)))
    return found


def _architecture(codec: LearningCodec) -> str:
    """Name and settings of a codec in one line; without its quality, from which only its first weights follow."""
    settings: dict[str, Any] = {name: value for name, value in codec.settings.items() if name != "quality"}
    return " ".join((codec.name, *(f"{name}={value}" for name, value in sorted(settings.items()))))
