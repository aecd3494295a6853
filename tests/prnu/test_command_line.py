"""``python -m prnu`` on photographs of simulated cameras, saved as files as people have them."""

import csv
import io
import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import prnu
from cameras.develop import develop
from cameras.photographs import photograph_files, sha256
from cameras.simulate import PRESETS, SimulatedCamera, capture, frame
from prnu.__main__ import main, spread
from prnu.copies import NEAR, nearest, pixel_hash, thumbnail
from prnu.experiment import central_crop
from prnu.localise import best_f1, forge
from prnu.match import pce
from prnu.photographs import read
from tests.broken_photographs import pattern, write_broken_photographs

HEIGHT, WIDTH = 256, 384
MINE = PRESETS["sim-rggb"]
OTHER = replace(MINE, body=2)  # the same model


def test_photographs_are_read_as_numbers_from_0_to_1(tmp_path: Path) -> None:
    Image.fromarray(pattern()).save(tmp_path / "photo.png")
    photograph = read(tmp_path / "photo.png")
    assert (photograph.shape, photograph.dtype) == ((1, 3, 24, 40), torch.float32)
    assert np.array_equal(photograph[0].movedim(0, -1).numpy(), pattern().astype(np.float32) / 255)


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs ``python -m prnu …`` in this process."""

    def run(*arguments: Any) -> Done:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["prnu", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        streams = capsys.readouterr()
        return Done(int(end.value.code or 0), streams.out, streams.err)

    return run


def take(camera: SimulatedCamera, index: int) -> Image.Image:
    """A photograph of a smooth scene."""
    rng = np.random.default_rng((camera.body, index))
    light = torch.from_numpy(rng.uniform(0.1, 0.7, (1, 3, 9, 13)).astype(np.float32))
    scene = F.interpolate(light, (HEIGHT, WIDTH), mode="bicubic").clamp(0, 1)[0].movedim(0, -1).numpy()
    picture = develop(frame(camera, capture(camera, scene, rng)), demosaic="bilinear")
    return Image.fromarray((picture * 255).round().astype(np.uint8))


@dataclass(frozen=True)
class Folders:
    """Photographs of the one camera, to estimate from and to try on; of another; and the fingerprint of the first."""

    root: Path

    @property
    def estimation(self) -> Path:
        return self.root / "estimation"

    @property
    def mine(self) -> Path:
        return self.root / "mine"

    @property
    def other(self) -> Path:
        return self.root / "other"

    @property
    def fingerprint(self) -> Path:
        return self.root / "body1.safetensors"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    folders = Folders(tmp_path_factory.mktemp("photographs"))
    for folder, camera, indices in (
        (folders.estimation, MINE, range(6)),
        (folders.mine, MINE, range(6, 11)),
        (folders.other, OTHER, range(3)),
    ):
        folder.mkdir()
        for index in indices:
            name = f"{index:02}.jpg" if index % 2 else f"{index:02}.png"
            take(camera, index).save(folder / name, quality=92)
    files = photograph_files([folders.estimation])
    K = prnu.fingerprint(read(path) for path in files)
    digests = [sha256(path) for path in files]
    prnu.save(folders.fingerprint, K, camera="body 1", pipeline="photographs", images=6, photographs=digests)
    return folders


def test_fingerprint_of_a_folder(folders: Folders, command: Any, tmp_path: Path) -> None:
    done = command("fingerprint", folders.estimation, "--out", tmp_path / "new" / "a.safetensors", "--json")
    assert done.code == 0, done.err
    K, provenance = prnu.load(tmp_path / "new" / "a.safetensors")
    assert torch.equal(K, prnu.load(folders.fingerprint)[0])
    assert json.loads(done.out).items() >= provenance.items()
    assert set(provenance["pixels"]) == {pixel_hash(read(path)) for path in folders.estimation.iterdir()}
    assert len(provenance["thumbnails"]) == 6
    assert set(provenance["photographs"]) == {sha256(path) for path in folders.estimation.iterdir()}
    assert (provenance["camera"], provenance["images"], provenance["frame"]) == ("a", 6, [HEIGHT, WIDTH])

    # Names and order are nothing, files that do not fit are refused and count for nothing.
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for index, path in enumerate(reversed(photograph_files([folders.estimation]))):
        (mixed / f"{index}{path.suffix}").write_bytes(path.read_bytes())
    (mixed / "copy.png").write_bytes((folders.estimation / "00.png").read_bytes())
    take(MINE, 20).rotate(90, expand=True).save(mixed / "turned.png")
    Image.new("RGB", (WIDTH, HEIGHT), "grey").save(mixed / "constant.png")
    expected = {"copy.png": "same pixels", "turned.png": "turned", "constant.png": "constant"}
    broken = write_broken_photographs(mixed).keys()
    done = command("fingerprint", mixed, "--camera", "my body", "--out", tmp_path / "b.safetensors", "--json")
    refused = {Path(entry["file"]).name: entry["reason"] for entry in json.loads(done.out)["refused"]}
    same = {"5.png", "copy.png"} & refused.keys()  # whichever came second
    assert len(same) == 1
    refused["copy.png"] = refused.pop(same.pop())
    assert refused.keys() == expected.keys() | broken
    assert all(word in refused[name] for name, word in expected.items())
    K2, provenance2 = prnu.load(tmp_path / "b.safetensors")
    assert provenance2["sha256"] == provenance["sha256"]
    assert provenance2["camera"] == "my body"
    torch.testing.assert_close(K2, K, rtol=0, atol=1e-5)


def test_match_tells_cameras_apart(folders: Folders, command: Any) -> None:
    done = command("match", folders.fingerprint, "--json", "--photos", folders.mine, folders.other)
    assert done.code == 0, done.err
    found = json.loads(done.out)["comparisons"]
    assert len(found) == 8
    for one in found:
        mine = Path(one["photograph"]).parent == folders.mine
        assert one["camera"] == "body 1"
        assert one["match"] == mine == (one["pce"] > 60)
        assert (one["pvalue"] < 1e-10) == mine

    path = folders.mine / "06.png"
    K, _ = prnu.load(folders.fingerprint)
    direct = pce(K, read(path))
    shown = next(one for one in found if one["photograph"] == str(path))
    assert shown["pce"] == pytest.approx(direct.pce.item())
    assert shown["correlation"] == pytest.approx(direct.correlation.item())

    done = command("match", folders.fingerprint, folders.fingerprint, "--csv", "--photos", folders.mine)
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert [float(row["pce"]) for row in rows[::2]] == [one["pce"] for one in found[:5]]
    assert rows[::2] == rows[1::2]
    done = command("match", folders.fingerprint, "--photos", folders.mine)
    assert done.out.count(" match ") == 5


def test_a_crop_is_found_where_it_was_cut(folders: Folders, command: Any, tmp_path: Path) -> None:
    for name in ("06.png", "07.jpg"):
        with Image.open(folders.mine / name) as picture:
            picture.crop((101, 37, 301, 217)).save(tmp_path / name.replace("jpg", "png"))
    done = command("match", folders.fingerprint, "--json", "--photos", *tmp_path.glob("*.png"))
    found = json.loads(done.out)["comparisons"]
    assert [(one["dy"], one["dx"], one["match"]) for one in found] == [(37, 101, True)] * 2


def test_the_fingerprint_of_a_crop_knows_where_it_lies(folders: Folders, command: Any, tmp_path: Path) -> None:
    cropped = tmp_path / "cropped.safetensors"
    assert command("fingerprint", folders.estimation, "--out", cropped, "--crop", 128).code == 0
    K, provenance = prnu.load(cropped)
    assert (K.shape, provenance["crop"]) == ((128, 128), 128)
    done = command("match", cropped, "--json", "--photos", folders.mine, folders.other)
    found = json.loads(done.out)["comparisons"]
    assert [one["match"] for one in found] == [True] * 5 + [False] * 3
    direct = pce(K, central_crop(read(folders.mine / "06.png"), 128**2))
    assert found[0]["pce"] == pytest.approx(direct.pce.item())

    take(MINE, 30).crop((0, 0, 300, 200)).save(tmp_path / "part.png")  # neither whole nor a part of the crop
    take(MINE, 31).save(tmp_path / "whole.png")
    done = command("match", cropped, folders.fingerprint, "--json", "--photos", tmp_path)
    content = json.loads(done.out)
    assert [Path(one["photograph"]).name for one in content["comparisons"]] == ["part.png", "whole.png", "whole.png"]
    assert all(one["match"] for one in content["comparisons"])
    assert [entry["reason"] for entry in content["refused"]] == [
        "is 200×300, but cropped.safetensors is of photographs of 256×384, cropped to 128×128"
    ]


def resaved(path: Path, folder: Path) -> dict[str, Path]:
    """Copies of a photograph: with the same pixels in other files, and with nearly the same ones."""
    with Image.open(path) as picture:
        picture.load()
    exif = Image.Exif()
    exif[315] = "somebody else"
    copies = {name: folder / name for name in ("meta.png", "other.tif", "again.jpg", "small.png", "cut.png")}
    picture.save(copies["meta.png"], exif=exif, compress_level=1)
    picture.save(copies["other.tif"])
    picture.save(copies["again.jpg"], quality=70)
    picture.resize((WIDTH * 3 // 5, HEIGHT * 3 // 5)).save(copies["small.png"])
    picture.crop((60, 30, 60 + WIDTH * 7 // 10, 30 + HEIGHT * 7 // 10)).save(copies["cut.png"])
    assert len({sha256(copy) for copy in copies.values()} | {sha256(path)}) == 6
    return copies


def test_a_match_with_itself_is_no_evidence(folders: Folders, command: Any, tmp_path: Path) -> None:
    """The same pixels in another file are refused; a near copy is marked; other photographs are neither."""
    enrolled = tmp_path / "mine.safetensors"
    assert command("fingerprint", folders.estimation, "--out", enrolled).code == 0
    copies = resaved(folders.estimation / "00.png", tmp_path)
    done = command("match", enrolled, "--json", "--photos", *copies.values(), folders.mine)
    content = json.loads(done.out)
    assert {Path(one["file"]).name for one in content["refused"]} == {"meta.png", "other.tif"}
    assert all("proves nothing" in one["reason"] for one in content["refused"])
    marked = {Path(one["photograph"]).name for one in content["comparisons"] if one["near_copy"]}
    assert marked == {"again.jpg", "small.png", "cut.png"}
    assert sum(one["near_copy"] is False for one in content["comparisons"]) == 5
    assert content["remarks"] == []
    done = command("match", enrolled, "--photos", copies["again.jpg"])
    assert "again.jpg looks like a photograph that mine.safetensors was estimated from" in done.out

    for name in ("meta.png", "other.tif"):
        done = command("localise", copies[name], "--fingerprint", enrolled, "--authentic", folders.mine)
        assert (done.code, "proves nothing" in done.err) == (2, True)
    arguments = ("--fingerprint", enrolled, "--out", tmp_path / "map.png", "--stride", 64, "--window", 65, "--json")
    done = command("localise", copies["again.jpg"], *arguments, "--authentic", folders.mine, copies["meta.png"])
    result = json.loads(done.out)
    assert result["near_copy"] is True and result["authentic"] == 5
    assert [Path(one["file"]).name for one in result["refused"]] == ["meta.png"]
    in_question = resaved(folders.mine / "06.png", tmp_path)["meta.png"]
    result = json.loads(command("localise", in_question, *arguments, "--authentic", folders.mine).out)
    assert result["near_copy"] is False and result["authentic"] == 4
    assert [one["reason"] for one in result["refused"]] == ["is the photograph in question"]


def test_a_fingerprint_of_an_earlier_version_cannot_recognise_near_copies(folders: Folders, command: Any) -> None:
    done = command("match", folders.fingerprint, "--json", "--photos", folders.mine / "06.png")
    content = json.loads(done.out)
    assert content["comparisons"][0]["near_copy"] is None
    assert "cannot be recognised" in content["remarks"][0]
    done = command("match", folders.fingerprint, "--photos", folders.mine / "06.png")
    assert done.code == 0 and "cannot be recognised" in done.err


def test_copies_of_real_photographs_are_recognised_and_others_are_not(shared_photos: Path) -> None:
    taken = [read(path)[..., :672, :] for path in sorted(shared_photos.glob("*.webp"))[1::2][:12]]
    known = [thumbnail(photograph) for photograph in taken]
    crops = 0
    for number, photograph in enumerate(taken[:6]):
        others = known[:number] + known[number + 1 :]
        smaller = F.interpolate(photograph, scale_factor=0.4, mode="bilinear", antialias=True)
        assert nearest(photograph, (672, 1200), known) > NEAR
        assert nearest(smaller, (672, 1200), known) > NEAR
        assert nearest(photograph, (672, 1200), others) < NEAR
        crops += nearest(photograph[..., 40:580, 101:1100], (672, 1200), known) > NEAR
    assert crops >= 5  # between the pixels of a small picture, some are missed
    assert nearest(taken[0], (672, 1200), ()) == -1
    assert nearest(torch.full_like(taken[0], 0.5), (672, 1200), known) == -1


def test_names_that_are_no_utf8_are_used_and_named(folders: Folders, command: Any, tmp_path: Path) -> None:
    """A camera's photograph, a damaged one and one of another size, all named in Latin 1, among good ones."""
    old = tmp_path / "old"
    old.mkdir()
    for path in folders.estimation.iterdir():
        (old / path.name).write_bytes(path.read_bytes())
    latin = {word: Path(os.fsdecode(os.fsencode(old) + b"/" + word + b"\xe4r.png")) for word in (b"b", b"no-b", b"m")}
    latin[b"b"].write_bytes((folders.mine / "06.png").read_bytes())
    latin[b"no-b"].write_text("no picture")
    latin[b"m"].write_bytes((folders.mine / "08.png").read_bytes()[:-900])
    enrolled = tmp_path / "old.safetensors"
    done = command("fingerprint", old, "--out", enrolled)
    assert done.code == 0 and "fingerprint of 7 photographs (2 refused)" in done.out
    assert "no-b\\xe4r.png" in done.out and "m\\xe4r.png" in done.out
    for output in ("--json", "--csv", None):
        done = command("match", enrolled, *filter(None, [output]), "--photos", old, folders.mine / "07.jpg")
        assert done.code == 0, done.err
        done.out.encode("utf-8")
        done.err.encode("utf-8")
        assert "b\\xe4r.png" in done.out.replace("\\\\", "\\") + done.err
        assert "07.jpg" in done.out
    done = command("match", enrolled, "--photos", latin[b"m"])
    assert done.code == 2 and "m\\xe4r.png" in done.err


def test_localise_paints_a_map(folders: Folders, command: Any, tmp_path: Path) -> None:
    forged, truth = forge(torch.from_numpy(np.array(take(MINE, 40))).movedim(-1, 0)[None], 128)
    Image.fromarray(forged[0].movedim(0, -1).numpy()).save(tmp_path / "forged.png")
    authentic = [folders.mine / "06.png", folders.mine / "08.png", folders.mine / "10.png", tmp_path / "forged.png"]
    done = command(
        *("localise", tmp_path / "forged.png", "--fingerprint", folders.fingerprint, "--authentic", *authentic),
        *("--out", tmp_path / "maps" / "map.png", "--window", 65, "--stride", 16, "--json"),
    )
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert [entry["reason"] for entry in result["refused"]] == ["is the photograph in question"]
    assert result["authentic"] == 3
    probability = np.load(tmp_path / "maps" / "map.npy", allow_pickle=False)
    inside = truth[32:-32:16, 32:-32:16].numpy()  # the windows' centres
    assert probability.shape == inside.shape
    assert best_f1(torch.from_numpy(probability), torch.from_numpy(inside)) > 0.85
    assert result["suspicious"] == pytest.approx((probability > 0.5).mean())
    assert result["unknown"] == pytest.approx((probability == 0.5).mean())
    with Image.open(tmp_path / "maps" / "map.png") as picture:
        pixels = np.array(picture).astype(int)
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    red = pixels[..., 0] > pixels[..., 2]
    at_centres = red[32:-32:16, 32:-32:16]
    assert at_centres[probability > 0.52].all()
    assert not at_centres[probability < 0.5].any()
    assert not red[:24].any()  # no window is centred there


def test_localise_says_where_nothing_can_be_told(folders: Folders, command: Any, tmp_path: Path) -> None:
    white = np.array(take(MINE, 41))
    white[:, : WIDTH // 2] = 255
    Image.fromarray(white).save(tmp_path / "white.png")
    arguments = ("--fingerprint", folders.fingerprint, "--authentic", folders.mine, "--window", 65)
    arguments = ("localise", tmp_path / "white.png", *arguments, "--out", tmp_path / "map.png")
    result = json.loads(command(*arguments, "--json").out)
    assert 0.45 < result["unknown"] < 0.55
    assert result["suspicious"] < 0.03
    assert f"in {result['unknown']:.1%} of the windows nothing can be told" in command(*arguments).out


def test_localise_says_when_the_photograph_is_of_another_camera(folders: Folders, command: Any, tmp_path: Path) -> None:
    done = command(
        *("localise", folders.other / "00.png", "--fingerprint", folders.fingerprint, "--authentic", folders.mine),
        *("--out", tmp_path / "map.png", "--stride", 32),
    )
    assert done.code == 0, done.err
    assert "no match" in done.out


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("fingerprint", "{missing}", "--out", "{new}"), "no such file"),
        (("fingerprint", "{empty}", "--out", "{new}"), "no photographs"),
        (("fingerprint", "{broken}", "--out", "{new}"), "none of 1 photographs"),
        (("fingerprint", "{constant}", "--out", "{new}"), "constant"),
        (("fingerprint", "{mine}", "--out", "{mine}"), "is a folder"),
        (("fingerprint", "{mine}", "--out", "{broken}/a.safetensors"), "text.jpg"),
        (("match", "{missing}", "--photos", "{mine}"), "no such file"),
        (("match", "{broken}", "--photos", "{mine}"), "text.jpg"),
        (("match", "{K}", "--photos", "{missing}"), "no such file"),
        (("match", "{K}", "--photos", "{broken}"), "none of 1 photographs"),
        (("match", "{K}", "--photos", "{own}"), "estimated from"),
        (("match", "{K}", "--json", "--csv", "--photos", "{mine}"), "exclude"),
        (("localise", "{broken}", "--fingerprint", "{K}", "--authentic", "{mine}"), "text.jpg"),
        (("localise", "{small}", "--fingerprint", "{K}", "--authentic", "{mine}"), "is 24×40"),
        (("localise", "{photo}", "--fingerprint", "{K}", "--authentic", "{photo}"), "in question"),
        (("localise", "{photo}", "--fingerprint", "{K}", "--authentic", "{own}"), "estimated from"),
        (("localise", "{own}", "--fingerprint", "{K}", "--authentic", "{mine}"), "estimated from"),
        (("localise", "{photo}", "--fingerprint", "{K}", "--authentic", "{mine}", "--window", "64"), "odd"),
        (("localise", "{photo}", "--fingerprint", "{K}", "--authentic", "{mine}", "--out", "map.jpg"), "PNG"),
    ],
)
def test_wrong_input_gets_one_line_and_exit_code_2(
    folders: Folders, command: Any, tmp_path: Path, arguments: tuple[str, ...], word: str
) -> None:
    places = {
        "missing": tmp_path / "missing",
        "empty": tmp_path / "empty",
        "broken": tmp_path / "text.jpg",
        "constant": tmp_path / "constant.png",
        "small": tmp_path / "small.png",
        "new": tmp_path / "new.safetensors",
        "mine": folders.mine,
        "photo": folders.mine / "06.png",
        "own": folders.estimation / "00.png",
        "K": folders.fingerprint,
    }
    places["empty"].mkdir()
    places["broken"].write_text("no picture")
    Image.new("RGB", (WIDTH, HEIGHT), "grey").save(places["constant"])
    Image.fromarray(pattern()).save(places["small"])
    done = command(*(argument.format(**places) for argument in arguments))
    assert done.code == 2
    lines = [line for line in done.err.splitlines() if ": done in " not in line]
    assert len(lines) == 1, done.err
    assert lines[0].startswith("error: ")
    assert word in lines[0]
    assert done.out == ""
    assert not places["new"].exists()


@pytest.mark.parametrize(
    ("typed", "parsed"),
    [
        ("match k --photos a.jpg b.jpg --json", "match k --photos a.jpg --photos b.jpg --json"),
        ("localise --authentic a b --window 65 photo", "localise --authentic a --authentic b --window 65 photo"),
        ("match k --photos", "match k"),  # then the parser reports that --photos is missing
    ],
)
def test_a_shells_pattern_may_follow_an_option(typed: str, parsed: str) -> None:
    assert spread(typed.split()) == parsed.split()


@pytest.mark.parametrize(
    ("typed", "now"),
    [
        ("experiment demo", "python -m study fingerprints demo"),
        (
            "experiment 'my study.yaml' --storage s3://bucket/a --address auto --retry-failed",
            "python -m study fingerprints 'my study.yaml' --storage s3://bucket/a --address auto --retry-failed",
        ),
        ("experiment", "python -m study fingerprints"),
        ("experiment --help", "python -m study fingerprints --help"),
    ],
)
def test_experiment_names_the_new_command(command: Any, typed: str, now: str) -> None:
    done = command(*shlex.split(typed))
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: this command has moved: {now}\n"


def test_the_commands_need_nothing_of_a_study() -> None:
    """Neither its packages nor ours: prnu works in an installation without Ray, MLflow and study/."""
    code = "import sys, prnu.__main__; print(*{name.partition('.')[0] for name in sys.modules})"
    root = Path(prnu.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert not {"study", "forensics", "ray", "mlflow", "pydantic", "scipy", "pandas"} & set(done.stdout.split())
