"""``python -m study`` in a process of its own, and a study that takes seconds."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STUDY = """
name: tiny
cameras: [{name: tiny-rggb, simulate: {preset: sim-rggb, images: 4, height: 96, width: 128}}]
isps: [UNet]
lambdas: [fixed, 0.01]
seeds: 1
split: {train: 3, validation: 1}
pretraining: {patch: 16, batch: 2, max_iterations: 2, check_every: 2, validation_patch: 32}
training: {patch: 16, batch: 2, iterations: 2}
validation: {every: 2, accuracy_patches: 2, fidelity_patches: 2, textured: false}
evaluation: {codecs: ["jpeg:50"], windows: 3}
"""

Ran = subprocess.CompletedProcess[str]
Run = Callable[..., Ran]


def python(*arguments: str, env: dict[str, str] | None = None, without: tuple[str, ...] = (), **options: object) -> Ran:
    """Run Python from the repository's folder; ``env`` adds to this process's environment, ``without`` takes away."""
    environment = {name: value for name, value in os.environ.items() if name not in (*without, "MLFLOW_TRACKING_URI")}
    return subprocess.run(
        [sys.executable, *arguments],
        **{"cwd": ROOT, "env": environment | (env or {}), "capture_output": True, "text": True, "timeout": 300}
        | options,
    )


def is_one_line(ran: Ran) -> bool:
    """Whether a command that could not do its work has said so in one line."""
    return ran.returncode == 2 and "Traceback" not in ran.stderr and len(ran.stderr.strip().splitlines()) == 1
