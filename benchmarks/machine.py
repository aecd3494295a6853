"""Where and of what a benchmark was made: hardware, versions, date, git revision. Needs torch alone."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("torch", "numpy", "ray", "mlflow", "rawpy", "pillow", "colour-demosaicing", "kornia", "ptwt", "PyWavelets")


def description() -> dict[str, Any]:
    """What the JSON file says about the machine and the code."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "revision": revision(),
        "hardware": hardware(),
        "load": round(os.getloadavg()[0], 2),  # of other processes, at the start
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }


def hardware() -> dict[str, Any]:
    facts: dict[str, Any] = {
        "processor": processor(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
    }
    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        facts |= {"gpu": card.name, "gpu_memory_gb": round(card.total_memory / 1e9, 1), "cuda": torch.version.cuda}
    return facts


def processor() -> str:
    """Name of the processor, and the widest vector instructions that PyTorch uses."""
    name = platform.processor() or platform.machine()
    facts = Path("/proc/cpuinfo")  # Linux
    lines = facts.read_text().splitlines() if facts.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{named[0] if named else name}, {torch.backends.cpu.get_cpu_capability()}"


def version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def revision() -> str:
    """Git revision, with ``+`` where files differ from it; "unknown" outside a checkout."""
    commands = (("git", "rev-parse", "--short=12", "HEAD"), ("git", "status", "--porcelain", "--untracked-files=no"))
    try:
        commit, changes = (
            subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
            for command in commands
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}{'+' if changes else ''}"
