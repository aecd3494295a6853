"""Every benchmark of the table, once and at its smallest size: it runs, and gives its rows. No time is asserted."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_imports import COMMAND_LINE, STUDY_ONLY

from benchmarks import __main__ as command
from benchmarks import gpu, joint_step, jpeg, rows, traffic
from benchmarks.rows import Row
from benchmarks.stacked import Stack
from benchmarks.timing import Times, interleaved

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")
# What the table must have of each subject, whatever else it has.
EXPECTED = {
    "training": {"UNet, float32, RAW 16", "product of matrices, float32", "FLIP at the end of the demo's trial"},
    "training_channels": {
        "step behind the paper's channel, float32",
        "step behind jpeg:30-95, float32",
        "step behind learned_jpeg:50, float32",
        "step behind learned:32, float32",
    },
    "traffic": {"step of UNet, bfloat16", "manipulations and channel, forward and backward"},
    "patches": {"batch", "batch, textured", "batch, cold"},
    "demosaicing": {"menon", "bilinear"},
    "jpeg": {"dJPEG sin 4:4:4", "dJPEG sin 4:2:0", "libjpeg 4:4:4, encode and decode"},
    "prnu": {"denoiser", "residual: denoiser and grey"},
    "raw": {"import, in this process"},
    "analysis": {"analyse 64×96 px, two lattices"},
    "report": {"report of 22 trials, with reading"},
    "gpu": {"everything"},
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_subject_gives_its_rows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = [row for _, row in command.measured(name, tiny=True)]
    assert not [row.note for row in found if row.note.startswith(rows.FAILED)]
    assert {row.what for row in found} >= EXPECTED[name]
    for row in found:
        assert row.note or (row.value is not None and math.isfinite(row.value)), row
    assert {*EXPECTED, "overhead"} == set(
        command.SUBJECTS
    )  # the other starts Ray twice: tests/cluster/test_overhead.py


def test_the_part_for_gpus_runs_on_a_cpu_and_all_ways_learn_the_same() -> None:
    found = {row.what: row for row in gpu.rows(tiny=True, device=CPU)}
    assert not [row for row in found.values() if row.note]
    losses = [row.figures["loss"] for row in found.values() if "loss" in row.figures]
    assert len(losses) == 4
    assert losses == pytest.approx([losses[0]] * 4, rel=1e-3)
    assert {"2 seeds stacked, bfloat16", "2 processes, bfloat16", "eager, bfloat16, photographs on the host"} <= set(
        found
    )


def test_a_way_that_learns_something_else_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "WAYS", {"eager": gpu.eager, "wrong": lambda joint, size: (lambda: 2 * joint.step(), 0)})
    found = {row.what: row.note for row in gpu._ways("bfloat16", gpu.TINY, CPU)}
    assert found["wrong, bfloat16"].startswith(rows.FAILED)
    assert not found["eager, bfloat16"]


@pytest.mark.parametrize("isp", ["UNet", "INet"])
def test_stacked_seeds_have_the_gradients_of_separate_ones(isp: str) -> None:
    seeds = [joint_step.build(isp, "float32", 16, 2, CPU, seed=seed) for seed in range(3)]
    stack = Stack(seeds)
    stack.losses().sum().backward()
    for number, seed in enumerate(seeds):
        seed.loss().backward()
        for (weights, _), network in ((stack.nips, seed.model.nip), (stack.fans, seed.model.fan)):
            for name, parameter in network.named_parameters():
                stacked, alone = weights[name].grad[number], parameter.grad
                assert (stacked - alone).abs().max() <= 1e-4 * alone.abs().max(), (number, name)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 1e-2)])
def test_stacked_seeds_learn_what_separate_ones_learn(precision: str, tolerance: float) -> None:
    seeds = [joint_step.build("INet", precision, 16, 2, CPU, seed=seed) for seed in range(3)]
    stack = Stack(seeds)
    for _ in range(3):
        together = stack.step()
        apart = torch.stack([seed.step() for seed in seeds])
        assert len(set(apart.tolist())) == 3
        torch.testing.assert_close(together, apart, rtol=tolerance, atol=0)


def test_the_part_for_gpus_needs_torch_alone(tmp_path: Path) -> None:
    """And numpy and safetensors. Where rich is missing, rows are printed as they come."""
    names = ("scipy", "skimage", "PIL", "rawpy", "tifffile", "matplotlib", "yaml", "psutil", "kornia", "ptwt", "pywt")
    code = f"""
import sys
sys.modules.update(dict.fromkeys({[*STUDY_ONLY, *COMMAND_LINE, *names]}))  # as if they were not installed
from benchmarks import __main__ as command
sys.exit(command.main(["--only", "gpu", "traffic", "--tiny", "--out", sys.argv[1]]))
"""
    out = tmp_path / "bench.json"
    done = subprocess.run([sys.executable, "-c", code, str(out)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "traffic:  step of UNet, float32" in done.stderr
    assert set(json.loads(out.read_text())["subjects"]) == {"gpu", "traffic"}


def test_the_json_file_and_the_markdown_file_hold_every_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(jpeg, "is_installed", lambda package: False)
    out, page = tmp_path / "made" / "b.json", tmp_path / "page.md"
    assert command.main(["--only", "jpeg", "traffic", "--tiny", "--out", str(out), "--markdown", str(page)]) == 0
    document = json.loads(out.read_text())
    assert {"date", "revision", "hardware", "versions", "seconds", "load"} <= set(document)
    assert document["versions"]["torch"] == torch.__version__
    by_name = {row["what"]: row for row in document["subjects"]["jpeg"]["rows"]}
    assert by_name["dJPEG sin 4:2:0"]["peer_value"] is None
    printed, written = capsys.readouterr().out, page.read_text()
    for text in (printed, written):
        assert "kornia: not installed" in text
        assert all(row["what"] in text for subject in document["subjects"].values() for row in subject["rows"])


def test_a_subject_that_fails_is_a_row_and_an_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(tiny: bool) -> list[Row]:
        raise OSError("no space left\non the device")

    monkeypatch.setattr(traffic, "rows", broken)
    out = tmp_path / "b.json"
    assert command.main(["--only", "traffic", "gpu", "--tiny", "--out", str(out)]) == 1
    subjects = json.loads(out.read_text())["subjects"]
    assert subjects["traffic"]["rows"][-1]["note"] == "failed: OSError: no space left"
    assert "gpu" in subjects


def test_what_a_user_gets_wrong_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    for arguments in (["--only", "nothing"], ["--out", str(tmp_path / "file" / "b.json")]):
        with pytest.raises(SystemExit) as ended:
            command.main(arguments)
        assert ended.value.code == 2
        assert capsys.readouterr().err.splitlines()[-1].startswith("benchmarks: error: ")


def test_ratios_are_taken_within_rounds() -> None:
    times = Times({"ours": (1.0, 10.0, 3.0), "theirs": (2.0, 20.0, 30.0)})
    assert times.ratio("theirs", "ours") == 2  # not 20 / 3
    assert times["ours"] == 3


def test_works_take_turns_and_warming_up_does_not_count() -> None:
    called: list[str] = []
    works = {name: lambda name=name: called.append(name) for name in ("a", "b")}
    times = interleaved(works, repeats=2, warmup=1, before=lambda: called.append("-"))
    assert "".join(called) == "-a-b" * 3
    assert {name: len(values) for name, values in times.rounds.items()} == {"a": 2, "b": 2}


def test_flop_grow_with_the_pixels() -> None:
    """Four times the pixels, four times the convolutions; the dense layers cost the same for every photograph."""
    dense = joint_step.count("UNet", "float32", 16, 2).dense
    four_times = joint_step.count("UNet", "float32", 32, 2).dense
    heads = 3 * 2 * 10 * (256 * 512 + 512 * 128 + 128 * 5)  # dense layers, whose cost is that of a photograph
    assert four_times.flop - heads == pytest.approx(4 * (dense.flop - heads), rel=1e-3)
    assert {rows.number(value) for value in (0.0, 24, 0.01234, 1.234, 123.4, 12345.6)} == {
        "0.000",
        "24",
        "0.0123",
        "1.23",
        "123",
        "12346",
    }
