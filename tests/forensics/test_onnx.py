"""What is exported computes the same, at any size, also where there is no torch; 8 bits cost something."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_trials import small_trial
from torch import Tensor

import models
from cameras.pairs import Pairs
from forensics.exported import int8, network
from forensics.exported.files import export
from forensics.exported.session import SessionNIP, open_session, run
from forensics.fan import FAN
from forensics.package import Package, load_package, save_package
from forensics.panel import Panel, judge, to_8_bits
from forensics.trial import Training
from forensics.whole import develop_whole, reach

CELLS = ((34, 50), (37, 61), (48, 32))  # other sizes than the traced one; odd ones; multiples of the period

# Loads a file where nothing can be imported but numpy and onnxruntime; prints its output.
WITHOUT_TORCH = """
import json, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "forensics", "models", "onnx", "onnxscript"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocker())
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
(given,), about = session.get_inputs(), session.get_modelmeta().custom_metadata_map
(found,) = session.run(None, {given.name: np.load(sys.argv[2])})
np.save(sys.argv[3], found)
print(json.dumps(about))
"""


def random_nip(name: str) -> models.NIP:
    nip = models.build(name, generator=torch.Generator().manual_seed(1), cfa="GBRG")
    if name != "INet":  # whose first weights are those of a pipeline already
        nip.start_as_standard()
    if name == "Pattern":
        torch.nn.init.uniform_(nip.get_parameter("tile"), -0.1, 0.1, generator=torch.Generator().manual_seed(2))
    return nip.eval()


def stacks(*sizes: tuple[int, int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.rand(1, 4, *size, generator=generator) for size in sizes]


@pytest.fixture(scope="module", params=models.NIPS)
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[models.NIP, Path, float]:
    nip, path = random_nip(request.param), tmp_path_factory.mktemp("onnx") / "nip.onnx"
    return nip, path, network.export_nip(nip, path, stacks(*CELLS))


def without_torch(path: Path, given: Tensor, folder: Path) -> tuple[Tensor, dict[str, str]]:
    np.save(folder / "given.npy", given.numpy())
    command = [sys.executable, "-c", WITHOUT_TORCH, path, folder / "given.npy", folder / "found.npy"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return torch.from_numpy(np.load(folder / "found.npy")), json.loads(done.stdout)


@torch.no_grad()
def test_every_nip_computes_the_same_at_any_size(exported: tuple[models.NIP, Path, float], tmp_path: Path) -> None:
    nip, path, share = exported
    assert network.EQUAL <= share <= 1
    session = open_session(path)
    for stack in stacks(*CELLS):
        torch.testing.assert_close(run(session, stack), nip(stack), rtol=0, atol=1e-4)
    (stack,) = stacks((33, 47))
    found, about = without_torch(path, stack, tmp_path)
    assert (to_8_bits(found) == to_8_bits(nip(stack))).float().mean() >= network.EQUAL
    assert about == {"period": str(nip.period), "reach": str(reach(nip))}


def test_tiles_of_an_exported_nip_have_no_seams(exported: tuple[models.NIP, Path, float]) -> None:
    nip, path, _ = exported
    (stack,) = stacks((200, 60))
    tiled = develop_whole(SessionNIP(path, nip), stack, tile=160 if reach(nip) > 50 else 64)
    torch.testing.assert_close(tiled, develop_whole(nip, stack), rtol=0, atol=1e-4)


@torch.no_grad()
def test_a_fan_computes_the_same_for_any_photographs(tmp_path: Path) -> None:
    fan, path, generator = FAN(4).eval(), tmp_path / "fan.onnx", torch.Generator().manual_seed(4)
    received = torch.rand(3, 3, 40, 56, generator=generator)
    assert network.export_fan(fan, path, ("native", "a", "b", "c"), received) < 1e-3
    for size in ((1, 3, 16, 33), (5, 3, 64, 48)):
        photographs = torch.rand(*size, generator=generator)
        torch.testing.assert_close(run(open_session(path), photographs), fan(photographs), rtol=1e-4, atol=1e-4)
    found, about = without_torch(path, received, tmp_path)
    torch.testing.assert_close(found, fan(received), rtol=1e-4, atol=1e-4)
    assert about == {"classes": "native,a,b,c"}


def test_what_computes_something_else_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "run", lambda session, images: 1.1 * run(session, images))
    with pytest.raises(ValueError, match=r"the ONNX file of the INet equals it in \d"):
        network.export_nip(random_nip("INet"), tmp_path / "nip.onnx", stacks((32, 32)))
    with pytest.raises(ValueError, match="the ONNX file of the FAN differs from it"):
        network.export_fan(FAN(3), tmp_path / "fan.onnx", ("native", "a", "b"), torch.rand(2, 3, 32, 32))
    assert not list(tmp_path.iterdir())


def test_8_bits_lie_between_the_ends(tmp_path: Path) -> None:
    """The first and the last convolution stay float; every other one has 8 bits, and a scale for each channel."""
    import onnx

    nip, photographs = random_nip("UNet"), stacks((64, 64), (64, 64))
    network.export_nip(nip, tmp_path / "nip.onnx", photographs)
    int8.quantise(tmp_path / "nip.onnx", tmp_path / "nip-int8.onnx", photographs)
    assert (tmp_path / "nip-int8.onnx").stat().st_size < 0.3 * (tmp_path / "nip.onnx").stat().st_size
    graph = onnx.load(tmp_path / "nip-int8.onnx").graph
    made_by = {output: node for node in graph.node for output in node.output}
    scales = {value.name: onnx.numpy_helper.to_array(value) for value in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    weights = [made_by.get(node.input[1]) for node in convolutions]
    assert [weight is None for weight in weights] == [True, *[False] * (len(weights) - 2), True]
    for node, weight in list(zip(convolutions, weights, strict=True))[1:-1]:
        assert weight is not None and weight.op_type == "DequantizeLinear"
        channels = next(each.shape[0] for name, each in scales.items() if name == weight.input[0])
        assert scales[weight.input[1]].shape == (channels,), node.name
        assert made_by[node.input[0]].op_type == "DequantizeLinear"


@pytest.fixture(scope="module")
def package(pairs: Pairs) -> Package:
    trial = small_trial("fixed", training=Training(iterations=1, patch=24, window=16))
    nip = models.build("ClassicISP", cfa=pairs.cfa, cam2srgb=pairs.cam2srgb.tolist())
    return Package(nip, FAN(5), replace(trial, isp="ClassicISP"), (96, 128))


def test_all_files_of_a_package_and_what_8_bits_cost(package: Package, pairs: Pairs, tmp_path: Path) -> None:
    panel, phases, progress = Panel(("jpeg:50", "webp:80"), windows=5), [], []
    files, about = export(package, pairs, panel, tmp_path, phases.append, progress.append)
    assert len(phases) == 4 and progress == [1, 2, 3, 4]  # one photograph, two encoders, two NIPs
    json.dumps(about, allow_nan=False)
    assert about["onnx"]["nip"] >= network.EQUAL and about["onnx"]["fan"] < 1e-3
    lost = about["int8"]
    assert (lost["photographs"], lost["on"]) == (1, "validation")
    quantised = SessionNIP(files["nip-int8.onnx"], package.nip)
    for kind, nip in (("float", package.nip), ("int8", quantised)):
        verdict = judge(package.trial, pairs, nip, package.fan, panel)
        assert lost["accuracy_real"][kind] == verdict.accuracy()
    for figures in (lost["psnr"], lost["accuracy_real"]):
        assert figures["difference"] == figures["int8"] - figures["float"]
    assert -40 < lost["psnr"]["difference"] < 0
    save_package(tmp_path / "camera.zip", package, files)
    load_package(tmp_path / "camera.zip")
