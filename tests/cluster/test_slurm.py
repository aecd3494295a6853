"""cluster-slurm.sh as Slurm would run it: its srun, scontrol and hostname are stand-ins, all else is real.

The two nodes of the job are two loopback addresses of this machine.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from machines import ROOT, STARTED, Machine, wait_for
from mlflow import MlflowClient

STUDY = """
name: slurm
cameras: [{{name: small-rggb, simulate: {{preset: sim-rggb, images: 4, height: 96, width: 128}}}}]
isps: [INet]
lambdas: [0.01, fixed]
seeds: 1
split: {{train: 3, validation: 1}}
pretraining: {{patch: 16, batch: 2, max_iterations: 4, check_every: 2, validation_patch: 32}}
training: {{patch: 16, batch: 2, iterations: 320}}
validation: {{every: 40, accuracy_patches: 2, fidelity_patches: 1, textured: false}}
evaluation: {{codecs: ["jpeg:50"], windows: 3}}
resources: {{checkpoint_seconds: 0, cache: {cache}}}
"""
JOB = str(4_000_000 + os.getpid())  # by it, all its processes are found
TRACKER = 25_000 + int(JOB) % 2_500
STAND_INS = {
    "hostname": 'echo "${FAKE_ADDRESS:-127.0.0.2} 192.0.2.1"',
    "scontrol": 'echo "$@" >> "$SLURM_SUBMIT_DIR/scontrol.log"',
    "srun": """
        echo "$@" >> "$SLURM_SUBMIT_DIR/srun.log"
        while [[ $1 == --* ]]; do shift; done
        FAKE_ADDRESS=127.0.0.3 exec "$@"
    """,
}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where the job was submitted, with the user's home and the stand-ins; nothing of the job outlives the test."""
    (tmp_path / "bin").mkdir()
    for name, content in STAND_INS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{content}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "home" / "imaging-pipelines").mkdir(parents=True)
    (tmp_path / "home" / "imaging-pipelines" / "venv").symlink_to(sys.prefix)
    (tmp_path / "study.yaml").write_text(STUDY.format(cache=tmp_path / "cache"))
    yield tmp_path
    for process in of_the_job():
        process.kill()


def of_the_job() -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("SLURM_JOB_ID") == JOB:
                found.append(process)
        except psutil.Error:
            pass
    return found


def listens_on(process: psutil.Process) -> set[tuple[str, int]]:
    try:
        return {tuple(one.laddr) for one in process.net_connections("tcp") if one.status == psutil.CONN_LISTEN}
    except psutil.Error:
        return set()


def mid_trial(folder: Path) -> dict[str, int]:
    """The newest checkpoint's step of every trial that has several of them, by key; pre-training is over before."""
    steps: dict[str, int] = {}
    for path in (folder / "results" / "checkpoints").glob("*.safetensors"):
        key, _, step = path.stem.rpartition("-")
        steps[key] = max(steps.get(key, 0), int(step))
    return {key: step for key, step in steps.items() if step >= 80}


def first_steps(folder: Path, since: float) -> dict[str, int]:
    """Of every trial, the first step at which it took a checkpoint at or after this time, by key."""
    client = MlflowClient(f"sqlite:///{folder / 'results' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("slurm")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.kind = 'trial'")
    history = {run.data.tags["trial_key"]: client.get_metric_history(run.info.run_id, "seconds") for run in runs}
    return {key: min(one.step for one in ones if one.timestamp >= 1000 * since) for key, ones in history.items()}


def submitted(folder: Path, run: int) -> Machine:
    environment = {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "HOME": str(folder / "home"),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "SLURM_JOB_ID": JOB,
        "SLURM_SUBMIT_DIR": str(folder),
        "SLURM_NNODES": "2",
        "SLURMD_NODENAME": "node-1",
        "SLURM_CPUS_PER_TASK": "1",
    }
    command = ["bash", ROOT / "cluster-slurm.sh", "study.yaml"]
    return Machine(f"slurm-{run}", command, environment, folder / f"slurm-{run}.log", folder)


def status(folder: Path) -> dict[str, int]:
    """As on a login node: out of the folder alone, without the server that has ended with the job."""
    command = [sys.executable, "-m", "study", "status", "study.yaml", "--storage", folder / "results", "--json"]
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def test_a_job_goes_back_into_the_queue_and_resumes(folder: Path) -> None:
    job = submitted(folder, 1)
    wait_for(lambda: job.output.count(STARTED) == 2, job)
    assert (folder / "srun.log").read_text().startswith("--nodes=1 --ntasks=1 --exclude=node-1 --cpus-per-task=1 ")
    assert oct((folder / "home" / ".ray" / "auth_token").stat().st_mode)[-3:] == "600"
    doors = set().union(*(listens_on(process) for process in of_the_job()))
    assert {address for address, port in doors if port == TRACKER} == {"127.0.0.2"}
    assert not {port for _, port in doors} & {8265, 6379, 5000, 10001}, "ports that another job on the node may want"

    wait_for(lambda: mid_trial(folder), job)
    job.process.send_signal(signal.SIGUSR1)  # its time is nearly up
    wait_for((folder / "scontrol.log").exists, job)
    assert (folder / "scontrol.log").read_text() == f"requeue {JOB}\n"
    job.process.send_signal(signal.SIGTERM)  # what Slurm does then
    wait_for(lambda: not of_the_job(), seconds=25)  # Slurm kills what is left after 30
    assert job.process.wait() == 143
    interrupted = mid_trial(folder)
    assert interrupted, "signalled too late: no trial was in progress"

    again = time.time()
    job = submitted(folder, 2)
    job.finish()
    assert not of_the_job()
    started = first_steps(folder, again)
    assert {key for key, step in started.items() if step <= interrupted.get(key, 0)} == set(), "begun anew"
    assert (folder / "results" / "reports" / "slurm" / "report.html").exists()
    assert status(folder)["finished"] == 2
