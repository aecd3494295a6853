"""``python -m study`` in a process of its own, with a storage of its own: started, watched, asked about its results."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from typer.testing import CliRunner

from study import tracking
from study.commands.app import app
from study.settings import Study, load_study

ROOT = Path(__file__).resolve().parents[1]

STUDY = """
name: interrupted
cameras: [{name: small-rggb, simulate: {preset: sim-rggb, images: 4, height: 96, width: 128}}]
isps: [INet]
lambdas: [0.01, fixed]
seeds: 1
split: {train: 3, validation: 1}
pretraining: {patch: 16, batch: 2, max_iterations: 4, check_every: 2, validation_patch: 32}
training: {patch: 16, batch: 2, iterations: 240}
validation: {every: 20, accuracy_patches: 2, fidelity_patches: 1, textured: false}
evaluation: {codecs: ["jpeg:50"], windows: 3}
resources: {checkpoint_seconds: 0}
"""

SEARCH = """
search:
  over: {lambda: {log: [0.001, 0.1]}}
  points: 4
  random: 2
"""


class Command:
    """``python -m study …`` with a storage of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}

    def start(self, *arguments: str, module: Sequence[str] = ("-m", "study")) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *module, *arguments, "--storage", str(self.folder / "results")],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, code: int = 0, module: Sequence[str] = ("-m", "study")) -> str:
        process = self.start(*arguments, module=module)
        output, _ = process.communicate(timeout=400)
        assert process.returncode == code, output
        return output

    def ask(self, *arguments: str) -> str:
        """A command that needs no Ray, in this process: that saves half a dozen imports of torch."""
        asked = CliRunner().invoke(app, [*arguments, "--storage", str(self.folder / "results")])
        assert asked.exit_code == 0, asked.output
        return asked.stdout

    def study(self, source: str) -> Study:
        return load_study(source).model_copy(update={"storage": str(self.folder / "results")})

    def runs(self, source: str, kind: str) -> list[Run]:
        study = self.study(source)
        client = MlflowClient(tracking.tracking_uri(study))
        found = client.get_experiment_by_name(study.name)
        assert found is not None
        return list(client.search_runs([found.experiment_id], f"tags.kind = '{kind}'"))


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
