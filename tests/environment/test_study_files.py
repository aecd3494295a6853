"""Study files that would mean something else than they say, and names that a disk may not tell apart."""

from pathlib import Path

import pytest
from own_process import STUDY

from study.settings import StudyError, load_study

LINES = [line.partition(":")[0] for line in STUDY.splitlines()]
END = len(LINES) + 1


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (
            "training: {patch: 32}\n",
            f"the key 'training' comes twice, in lines {LINES.index('training') + 1} and {END}",
        ),
        ("lambdas: [fixed]\n", f"the key 'lambdas' comes twice, in lines {LINES.index('lambdas') + 1} and {END}"),
        (
            "channel: {downsample: 1, codec: 'jpeg:50',\n  downsample: 2}\n",
            f"'downsample' comes twice, in lines {END} and {END + 1}",
        ),
    ],
)
def test_a_key_that_comes_twice(tmp_path: Path, extra: str, said: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY + extra)
    with pytest.raises(StudyError) as refused:
        load_study(str(path))
    assert said in str(refused.value)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_anchors_and_merges_are_no_repetition(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    merged = "training: {<<: {patch: 16, batch: 2}, iterations: 2, patch: 32}"
    path.write_text(STUDY.replace("training: {patch: 16, batch: 2, iterations: 2}", merged))
    assert load_study(str(path)).training == {"patch": 32, "batch": 2, "iterations": 2}


@pytest.mark.parametrize("name", ["a study.", "a study ", "..", ""])
def test_names_that_some_disks_change(tmp_path: Path, name: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY.replace("name: tiny\n", f"name: '{name}'\n"))
    with pytest.raises(StudyError, match="name"):
        load_study(str(path))


def test_cameras_that_differ_in_case_share_a_folder_on_some_disks(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY.replace("cameras: [", "cameras: [Tiny-RGGB, "))
    with pytest.raises(StudyError, match="Tiny-RGGB is named twice"):
        load_study(str(path))
