"""The notebook in docs/ runs from top to bottom, with a small package in place of the demo's."""

from pathlib import Path

import nbformat
import pytest
import torch
from nbclient import NotebookClient
from nbformat import NotebookNode

import models
from cameras.dng import simulate_folder
from cameras.raw import RawFrame
from cameras.simulate import PRESETS
from forensics.analysis.fitting import fit
from forensics.analysis.samples import samples
from forensics.fan import FAN
from forensics.package import Package, save_package
from forensics.trial import Split, Training, Trial

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "docs" / "analyse.ipynb"
CAMERA = PRESETS["sim-gbrg"]


@pytest.fixture
def notebook() -> NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def small_package(raw: list[Path]) -> Package:
    """Untrained networks, calibrated with a few small photographs behind one encoder: enough to see sharpening."""
    trial = Trial(CAMERA.name, "INet", 0.1, seed=1, split=Split(3, 1, 2), training=Training(patch=16))
    torch.manual_seed(1)
    nip, fan = models.build("INet", cfa=CAMERA.cfa, cam2srgb=CAMERA.cam2srgb.tolist()).eval(), FAN(5).eval()
    stacks = (torch.from_numpy(RawFrame.open(path).bayer).movedim(-1, 0)[None] for path in raw)
    found = fit(list(samples(trial, nip, fan, stacks, ["jpeg:70"])), Package(nip, fan, trial, (96, 128)).classes)
    return Package(nip, fan, trial, (96, 128), found, {"licence": "none, all invented", "metrics": {"psnr": 40.0}})


def test_the_notebook_runs_from_top_to_bottom(
    notebook: NotebookNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = simulate_folder(CAMERA, tmp_path / "simulated" / CAMERA.name, 6, 96, 128, seed=1)
    save_package(tmp_path / "camera.zip", small_package(raw))
    (work := tmp_path / "work").mkdir()
    monkeypatch.setenv("FORENSICS_PACKAGE", str(tmp_path / "camera.zip"))
    monkeypatch.setenv("FORENSICS_RAW", str(tmp_path / "simulated"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("MPLBACKEND", raising=False)  # a command that ran before in this process has set it: no pictures
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))  # nothing of this user's, and nothing left there

    client = NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(work)}})
    client.execute()

    outputs = [output for cell in code(notebook) for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    assert not [output.text for output in outputs if output.get("name") == "stderr"]
    said = "".join(output.text for output in outputs if output.get("name") == "stdout")
    assert f"camera {CAMERA.name}, NIP INet" in said
    about, several, _ = (output.data["text/plain"] for output in outputs if "text/html" in output.get("data", {}))
    assert "all invented" in about
    # Two photographs are held back, and five classes are made of each. Those that are easiest are told for certain:
    rows = [line.split() for line in several.splitlines()[1:]]
    assert len(rows) == 2 * 5
    assert {tuple(row[2:5]) for row in rows if row[2] == "sharpen"} == {("sharpen", "altered", "sharpen")}
    assert {tuple(row[2:4]) for row in rows if row[2] == "native"} == {("native", "native")}
    assert not list(work.iterdir())


def test_the_notebook_holds_no_outputs_and_no_absolute_paths(notebook: NotebookNode) -> None:
    nbformat.validate(notebook)
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code(notebook))
    text = NOTEBOOK.read_text("utf-8")
    assert '"/' not in text and "'/" not in text and "~/" not in text
