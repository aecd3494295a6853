"""No module can run what is in a file: a search of the source for unpicklers, eval and the like."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = {path.parent.name for path in ROOT.glob("*/__init__.py")} | {"benchmarks"}
UNPICKLERS = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "jsonpickle"}
UNSAFE = {
    "torch.load",
    "torch.jit.load",
    "torch.hub.load",
    "torch.package.PackageImporter",
    "torch.export.load",
    "ray.cloudpickle",
    "ray.tune.Tuner.restore",  # Tune keeps its notes pickled; they are written, and never read
    "ray.tune.ExperimentAnalysis",
    "pandas.read_pickle",
    "yaml.load",
    "yaml.load_all",
    "yaml.full_load",
    "yaml.full_load_all",
    "yaml.unsafe_load",
    "yaml.unsafe_load_all",
    "numpy.lib.format.read_array",
    "eval",
    "exec",
    "compile",
    "__import__",
}
ENDINGS = ("load_model", "read_pickle")  # mlflow.pytorch.load_model and others like it


def dangers(source: str) -> list[str]:
    """What in a module could run what is in a file."""
    tree = ast.parse(source)
    full: dict[str, str] = {}  # what a name of the module stands for
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                full[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            full |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}

    def dotted(node: ast.expr) -> str:
        if isinstance(node, ast.Attribute):
            return f"{dotted(node.value)}.{node.attr}"
        return full.get(node.id, node.id) if isinstance(node, ast.Name) else ""

    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in UNPICKLERS]
        elif isinstance(node, ast.ImportFrom):
            found += [node.module or ""] if (node.module or "").split(".")[0] in UNPICKLERS else []
            found += [name for alias in node.names if (name := f"{node.module}.{alias.name}") in UNSAFE]
        elif isinstance(node, ast.Attribute | ast.Name):
            name = dotted(node)
            found += [name] if name in UNSAFE or name.split(".")[-1] in ENDINGS else []
        elif isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "weights_only", "trust_remote_code"):
            harmless = isinstance(node.value, ast.Constant) and node.value.value is (node.arg == "weights_only")
            found += [] if harmless else [node.arg]
    return found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import a, joblib.externals as b",
        "def f():\n    from cloudpickle import loads",
        "import torch as t\nt.load('x')",
        "from torch import load",
        "import torch\ng = torch.jit.load",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import numpy as np\nnp.load('x', allow_pickle=maybe)",
        "import yaml\nyaml.load(f, Loader=yaml.Loader)",
        "from yaml import unsafe_load",
        "import pandas as pd\npd.read_pickle('x')",
        "import mlflow\nmlflow.pytorch.load_model('x')",
        "from ray import tune\ntune.Tuner.restore('x')",
        "eval('x')",
    ],
)
def test_the_search_finds(source: str) -> None:
    assert dangers(source)


def test_no_module_can_run_what_is_in_a_file() -> None:
    sources = [path for package in sorted(PACKAGES) for path in sorted((ROOT / package).rglob("*.py"))]
    assert {str(path.relative_to(ROOT)): found for path in sources if (found := dangers(path.read_text()))} == {}
    harmless = "import re, yaml\nre.compile('x')\nyaml.safe_load(f)\nmodule.load_state_dict(x)\nmodel.eval()"
    assert dangers(harmless) == []
