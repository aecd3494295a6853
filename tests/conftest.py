"""Where the real photographs are: a folder ``shared`` beside the repository, never copied into it."""

import signal
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)  # many small operations: a second thread costs more than it brings
signal.signal(signal.SIGINT, signal.default_int_handler)  # `make test &` in a script has it ignored, children too

SHARED = Path(__file__).resolve().parents[2] / "shared"


def shared_folder(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"needs real files in {folder}")
    return folder


@pytest.fixture(scope="session")
def shared_raw() -> Path:
    """Folder with real RAW files: an EOS 30D CR2 (RGGB) and three D5000 DNGs (GBRG)."""
    return shared_folder("raw")


@pytest.fixture(scope="session")
def shared_photos() -> Path:
    """Folder with photographs (WebP, 1200 px)."""
    return shared_folder("photos")


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(20190227)
