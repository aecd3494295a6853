"""What does a package say of photographs that are not its own? Native ones of other pipelines, and unknown alterations.

    python experiments/unknown_photographs.py PACKAGE --raw FOLDER [--other FOLDER --other-nip FILE] [--photos FOLDER]

`--raw` are RAW files of the package's camera, of which only every other one is used, in the order of their names, from
the second on: the others calibrated it (python -m study export --photographs). Each photograph is shrunk, written as
a file by an encoder of the panel, and analysed from that file, at the default false-alarm rate. Prints the shares of
each answer with Clopper–Pearson intervals.
"""

import argparse
import io
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import forensics
import models
from cameras.console import work
from cameras.develop import develop, develop_libraw
from cameras.photographs import photograph_files, read
from cameras.raw import RawFrame
from channel.codecs import Encoder
from channel.manipulations import Manipulation
from forensics.package import Package, load_package
from forensics.panel import CODECS_OF_THE_WORLD, made, shrunk_to_8_bits, to_8_bits
from forensics.whole import develop_whole
from study.results.reliability import share

Source = Callable[[Path], Tensor]  # to a photograph (1,3,H,W) uint8, as developed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path)
    parser.add_argument("--raw", type=Path, required=True)
    parser.add_argument("--other", type=Path, help="RAW files of another camera")
    parser.add_argument("--other-nip", type=Path, help="a NIP of that camera")
    parser.add_argument("--photos", type=Path, help="photographs from elsewhere")
    parser.add_argument("--count", type=int, default=150, help="photographs of each source")
    options = parser.parse_args()
    torch.set_num_threads(1)
    package = load_package(options.package)
    own = sorted(options.raw.glob("*.dng"))[1::2][: options.count]
    sources: dict[str, tuple[list[Path], Source]] = {"own, native": (own, by(package.nip))}
    for spec in package.trial.manipulations:
        sources[f"own, {spec}"] = (own, altered(package, spec))
    for spec in ("median", "gamma"):
        sources[f"own, {spec} (unknown)"] = (own, altered(package, spec))
    sources["own, half of another photograph (unknown)"] = (own, spliced(package, own))
    sources["its RAW by LibRaw"] = (own, lambda path: to_8_bits(pixels(develop_libraw(path))))
    sources["its RAW, standard pipeline"] = (own, lambda path: to_8_bits(pixels(develop(RawFrame.open(path)))))
    if options.other:
        others = sorted(options.other.glob("*.dng"))[: options.count]
        sources["other camera, standard pipeline"] = (others, sources["its RAW, standard pipeline"][1])
        if options.other_nip:
            sources["other camera, its NIP"] = (others, by(models.load(options.other_nip).eval()))
    if options.photos:
        photos = photograph_files([options.photos])[: options.count]
        sources["photographs from elsewhere, cropped"] = (photos, lambda path: read(path)[..., :512, :768])
    for name, (paths, source) in sources.items():
        report(name, package, paths, source)
    if options.photos:
        report("photographs from elsewhere, as they are", package, photos, None)


def report(name: str, package: Package, paths: list[Path], source: Source | None) -> None:
    """Print how many photographs of a source get each answer."""
    generator = torch.Generator().manual_seed(7)
    answers: Counter[str] = Counter()
    with work(name, len(paths)) as advance:
        for done, path in enumerate(paths, 1):
            if source is None:
                answers[forensics.analyse(package, path).result] += 1
            else:
                received = shrunk_to_8_bits(source(path), package.trial.channel)
                codec = CODECS_OF_THE_WORLD[int(torch.randint(len(CODECS_OF_THE_WORLD), (), generator=generator))]
                answers[forensics.analyse(package, file(received, codec)).result] += 1
            advance(done)
    print(f"{name}: {len(paths)} photographs", *shares(answers, len(paths)), sep=", ", flush=True)


def shares(answers: Counter[str], total: int) -> Iterator[str]:
    for answer, count in answers.most_common():
        low, high = share(np.arange(total) < count)["interval"]  # type: ignore[arg-type]
        yield f"{answer} {count / total:.1%} [{low:.1%}, {high:.1%}]"


def file(received: Tensor, codec: str) -> io.BytesIO:
    """Write pixels (1,3,h,w) uint8 as the panel's encoder does."""
    encoder, content = Encoder.parse(codec), io.BytesIO()
    how = {} if encoder.name == "webp" else {"subsampling": encoder.subsampling}
    how |= {"max_threads": 2} if encoder.name == "avif" else {}
    picture = Image.fromarray(received[0].movedim(0, -1).contiguous().numpy())
    picture.save(content, encoder.name, quality=encoder.quality, **how)
    content.seek(0)
    return content


def by(nip: models.NIP) -> Source:
    return lambda path: to_8_bits(develop_whole(nip, pixels_of_raw(path), "bfloat16"))


def altered(package: Package, spec: str) -> Source:
    draws = torch.Generator().manual_seed(11)
    return lambda path: list(made(by(package.nip)(path), [Manipulation.parse(spec)], draws))[1]


def spliced(package: Package, paths: list[Path]) -> Source:
    """The left half of a photograph, the right half of the one before."""

    def source(path: Path) -> Tensor:
        left, right = by(package.nip)(path), by(package.nip)(paths[paths.index(path) - 1])
        left[..., left.shape[-1] // 2 :] = right[..., left.shape[-1] // 2 :]
        return left

    return source


def pixels_of_raw(path: Path) -> Tensor:
    return torch.from_numpy(RawFrame.open(path).bayer).movedim(-1, 0)[None]


def pixels(picture: np.ndarray) -> Tensor:
    """(H,W,3) in [0,1] → (1,3,H,W)"""
    return torch.from_numpy(picture).movedim(-1, 0)[None]


if __name__ == "__main__":
    main()
