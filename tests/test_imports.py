"""Training code must run on any GPU box: with torch, numpy and safetensors, and nothing else installed."""

import ast
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {"torch", "numpy", "safetensors"}
BELOW_STUDY = ("cameras", "models", "channel", "forensics", "prnu")

# Everything that a module may import, by the direction of DESIGN: study → forensics → channel, models → cameras.
MAY_IMPORT = {
    "cameras": {"cameras"},
    "models": {"cameras", "models"},
    "channel": {"cameras", "channel"},
    "forensics": {"cameras", "models", "channel", "forensics"},
    "prnu": {"cameras", "models", "channel", "prnu"},
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
    ours = {*BELOW_STUDY}
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


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_imports_run_one_way(package: str) -> None:
    ours = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()}
    for path in sorted((ROOT / package).rglob("*.py")):
        if path.name == "__main__.py":  # a command line stands on top of everything
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                top = name.partition(".")[0]
                assert top not in {"ray", "mlflow", "pydantic", "rich", "typer"}, f"{path} imports {name}"
                assert top not in ours or top in MAY_IMPORT[package], f"{path} imports {name}"


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
