"""All benchmarks: one table on the terminal, one JSON file.

    python -m benchmarks [--only NAME …] [--out results/bench.json] [--markdown FILE.md]

At most ten minutes on two cores. `--only gpu`, `training`, `traffic` and `patches` need torch, numpy and safetensors
alone. Each subject is one file with a function ``rows``, whose first line says what is measured; a peer that is not
installed is said to be missing. The JSON file is written after every row.

Further commands, which take arguments or long:

    python -m benchmarks.identification   which body of a camera model took a photograph: how much each step contributes
    python -m benchmarks.localisation     do maps of tampering probability accuse what cannot be known?
    python -m benchmarks.result_hashes    hash what a study has found, to compare two versions of the code
    python -m benchmarks.results          commands on studies of up to 10,000 trials
    python -m benchmarks.scheduling       1,320 trials through Ray Tune and a tracking server, none of which trains
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import description
from benchmarks.rows import FAILED, Row, failure, is_installed, markdown, terminal

SUBJECTS = {  # in this order -> about how many seconds on two cores, for the time to go
    "training": 240,
    "training_channels": 150,
    "traffic": 5,
    "patches": 40,
    "demosaicing": 15,
    "jpeg": 20,
    "prnu": 75,
    "raw": 40,
    "analysis": 30,
    "report": 60,
    "overhead": 60,
    "gpu": 420 if torch.cuda.is_available() else 1,
}
OUT = Path("results/bench.json")
Results = dict[str, tuple[str, list[Row]]]  # title and rows by subject


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 1 where a measurement failed."""
    settings = parse(arguments)
    document = description()
    results: Results = {}
    start = time.monotonic()
    with progress(settings.only) as report:
        for name in settings.only:
            rows: list[Row] = []
            for title, row in measured(name, settings.tiny):
                rows.append(row)
                results[name] = title, rows
                report(name, row)
                document |= {"seconds": round(time.monotonic() - start, 1), "subjects": plain(results)}
                settings.out.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
    print(terminal(results))
    if settings.markdown:
        settings.markdown.write_text(page(document, settings.only) + markdown(results), "utf-8")
    return int(any(row.note.startswith(FAILED) for _, rows in results.values() for row in rows))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("benchmarks", None, __doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names, listed = list(SUBJECTS), ", ".join(SUBJECTS)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=f"some of {listed}")
    parser.add_argument("--out", type=Path, default=OUT, help=f"the JSON file ({OUT})")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables to this file, too")
    parser.add_argument("--tiny", action="store_true", help="the smallest sizes: does everything run?")
    settings = parser.parse_args(arguments)
    for path in filter(None, (settings.out, settings.markdown)):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.open("a").close()
        except OSError as error:
            parser.error(f"{path} cannot be written ({error.strerror}): choose another file")
    return settings


def measured(name: str, tiny: bool) -> Iterator[tuple[str, Row]]:
    """Title and rows of a subject; an error ends it with a row that says so."""
    title = ""
    try:
        subject = import_module(f"benchmarks.{name}")
        title = (subject.__doc__ or "").splitlines()[0]
        for row in subject.rows(tiny):
            yield title, row
    except Exception as error:
        yield title, failure("all else", error)


@contextmanager
def progress(names: Sequence[str]) -> Iterator[Callable[[str, Row], None]]:
    """What to call after every row: it shows the time to go, or prints the row where rich is not installed."""
    if not is_installed("rich"):
        yield lambda name, row: print(f"{name}:", *filter(None, row.cells()), sep="  ", file=sys.stderr, flush=True)
        return
    from cameras.console import work  # needs rich

    with work("benchmarks", sum(SUBJECTS[name] for name in names)) as advance:
        done, current, since, last = 0.0, names[0], time.monotonic(), time.monotonic()
        advance(0, current)

        def report(name: str, row: Row) -> None:
            nonlocal done, current, since, last
            if name != current:
                done, current, since = done + SUBJECTS[current], name, last
            last = time.monotonic()
            advance(done + min(last - since, 0.9 * SUBJECTS[name]), f"{name}: {row.what}")

        yield report


def plain(results: Results) -> dict[str, Any]:
    """What the JSON file holds of the rows."""
    return {name: {"title": title, "rows": [asdict(row) for row in rows]} for name, (title, rows) in results.items()}


def page(document: Mapping[str, Any], names: Sequence[str]) -> str:
    """The head of the Markdown file."""
    hardware = document["hardware"]
    card = f", {hardware['gpu']} ({hardware['gpu_memory_gb']} GB)" if "gpu" in hardware else ", no GPU"
    some = "" if len(names) == len(SUBJECTS) else f" --only {' '.join(names)}"
    versions = ", ".join(f"{package} {version}" for package, version in document["versions"].items())
    return f"""# Benchmarks

`python -m benchmarks{some} --markdown docs/benchmarks.md` (or `make bench`, without this file) on {document["date"]},
revision {document["revision"]}, {document["seconds"]:.0f} s in all.

{hardware["processor"]}, {hardware["cpus"]} CPUs, {hardware["threads"]} threads, {hardware["memory_gb"]} GB{card}; load
average {document["load"]} when it began. {versions}.

*Better by* is the median over rounds in which both ran in turn: a busy machine slows both. A figure of one row alone
is slower on a busy machine.

"""


if __name__ == "__main__":
    sys.exit(main())
