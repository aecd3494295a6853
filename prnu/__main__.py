"""``python -m prnu …``: which camera took a photograph, and where was it altered? For folders of photographs."""

import csv
import hashlib
import io
import json
import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, NoReturn

import numpy as np
import torch
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from cameras import atomic
from prnu.experiment import PCE_THRESHOLD, central_crop
from prnu.fingerprint import Accumulator, load, save
from prnu.localise import localise as map_of
from prnu.match import pce
from prnu.photographs import PhotographError, Size, overlay, photograph_files, read, sha256, size
from prnu.predictor import train, window_positions
from prnu.residual import residual

VERSION = 1  # of the estimate: another number where the same photographs give another fingerprint
SUSPICIOUS = 0.5  # probability of tampering above which an area counts
MANY = ("--photos", "--authentic")  # options that take any number of values

app = typer.Typer(
    help="Which camera took a photograph, and where was it altered? By the fingerprint of the camera's sensor.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
out = Console()
err = Console(stderr=True)

JsonOption = Annotated[bool, typer.Option("--json", help="machine-readable output")]


def main() -> None:
    """Run a command; what only the user can put right ends in one line and exit code 2."""
    try:
        app(args=spread(sys.argv[1:]))
    except ValueError as error:
        _refuse(str(error))
    except OSError as error:  # a full or read-only disk, a folder that is a file
        _refuse(f"{error.filename or 'storage'}: {error.strerror or error}")


def spread(arguments: Iterable[str]) -> list[str]:
    """``--photos a b`` as ``--photos a --photos b``, the form that the parser knows: so ``--photos *.jpg`` works."""
    result: list[str] = []
    option = None
    for argument in arguments:
        if argument.startswith("-"):
            option = argument if argument in MANY else None
            if option is None:
                result.append(argument)
        else:
            result += [argument] if option is None else [option, argument]
    return result


def _refuse(reason: str) -> NoReturn:
    err.print(f"[bold red]error:[/] {escape(reason)}", soft_wrap=True, highlight=False)
    sys.exit(2)


def _table(title: str, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> Table:
    table = Table(title=escape(title), title_justify="left")
    for column in columns:
        table.add_column(escape(column), overflow="fold")  # a name in full, on more lines where it must be
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    return table


def _say(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


# --- photographs, one by one ---

Refused = dict[Path, str]  # file -> reason


def _photographs(files: list[Path], title: str, refused: Refused) -> Iterator[tuple[Path, Tensor]]:
    """Reads photographs (1,3,H,W) one after the other, under a bar; those that cannot be read are refused."""
    from cameras.console import work

    with work(title, len(files)) as advance:
        for done, path in enumerate(files, 1):
            try:
                photograph = read(path)
            except PhotographError as error:
                refused[path] = str(error)
            else:
                yield path, photograph.to(_device())
            advance(done, path.name)


def _sizes(files: list[Path], refused: Refused) -> dict[Path, Size]:
    """Height and width by the headers alone."""
    sizes = {}
    for path in files:
        try:
            sizes[path] = size(path)
        except PhotographError as error:
            refused[path] = str(error)
    return sizes


def _of_size(files: list[Path], wanted: Size, sizes: dict[Path, Size], refused: Refused) -> list[Path]:
    for path in files:
        if path in sizes and sizes[path] != wanted:
            turned = "; it has been turned" if sizes[path] == wanted[::-1] else ""
            refused[path] = f"is {_pixels(sizes[path])}, not {_pixels(wanted)}{turned}"
    return [path for path in files if path not in refused]


def _pixels(frame: Iterable[int]) -> str:
    """Height × width, as everywhere in this project."""
    return "×".join(map(str, frame))


def _show_refused(refused: Refused, console: Console = out) -> None:
    if refused:
        console.print(_table("Refused", ("file", "reason"), [(path.name, why) for path, why in refused.items()]))


def _as_json(content: dict[str, Any], refused: Refused) -> None:
    refusals = [{"file": str(path), "reason": reason} for path, reason in refused.items()]
    print(json.dumps({**content, "refused": refusals}, indent=1))


# --- fingerprint ---


@app.command()
def fingerprint(
    paths: Annotated[list[Path], typer.Argument(help="photographs of one camera, or folders of them")],
    out_file: Annotated[Path, typer.Option("--out", help="safetensors file to be written")],
    camera: Annotated[str | None, typer.Option(help="name of the camera; that of the file where not given")] = None,
    crop: Annotated[
        int | None, typer.Option(min=64, help="side in pixels: take but the central square of each photograph")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Estimate a camera's fingerprint from any number of its photographs, in the memory of one.

    Photographs of another size than most are refused. The EXIF orientation is not applied: a fingerprint lies as the
    sensor does.
    """
    import PIL

    refused: Refused = {}
    files = photograph_files(paths)
    sizes = _sizes(files, refused)
    if not sizes:
        _none_left(refused)
    frame = Counter(sizes.values()).most_common(1)[0][0]
    files = _of_size(files, frame, sizes, refused)
    if out_file.is_dir():
        raise ValueError(f"{out_file} is a folder: name the file to be written")
    out_file.parent.mkdir(parents=True, exist_ok=True)  # now rather than after an hour

    sums = Accumulator()
    digests: dict[str, Path] = {}
    for path, photograph in _photographs(files, f"fingerprint of {len(files)} photographs", refused):
        digest = sha256(path)
        if digest in digests:
            refused[path] = f"is the same file as {digests[digest].name}"
            continue
        try:
            sums.add(_cropped(photograph, crop))
        except ValueError as error:
            refused[path] = str(error)
            continue
        digests[digest] = path
    if not sums.images:
        _none_left(refused)
    provenance: dict[str, Any] = {
        "camera": camera or out_file.stem,
        "pipeline": "photographs",
        "images": sums.images,
        "sigma": sums.sigma,
        "sha256": _digest(digests),
        "photographs": sorted(digests),
        "frame": list(frame),
        "crop": crop,
        "version": VERSION,
        "software": f"torch {torch.__version__}, pillow {PIL.__version__}",
    }
    K = sums.estimate()
    save(out_file, K, **provenance)
    if as_json:
        _as_json({"fingerprint": str(out_file), "size": list(K.shape), **provenance}, refused)
        return
    _show_refused(refused)
    _say(
        f"{provenance['camera']}: fingerprint of {sums.images} photographs ({len(refused)} refused), "
        f"{_pixels(K.shape)} pixels, in {out_file}"
    )


def _none_left(refused: Refused) -> NoReturn:
    path, reason = next(iter(refused.items()))
    raise ValueError(f"none of {len(refused)} photographs can be used; the first one, {path}: {reason}")


def _digest(digests: Iterable[str]) -> str:
    """Of a list of files, whatever their names and order."""
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def _cropped(photograph: Tensor, crop: int | None) -> Tensor:
    return photograph if crop is None else central_crop(photograph, crop**2)


# --- match ---


@dataclass(frozen=True, eq=False)
class Enrolled:
    """A camera's fingerprint out of a file.

    K: (H,W). sigma: σ₀ of the denoiser. frame: height and width of the photographs that it was estimated from.
    crop: side of the square that was taken of them, if they were cropped. own: SHA-256 of their files.
    """

    path: Path
    camera: str
    K: Tensor
    sigma: float
    frame: Size
    crop: int | None
    own: frozenset[str]

    @classmethod
    def open(cls, path: Path) -> "Enrolled":
        """Raises ValueError where the file is missing, damaged, or no fingerprint."""
        K, provenance = load(path)
        height, width = provenance.get("frame", K.shape)
        return cls(
            path=path,
            camera=provenance["camera"],
            K=K.to(_device()),
            sigma=provenance["sigma"],
            frame=(height, width),
            crop=provenance.get("crop"),
            own=frozenset(provenance.get("photographs", ())),
        )

    def check_foreign(self, digest: str) -> None:
        """Raises ValueError for what the fingerprint was estimated from: the same noise in both always matches."""
        if digest in self.own:
            raise ValueError(f"is one of the photographs that {self.path.name} was estimated from, and proves nothing")

    def part(self, photograph: Tensor) -> Tensor:
        """What of a photograph (1,3,H,W) can be compared: the fingerprint's crop of a whole one, all of a smaller one.

        Raises:
            ValueError: it is neither.
        """
        height, width = photograph.shape[-2:]
        if (height, width) == self.frame:
            return _cropped(photograph, self.crop)
        if height > self.K.shape[0] or width > self.K.shape[1]:
            cropped = f", cropped to {_pixels(self.K.shape)}" if self.crop else ""
            turned = "; it has been turned" if (width, height) == self.frame else ""
            raise ValueError(
                f"is {_pixels((height, width))}, but {self.path.name} is of photographs of {_pixels(self.frame)}"
                f"{cropped}{turned}"
            )
        return photograph


@dataclass(frozen=True)
class Comparison:
    """A photograph and a fingerprint; `dy`, `dx` is where the photograph's top left corner lies in it."""

    photograph: str
    fingerprint: str
    camera: str
    pce: float
    dy: int
    dx: int
    correlation: float
    pvalue: float
    log10_pvalue: float
    match: bool


@app.command()
def match(
    fingerprints: Annotated[list[Path], typer.Argument(help="safetensors files with fingerprints")],
    photos: Annotated[list[Path], typer.Option(help="photographs, or folders of them: any number")],
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="comma-separated output")] = False,
) -> None:
    """Which of these cameras took which photograph? PCE above 60 is a match.

    A photograph smaller than the fingerprint is taken for a crop and sought at all positions.
    """
    if as_json and as_csv:
        raise ValueError("--json and --csv exclude each other")
    cameras = [Enrolled.open(path) for path in fingerprints]
    refused: Refused = {}
    comparisons: list[Comparison] = []
    files = photograph_files(photos)
    for path, photograph in _photographs(files, f"match of {len(files)} photographs", refused):
        found, reasons = _compare(path, photograph, cameras)
        comparisons += found
        if reasons:
            refused[path] = "; ".join(reasons)
    if not comparisons:
        _none_left(refused)

    if as_json:
        _as_json({"threshold": PCE_THRESHOLD, "comparisons": [asdict(one) for one in comparisons]}, refused)
    elif as_csv:
        _show_refused(refused, err)
        writer = csv.DictWriter(sys.stdout, [field.name for field in fields(Comparison)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(one) for one in comparisons)
    else:
        rows = [
            (
                Path(one.photograph).name,
                one.camera,
                f"{one.pce:.1f}",
                f"{one.dy}, {one.dx}",
                f"{one.correlation:.4f}",
                f"{one.pvalue:.1e}" if one.log10_pvalue > -300 else f"1e{one.log10_pvalue:.0f}",
                "match" if one.match else "no match",
            )
            for one in comparisons
        ]
        _show_refused(refused)
        out.print(_table("Match", ("photograph", "camera", "PCE", "peak", "correlation", "p-value", ""), rows))


def _compare(path: Path, photograph: Tensor, cameras: list[Enrolled]) -> tuple[list[Comparison], list[str]]:
    """A photograph with every fingerprint that it can be compared with, and why not with the others."""
    comparisons, reasons = [], []
    digest = sha256(path)
    residuals: dict[tuple[torch.Size, float], Tensor] = {}
    for camera in cameras:
        try:
            camera.check_foreign(digest)
            part = camera.part(photograph)
            key = (part.shape, camera.sigma)
            if key not in residuals:
                residuals[key] = residual(part, camera.sigma)
            found = pce(camera.K, part, residuals[key], shifts="crop")
        except ValueError as error:
            reasons.append(str(error))
            continue
        dy, dx = found.peak[0].tolist()
        comparisons.append(
            Comparison(
                photograph=str(path),
                fingerprint=str(camera.path),
                camera=camera.camera,
                pce=found.pce.item(),
                dy=dy,
                dx=dx,
                correlation=found.correlation.item(),
                pvalue=found.pvalue.item(),
                log10_pvalue=found.log_pvalue.item() / math.log(10),
                match=found.pce.item() > PCE_THRESHOLD,
            )
        )
    return comparisons, reasons


# --- localise ---


@app.command()
def localise(
    photo: Annotated[Path, typer.Argument(help="the photograph in question, of the fingerprint's camera")],
    fingerprint: Annotated[Path, typer.Option(help="safetensors file with the camera's fingerprint")],
    authentic: Annotated[
        list[Path], typer.Option(help="some 30 unaltered photographs of this camera, others than the fingerprint's")
    ],
    out_file: Annotated[Path, typer.Option("--out", help="PNG file; the numbers go beside it, as .npy")] = Path(
        "map.png"
    ),
    window: Annotated[int, typer.Option(help="side of the sliding window in pixels, odd")] = 129,
    stride: Annotated[int, typer.Option(help="from window to window, in pixels")] = 8,
    as_json: JsonOption = False,
) -> None:
    """Where does a photograph not carry its camera's fingerprint? A map of the probability of tampering."""
    camera = Enrolled.open(fingerprint)
    if out_file.suffix.lower() != ".png":
        raise ValueError(f"{out_file}: the map is a PNG file, name it so")
    try:
        whole = read(photo)
        in_question = sha256(photo)
        camera.check_foreign(in_question)
    except ValueError as error:
        raise ValueError(f"{photo}: {error}") from None
    height, width = whole.shape[-2:]
    if (height, width) != camera.frame:
        raise ValueError(f"{photo}: is {height}×{width}, the photographs of {fingerprint} are {_pixels(camera.frame)}")
    photograph = camera.part(whole.to(_device()))
    height, width = photograph.shape[-2:]
    window_positions(height, width, window, stride)  # refuses before the training
    out_file.parent.mkdir(parents=True, exist_ok=True)

    refused: Refused = {}
    files = photograph_files(authentic)
    for path in files:
        try:
            digest = sha256(path)
            camera.check_foreign(digest)
        except ValueError as error:
            refused[path] = str(error)
        else:
            if digest == in_question:
                refused[path] = "is the photograph in question"
    files = _of_size(files, camera.frame, _sizes(files, refused), refused)
    if not files:
        _none_left(refused)
    unaltered = _photographs(files, f"prediction by {len(files)} photographs", refused)
    predictor = train((camera.part(image) for _, image in unaltered), camera.K, window, sigma=camera.sigma)

    noise = residual(photograph, camera.sigma)
    energy = pce(camera.K, photograph, noise).pce.item()
    found = map_of(photograph, camera.K, predictor, window, stride, noise)
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
        _as_json(result, refused)
        return
    _show_refused(refused)
    _say(
        f"expected correlation: {result['expected_correlation']:.3f} ± {predictor.error:.3f} in an unaltered window, "
        f"0 ± {predictor.unrelated:.3f} in another one"
    )
    _say(f"{photo.name}: PCE {energy:.1f} with {camera.camera} as a whole")
    if energy <= PCE_THRESHOLD:
        _say("that is no match: it is of another camera, or altered almost everywhere, and the map tells little")
    _say(f"suspicious: {result['suspicious']:.1%} of the area; map in {out_file}, numbers in {result['numbers']}")


# --- experiment ---


@app.command()
def experiment(
    study: Annotated[str, typer.Argument(help="a preset (demo, paper, …) or a YAML file")],
    storage: Annotated[str | None, typer.Option(help="folder or bucket; overrides the study's own")] = None,
    address: Annotated[str, typer.Option(help="'local', 'auto' for this machine's cluster, or host:port")] = "local",
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="try again what failed by itself, such as a NaN")
    ] = False,
) -> None:
    """What the pipelines of a study do to fingerprints: matrices, maps and error rates, as a report page."""
    from study.commands.fingerprints import run
    from study.settings import expanded, load_study

    loaded = load_study(study)
    if storage is not None:
        loaded = loaded.model_copy(update={"storage": expanded(storage)})
    page, failures = run(loaded, address, retry_failed)
    _say(f"report: {page}")
    if failures:
        err.print(_table("Failed", ("what", "reason"), failures.items()))
        err.print(f"{len(failures)} failed; --retry-failed tries them again")
        sys.exit(1)


if __name__ == "__main__":
    main()
