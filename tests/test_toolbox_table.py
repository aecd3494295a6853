"""docs/toolbox.md: all that the toolbox names has a row, and what the rows name exists."""

import ast
import re
import shlex
from functools import cache
from pathlib import Path
from pkgutil import resolve_name
from typing import NamedTuple

import pytest
import typer.main
import yaml
from typer.testing import CliRunner

import forensics.__main__
import prnu.__main__
import study.commands.app
from study.settings import load_study

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("cameras", "models", "channel", "forensics", "prnu", "study")
APPS = {"study": study.commands.app.app, "forensics": forensics.__main__.app, "prnu": prnu.__main__.app}

# As the toolbox's README names them.
TOOLBOX = {
    "Models": {
        "ClassicISP",
        "INet",
        "UNet",
        "DNet",
        "ONet",
        "libRAW",
        "Python",
        "FAN",
        "pre-trained models",
    },
    "Codecs": {"JPEG, differentiable", "JPEG, by libJPEG", "TwitterDCN, l3ic", "pyfse", "photo manipulations"},
    "Scripts": {
        "develop_images.py",
        "diff_nip.py",
        "results.py",
        "test_dcn.py",
        "test_dcn_rate_dist.py",
        "test_fan.py",
        "test_framework.py",
        "test_jpeg.py",
        "test_nip.py",
        "train_dcn.py",
        "train_manipulation.py",
        "train_nip.py",
        "train_prepare_training_set.py",
        "summarize_nip.py",
    },
    "Workflows": {
        "pre-training of camera ISP",
        "pre-training of neural image compression",
        "manipulation classification",
        "fine-tuning of camera ISP",
        "fine-tuning of lossy compression",
        "extending the framework",
        "getting_started.ipynb",
    },
    "Data": {"MIT-5k", "RAISE", "kodak, and other folders of RGB images"},
}


class Row(NamedTuple):
    section: str
    name: str
    here: str
    test: str


def rows() -> list[Row]:
    found, section = [], ""
    for line in (ROOT / "docs" / "toolbox.md").read_text().splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        elif line.startswith("| ") and not line.startswith(("| toolbox |", "| --- |")):
            name, here, test = (cell.strip() for cell in line.strip("|").split(" | "))
            found.append(Row(section, name.replace("`", ""), here, test))
    return found


def code(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


ROWS = rows()
each_row = pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])


@cache
def functions_in(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def test_everything_in_the_toolbox_has_one_row() -> None:
    named = [(row.section, row.name) for row in ROWS]
    assert len(set(named)) == len(named)
    assert set(named) == {(section, name) for section, names in TOOLBOX.items() for name in names}


@each_row
def test_the_tests_of_a_row_exist(row: Row) -> None:
    assert code(row.test)
    for test in code(row.test):
        path, _, function = test.partition("::")
        assert function.startswith("test_")
        assert function in functions_in(ROOT / path), test


@each_row
def test_what_a_row_names_exists(row: Row, tmp_path: Path) -> None:
    """Commands with their arguments and options, functions and classes, files, settings of a study."""
    checked = 0
    for span in code(row.here):
        if span.startswith("python -m "):
            check_command(*shlex.split(span)[2:])
        elif span.partition(".")[0] in PACKAGES:
            resolve_name(span)
        elif span.startswith("docs/"):
            assert (ROOT / span).exists()
        elif ": " in span:
            settings = {
                "name": "some",
                "cameras": ["some"],
                "isps": ["INet"],
                "lambdas": [1],
                "seeds": 1,
                **yaml.safe_load(span),
            }
            (tmp_path / "some.yaml").write_text(yaml.safe_dump(settings))
            load_study(str(tmp_path / "some.yaml"))
        else:
            continue
        checked += 1
    assert checked, "a row names a command, a function, a file, or settings of a study"


def check_command(package: str, command: str, *words: str) -> None:
    """The command exists, answers to --help, has these options, and takes as many arguments."""
    parameters = typer.main.get_command(APPS[package]).commands[command].params  # type: ignore[attr-defined]
    options = {option: parameter for parameter in parameters for option in parameter.opts}
    arguments, waiting = 0, iter(words)
    for word in waiting:
        if word.startswith("-"):
            assert word in options, f"{package} {command} has no option {word}"
            if not getattr(options[word], "is_flag", False):
                next(waiting)
        else:
            arguments += 1
    taken = [parameter for parameter in parameters if parameter.param_type_name == "argument"]
    least = sum(parameter.required for parameter in taken)
    most = len(taken) if all(parameter.nargs == 1 for parameter in taken) else arguments
    assert least <= arguments <= most, f"{package} {command} takes {least} to {most} arguments"
    done = CliRunner().invoke(APPS[package], [command, "--help"])
    assert done.exit_code == 0
    assert "Usage" in done.output
