"""A trial that is trained again is compared to the bit, or within a tolerance."""

from pathlib import Path

import pytest
import torch
from small_trials import small_trial

import models
from cameras.pairs import Pairs
from forensics import train
from forensics.repetition import TOLERANCE, deviations, differences


@pytest.mark.parametrize("what", ["nothing", "metric", "step", "nip", "fan"])
def test_every_difference_is_named(pairs: Pairs, tmp_path: Path, what: str) -> None:
    nip = models.build("INet", generator=torch.Generator().manual_seed(0))
    outcome = train(small_trial(1.0), pairs, nip)
    for name in ("nip", "fan"):
        models.save(tmp_path / name, getattr(outcome, name))
    metrics = {name: {step: values[name] for step, values in outcome.history.items()} for name in ("psnr", "accuracy")}
    if what == "metric":
        metrics["psnr"][4] += 1e-9
    elif what == "step":
        del metrics["accuracy"][6]
    elif what in ("nip", "fan"):
        with torch.no_grad():
            next(getattr(outcome, what).parameters()).mul_(1.0000001)
    found = list(differences(outcome, metrics, tmp_path / "nip", tmp_path / "fan"))
    assert len(found) == (what != "nothing")
    words = {"metric": "psnr at iteration 4", "step": "accuracy at iteration 6: logged None", "nothing": ""}
    assert all(line.startswith(words.get(what, f"weights {what}.")) for line in found)


@pytest.mark.parametrize("times", [0.9, 1.1, float("nan")])
@pytest.mark.parametrize("name", list(TOLERANCE))
def test_deviations_are_those_beyond_the_tolerance(pairs: Pairs, name: str, times: float) -> None:
    outcome = train(small_trial("fixed"), pairs, models.build("INet"))
    metrics = {metric: {step: values[metric] for step, values in outcome.history.items()} for metric in TOLERANCE}
    assert list(deviations(outcome, metrics)) == []
    metrics[name][max(outcome.history)] += times * TOLERANCE[name]
    assert len(list(deviations(outcome, metrics))) == (times != 0.9)
