"""What a trial costs besides its training: the paper's 1,320 trials, none of which trains.

    python -m benchmarks.scheduling [TRIALS] [server|sqlite]

All else is real: Ray Tune on this machine, its workers, a tracking server (or the database file that takes its place
where none is named), the delivery queue, 20 validations and six artifacts of a few kB a trial.
"""

import os
import resource
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from mlflow import MlflowClient

from study import tracking
from study.execution.delivery import delivering
from study.jobs import Callbacks, Context, JobResult
from study.jobs.plan import context
from study.jobs.trial import TrialJob
from study.settings import Study, load_study, planned
from study.storage import Storage

METRICS = ("accuracy", "psnr", "ssim", "loss_fan", "loss_nip")
ARTIFACTS = ("nip.safetensors", "fan.safetensors", "examples.safetensors", "confusion.json", "trial.yaml", "note.txt")


class NoOpTrial(TrialJob):
    """A trial that logs and leaves what all trials do, without training."""

    def run(self, context: Context, callbacks: Callbacks, resume: Path | None, artifacts: Path) -> JobResult:
        for step in range(self.trial.validation.every, self.steps + 1, self.trial.validation.every):
            callbacks.on_metrics(step, dict.fromkeys(METRICS, self.trial.seed + step / self.steps))
        for name in ARTIFACTS:
            (artifacts / name).write_bytes(bytes(4096))
        return JobResult(self.steps)


def run_no_op_on_worker(config: dict[str, Any], **parameters: Any) -> None:
    """Runs on a worker."""
    from study.execution.scheduler import run_on_worker
    from study.jobs import KINDS  # the worker's own, not a copy that travels

    KINDS[NoOpTrial.kind] = NoOpTrial
    run_on_worker(config, **parameters)


@contextmanager
def server(folder: Path) -> Iterator[psutil.Process]:
    """A tracking server as the cluster's head has one."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [str(Path(sys.executable).with_name("mlflow")), "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "2", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    with (folder / "mlflow.log").open("w") as log:
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            os.environ["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{port}"
            while socket.socket().connect_ex(("127.0.0.1", port)):
                assert process.poll() is None, (folder / "mlflow.log").read_text()
                time.sleep(0.1)
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait()


def jobs(study: Study, count: int) -> list[NoOpTrial]:
    data, nip = "0" * 64, "f" * 64
    return [
        NoOpTrial.plan(item.trial, item.axes, "nips/none.safetensors", nip, data) for item in planned(study)[:count]
    ]


def megabytes(processes: list[psutil.Process]) -> float:
    return sum(process.memory_info().rss for process in processes) / 2**20


def complete(client: MlflowClient, experiment_id: str, trials: list[NoOpTrial]) -> tuple[int, int]:
    """How many runs there are, and how many of the planned have one finished run with all figures."""
    runs = []
    page = client.search_runs([experiment_id], max_results=5000)
    while page:
        runs += page
        page = client.search_runs([experiment_id], max_results=5000, page_token=page.token) if page.token else None
    keys = Counter(run.data.tags["trial_key"] for run in runs)
    whole = [
        run.data.tags["trial_key"]
        for run in runs
        if run.info.status == "FINISHED"
        and all(run.data.metrics[name] == int(run.data.params["seed"]) + 1 for name in METRICS)
        and keys[run.data.tags["trial_key"]] == 1
    ]
    return len(runs), len({job.key for job in trials} & set(whole))


def measure(folder: Path, count: int, tracker: psutil.Process | None) -> None:
    study = load_study("paper").model_copy(update={"storage": str(folder / "results")})
    resources = study.resources.model_copy(update={"cpus": 1, "gpus": 0})
    client, experiment_id = tracking.connect(study)
    trials = jobs(study, count)
    os.environ.update(
        RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0", RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32)
    )
    from study.execution import scheduler

    scheduler.connect("local")
    before = megabytes([psutil.Process()])
    start, begun, first = time.perf_counter(), 0.0, 0.0
    ended: set[str] = set()

    def on_progress(key: str, reached: int, has_ended: bool) -> None:
        nonlocal begun, first
        begun = begun or time.perf_counter() - start
        if has_ended:
            first = first or time.perf_counter() - start
            ended.add(key)

    run_keys = {job.key: job.run_key for job in trials}
    with delivering(Storage(study.storage), client, experiment_id, run_keys, print):
        failures = scheduler.schedule(
            trials, context(study, experiment_id), resources, folder / "ray", on_progress, run_no_op_on_worker
        )
    seconds = time.perf_counter() - start
    assert not failures, failures
    assert len(ended) == count
    runs, whole = complete(client, experiment_id, trials)
    files = sum(path.is_file() for path in folder.rglob("artifacts/*.*"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"trials                       {count:8}")
    print(f"runs, finished and complete  {runs:8}, {whole}")
    print(f"artifacts                    {files:8}")
    print(f"seconds in all               {seconds:8.1f}")
    print(f"until the first trial ran    {begun:8.1f}")
    print(f"until the first trial ended  {first:8.1f}")
    print(f"seconds a trial after that   {(seconds - first) / (count - 1):8.3f}  ({os.cpu_count()} at a time)")
    print(f"driver before, MB            {before:8.0f}")
    print(f"driver at its peak, MB       {peak:8.0f}")
    if tracker:
        print(f"server at the end, MB        {megabytes([tracker, *tracker.children(recursive=True)]):8.0f}")
    assert whole == runs == count, "something was lost"


def main(count: int, where: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if where == "server":
            with server(folder) as tracker:
                measure(folder, count, tracker)
        else:
            os.environ.pop("MLFLOW_TRACKING_URI", None)
            measure(folder, count, None)


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 1320, sys.argv[2] if sys.argv[2:] else "server")
