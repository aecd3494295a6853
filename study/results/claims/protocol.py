"""The settings under which the paper's numbers were measured, as runs log them (text by name of the setting).

A claim is answered by trials with the paper's manipulations and its channel, in all its settings. A claim about an
absolute number is comparable only under the paper's training as well.
"""

from collections.abc import Mapping

import pandas as pd

# Settings that runs of earlier versions did not log: they had these values.
LATER = {
    "channel.kernel": "mean",
    "channel.storage": "float",
    "channel.schedule": "fixed",
    "channel.rate_weight": "100.0",
    "training.nip_loss": "L2",
    "training.nip_learning_rate": "None",
    "training.window": "None",
    "training.nip_warm_up": "0",
    "training.average": "None",
    "training.codec_lambda": "None",
    "training.codec_learning_rate": "None",
    "pretraining.loss": "L2",
    "pretraining.start": "random",
    "pretraining.warm_up": "0",
    "pretraining.decay": "constant",
}


def _later(section: str) -> dict[str, str]:
    return {name: value for name, value in LATER.items() if name.startswith(f"{section}.")}


MANIPULATIONS = str(("sharpen", "gaussian", "jpeg:80", "resample"))
DISTRIBUTED = {
    "manipulations": MANIPULATIONS,
    "channel.downsample": "2",
    "channel.codec": "jpeg:50",
    "channel.rounding": "sin",
    "channel.subsampling": "4:4:4",
    **_later("channel"),
}
UNDISTRIBUTED = {
    "manipulations": MANIPULATIONS,
    "channel.downsample": "1",
    "channel.codec": "none",
    **_later("channel"),
}
PATCHES = {"2": "128", "1": "64"}  # RAW patch by down-sampling: the FAN receives 128 px
TRAINING = {
    "split.train": "120",
    "split.validation": "30",
    "training.iterations": "6000",
    "training.batch": "20",
    "training.learning_rate": "0.0001",
    "training.decay": "0.85",
    "training.decay_every": "600",
    "training.textured": "False",
    "training.precision": "float32",
    "validation.textured": "True",
    **_later("training"),
}
PRETRAINING = {
    "split.train": "120",
    "split.validation": "30",
    "pretraining.patch": "64",
    "pretraining.batch": "20",
    "pretraining.learning_rate": "0.0001",
    "pretraining.max_iterations": "300000",
    "pretraining.check_every": "600",
    "pretraining.window": "5",
    "pretraining.tolerance": "None",
    "pretraining.validation_patch": "256",
    "pretraining.textured": "False",
    "pretraining.precision": "float32",
    **_later("pretraining"),
}
FINGERPRINTS = {"prnu.pixels": "1048576", "prnu.estimation": "90"}


def having(table: pd.DataFrame, settings: Mapping[str, str]) -> pd.DataFrame:
    """Select the rows with these settings; none where a setting was not logged, unless it came LATER."""
    if not settings.keys() - LATER.keys() <= set(table.columns):
        return table.head(0)
    logged = table.reindex(columns=list(settings)).fillna(LATER)
    return table[(logged == list(settings.values())).all(axis=1)]


def trained_alike(trials: pd.DataFrame) -> pd.DataFrame:
    """Select the trials that were trained as the paper's."""
    trials = having(trials, TRAINING)
    if not {"training.patch", "channel.downsample"} <= set(trials.columns):
        return trials.head(0)
    return trials[trials["training.patch"] == trials["channel.downsample"].map(PATCHES)]
