"""Synthetic studies in one database: a small grid, one with accidents, one evaluated behind encoders, the paper's."""

import math
import sys
from pathlib import Path

import pandas as pd
import pytest
import synthetic_tracking
from small_grid import (
    AFTER_FAILURE,
    AFTER_NAN,
    AFTER_ORPHAN,
    CAMERAS,
    DUPLICATED,
    FAILED,
    INFINITE,
    ISPS,
    LAMBDAS,
    NAN,
    PAPER_CAMERAS,
    PAPER_FAILED,
    PAPER_ISPS,
    PAPER_NAN,
    PAPER_RUNNING,
    RESCUED,
    RESUMED,
    RUNNING,
    SEEDS,
    TWICE,
    read,
)

from study import results
from study.tracking import Snapshot


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("synthetic")


@pytest.fixture(scope="session")
def uri(folder: Path) -> str:
    """A database with the studies "plain" (the whole small grid) and "irregular"."""
    uri = synthetic_tracking.fill(folder, "plain", CAMERAS, ISPS, LAMBDAS, SEEDS, pretrained=True)
    synthetic_tracking.fill(folder, "irregular", CAMERAS[:1], ISPS[:1], LAMBDAS, SEEDS, uri=uri, first=1000)
    ends, zeros = {"accuracy": [0.5], "psnr": [40.0], "ssim": [0.9]}, {"accuracy": [0.0], "psnr": [0.0], "ssim": [0.0]}
    accidents = [
        (FAILED, "FAILED", {}, {"failure": "loss is NaN at iteration 17"}),
        (RUNNING, "RUNNING", {"accuracy": [0.3]}, {}),
        (NAN, "FINISHED", ends | {"accuracy": [math.nan]}, {}),
        (INFINITE, "FINISHED", ends | {"psnr": [sys.float_info.max]}, {}),  # what MLflow makes of infinity
        (TWICE, "FINISHED", zeros, {}),
        (RESCUED, "FAILED", zeros, {"failure": "killed"}),
    ]
    synthetic_tracking.add_trials(uri, folder, "irregular", 2000, accidents)
    before = [
        (AFTER_FAILURE, "FAILED", zeros, {"failure": "killed"}),
        (AFTER_NAN, "FINISHED", ends | {"ssim": [math.nan]}, {}),
        (AFTER_ORPHAN, "RUNNING", zeros, {}),
        (RESUMED, "FAILED", zeros, {"failure": "killed"}),
        (RESUMED, "RUNNING", zeros, {}),
    ]
    synthetic_tracking.add_trials(uri, folder, "irregular", 900, before)
    return uri


@pytest.fixture(scope="session")
def plain(uri: str) -> Snapshot:
    return read(uri, "plain")


@pytest.fixture(scope="session")
def table(plain: Snapshot) -> pd.DataFrame:
    return results.trials(plain)


@pytest.fixture(scope="session")
def irregular(uri: str) -> pd.DataFrame:
    return results.trials(read(uri, "irregular"))


@pytest.fixture(scope="session")
def evaluated(uri: str, folder: Path) -> Snapshot:
    """One camera × ISP of the small grid, evaluated behind real encoders."""
    grid = (CAMERAS[:1], ISPS[:1], LAMBDAS, SEEDS)
    synthetic_tracking.fill(folder, "evaluated", *grid, evaluated=True, uri=uri, first=3000)
    return read(uri, "evaluated")


@pytest.fixture(scope="session")
def paper(uri: str, folder: Path) -> Snapshot:
    """The 1,320 trials of the paper's grid, and some accidents."""
    grid = (PAPER_CAMERAS, PAPER_ISPS, synthetic_tracking.LAMBDAS, range(10))
    synthetic_tracking.fill(folder, "paper", *grid, points=1, confusions=False, pretrained=True, uri=uri, first=5000)
    ends = {"psnr": [40.0], "ssim": [0.9]}
    accidents = [
        (DUPLICATED, "FINISHED", {"accuracy": [0.123], **ends}, {}),
        (PAPER_FAILED, "FAILED", {}, {"failure": "out of memory"}),
        (PAPER_RUNNING, "RUNNING", {"accuracy": [0.3], **ends}, {}),
        (PAPER_NAN, "FINISHED", {"accuracy": [math.nan], **ends}, {}),
    ]
    synthetic_tracking.add_trials(uri, folder, "paper", 9000, accidents)
    return read(uri, "paper")


@pytest.fixture(scope="session")
def grid(paper: Snapshot) -> pd.DataFrame:
    return results.trials(paper)
