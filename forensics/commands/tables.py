"""``forensics tables``: the quantization tables that a codec has learned, for other programs."""

from pathlib import Path
from typing import Annotated

import typer

import models
from cameras.errors import printable
from cameras.folders import expand
from cameras.output import line
from channel.codecs import build
from channel.codecs.jpeg import estimated_quality
from channel.codecs.learned_jpeg import LearnedJPEG, for_cjpeg


def command(codec: Annotated[Path, typer.Argument(help="the weights of a learned_jpeg, a safetensors file")]) -> None:
    """Print the quantization tables of a learned_jpeg as text for cjpeg -qtables, with the nearest quality of libjpeg.

    A line that starts with # is a comment there.
    """
    found = models.load(expand(codec), build=build)
    if not isinstance(found, LearnedJPEG):
        raise ValueError(f"{printable(codec)} holds a {found.name}, which has no quantization tables")
    start, nearest = found.settings["quality"], estimated_quality(found.tables())
    line(f"# learned from libjpeg's tables of quality {start}; nearest to those of quality {nearest}")
    line(for_cjpeg(found.tables()).rstrip())
