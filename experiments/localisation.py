"""Where was a photograph altered? Finished trials on composites out of RAW files that no trial has seen.

    python experiments/localisation.py OUT.jsonl --runs FOLDER… --photographs FOLDER [--other FOLDER]
        [--fingerprint 50] [--choose 24] [--report 40]

Each run's folder holds nip.safetensors, fan.safetensors and trial.yaml, as MLflow keeps them. Of the RAW files, in the
order of their names, the first are for PRNU's fingerprint and predictor, the next choose thresholds, the last ones are
reported. Runs that are in OUT.jsonl already are not repeated. At the end, or without --runs, it prints the tables.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml
from torch import Tensor

import models
from cameras.console import say
from cameras.develop import develop
from cameras.raw import RawFrame
from forensics.fan import build as build_fan
from forensics.localisation import FAN_DETECTOR, Localisation, Photograph, developed, fan_detector, localise
from forensics.panel import shrunk_to_8_bits, to_8_bits
from models.nip import move
from study.jobs.localise import PRNU_DETECTOR, document, prnu_detector
from study.jobs.trial import FAN_FILE, NIP_FILE, TrialJob
from study.results.localised import found, localisation_gain, pristine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--runs", type=Path, nargs="*", default=[])
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--other", type=Path, help="RAW files of another camera: foreign content")
    for name, number in (("fingerprint", 50), ("choose", 24), ("report", 40)):
        parser.add_argument(f"--{name}", type=int, default=number)
    options = parser.parse_args()
    torch.set_num_threads(1)
    done = {json.loads(line)["run_id"] for line in options.out.open()} if options.out.exists() else set()
    for folder in options.runs:
        run_id = folder.name if folder.name != "artifacts" else folder.parent.name
        if run_id not in done:
            say(f"{run_id} …")
            with options.out.open("a") as file:
                file.write(json.dumps({"run_id": run_id, **tried(folder, options)}) + "\n")
    tables(options.out)


def tried(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One run on its composites."""
    job = TrialJob.model_validate(yaml.safe_load((folder / "trial.yaml").read_text()))
    trial, settings = job.trial, Localisation()
    nip = models.load(folder / NIP_FILE).eval()
    move(nip, "cpu", trial.training.precision)
    files = sorted(options.photographs.glob("*.dng"))
    others = sorted(options.other.glob("*.dng")) if options.other else []
    known, rest = files[: options.fingerprint], files[options.fingerprint :]
    chosen, reported = rest[: options.choose], rest[-options.report :]
    detectors = {FAN_DETECTOR: fan_detector(trial, models.load(folder / FAN_FILE, build=build_fan))}
    if known:
        shrunk = [
            shrunk_to_8_bits(developed(trial, nip, bayer(RawFrame.open(path)), settings)[0], trial.channel)
            for path in known
        ]
        detectors[PRNU_DETECTOR] = prnu_detector(shrunk, settings)
    result = localise(
        trial,
        nip,
        photographs(chosen, others),
        photographs(reported, others[len(chosen) :]),
        settings,
        detectors,
    )
    kept = document(result, settings, "tried" if known else "not asked for")
    return {
        "camera": trial.camera,
        "isp": trial.isp,
        "lambda": trial.lam,
        "seed": trial.seed,
        **job.further_axes,
    } | kept


def photographs(files: list[Path], others: list[Path]) -> Iterator[Photograph]:
    for number, path in enumerate(files):
        frame = RawFrame.open(path)
        foreign = target(RawFrame.open(others[number])) if others else None
        yield Photograph(path.stem, bayer(frame), target(frame), foreign)


def bayer(frame: RawFrame) -> Tensor:
    """(1,4,h,w)"""
    return torch.from_numpy(frame.bayer).movedim(-1, 0)[None]


def target(frame: RawFrame) -> Tensor:
    """(1,3,H,W) uint8, by the standard pipeline."""
    return to_8_bits(torch.from_numpy(develop(frame)).movedim(-1, 0)[None])


def tables(file: Path) -> None:
    records = [json.loads(line) for line in file.open()]
    rows = pd.DataFrame(
        [
            {name: record[name] for name in ("run_id", "camera", "isp", "seed")}
            | {"mode": "fixed" if record["lambda"] == "fixed" else "joint"}
            | {"lam": float("nan") if record["lambda"] == "fixed" else float(record["lambda"]), **row}
            for record in records
            for row in record["rows"]
        ]
    )
    rows = rows[rows["photographs"] == "test"]
    with pd.option_context("display.width", 220, "display.max_columns", 40, "display.max_rows", 200):
        for title, table in (
            ("composites", found(rows)),
            ("pristine photographs", pristine(rows)),
            ("joint - fixed", localisation_gain(rows)),
            ("joint - fixed by kind", localisation_gain(rows, ["kind"])),
        ):
            print(f"\n{title}\n{table.round(3).to_string(index=False)}")
        kinds = found(rows, ["kind"]).pivot_table(
            index=["isp", "lam", "detector"], columns="kind", values="auc", dropna=False
        )
        print(f"\nAUC by kind\n{kinds.dropna(how='all').round(3).to_string()}")


if __name__ == "__main__":
    main()
