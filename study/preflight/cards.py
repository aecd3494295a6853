"""GPUs by name and memory, and how many jobs fit on one.

A job's memory is counted on the meta device (:func:`forensics.memory.trial_memory`), what its process costs by itself
among it. A job gets the share ``resources.gpus`` of a card, and of its memory.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cameras.disk import gigabytes
from forensics import Trial
from forensics.compression.pretraining import CodecPretraining
from forensics.memory import codec_pretraining_memory, pretraining_memory, trial_memory
from models.registry import pretrained_as
from study.settings import Planned, StudyError


@dataclass(frozen=True)
class Card:
    """A GPU: its name, and the bytes that torch finds on it (``total_memory``), less than its name says."""

    name: str
    memory: int

    def __str__(self) -> str:
        return f"{self.name} ({self.memory / 1e9:.0f} GB)"


CARDS = {
    "T4": Card("T4", 15_600_000_000),
    "P100": Card("P100", 17_000_000_000),
    "V100-16": Card("V100", 16_900_000_000),
    "V100-32": Card("V100", 34_000_000_000),
    "A10G": Card("A10G", 23_600_000_000),
    "L4": Card("L4", 23_600_000_000),
    "A100-40": Card("A100", 42_200_000_000),
    "L40S": Card("L40S", 47_600_000_000),
    "A100-80": Card("A100", 84_900_000_000),
    "H100": Card("H100", 84_900_000_000),
    "H200": Card("H200", 149_900_000_000),
}
# Beginnings of the names of instance types (AWS), machine types and accelerators (Google), and the card that they have.
MACHINES = {
    "g4dn.": "T4",
    "g5.": "A10G",
    "g6.": "L4",
    "gr6.": "L4",
    "g6e.": "L40S",
    "p3.": "V100-16",
    "p3dn.": "V100-32",
    "p4d.": "A100-40",
    "p4de.": "A100-80",
    "p5.": "H100",
    "p5e.": "H200",
    "p5en.": "H200",
    "g2-standard-": "L4",
    "a2-highgpu-": "A100-40",
    "a2-megagpu-": "A100-40",
    "a2-ultragpu-": "A100-80",
    "a3-highgpu-": "H100",
    "a3-megagpu-": "H100",
    "a3-edgegpu-": "H100",
    "a3-ultragpu-": "H200",
    "nvidia-tesla-t4": "T4",
    "nvidia-tesla-p100": "P100",
    "nvidia-tesla-v100": "V100-16",
}


@dataclass(frozen=True)
class Need:
    """Bytes that the largest job of a NIP needs on a card.

    ``job`` is "a trial of UNet", "the pre-training of UNet", or that of its channel's codec, "the pre-training of
    learned:32". ``trial`` is the largest trial, and ``codec`` the pre-training of its channel's codec, None where it
    needs none.
    """

    isp: str
    job: str
    memory: int
    trial: Trial
    codec: CodecPretraining | None = None


def card_of(node_config: Mapping[str, Any]) -> Card | None:
    """The card of a node that a cluster file describes; None where it names no machine with a card known here."""
    accelerators = [str(item.get("acceleratorType")) for item in node_config.get("guestAccelerators", ())]
    names = [str(node_config.get(key, "")) for key in ("InstanceType", "machineType")]
    for name in (*accelerators, *names):
        for beginning, card in MACHINES.items():
            if name.rpartition("/")[2].startswith(beginning):  # Google's names may be addresses
                return CARDS[card]
    return None


def plain_name(name: str) -> str:
    """``NVIDIA H100 80GB HBM3`` → ``H100``; ``Tesla T4`` → ``T4``"""
    return re.sub(r"^(NVIDIA|Tesla) |[ -](\d+GB|SXM|PCI|NVL).*$", "", name)


def needs(planned: Sequence[Planned]) -> list[Need]:
    """The largest need of every NIP of a study, smallest first."""
    found = []
    for isp in dict.fromkeys(item.trial.isp for item in planned):
        items = [item for item in planned if item.trial.isp == isp]
        largest = max(items, key=_of_trial)
        jobs = [(_of_trial(largest), f"a trial of {isp}")]
        for item in items:
            memory = pretraining_memory(pretrained_as(isp), item.pretraining).total
            jobs.append((memory, f"the pre-training of {isp}"))
            if (codec := item.codec_pretraining) is not None:
                jobs.append((codec_pretraining_memory(codec).total, f"the pre-training of learned:{codec.features}"))
        most, job = max(jobs, key=lambda found: found[0])  # the first of equals
        found.append(Need(isp, job, most, largest.trial, largest.codec_pretraining))
    return sorted(found, key=lambda need: need.memory)


def _of_trial(item: Planned) -> int:
    codec = item.codec_pretraining
    return (trial_memory(item.trial) if codec is None else trial_memory(item.trial, codec.width)).total


def fit(need: Need, on: Card, gpus: float) -> str:
    """Says what a job uses of its share of a card.

    Raises:
        StudyError: it needs more than that.
    """
    given = int(gpus * on.memory)
    if need.memory <= given:
        return f"{gigabytes(need.memory)} of the {gigabytes(given)} that {gpus:g} of one {on} gives"
    much = f"{need.job} needs {gigabytes(need.memory)}"
    if (jobs := at_a_time(need.memory, on)) == 0:
        raise StudyError(
            f"{much}, and one {on} has no more than {gigabytes(on.memory)}: a smaller training.batch, "
            "pretraining.batch or codec_pretraining.batch, a smaller patch, or precision: bfloat16 needs less"
        )
    raise StudyError(
        f"{much}, and {gpus:g} of one {on} gives {gigabytes(given)}: set resources.gpus to {share(jobs):g} "
        f"(at most {jobs} at a time)"
    )


def spare(need: Need, on: Card, gpus: float) -> str:
    """A remark where more jobs fit on a card than share it, "" where not."""
    jobs = at_a_time(need.memory, on)
    return f"resources.gpus: {share(jobs):g} would fit {jobs} jobs" if jobs > int(1 / gpus) else ""


def at_a_time(memory: int, on: Card) -> int:
    """Jobs that fit on a card beside each other, at most, each with an equal share of two digits."""
    most = on.memory // memory
    return next((jobs for jobs in range(most, 0, -1) if share(jobs) * on.memory >= memory), 0)


def share(jobs: int) -> float:
    """The share of a card that each of so many jobs is given: two digits, rounded down."""
    return (100 // jobs) / 100
