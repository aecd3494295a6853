"""The results of a finished study, and the environment of an unusual user."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache
from own_process import STUDY, Ran, Run, python

from study.execution import worker
from study.execution.driver import at_work
from study.settings import Study, load_study


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``study.yaml`` and ``results``, which were moved after the study had run, without Ray."""
    folder = tmp_path_factory.mktemp("finished")
    before = folder / "before"
    before.mkdir()
    (before / "study.yaml").write_text(STUDY)
    study = load_study(str(before / "study.yaml")).model_copy(update={"storage": str(before / "results")})
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        with at_work(study, lambda study, address: None, "local", False) as session:
            for jobs in (lambda grid: grid.pretrainings, lambda grid: grid.ready):
                for job in jobs(session.grid()):
                    assert worker.run(job, session.context) is None
    _artifact_repos_cache.clear()  # MLflow's, which another process would not have
    return before.rename(folder / "after")


@pytest.fixture
def here(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished study; what the database notes about its place is wrong."""
    return Path(shutil.copytree(finished, tmp_path / "here"))


@pytest.fixture
def study(here: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """The finished study."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return load_study(str(here / "study.yaml")).model_copy(update={"storage": str(here / "results")})


@pytest.fixture
def run_study(here: Path) -> Run:
    """``run_study("status", env=…)`` asks about the finished study."""

    def run(command: str, *arguments: str, **options: object) -> Ran:
        source = [] if command == "rerun" else [str(here / "study.yaml")]
        return python("-m", "study", command, *source, *arguments, "--storage", str(here / "results"), **options)

    return run


@pytest.fixture
def nobody(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a user without an entry in the list of users; take HOME from it."""
    folder = tmp_path / "nobody"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import pwd\ndef getpwuid(uid): raise KeyError(f'getpwuid(): uid not found: {uid}')\npwd.getpwuid = getpwuid\n"
    )
    yield {"PYTHONPATH": str(folder)}
