"""The grids of the synthetic studies, and what befell some of their trials."""

from study import tracking
from study.tracking import Snapshot

CAMERAS, ISPS, LAMBDAS, SEEDS = ("Alpha", "Beta"), ("INet", "UNet"), (1e-3, 1e-1, "fixed"), (1, 2, 3)
# Trials of the study "irregular" that have one more run, or an unfit one only.
FAILED, RUNNING, NAN = "Alpha/INet/0.001/4", "Alpha/INet/0.001/5", "Alpha/INet/0.001/6"
INFINITE, RESUMED = "Alpha/INet/0.1/4", "Alpha/INet/0.1/5"
TWICE, RESCUED = "Alpha/INet/0.001/1", "Alpha/INet/0.001/2"
AFTER_FAILURE, AFTER_NAN, AFTER_ORPHAN = "Alpha/INet/0.1/1", "Alpha/INet/0.1/2", "Alpha/INet/0.1/3"

# The grid of the paper, and what befell some of its 1,320 trials.
PAPER_CAMERAS = ("Canon EOS 40D", "Canon EOS 5D", "Nikon D7000", "Nikon D90")
PAPER_ISPS = ("INet", "UNet", "DNet")
DUPLICATED, PAPER_FAILED = "Nikon D90/UNet/0.1/0", "Nikon D90/UNet/0.1/10"
PAPER_RUNNING, PAPER_NAN = "Nikon D90/UNet/0.1/11", "Nikon D90/UNet/0.1/12"


def read(uri: str, study: str) -> Snapshot:
    snapshot = tracking.read(uri, study)
    assert snapshot is not None
    return snapshot
