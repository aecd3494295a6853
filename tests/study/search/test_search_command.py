"""``python -m study search`` before anything has run; what comes of it: tests/cluster/test_killed_here.py."""

from pathlib import Path

import pytest
from study_process import SEARCH, STUDY, Command
from typer.testing import CliRunner

from study.commands.app import app
from study.settings import StudyError


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "study.yaml").write_text(STUDY + SEARCH)
    return Command(tmp_path)


def test_a_study_without_a_search_is_told_so(command: Command) -> None:
    source = command.folder / "study.yaml"
    source.write_text(STUDY)
    asked = CliRunner().invoke(app, ["search", str(source), "--dry-run", "--storage", str(command.folder / "results")])
    assert isinstance(asked.exception, StudyError)
    assert "has no section 'search'" in str(asked.exception)


def test_before_anything_has_run_the_cost_is_known_in_kind(command: Command) -> None:
    output = command.ask("search", str(command.folder / "study.yaml"), "--dry-run")
    assert "search: 4 points: 0 finished, 0 stopped, 0 failed, 4 left" in output
    assert "what was never measured" in output
    assert not (command.folder / "results").exists(), "nothing was written"
