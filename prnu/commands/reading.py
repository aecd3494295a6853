"""Read the photographs that a command was given; collect those that are refused, with the reasons."""

from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from cameras.console import work
from cameras.output import Refused, pixels, refuse_all
from cameras.photographs import PhotographError, header
from prnu.crops import central_crop
from prnu.photographs import read

Size = tuple[int, int]  # height, width


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def photographs(files: list[Path], title: str, refused: Refused) -> Iterator[tuple[Path, Tensor]]:
    """Read photographs (1,3,H,W) one after the other and show the progress; unreadable ones are added to `refused`."""
    with work(title, len(files)) as advance:
        for done, path in enumerate(files, 1):
            try:
                photograph = read(path)
            except PhotographError as error:
                refused[path] = str(error)
            else:
                yield path, photograph.to(device())
            advance(done, path.name)


def sizes(files: list[Path], refused: Refused) -> dict[Path, Size]:
    """Height and width of every photograph, from its header; unreadable ones are added to `refused`."""
    found = {}
    for path in files:
        try:
            about = header(path)
            found[path] = (about.height, about.width)
        except PhotographError as error:
            refused[path] = str(error)
    return found


def of_size(files: list[Path], wanted: Size, size_of: dict[Path, Size], refused: Refused) -> list[Path]:
    """The files of one size that are not refused; those of other sizes are added to `refused`."""
    for path in files:
        if path in size_of and size_of[path] != wanted:
            turned = "; it has been turned" if size_of[path] == wanted[::-1] else ""
            refused[path] = f"is {pixels(size_of[path])}, not {pixels(wanted)}{turned}"
    return [path for path in files if path not in refused]


def none_left(refused: Refused) -> NoReturn:
    """Raise the ValueError of a command whose photographs are all refused."""
    refuse_all(refused, "photographs can be used")


def cropped(photograph: Tensor, crop: int | None) -> Tensor:
    """The central square of a photograph with this side in pixels; all of it without a crop."""
    return photograph if crop is None else central_crop(photograph, crop**2)
