"""What ran: code revision, packages, hardware."""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import torch

from study import CHECKOUT

PACKAGES = ("torch", "numpy", "ray", "mlflow", "rawpy", "safetensors", "flip-evaluator")


@cache
def provenance(device: str = "cpu") -> dict[str, str]:
    """Tags that say what ran: code revision, packages, and the hardware that computes.

    Args:
        device: "cpu", or that of a GPU ("cuda"), which is named only where a job computes on it.
    """
    return {"git_revision": _revision(), "packages": _packages(), "hardware": _hardware(device)}


def _packages() -> str:
    return ", ".join(f"{package} {version(package)}" for package in PACKAGES)


def _hardware(device: str) -> str:
    if device != "cpu":
        # A driver without a GPU closes the runs of jobs whose processes were lost.
        return torch.cuda.get_device_name(device) if torch.cuda.is_available() else "unknown GPU"
    return f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} CPUs"


def _revision() -> str:
    """The commit of the checkout, with ``+`` where the working tree differs from it; of a wheel, its version."""
    try:
        if CHECKOUT is None:
            return f"version {version('forensic-imaging-pipelines')}"
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"],
            cwd=CHECKOUT,
            env={**os.environ, "GIT_CEILING_DIRECTORIES": str(CHECKOUT.parent)},  # another repository may lie around it
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError, PackageNotFoundError):
        return "unknown"
    return described.stdout.strip()
