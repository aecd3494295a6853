"""``python -m study`` with workers that fail as they are told: ``python -c "import faulty; faulty.main()" FAULT …``

FAULT is JSON: ``{"folder": …, "sticky": key, "memory": key, "node": address}``: the trial that meets a CUDA error once,
the one that runs out of memory twice, the node that fails every job. The folder is for what happens: one line an
attempt at a job, and one when it fails. The production code knows nothing of it: the driver hands out another function.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

FIRST_PAUSE = 3.0  # seconds that a node waits after three failures in a row
PATIENCE = 120.0  # seconds that the other node gives the sick one to fail so often
STEP = 50  # of 120: there is a checkpoint
STICKY = "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronously reported"
SHORTAGE = "CUDA out of memory. Tried to allocate 2.00 GiB."
BROKEN = "broken installation"


def main() -> None:
    from study.commands.app import main as study
    from study.execution import scheduler

    fault = json.loads(sys.argv.pop(1))
    real = scheduler.run_on_worker

    def run_on_worker(config: dict[str, Any], **parameters: Any) -> None:
        import faulty  # the worker's own

        faulty.prepare(fault, config["key"])
        real(config, **parameters)

    scheduler.run_on_worker = run_on_worker
    study()


def prepare(fault: dict[str, str], key: str) -> None:
    """On a worker: let every job that this process runs fail as it is told."""
    import ray
    import torch

    from study.execution import place
    from study.jobs import KINDS, Callbacks

    place.FIRST_PAUSE = FIRST_PAUSE
    node, folder = ray.util.get_node_ip_address(), Path(fault["folder"])
    note(folder, "begun", key, node)
    earlier = sum(entry["what"] == "failed" and entry["key"] == key for entry in notes(folder))

    def error(step: int) -> Exception | None:
        if key == fault.get("sticky") and step == STEP and earlier == 0:
            return torch.AcceleratorError(STICKY)
        if key == fault.get("memory") and step == STEP and earlier < 2:
            return torch.OutOfMemoryError(SHORTAGE)
        if node == fault.get("node") and step == 1:
            return AttributeError(BROKEN)
        return None

    def enough() -> bool:
        """Whether the sick node has failed as many trials as make it wait."""
        keys = {entry["key"] for entry in notes(folder) if (entry["what"], entry["kind"]) == ("failed", "trial")}
        return len(keys) >= place.ROW

    def faulty(run: Callable[..., Any]) -> Callable[..., Any]:
        def instead(job: Any, context: Any, callbacks: Callbacks, *rest: Any) -> Any:
            def on_step(step: int) -> None:
                callbacks.on_step(step)
                if found := error(step):
                    note(folder, "failed", key, node, job.kind)
                    raise found
                if "node" in fault and job.kind == "trial" and step == 1:  # on the other node: let it come to that
                    end = time.monotonic() + PATIENCE
                    while not enough() and time.monotonic() < end:
                        time.sleep(0.1)

            return run(job, context, replace(callbacks, on_step=on_step), *rest)

        return instead

    for kind in KINDS.values():
        original = kind.__dict__.get("original", kind.run)
        kind.original = original
        kind.run = faulty(original)


def note(folder: Path, what: str, key: str, node: str, kind: str = "") -> None:
    with (folder / "notes.jsonl").open("a") as file:
        file.write(json.dumps({"what": what, "key": key, "node": node, "kind": kind, "pid": os.getpid()}) + "\n")


def notes(folder: Path) -> list[dict[str, Any]]:
    """What has happened, in order."""
    return [json.loads(line) for line in (folder / "notes.jsonl").read_text().splitlines()]
