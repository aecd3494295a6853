"""seconds that Ray, tracking (sqlite) and checkpoints add to a trial: through the driver, against a plain function call

Small trials of INet run one at a time, each with all CPUs. The time of a trial is that between the first and the last
end of a trial, so that starting Ray and its worker does not count; it is a row of its own.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.rows import Row

VALIDATIONS = 4
NAMES = {"no checkpoint": 1e9, "a checkpoint at every validation": 0.0}  # and seconds between checkpoints


def rows(tiny: bool = False) -> Iterator[Row]:
    command = [sys.executable, "-c", f"from benchmarks.overhead import main; main({tiny})"]
    folder = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)  # Ray stays out of this process
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    found = json.loads(done.stdout.splitlines()[-1])
    plain = found["plain"]
    yield Row("first trial has ended, of a study whose NIP is pre-trained", found["start"], "s")
    for name, seconds in found["scheduled"].items():
        what = f"added to a trial of {found['validations']} validations, {name}"
        yield Row(what, seconds - plain, "s", "plain call, whole", plain, figures={"s through Ray": seconds})


def main(tiny: bool) -> None:
    """Measure in this process; print the result as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        every = dict(list(NAMES.items())[-1:]) if tiny else NAMES
        print("\n" + json.dumps(measure(Path(folder), every, trials=2 if tiny else 12, iterations=4 if tiny else 40)))


def measure(folder: Path, checkpoints: Mapping[str, float], trials: int, iterations: int) -> dict[str, Any]:
    from study.execution import driver
    from study.execution.worker import set_up_process
    from study.jobs import Callbacks
    from study.jobs.plan import context, resolve
    from study.tracking import read, tracking_uri

    scheduled, plain, start = {}, [], 0.0
    for number, (name, checkpoint_seconds) in enumerate(checkpoints.items()):
        study = _study(folder, f"overhead-{number}", trials, iterations, checkpoint_seconds)
        failures = driver.pretrain(study, lambda study, address: None)
        began = time.time()
        failures |= driver.run(study, lambda study, address: None)
        assert not failures, failures
        snapshot = read(tracking_uri(study), study.name)
        assert snapshot is not None
        ends = sorted(run.info.end_time / 1000 for run in snapshot.of_kind("trial"))
        start = start or ends[0] - began
        scheduled[name] = (ends[-1] - ends[0]) / (trials - 1)
        where, jobs = context(study), resolve(study, snapshot).ready
        set_up_process(where)
        jobs[0].train(where, Callbacks())  # warms up
        for job in jobs[: max(1, trials // 2)]:
            began = time.perf_counter()
            job.train(where, Callbacks())
            plain.append(time.perf_counter() - began)
    whole = sum(plain) / len(plain)
    return {"scheduled": scheduled, "plain": whole, "start": start, "validations": VALIDATIONS}


def _study(folder: Path, name: str, trials: int, iterations: int, checkpoint_seconds: float) -> Any:
    import yaml

    from study.settings import load_study

    settings = {
        "name": name,
        "storage": str(folder / "results"),
        "cameras": [{"name": "small", "simulate": {"preset": "sim-rggb", "images": 5, "height": 192, "width": 256}}],
        "isps": ["INet"],
        "lambdas": [0.1],
        "seeds": trials,
        "split": {"train": 3, "validation": 2},
        "pretraining": {"patch": 16, "batch": 4, "max_iterations": 10, "check_every": 5, "validation_patch": 32},
        "training": {"patch": 16, "batch": 4, "iterations": iterations},
        "validation": {"every": iterations // VALIDATIONS, "accuracy_patches": 4, "fidelity_patches": 2},
        "resources": {"cpus": os.cpu_count(), "checkpoint_seconds": checkpoint_seconds},
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(settings))
    return load_study(str(path))
