"""Sizes known beforehand are those of the files that are really written."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_trials import small_trial

import models
from cameras.pairs import Pairs
from forensics import train
from forensics.compression.pretraining import CodecPretraining, starting_codec
from forensics.sizes import checkpoint_size
from forensics.trial import Distribution
from models.checkpoint import Write


@pytest.mark.parametrize("average", [None, 0.1])
@pytest.mark.parametrize("lam", [1.0, "fixed"])
def test_checkpoints_of_a_trial(pairs: Pairs, tmp_path: Path, lam: float | str, average: float | None) -> None:
    """A NIP that does not learn has no moments; means of weights are as large as the weights."""
    trial = small_trial(lam, isp="DNet")
    trial = replace(trial, training=replace(trial.training, average=average))
    written: list[int] = []

    def keep(step: int, write: Write) -> None:
        write(tmp_path / "checkpoint")
        written.append((tmp_path / "checkpoint").stat().st_size)

    nip = models.build("DNet", generator=torch.Generator().manual_seed(0))
    train(trial, pairs, nip, on_checkpoint=keep)
    assert written == pytest.approx([checkpoint_size(trial)] * 2, rel=5e-3)


@pytest.mark.parametrize("codec_lambda", [None, 0.01])
def test_checkpoints_of_a_trial_behind_a_codec(pairs: Pairs, tmp_path: Path, codec_lambda: float | None) -> None:
    settings = CodecPretraining(features=16, width=64)
    trial = small_trial("fixed", channel=Distribution(codec="learned:16"))
    trial = replace(trial, training=replace(trial.training, codec_lambda=codec_lambda))
    written: list[int] = []

    def keep(step: int, write: Write) -> None:
        write(tmp_path / "checkpoint")
        written.append((tmp_path / "checkpoint").stat().st_size)

    train(trial, pairs, models.build("INet"), codec=starting_codec(settings), on_checkpoint=keep)
    assert written == pytest.approx([checkpoint_size(trial, settings)] * 2, rel=5e-3)
