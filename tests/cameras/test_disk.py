"""Room on a disk."""

import shutil
from pathlib import Path

import pytest

from cameras.disk import gigabytes, require_space


@pytest.mark.parametrize(("size", "text"), [(0, "0 GB"), (1_234_000_000, "1.23 GB"), (98_765_000_000, "98.8 GB")])
def test_gigabytes(size: int, text: str) -> None:
    assert gigabytes(size) == text


def test_space_of_a_folder_that_does_not_exist_yet(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there"
    assert require_space(folder, 10**6).startswith("0.001 GB will be written, ")
    with pytest.raises(ValueError, match=f"{folder} has room for .*: free some, or name another folder"):
        require_space(folder, shutil.disk_usage(tmp_path).total + 1)
    assert not folder.parent.exists()
