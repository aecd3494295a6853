"""A wheel, installed into an environment of its own, runs from any folder: ``make test-install``."""

import ast
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Callable
from importlib.metadata import packages_distributions
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("cameras", "channel", "forensics", "models", "prnu", "study")
NOT_OURS = ("PYTHONPATH", "MLFLOW_TRACKING_URI", "RAY_ADDRESS")

Run = Callable[..., str]


def tracked_files() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if (ROOT / name).is_file()]


def requirements(name: str) -> set[str]:
    lines = [line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    return {line for line in lines if line}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what is committed, or will be."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in tracked_files():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(target), str(source)], check=True)
    (found,) = target.iterdir()
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel. What the wheel requires it borrows from the one that runs this test."""
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"])
    pip = [sys.executable, "-m", "pip", "--python", str(environment), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--ignore-installed", str(wheel)], check=True)
    return environment


@pytest.fixture
def run(installed: Path, tmp_path: Path) -> Run:
    """Run one of the installed commands in a folder with modules of the user's own, which are named like ours."""
    for name in PACKAGES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('a module of the user is imported')")
    environment = {name: value for name, value in os.environ.items() if name not in NOT_OURS}

    def run_installed(command: str, *arguments: str) -> str:
        done = subprocess.run(
            [str(installed / "bin" / command), *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run_installed


def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    content = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert content == {name for name in tracked_files() if name.split("/")[0] in PACKAGES}


def test_the_wheel_requires_what_the_study_needs_and_its_extra_what_the_tests_need(wheel: Path) -> None:
    (name,) = [name for name in ZipFile(wheel).namelist() if name.endswith(".dist-info/METADATA")]
    required = re.findall(r"^Requires-Dist: (.*)$", ZipFile(wheel).read(name).decode(), re.MULTILINE)
    extra = '; extra == "test"'
    assert {line for line in required if extra not in line} == requirements("requirements.txt")
    assert {line.replace(extra, "") for line in required if extra in line} == requirements("requirements-test.txt")


def test_all_that_is_imported_is_required() -> None:
    imported = set()
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").split(".")[0])
    others = imported - set(sys.stdlib_module_names) - set(PACKAGES)
    required = {re.split(r"[\[=]", line)[0].lower() for line in requirements("requirements.txt")}
    distributions = packages_distributions()
    missing = {name for name in others if required.isdisjoint(found.lower() for found in distributions.get(name, ()))}
    assert not missing


def test_a_study_runs_from_another_folder(run: Run, tmp_path: Path) -> None:
    """In a repository of the user's own, whose commit is not that of the code."""
    identity = ["-c", "user.name=a user", "-c", "user.email=user@example.org"]
    for command in (["init", "--quiet"], [*identity, "commit", "--quiet", "--allow-empty", "--message=theirs"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    run("study", "run", "smoke")
    assert "4 finished" in run("study", "status", "smoke")
    assert (tmp_path / "results" / "reports" / "smoke" / "report.html").is_file()
    with sqlite3.connect(tmp_path / "results" / "mlflow.db") as database:
        tags = database.execute("SELECT DISTINCT value FROM tags WHERE key = 'git_revision'").fetchall()
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert tags == [(f"version {version}",)]


def test_the_command_line_of_fingerprints(run: Run) -> None:
    assert "localise" in run("prnu", "--help")


def test_the_command_line_of_forensics(run: Run) -> None:
    assert "--with" in run("forensics", "develop", "--help")
