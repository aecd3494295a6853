"""Errors of cards and nodes: every trial is finished once, with the same bits, and none fails for another's fault."""

import json
from collections import Counter
from typing import Any

from faulty import BROKEN, notes
from laboratory import Laboratory, Result, resumed_in


def run(laboratory: Laboratory, **fault: str) -> tuple[str, list[dict[str, Any]]]:
    """Run the study with workers that fail: what the driver said, and what happened to trials."""
    text = json.dumps({"folder": str(laboratory.folder), **fault})
    output = laboratory.start(program=("-c", "import faulty; faulty.main()", text)).finish()
    return output, [entry for entry in notes(laboratory.folder) if entry["key"] in laboratory.keys]


def test_a_cuda_error_and_a_shortage_of_memory(laboratory: Laboratory, undisturbed: dict[str, Result]) -> None:
    """A process that saw a CUDA error takes no other job. Memory runs out beside others, and once alone."""
    sticky, memory, *_ = sorted(undisturbed)
    output, happened = run(laboratory, sticky=sticky, memory=memory)
    failed = [entry for entry in happened if entry["what"] == "failed"]
    assert Counter(entry["key"] for entry in failed) == {sticky: 1, memory: 2}
    begun = Counter(entry["key"] for entry in happened if entry["what"] == "begun")
    assert begun == {**dict.fromkeys(undisturbed, 1), sticky: 2, memory: 3}
    for entry in failed:
        later = happened[happened.index(entry) + 1 :]
        assert (entry["node"], entry["pid"]) not in {(other["node"], other["pid"]) for other in later}
    assert resumed_in(output) == {sticky[:8], memory[:8]}
    assert f"{sticky[:8]}: torch.AcceleratorError: CUDA error: an illegal memory access was encountered; it" in output
    assert output.count(f"{memory[:8]}: out of memory with resources.gpus: 1; tried again alone on 127.0.0.") == 2
    assert laboratory.outcome() == undisturbed
    assert not laboratory.names("failures")


def test_a_node_that_fails_every_job(laboratory: Laboratory, undisturbed: dict[str, Result]) -> None:
    """It fails three trials, each once, and is named; the other one does the work."""
    sick = laboratory.cluster.workers[0].name.replace("worker-", "127.0.0.")
    output, happened = run(laboratory, node=sick)
    failed = [entry for entry in happened if entry["what"] == "failed"]
    assert {entry["node"] for entry in failed} == {sick}
    assert len({entry["key"] for entry in failed}) == 3, "one is busy on the other node until then"
    assert f"3 jobs in a row failed on {sick}, the last one: AttributeError: {BROKEN}\n" in output
    assert laboratory.outcome() == undisturbed
    assert not laboratory.names("failures")
