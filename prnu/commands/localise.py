"""``prnu localise``: where was a photograph altered?"""

import io
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from cameras import atomic
from prnu.commands.enrolled import Enrolled
from prnu.commands.output import JsonOption, Refused, line, pixels, print_json, show_refused
from prnu.commands.reading import device, none_left, of_size, photographs, sizes
from prnu.localise import localise as probability_map
from prnu.match import PCE_THRESHOLD, pce
from prnu.photographs import overlay, photograph_files, read, sha256
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
        in_question = sha256(photo)
        camera.check_unknown(in_question)
    except ValueError as error:
        raise ValueError(f"{photo}: {error}") from None
    height, width = whole.shape[-2:]
    if (height, width) != camera.frame:
        raise ValueError(f"{photo}: is {height}×{width}, the photographs of {fingerprint} are {pixels(camera.frame)}")
    photograph = camera.part(whole.to(device()))
    height, width = photograph.shape[-2:]
    window_positions(height, width, window, stride)  # raises errors before the training
    out_file.parent.mkdir(parents=True, exist_ok=True)

    refused: Refused = {}
    files = _authentic_files(authentic, camera, in_question, refused)
    unaltered = photographs(files, f"prediction by {len(files)} photographs", refused)
    predictor = train((camera.part(image) for _, image in unaltered), camera.K, window, sigma=camera.sigma)

    noise = residual(photograph, camera.sigma)
    energy = pce(camera.K, photograph, noise).pce.item()
    found = probability_map(photograph, camera.K, predictor, window, stride, noise)
    probability = found.probability[0].cpu().numpy()
    numbers = io.BytesIO()
    np.save(numbers, probability)
    atomic.write(out_file.with_suffix(".npy"), numbers.getvalue())
    atomic.write(out_file, overlay(photograph, found, stride))
    result = {
        "photograph": str(photo),
        "camera": camera.camera,
        "pce": energy,
        "suspicious": float((probability > SUSPICIOUS).mean()),
        "expected_correlation": found.expected.mean().item(),
        "error": predictor.error,
        "unrelated": predictor.unrelated,
        "authentic": len(files),
        "map": str(out_file),
        "numbers": str(out_file.with_suffix(".npy")),
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
    line(f"suspicious: {result['suspicious']:.1%} of the area; map in {out_file}, numbers in {result['numbers']}")


def _authentic_files(paths: list[Path], camera: Enrolled, in_question: str, refused: Refused) -> list[Path]:
    """The photographs to train the predictor on: whole ones, neither in the fingerprint nor in question.

    Raises ValueError if there are none.
    """
    files = photograph_files(paths)
    for path in files:
        try:
            file_hash = sha256(path)
            camera.check_unknown(file_hash)
        except ValueError as error:
            refused[path] = str(error)
        else:
            if file_hash == in_question:
                refused[path] = "is the photograph in question"
    files = of_size(files, camera.frame, sizes(files, refused), refused)
    if not files:
        none_left(refused)
    return files
