"""Dependencies run one way, and training code runs on any GPU box: with torch, numpy and safetensors alone."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {"torch", "numpy", "safetensors"}
STUDY_ONLY = {"ray", "mlflow", "optuna", "pydantic", "pyarrow", "pandas"}  # libraries that no package below study/ uses
COMMAND_LINE = {"rich", "typer"}  # only command lines below study/ use them, and what they share
COMMAND_LINES = (
    "cameras/console.py",
    "cameras/output.py",
    "forensics/__main__.py",
    "forensics/commands",
    "forensics/service",
    "prnu/__main__.py",
    "prnu/commands",
)

# What a package may import beside itself: study → forensics, prnu → channel, models → cameras.
MAY_IMPORT = {
    "cameras": set(),
    "models": {"cameras"},
    "channel": {"cameras"},
    "forensics": {"cameras", "models", "channel"},
    "prnu": {"cameras", "models", "channel"},
    "study": {"cameras", "models", "channel", "forensics", "prnu"},
}

# The folders of study/ in the order in which data passes, and the folders of study/ that each may import.
STAGES = (
    "settings",
    "storage",
    "tracking",
    "jobs",
    "execution",
    "search",
    "preflight",
    "results",
    "report",
    "commands",
)
STAGE_MAY_IMPORT = {stage: set(STAGES[:number]) for number, stage in enumerate(STAGES)} | {
    "results": {"tracking"},
    "report": {"settings", "tracking", "results"},  # tracking: for the snapshot that it hands to results
}

BLOCK_THE_REST = """
import sys
allowed = set(sys.stdlib_module_names) | set({allowed!r})
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in allowed:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
"""


def allowed_modules() -> list[str]:
    """The three, what they themselves require, and our own packages below study/."""
    needed = {
        requirement for package in ALLOWED for requirement in requires(package) or () if "extra" not in requirement
    }
    names = {
        requirement.split(";")[0].split("[")[0].split(">")[0].split("=")[0].split("<")[0] for requirement in needed
    }
    indirect = {"mpmath", "markupsafe", "torchgen", "functorch", "setuptools", "pkg_resources", "_distutils_hack"}
    ours = MAY_IMPORT.keys() - {"study"}
    return sorted({name.strip().replace("-", "_").lower() for name in names} | indirect | ALLOWED | ours)


@pytest.mark.parametrize(
    "module",
    [
        "cameras.patches",
        "cameras.simulate",
        "models",
        "models.checkpoint",
        "models.pretrain",
        "channel",
        "forensics",
        "prnu",
    ],
)
def test_imports_with_torch_numpy_and_safetensors_alone(module: str) -> None:
    code = BLOCK_THE_REST.format(allowed=allowed_modules()) + f"import {module}\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_block_works() -> None:
    code = BLOCK_THE_REST.format(allowed=allowed_modules()) + "import rawpy\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "No module named 'rawpy'" in done.stderr


def imported(path: Path) -> Iterator[str]:
    """Names of all modules that a file imports, ``from study import results`` as ``study.results``."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found, folder
    return found


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_import_one_way(package: str) -> None:
    for path in files(package):
        for name in imported(path):
            top = name.partition(".")[0]
            assert top not in MAY_IMPORT or top == package or top in MAY_IMPORT[package], f"{path} imports {name}"
            if package != "study":
                assert top not in STUDY_ONLY, f"{path} imports {name}"
                command_line = path.relative_to(ROOT).as_posix().startswith(COMMAND_LINES)
                assert top not in COMMAND_LINE or command_line, f"{path} imports {name}"


@pytest.mark.parametrize("stage", STAGES)
def test_stages_of_a_study_import_one_way(stage: str) -> None:
    for path in files(f"study/{stage}"):
        for name in imported(path):
            parts = name.split(".")
            if parts[0] == "study" and parts[1] in STAGES and parts[1] != stage:
                assert parts[1] in STAGE_MAY_IMPORT[stage], f"{path} imports {name}"


def test_a_study_has_no_modules_beside_its_stages() -> None:
    assert {path.name for path in (ROOT / "study").glob("*.py")} == {"__init__.py", "__main__.py"}
    folders = {path.name for path in (ROOT / "study").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(STAGES)


@pytest.mark.parametrize("package", ["study", "prnu"])
def test_files_are_short(package: str) -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in files(package)}
    assert {path: length for path, length in lengths.items() if length > 400} == {}


def test_the_engine_knows_no_kind_of_job() -> None:
    """Neither by class nor by name: what it does follows from the protocol."""
    kinds = {
        "PretrainingJob",
        "CodecPretrainingJob",
        "TrialJob",
        "EvaluationJob",
        "VerdictJob",
        "FingerprintJob",
        "LowLightJob",
        "LocaliseJob",
        "KINDS",
    }
    for stage in ("tracking", "execution"):
        for path in files(f"study/{stage}"):
            names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
            assert not names & kinds, path


def test_nothing_is_loaded_by_pickle() -> None:
    for path in ROOT.rglob("*.py"):
        if ".venv" in path.parts or "tests" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called = ast.unparse(node.func)
                assert called not in {"torch.load", "pickle.load", "pickle.loads", "joblib.load", "pd.read_pickle"}, (
                    path
                )
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant) and node.value.value is False, path
