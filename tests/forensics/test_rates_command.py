"""``forensics rates``: tables, pictures and figures of codecs on photographs, and what it refuses."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from forensics_command import Command, forensics_command
from PIL import Image

from cameras.scenes import dead_leaves
from forensics.compression.coders import coders
from forensics.compression.rates import rates, read


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Runs ``python -m forensics rates …`` in this process."""
    monkeypatch.chdir(tmp_path)
    return forensics_command(monkeypatch, capsys, "rates")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for number in range(2):
        scene = dead_leaves(178, 184, np.random.default_rng(number))
        Image.fromarray(np.rint(255 * scene.clip(0, 1)).astype(np.uint8)).save(folder / f"{number}.png")
    return folder


def test_tables_and_pictures(photographs: Path, tmp_path: Path, command: Command) -> None:
    arguments = (photographs, "--codec", "jpeg", "--codec", "webp", "--qualities", "20,50,80", "--at", 1)
    code, out, err = command(*arguments, "--out", tmp_path / "found")
    assert code == 0, err
    assert "BD-rate against jpeg" in out

    with (tmp_path / "found" / "rates.csv").open() as file:
        rows = list(csv.DictReader(file))
    pictures = [(path.stem, read(path)) for path in sorted(photographs.iterdir())]
    expected = rates(pictures, coders(["jpeg", "webp"], ["20,50,80"]))
    assert [{**vars(one)} for one in expected] == [
        {name: type(getattr(one, name))(value) for name, value in row.items()}
        for one, row in zip(expected, rows, strict=True)
    ]
    with (tmp_path / "found" / "bd-rates.csv").open() as file:
        assert [(row["codec"], row["metric"]) for row in csv.DictReader(file)] == [
            ("webp", metric) for metric in ("psnr", "ssim", "ms_ssim")
        ]
    with Image.open(tmp_path / "found" / "rates.png") as image:
        colours = {tuple(colour) for colour in np.asarray(image.convert("RGB")).reshape(-1, 3).tolist()}
        assert {(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)} <= colours  # both curves
        assert (0x00, 0x9E, 0x73) not in colours  # no third one
    assert sorted(path.name for path in (tmp_path / "found" / "equal-rate").iterdir()) == ["0.png", "1.png"]

    code, _, err = command(*arguments, "--out", tmp_path / "found")
    assert code == 2
    assert "rates.csv exists: choose another folder" in err


def test_json(photographs: Path, tmp_path: Path, command: Command) -> None:
    (tmp_path / "broken.png").write_text("no picture")
    Image.new("RGB", (300, 90)).save(tmp_path / "small.png")
    code, out, err = command(
        photographs, tmp_path / "broken.png", tmp_path / "small.png", "--codec", "webp", "--codec", "jpeg2000",
        "--qualities", "webp=30", "--qualities", "jpeg2000=24,28", "--against", "jpeg2000", "--json",
        "--out", tmp_path / "found",
    )  # fmt: skip
    assert code == 0, err
    found = json.loads(out)
    assert (found["photographs"], found["against"]) == (2, "jpeg2000")
    assert {codec: [point["quality"] for point in points] for codec, points in found["curves"].items()} == {
        "webp": ["30"],
        "jpeg2000": ["24", "28"],
    }
    assert [(one["codec"], one["percent"], one["why_not"]) for one in found["bd_rates"]] == [
        ("webp", None, "one point")
    ] * 3
    reasons = {Path(one["file"]).name: one["reason"] for one in found["refused"]}
    assert reasons.keys() == {"broken.png", "small.png"}
    assert reasons["small.png"] == "has 90×300 pixels: MS-SSIM needs 176×176"
    assert not (tmp_path / "found" / "equal-rate").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--codec", "gif"), "unknown codec 'gif'"),
        (("--qualities", "fine"), "--qualities fine: write 10,30,50"),
        (("--codec", "webp", "--against", "jpeg"), "--against jpeg is not among the codecs: choose one of webp"),
        (("--at", "-1"), "--at must be a positive number"),
        (("--codec", "no.safetensors"), "no.safetensors: there is no such file"),
        (("--downsample", "2"), "none of 2 photographs can be measured"),
    ],
)
def test_errors_are_one_line_and_write_nothing(
    photographs: Path, tmp_path: Path, command: Command, arguments: tuple[str, ...], message: str
) -> None:
    code, out, err = command(photographs, "--out", tmp_path / "found", *arguments)
    assert (code, out) == (2, "")
    error = err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
    assert list(tmp_path.iterdir()) == []
