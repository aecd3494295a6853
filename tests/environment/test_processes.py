"""What a process is given: its environment, its terminal, its temporary folder."""

import errno
import fcntl
import json
import os
from pathlib import Path

import pytest
from own_process import Run, is_one_line, python

from study import NO_HOME
from study.execution import ray_folder, scheduler
from study.settings import Resources, StudyError
from study.storage import Storage, cache

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
FIGURE = """
import hashlib, sys
import study.commands.app
study.commands.app.app = lambda: None
study.commands.app.main()
from study.report import plots
with plots.column(2) as figure:
    axes = figure.subplots()
    axes.plot([1, 2, 3], label="λ")
    axes.set_title("a title of 5 %")
    plots.legend(figure, axes)
print(hashlib.sha256(plots.svg(figure, "a figure").encode() + plots.file(figure, "pdf")).hexdigest())
"""
RAY = """
import os
from study.execution import scheduler
scheduler.connect("local")
import ray
@ray.remote
def ask():
    import extra, study, sys
    return extra.__file__, study.__file__, os.environ["PYTHONPATH"]
print(ray.get(ask.remote()))
"""


def test_no_setting_of_the_users_matplotlib_reaches_a_figure(tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text(
        "text.usetex: true\nsavefig.format: png\nlines.linewidth: 9\nfont.size: 30\nsavefig.dpi: 17\n"
    )
    notebook = {
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "MATPLOTLIBRC": str(tmp_path / "matplotlibrc"),
    }
    plain, foreign = (python("-c", FIGURE, env=env, without=("MPLBACKEND",)) for env in ({}, notebook))
    assert plain.returncode == 0, plain.stderr
    assert foreign.returncode == 0, foreign.stderr
    assert foreign.stdout == plain.stdout


def test_workers_start_below_a_long_temporary_folder_and_find_the_users_packages(tmp_path: Path) -> None:
    temporary = tmp_path / ("temporary" * 8)
    temporary.mkdir()
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "extra.py").touch()
    for _ in range(2):  # what the first leaves behind does not disturb the second
        ran = python("-c", RAY, env={"TMPDIR": str(temporary), "PYTHONPATH": str(tmp_path / "packages")})
        assert ran.returncode == 0, ran.stderr
        assert "packages/extra.py" in ran.stdout


def test_the_users_packages_come_after_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice is as good as once."""
    monkeypatch.setenv("PYTHONPATH", "/modules/a::/modules/b")
    for _ in range(2):
        path = scheduler.python_path()["PYTHONPATH"]
        assert path == f"{scheduler.CHECKOUT}:/modules/a:/modules/b"
        monkeypatch.setenv("PYTHONPATH", path)


def test_a_short_temporary_folder_for_ray_is_this_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_folder, "SHORT", tmp_path)
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", "/tmp")
    assert ray_folder.ray_folder() is None
    monkeypatch.setenv("TMPDIR", "/" + 75 * "x")
    own = tmp_path / f"ray-{os.getuid()}"
    assert ray_folder.ray_folder() == ray_folder.ray_folder() == str(own / "ray")
    assert own.stat().st_mode & 0o777 == 0o700
    own.chmod(0o777)
    with pytest.raises(StudyError, match="not a folder of this user alone: name another in RAY_TMPDIR"):
        ray_folder.ray_folder()
    own.rmdir()
    own.symlink_to(tmp_path)
    with pytest.raises(StudyError, match="not a folder of this user alone"):
        ray_folder.ray_folder()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP])
def test_a_disk_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def flock(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    storage = Storage(str(tmp_path / "storage"))
    storage.write("nips/a.safetensors", b"weights")
    sha256 = storage.sha256("nips/a.safetensors")
    with pytest.raises(StudyError, match=r"cache/nips/.*cannot be locked.*own disk as resources\.cache"):
        cache.nip(storage, tmp_path / "cache", "nips/a.safetensors", sha256)


def test_a_terminal_that_is_not_utf_8(run_study: Run) -> None:
    shown = run_study("best", env=ASCII)
    assert shown.returncode == 0, shown.stderr
    assert "\\u03bb" in shown.stdout
    found = run_study("best", "--json", env=ASCII)
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)


def test_a_user_without_home_and_name(
    run_study: Run, nobody: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what asks for a home folder is refused."""
    for command in (["check"], ["report"]):
        ran = run_study(*command, env=nobody, without=("HOME", "USER", "LOGNAME"))
        assert ran.returncode == 0, ran.stderr
    refused = python("-m", "study", "status", "smoke", "--storage", "~/x", env=nobody, without=("HOME", "USER"))
    assert is_one_line(refused), refused.stderr
    assert "there is no home folder here: set HOME" in refused.stderr
    monkeypatch.setenv("HOME", NO_HOME)
    with pytest.raises(StudyError, match="there is no home folder here"):
        cache.nip(Storage(str(tmp_path)), Resources().cache, "nip", "0" * 64)


def test_names_that_are_no_utf_8(tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    refused = python("-m", "study", "status", f"{name}.yaml")
    assert is_one_line(refused), refused.stderr
    assert "caf\\xe9.yaml" in refused.stderr
    refused = python("-m", "study", "status", "smoke", "--storage", name)
    assert is_one_line(refused), refused.stderr
    assert "caf\\xe9: the name of the folder is no UTF-8" in refused.stderr
