"""``prnu fingerprint``: estimate a camera's fingerprint from its photographs."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

import prnu
from cameras.errors import printable
from cameras.output import JsonOption, Refused, line, pixels, print_json, show_refused
from cameras.photographs import photograph_files, sha256
from prnu.commands.reading import cropped, none_left, of_size, photographs, sizes
from prnu.copies import pixel_hash, thumbnail
from prnu.fingerprint import Accumulator, save


def fingerprint(
    paths: Annotated[list[Path], typer.Argument(help="photographs of one camera, or folders of them")],
    out_file: Annotated[Path, typer.Option("--out", help="safetensors file to write")],
    camera: Annotated[str | None, typer.Option(help="name of the camera; by default the name of the file")] = None,
    crop: Annotated[
        int | None, typer.Option(min=64, help="side in pixels: use only the central square of each photograph")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Estimate a camera's fingerprint from any number of its photographs, in the memory of one.

    Photographs of another size than most are refused. The EXIF orientation is not applied: a fingerprint has the
    orientation of the sensor.
    """
    import PIL

    refused: Refused = {}
    files = photograph_files(paths)
    size_of = sizes(files, refused)
    if not size_of:
        none_left(refused)
    frame = Counter(size_of.values()).most_common(1)[0][0]
    files = of_size(files, frame, size_of, refused)
    if out_file.is_dir():
        raise ValueError(f"{out_file} is a folder: name the file to be written")
    out_file.parent.mkdir(parents=True, exist_ok=True)  # now rather than after an hour

    sums = Accumulator()
    hashes: dict[str, Path] = {}
    same: dict[str, Path] = {}  # by the hash of their pixels
    thumbnails: list[str] = []
    for path, photograph in photographs(files, f"fingerprint of {len(files)} photographs", refused):
        pixels_hash = pixel_hash(photograph)
        if pixels_hash in same:
            refused[path] = f"has the same pixels as {same[pixels_hash].name}"
            continue
        try:
            sums.add(cropped(photograph, crop))
        except ValueError as error:
            refused[path] = str(error)
            continue
        hashes[sha256(path)] = same[pixels_hash] = path
        thumbnails.append(thumbnail(photograph))
    if not sums.images:
        none_left(refused)
    provenance: dict[str, Any] = {
        "camera": printable(camera or out_file.stem),
        "pipeline": "photographs",
        "images": sums.images,
        "sigma": sums.sigma,
        "sha256": _hash_of_all(hashes),
        "photographs": sorted(hashes),
        "pixels": sorted(same),
        "thumbnails": sorted(thumbnails),
        "frame": list(frame),
        "crop": crop,
        "version": prnu.VERSION,
        "software": f"torch {torch.__version__}, pillow {PIL.__version__}",
    }
    K = sums.estimate()
    save(out_file, K, **provenance)
    if as_json:
        print_json({"fingerprint": printable(out_file), "size": list(K.shape), **provenance}, refused)
        return
    show_refused(refused)
    line(
        f"{provenance['camera']}: fingerprint of {sums.images} photographs ({len(refused)} refused), "
        f"{pixels(K.shape)} pixels, in {out_file}"
    )


def _hash_of_all(hashes: Iterable[str]) -> str:
    """One hash for a set of files, whatever their names and order."""
    return hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest()
