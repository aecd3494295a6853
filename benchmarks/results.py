"""Reading finished studies out of sqlite: the functions of study.results, and whole commands up to 10,000 trials.

    python -m benchmarks.results [TRIALS ...]

Without numbers it times the functions on a study of the paper's size (1,320 trials), then the commands on 2,500, 5,000
and 10,000 planned and finished trials: `run --dry-run`, `status` and `best` as processes of their own, with their
peak memory. With numbers, only the commands on these. Keys, parameters and tags are those of real jobs, each run has a
history of 20 validations; there are neither pairs nor NIP files.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from benchmarks.timing import milliseconds
from study import results, tracking
from study.execution.worker import describe
from study.jobs import Context, Job
from study.jobs.plan import context, resolve
from study.jobs.pretraining import NIP_HASH
from study.results import claims, fronts
from study.settings import load_study

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "study"))
import synthetic_tracking

CAMERAS = ("Canon EOS 40D", "Canon EOS 5D", "Nikon D7000", "Nikon D90")
ISPS = ("INet", "UNet", "DNet")
SIZES = {2_500: (5, 25), 5_000: (10, 25), 10_000: (10, 50)}  # trials -> cameras, λ; beside two ISPs and ten seeds
COMMANDS = {"run": "--dry-run", "status": "--json", "best": "--csv"}
VALIDATIONS = 20
WRITTEN = 500  # runs at once
WATCH = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True, check=True)
seconds, peak = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps({"seconds": seconds, "megabytes": peak / 1000, "output": done.stdout}))
"""  # a small process between: the peak of a child is at least what its parent held when it was started


def timed(what: str, call: Callable[[], Any]) -> Any:
    returned: list[Any] = []
    once = milliseconds(lambda: returned.append(call()), repeats=1, warmup=0)
    print(f"{what:32} {len(returned[0]):6} rows {once / 1000:8.2f} s", flush=True)
    return returned[0]


def functions(folder: Path) -> None:
    """Time the functions of study.results on the paper's grid."""
    grid = (CAMERAS, ISPS, synthetic_tracking.LAMBDAS, range(10))
    uri = synthetic_tracking.fill(folder, "paper", *grid, points=VALIDATIONS)
    snapshot = tracking.read(uri, "paper")
    timed("one pass over MLflow", lambda: tracking.read(uri, "paper").runs)
    table = timed("trials", lambda: results.trials(snapshot))
    summary = timed("summary, with intervals", lambda: results.summary(table))
    findings = claims.Findings(table, results.pretrained(snapshot))
    timed("gain, paired by seed", lambda: results.gain(table))
    timed("fronts", lambda: fronts.front(summary, "psnr"))
    timed("hypervolumes, with intervals", lambda: fronts.hypervolume(table, "psnr"))
    timed("accuracy at 42.5 dB, intervals", lambda: fronts.accuracy_at(table, "psnr", 42.5))
    timed("the same for every seed", lambda: fronts.accuracy_at(table, "psnr", 42.5, each_seed=True))
    timed("best", lambda: results.best(summary, min_psnr=40))
    timed("verdicts on the paper's claims", lambda: claims.verdicts(findings))
    timed("confusions", lambda: results.confusions(snapshot, table))
    timed("curves of one ISP", lambda: results.curves(snapshot, table[table["isp"] == "UNet"], "accuracy"))


def commands(folder: Path, trials: int) -> None:
    """Time the commands on a study of so many planned and finished trials."""
    study_file = finished_study(folder, trials)
    uri = tracking.tracking_uri(load_study(str(study_file)))
    read = f"from study import tracking; assert len(tracking.read({uri!r}, 'benchmark').runs) > {trials}"
    report(trials, "import and one pass over MLflow", [sys.executable, "-c", read])
    for verb, option in COMMANDS.items():
        output = report(trials, f"{verb} {option}", [sys.executable, "-m", "study", verb, str(study_file), option])
        if verb == "status":
            assert json.loads(output)["finished"] == trials, output


def report(trials: int, what: str, command: list[str]) -> str:
    """Run a command, print its time and peak memory, and return what it printed.

    Raises:
        CalledProcessError: the command failed.
    """
    watched = subprocess.run([sys.executable, "-c", WATCH, *command], stdout=subprocess.PIPE, text=True, check=True)
    done = json.loads(watched.stdout)
    print(f"{trials:6} trials  {what:32} {done['seconds']:6.1f} s  {done['megabytes']:6.0f} MB", flush=True)
    return done["output"]


def finished_study(folder: Path, trials: int) -> Path:
    """Write a study file, and its trials into a database as if they had run."""
    cameras, lambdas = SIZES[trials]
    content = {
        "name": "benchmark",
        "storage": str(folder),
        "cameras": [f"camera {number}" for number in range(cameras)],
        "isps": ["INet", "UNet"],
        "lambdas": ["fixed", *(round(0.001 * 1.15**number, 6) for number in range(lambdas - 1))],
        "seeds": 10,
    }
    study_file = folder / "benchmark.yaml"
    study_file.write_text(yaml.safe_dump(content))
    study = load_study(str(study_file))
    client, experiment_id = tracking.connect(study)
    writer = Writer(context(study, experiment_id), folder)

    # A camera's data hash is that of its newest pre-training. Once it is known, so are the keys of its pre-trainings.
    for number, camera in enumerate(study.cameras):
        tags = {"kind": "pretrain", "trial_key": camera.name, "data_fingerprint": f"{number:064x}"}
        writer.add(tags, {"camera": camera.name}, {})
    writer.flush()
    first = tracking.snapshot(client, experiment_id)
    for number, job in enumerate(resolve(study, first).pretrainings):
        writer.add_job(job, {"loss": 0.01, "psnr": 42.0, "ssim": 0.99}, {NIP_HASH: f"{number:064x}"})
    writer.flush()
    for run in first.runs:
        client.delete_run(run.info.run_id)

    grid = resolve(study, tracking.snapshot(client, experiment_id))
    assert len(grid.ready) == trials, "a planned trial has no key"
    places = {camera.name: number for number, camera in enumerate(study.cameras)}
    for job in grid.ready:
        trial = job.trial
        metrics = synthetic_tracking.metrics(places[trial.camera], study.isps.index(trial.isp), trial.lam, trial.seed)
        writer.add_job(job, metrics | {"loss_fan": 1.0, "loss_nip": 0.01})
    writer.flush()
    return study_file


class Writer:
    """Writes finished runs into an MLflow database, many at once."""

    def __init__(self, context: Context, folder: Path) -> None:
        self.context, self.folder = context, folder
        self.rows: dict[Any, list[dict[str, Any]]] = {}
        self.count = 0

    def add_job(self, job: Job, metrics: dict[str, float], further: dict[str, str] | None = None) -> None:
        """Add the run of a job whose metrics approach these."""
        known = describe(job, self.context)
        tags = {"kind": job.kind, "trial_key": job.key, "mlflow.runName": job.name, **known.tags, **(further or {})}
        history = {name: [0.9 * value] * (VALIDATIONS - 1) + [value] for name, value in metrics.items()}
        self.add(tags, known.params, history | {"seconds": [60.0]})

    def add(self, tags: dict[str, str], params: dict[str, str], history: dict[str, list[float]]) -> None:
        synthetic_tracking.add(
            self.rows,
            self.folder,
            self.context.experiment_id,
            self.count,
            status="FINISHED",
            tags=tags,
            params=params,
            history=history,
        )
        self.count += 1
        if self.count % WRITTEN == 0:
            self.flush()

    def flush(self) -> None:
        synthetic_tracking.write(self.context.tracking_uri, self.rows)
        self.rows = {}


def main() -> None:
    sizes = [int(argument) for argument in sys.argv[1:]]
    if not sizes:
        with tempfile.TemporaryDirectory() as folder:
            functions(Path(folder))
    for trials in sizes or SIZES:
        with tempfile.TemporaryDirectory() as folder:
            commands(Path(folder), trials)


if __name__ == "__main__":
    main()
