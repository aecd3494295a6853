"""A small study to check, and what the tests ask of findings."""

from collections.abc import Callable, Sequence
from pathlib import Path

from forensics import Trial
from study.jobs import Context
from study.preflight.cards import CARDS, Need
from study.preflight.cluster import Node
from study.preflight.findings import Finding
from study.preflight.gpu_probe import Wanted
from study.settings import Study

HERE = Node("10.0.0.1", "a1", cpus=8, gpus=0)
THERE = Node("10.0.0.2", "b2", cpus=8, gpus=0)

# A trial that needs 3 GB of a card, of which it is given a quarter.
WANTED = Wanted(
    Context(storage="", cache=None, tracking_uri="", experiment_id="", device="cuda", gpus=0.25),
    [Need("INet", "a trial of INet", 3 * 10**9, Trial("little", "INet", 0.1))],
)

L4, T4 = str(CARDS["L4"]), str(CARDS["T4"])

STUDY = {
    "name": "checked",
    "cameras": ["little"],
    "isps": ["INet"],
    "lambdas": [0.1, "fixed"],
    "seeds": 1,
    "split": {"train": 2, "validation": 1},
    "pretraining": {"patch": 16, "batch": 2, "max_iterations": 4, "validation_patch": 16},
    "training": {"patch": 16, "batch": 2, "iterations": 4},
    "validation": {"every": 2, "accuracy_patches": 1, "fidelity_patches": 1},
}


def study_in(storage: Path, **changes: object) -> Study:
    return Study.model_validate({**STUDY, "storage": str(storage), **changes})


def faults(findings: Sequence[Finding]) -> dict[str, str]:
    found = {finding.what: finding.fault for finding in findings if finding.fault is not None}
    assert all("\n" not in fault for fault in found.values())
    return found


def fault(findings: Sequence[Finding]) -> str:
    (found,) = faults(findings).values()
    return found


def remark(findings: Sequence[Finding], what: str) -> str:
    (found,) = [finding.remark for finding in findings if finding.what == what]
    return found


def damage(path: Path, change: Callable[[bytearray], object]) -> None:
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)
