"""A job's share of a card's memory; the card is a stand-in that notes what is asked of it."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from study.execution import card, worker
from study.jobs import Context

WHOLE = 24_000_000_000


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What PyTorch's interface to the card was asked for, in order."""
    found: list[tuple[Any, ...]] = []
    for name in ("set_per_process_memory_fraction", "reset_peak_memory_stats", "synchronize", "empty_cache"):
        monkeypatch.setattr(torch.cuda, name, lambda *arguments, name=name: found.append((name, *arguments)))
    properties = SimpleNamespace(total_memory=WHOLE, name="NVIDIA L4")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 5_250_000_000)
    return found


def context(**settings: Any) -> Context:
    return Context(storage="/storage", cache=None, tracking_uri="http://nobody", experiment_id="7", **settings)


@pytest.mark.parametrize(("gpus", "fraction"), [(0.25, 5.5 / 24), (0.5, 11.5 / 24), (1, 1.0), (0.01, 0.0)])
def test_a_process_keeps_to_its_share(gpus: float, fraction: float, asked: list[tuple[Any, ...]]) -> None:
    """Half a GB of it is the CUDA context. A whole card has no limit, also after a job that had one."""
    worker.set_up_process(context(device="cuda", gpus=gpus))
    (name, limit, device), *others = asked
    assert (name, device) == ("set_per_process_memory_fraction", "cuda")
    assert limit == pytest.approx(fraction)
    assert others == [("reset_peak_memory_stats", "cuda")]


def test_the_peak_is_a_metric_and_memory_is_given_back(asked: list[tuple[Any, ...]]) -> None:
    on_card = context(device="cuda", gpus=0.25)
    assert card.peak(on_card) == {"gpu_peak_gb": 5.25}
    assert card.figures(on_card) == "at most 5.2 GB were in use of the 24.0 GB of this NVIDIA L4"
    card.release(on_card)
    assert asked == [("synchronize", "cuda"), ("empty_cache",)], "late errors come first"


def test_nothing_is_asked_of_a_card_by_jobs_on_a_cpu(asked: list[tuple[Any, ...]]) -> None:
    on_cpu = context()
    worker.set_up_process(on_cpu)
    card.release(on_cpu)
    assert card.peak(on_cpu) == {}
    assert card.figures(on_cpu) == ""
    assert asked == []
