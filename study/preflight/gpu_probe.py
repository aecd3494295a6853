"""What a node tries of its GPUs: whether torch can use them, whether jobs fit on them, and whether they train.

A process of its own asks, so that a card that kills it does not end the check, and no memory of the card stays taken.
"""

import multiprocessing
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection

import numpy as np
import torch

import models
from cameras.disk import gigabytes
from cameras.errors import one_line
from cameras.feed import at_once
from cameras.pairs import Pairs
from forensics import Trial, train
from forensics.compression.pretraining import CodecPretraining, starting_codec
from forensics.trial import Split
from study.execution import card as limits
from study.jobs import Context
from study.preflight.cards import Card, Need, fit, plain_name, spare
from study.preflight.cluster import Node
from study.preflight.findings import Finding, finding
from study.settings import StudyError

SECONDS = 120.0  # that the process has for all cards of a node
SICK = "look at it with nvidia-smi, and take the node out of the cluster if the card or its driver is faulty"


@dataclass(frozen=True)
class Wanted:
    """What jobs want of a GPU: how they use it (``context``), and what each NIP needs, the largest last."""

    context: Context
    needs: Sequence[Need]

    @property
    def largest(self) -> Need:
        """Of the largest NIP, whose largest trial is tried."""
        return self.needs[-1]


@dataclass(frozen=True)
class Tried:
    """A card, and how a training went on it: a remark, or a fault."""

    card: Card
    remark: str
    fault: str | None = None


def probe_gpus(node: Node, wanted: Wanted) -> list[Finding]:
    """Try the GPUs of this machine: do jobs fit, and does each card train?"""
    findings: list[Finding] = []
    tried: list[Tried] = []
    with finding(findings, "GPU", node.name) as remarks:
        if not torch.cuda.is_available():
            raise StudyError(
                f"Ray counts {node.gpus:g} GPUs, but torch {torch.__version__} can use none: install a build of torch "
                "for CUDA, and a driver that suits it"
            )
        tried = _in_a_process(wanted)
        names = [str(one.card) for one in tried]
        remarks += [f"{names.count(name)} × {name}" for name in dict.fromkeys(names)]
    for card in dict.fromkeys(one.card for one in tried):
        findings += fits(wanted.needs, card, wanted.context.gpus, node.name)
    findings += [Finding(f"training on {one.card}", node.name, one.fault, one.remark) for one in tried]
    return findings


def fits(needs: Sequence[Need], card: Card, gpus: float, where: str) -> list[Finding]:
    """A finding for each NIP: does it fit into its share of a card? That of the largest says if more jobs would."""
    findings: list[Finding] = []
    for need in needs:
        with finding(findings, f"memory for {need.isp} on {card}", where) as remarks:
            remarks.append(fit(need, card, gpus))
            if need is needs[-1] and (more := spare(need, card, gpus)):
                remarks.append(more)
    return findings


def _answer(sender: Connection, wanted: Wanted) -> None:
    """Runs in a process of its own."""
    with suppress(BrokenPipeError):
        sender.send([_try(index, wanted) for index in range(torch.cuda.device_count())])


def _in_a_process(wanted: Wanted, answer: Callable[[Connection, Wanted], None] = _answer) -> list[Tried]:
    """What a process of its own answers.

    Raises:
        StudyError: it died, or gives no answer.
    """
    spawn = multiprocessing.get_context("spawn")
    receiver, sender = spawn.Pipe(duplex=False)
    process = spawn.Process(target=answer, args=(sender, wanted), daemon=True)
    process.start()
    sender.close()  # so that the end of the process is noticed
    try:
        if not receiver.poll(SECONDS):
            raise StudyError(f"no answer in {SECONDS:g} s: {SICK}")
        return receiver.recv()
    except EOFError:
        process.join()
        raise StudyError(f"a process that trains there died (exit code {process.exitcode}): {SICK}") from None
    finally:
        process.kill()
        process.join()


def _try(index: int, wanted: Wanted) -> Tried:
    properties = torch.cuda.get_device_properties(index)
    card = Card(plain_name(properties.name), properties.total_memory)
    context = wanted.context.model_copy(update={"device": f"cuda:{index}"})
    need = wanted.largest
    try:
        free, _ = torch.cuda.mem_get_info(index)
        if free < need.memory:  # other jobs may run there
            return Tried(card, f"not tried: only {gigabytes(free)} are free")
        limits.prepare(context)
        train_briefly(need.trial, context, need.codec)
        torch.cuda.synchronize(index)
    except torch.OutOfMemoryError as error:
        return Tried(card, "", f"{need.isp} is out of memory: raise resources.gpus ({one_line(error, 200)})")
    except Exception as error:  # CUDA has many
        return Tried(card, "", f"{need.isp} does not train: {one_line(error, 200)}: {SICK}")
    most = torch.cuda.max_memory_reserved(index)
    return Tried(card, f"two iterations of {need.isp}, {gigabytes(most)} at most")


def train_briefly(trial: Trial, context: Context, codec: CodecPretraining | None = None) -> None:
    """Train two iterations on noise and validate, with the batch, patch and networks of a trial.

    Its channel's codec has the weights that the pre-training ``codec`` starts from.
    """
    rng, side = np.random.default_rng(0), trial.training.patch
    noise = [(rng.random((side, side, 4)), rng.random((2 * side, 2 * side, 3))) for _ in ("training", "validation")]
    pairs = Pairs.from_images(noise, "RGGB", np.eye(3), trial.camera)
    few = at_once(torch.device(context.device), side, trial.training.batch)
    brief = replace(
        trial,
        split=Split(train=1, validation=1),
        training=replace(trial.training, iterations=2),
        validation=replace(trial.validation, every=2, accuracy_patches=few, fidelity_patches=1),
    )
    nip = models.build(trial.isp, generator=torch.Generator().manual_seed(0), cfa=pairs.cfa)
    start = None if codec is None else starting_codec(codec)
    train(brief, pairs, nip, context.device, codec=start, **context.training)
