"""``prnu localise``: where was a photograph altered?"""

import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from torch import Tensor

from cameras import atomic
from cameras.errors import printable
from cameras.output import JsonOption, Refused, line, pixels, print_json, show_refused
from cameras.photographs import photograph_files
from prnu.commands.enrolled import Enrolled
from prnu.commands.reading import device, none_left, of_size, photographs, sizes
from prnu.copies import pixel_hash
from prnu.localise import localise as probability_map
from prnu.match import PCE_THRESHOLD, pce
from prnu.photographs import overlay, read
from prnu.predictor import train
from prnu.residual import residual
from prnu.windows import window_positions

SUSPICIOUS = 0.5  # an area counts as suspicious above this probability of tampering


def localise(
    photo: Annotated[Path, typer.Argument(help="the photograph in question, of the fingerprint's camera")],
    fingerprint: Annotated[Path, typer.Option(help="safetensors file with the camera's fingerprint")],
    authentic: Annotated[
        list[Path], typer.Option(help="some 30 unaltered photographs of this camera, others than the fingerprint's")
    ],
    out_file: Annotated[Path, typer.Option("--out", help="PNG file; the numbers go to a file beside it, .npy")] = Path(
        "map.png"
    ),
    window: Annotated[int, typer.Option(help="side of the sliding window in pixels, odd")] = 129,
    stride: Annotated[int, typer.Option(help="from window to window, in pixels")] = 8,
    as_json: JsonOption = False,
) -> None:
    """Where is the camera's fingerprint missing in a photograph? A map of the probability of tampering."""
    camera = Enrolled.open(fingerprint)
    if out_file.suffix.lower() != ".png":
        raise ValueError(f"{out_file}: the map is a PNG file, name it so")
    try:
        whole = read(photo)
        camera.check_unknown(photo, whole)
    except ValueError as error:
        raise ValueError(f"{printable(photo)}: {error}") from None
    height, width = whole.shape[-2:]
    if (height, width) != camera.frame:
        raise ValueError(f"{photo}: is {height}×{width}, the photographs of {fingerprint} are {pixels(camera.frame)}")
    photograph = camera.part(whole.to(device()))
    height, width = photograph.shape[-2:]
    window_positions(height, width, window, stride)  # raises errors before the training
    out_file.parent.mkdir(parents=True, exist_ok=True)

    refused: Refused = {}
    files = photograph_files(authentic)
    files = of_size(files, camera.frame, sizes(files, refused), refused)
    unaltered = _unaltered(files, camera, pixel_hash(whole), refused)
    first = next(unaltered, None)
    if first is None:
        none_left(refused)
    predictor = train(itertools.chain([first], unaltered), camera.K, window, sigma=camera.sigma)

    noise = residual(photograph, camera.sigma)
    energy = pce(camera.K, photograph, noise).pce.item()
    found = probability_map(photograph, camera.K, predictor, window, stride, noise)
    probability = found.probability[0].cpu().numpy()
    numbers = io.BytesIO()
    np.save(numbers, probability)
    atomic.write(out_file.with_suffix(".npy"), numbers.getvalue())
    atomic.write(out_file, overlay(photograph, found, stride))
    result = {
        "photograph": printable(photo),
        "camera": camera.camera,
        "pce": energy,
        "suspicious": float((probability > SUSPICIOUS).mean()),
        "unknown": 1 - found.known.double().mean().item(),
        "near_copy": camera.near_copy(whole),
        "expected_correlation": found.expected.mean().item(),
        "error": predictor.error,
        "unrelated": predictor.unrelated,
        "authentic": sum(path not in refused for path in files),
        "map": printable(out_file),
        "numbers": printable(out_file.with_suffix(".npy")),
        "window": window,
        "stride": stride,
    }
    if as_json:
        print_json(result, refused)
        return
    show_refused(refused)
    line(
        f"expected correlation: {result['expected_correlation']:.3f} ± {predictor.error:.3f} in an unaltered window, "
        f"0 ± {predictor.unrelated:.3f} in another one"
    )
    line(f"{photo.name}: PCE {energy:.1f} with {camera.camera} as a whole")
    if energy <= PCE_THRESHOLD:
        line("this is no match: another camera took it, or almost all of it was altered, and the map says little")
    if result["near_copy"]:
        line(f"it looks like a photograph that {fingerprint.name} was estimated from; a copy of it always matches")
    if camera.remark:
        line(camera.remark)
    line(
        f"in {result['unknown']:.1%} of the windows nothing can be told: they are too dark, blown out or without "
        "noise, and count as 0.5"
    )
    line(f"suspicious: {result['suspicious']:.1%} of the area; map in {out_file}, numbers in {result['numbers']}")


def _unaltered(files: list[Path], camera: Enrolled, in_question: str, refused: Refused) -> Iterator[Tensor]:
    """Read the photographs to train the predictor on; those of the fingerprint and the one in question are refused.

    in_question: hash of the pixels of the photograph in question.
    """
    for path, photograph in photographs(files, f"prediction by {len(files)} photographs", refused):
        try:
            camera.check_unknown(path, photograph)
        except ValueError as error:
            refused[path] = str(error)
            continue
        if pixel_hash(photograph) == in_question:
            refused[path] = "is the photograph in question"
        else:
            yield camera.part(photograph)
