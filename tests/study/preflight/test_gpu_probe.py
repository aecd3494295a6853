"""What a node finds out about its GPUs. Stand-ins answer for torch's CUDA, and the training runs on the CPU."""

import os
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from forensics import Trial
from forensics.memory import CONTEXT as CONTEXT_OF_CUDA
from forensics.trial import Training, Validation
from study.jobs import Context
from study.preflight import gpu_probe
from study.preflight.cards import CARDS, Need, needs
from study.preflight.cluster import Node
from study.preflight.gpu_probe import Tried, Wanted, probe_gpus, train_briefly
from study.settings import Study, StudyError, planned

NODE = Node("10.0.0.1", "a1", cpus=8, gpus=2)
TRIAL = Trial("camera", "INet", 0.1, training=Training(batch=2, patch=16))
CONTEXT = Context(storage="", cache=None, tracking_uri="", experiment_id="", device="cuda", gpus=0.25)
WANTED = Wanted(
    CONTEXT, [Need("UNet", "a trial of UNet", 10**9, TRIAL), Need("INet", "a trial of INet", 5 * 10**9, TRIAL)]
)


@pytest.mark.parametrize("isp", ["INet", "UNet"])
@pytest.mark.parametrize("lam", ["fixed", 0.1])
def test_a_brief_training_goes_the_real_way(isp: str, lam: float | str, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial("camera", isp, lam, training=Training(batch=3, patch=16, textured=True), validation=Validation())  # type: ignore[arg-type]
    calls = []
    train = gpu_probe.train

    def watched(trial: Trial, *arguments: object, **options: object) -> None:
        outcome = train(trial, *arguments, **options)  # type: ignore[arg-type]
        calls.append((trial, outcome, options))

    monkeypatch.setattr(gpu_probe, "train", watched)
    train_briefly(trial, CONTEXT.model_copy(update={"device": "cpu", "data": "host", "deterministic": False}))
    ((made, outcome, options),) = calls
    assert options == {"codec": None, "data": "host", "deterministic": False, "memory": None}
    assert (made.training.iterations, made.training.batch, made.training.patch) == (2, 3, 16)
    assert (made.isp, made.lam, made.manipulations, made.channel) == (isp, lam, trial.manipulations, trial.channel)
    assert list(outcome.history) == [2], "validated once"


def test_a_brief_training_behind_a_codec_needs_no_pretrained_one(monkeypatch: pytest.MonkeyPatch) -> None:
    content = {"name": "mine", "cameras": ["camera"], "isps": ["INet"], "lambdas": ["fixed"], "seeds": 1}
    content |= {"training": {"batch": 2, "patch": 16, "codec_lambda": 0.1}, "channel": {"codec": "learned:16"}}
    (need,) = needs(planned(Study.model_validate({**content, "codec_pretraining": {"width": 8}})))
    widths = []
    train = gpu_probe.train

    def watched(*arguments: Any, **options: Any) -> None:
        widths.append(train(*arguments, **options).codec.settings["width"])  # type: ignore[union-attr]

    monkeypatch.setattr(gpu_probe, "train", watched)
    train_briefly(need.trial, CONTEXT.model_copy(update={"device": "cpu", "data": "host"}), need.codec)
    assert widths == [8]


# --- A machine with GPUs ---


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """One L4, all of it free; what the process has limited itself to, and what it trained."""
    state: dict[str, Any] = {"free": CARDS["L4"].memory - 4 * 10**8}
    properties = SimpleNamespace(name="NVIDIA L4", total_memory=CARDS["L4"].memory)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (state["free"], properties.total_memory))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda share, device: state.update(limit=share))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 31 * 10**8)
    monkeypatch.setattr(
        gpu_probe, "train_briefly", lambda *given: state.update(zip(("trained", "where", "codec"), given, strict=True))
    )
    return state


def test_a_card_that_trains_says_how_much_it_took(gpu: dict[str, Any]) -> None:
    assert gpu_probe._try(1, WANTED) == Tried(CARDS["L4"], "two iterations of INet, 3.1 GB at most")
    assert (gpu["trained"], gpu["where"].device) == (TRIAL, "cuda:1")
    given = 0.25 * CARDS["L4"].memory - CONTEXT_OF_CUDA
    assert gpu["limit"] * CARDS["L4"].memory == pytest.approx(given), "within its share"


def failing(error: Exception) -> Callable[..., None]:
    def train(*arguments: object) -> None:
        raise error

    return train


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
            "INet is out of memory: raise resources.gpus",
        ),
        (
            RuntimeError("CUDA error: uncorrectable ECC error encountered"),
            "uncorrectable ECC error encountered: look at it with nvidia-smi",
        ),
        (FloatingPointError("loss is not finite at iteration 1"), "does not train: loss is not finite"),
    ],
)
def test_a_card_that_does_not_train_is_a_fault_with_a_remedy(
    gpu: dict[str, Any], monkeypatch: pytest.MonkeyPatch, error: Exception, expected: str
) -> None:
    monkeypatch.setattr(gpu_probe, "train_briefly", failing(error))
    fault = gpu_probe._try(0, WANTED).fault
    assert fault is not None
    assert expected in fault
    assert "\n" not in fault


def test_a_card_that_others_use_is_left_alone(gpu: dict[str, Any]) -> None:
    gpu["free"] = 4.9e9
    assert gpu_probe._try(0, WANTED) == Tried(CARDS["L4"], "not tried: only 4.9 GB are free")
    assert "trained" not in gpu


def test_findings_of_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cards, the second of which is sick."""
    answers = [Tried(CARDS["L4"], "fine"), Tried(CARDS["L4"], "", "sick")]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu_probe, "_in_a_process", lambda wanted: answers)
    found = [(finding.what, finding.fault, finding.remark) for finding in probe_gpus(NODE, WANTED)]
    assert found == [
        ("GPU", None, "2 × L4 (24 GB)"),
        ("memory for UNet on L4 (24 GB)", None, "1 GB of the 5.9 GB that 0.25 of one L4 (24 GB) gives"),
        ("memory for INet on L4 (24 GB)", None, "5 GB of the 5.9 GB that 0.25 of one L4 (24 GB) gives"),
        ("training on L4 (24 GB)", None, "fine"),
        ("training on L4 (24 GB)", "sick", ""),
    ]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_real_gpu_trains_in_its_share() -> None:
    for tried in gpu_probe._in_a_process(WANTED):
        assert tried.fault is None
        assert tried.remark.startswith("two iterations of INet")
    assert torch.cuda.memory_reserved() == 0, "this process has taken nothing"


# --- The process that asks ---


def two_cards(sender: Connection, wanted: Wanted) -> None:
    sender.send([Tried(CARDS["T4"], wanted.largest.isp), Tried(CARDS["T4"], "", str(os.getpid()))])


def die(sender: Connection, wanted: Wanted) -> None:
    os._exit(7)


def hang(sender: Connection, wanted: Wanted) -> None:
    time.sleep(600)


def test_another_process_answers() -> None:
    first, second = gpu_probe._in_a_process(WANTED, two_cards)
    assert first == Tried(CARDS["T4"], "INet")
    assert int(second.fault or 0) != os.getpid()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_without_a_gpu_it_finds_none() -> None:
    assert gpu_probe._in_a_process(WANTED) == []


def test_a_card_that_kills_the_process_ends_no_check() -> None:
    with pytest.raises(StudyError, match=r"died \(exit code 7\): look at it with nvidia-smi"):
        gpu_probe._in_a_process(WANTED, die)


def test_a_card_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_probe, "SECONDS", 0.5)
    with pytest.raises(StudyError, match=r"no answer in 0\.5 s"):
        gpu_probe._in_a_process(WANTED, hang)
