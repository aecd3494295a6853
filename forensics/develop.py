"""Whole photographs developed by any pipeline: the standard one, LibRaw's, or a NIP out of a file."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import models
from cameras import atomic
from cameras.develop import develop, develop_libraw
from cameras.folders import expand
from cameras.importing import raw_files
from cameras.raw import RawError, RawFrame
from forensics.whole import develop_whole
from models.fidelity import psnr


def develop_files(paths: Iterable[Path], pipeline: str, folder: Path) -> Iterator[tuple[Path, Path | None, str]]:
    """Develop RAW files into 8-bit PNG files of the same names, in sensor orientation.

    Files of one name, from several folders or with several suffixes, get distinct pictures: a hash of the file's path
    is added to the name, such as IMG_0001-3f2a9c01.png.

    Args:
        paths: RAW files, or folders of them.
        pipeline: ``standard``, ``libraw``, or a safetensors file with a NIP (of ``nips/`` or of a trial's artifacts).
        folder: where the pictures go; it is created.

    Yields:
        For every file: it, its picture (None where it was refused), and the PSNR from the standard pipeline as text, or
        why it was refused.

    Raises:
        ValueError: a path or NIP that cannot be used.
    """
    from PIL import Image

    files = raw_files(paths)
    nip: Any = None if pipeline in ("standard", "libraw") else models.load(expand(pipeline))
    folder = expand(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for path, name in _picture_names(files).items():
        try:
            frame = RawFrame.open(path)
            target = develop(frame)
            picture = target if pipeline == "standard" else develop_libraw(path) if nip is None else _by(nip, frame)
        except (RawError, CameraError) as error:
            yield path, None, str(error)
            continue
        out = folder / name
        with atomic.writing(out) as part:
            Image.fromarray((picture * 255).round().astype(np.uint8)).save(part, format="png")
        yield path, out, "" if pipeline == "standard" else f"{_psnr(picture, target):.1f} dB from the standard pipeline"


def _picture_names(files: Iterable[Path]) -> dict[Path, str]:
    """A name for the picture of every file; no two are the same, not even where upper and lower case are."""
    files = list(files)
    counts = Counter(path.stem.lower() for path in files)
    names = {}
    for path in files:
        mark = f"-{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}" if counts[path.stem.lower()] > 1 else ""
        names[path] = f"{path.stem}{mark}.png"
    return names


class CameraError(ValueError):
    """A NIP and a photograph of different cameras."""


def _by(nip: models.NIP, frame: RawFrame) -> np.ndarray:
    """(H, W, 3) float32 in [0, 1]"""
    if nip.settings["cfa"] != frame.cfa:
        raise CameraError(f"the NIP is of a camera with CFA {nip.settings['cfa']}, the file has {frame.cfa}")
    bayer = torch.from_numpy(frame.bayer).movedim(-1, 0)[None]
    return develop_whole(nip, bayer)[0].movedim(0, -1).contiguous().numpy()


def _psnr(picture: np.ndarray, target: np.ndarray) -> float:
    return psnr(*(torch.from_numpy(image).movedim(-1, 0)[None] for image in (picture, target))).item()
