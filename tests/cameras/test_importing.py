"""Imports keep what is fit, say why the rest is not, and can be killed at any moment."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from cameras import importing
from cameras.dng import write_dng
from cameras.importing import import_camera, raw_files
from cameras.pairs import Index, Pairs
from cameras.pairs.index import RULES
from cameras.raw import RawFrame
from cameras.simulate import PRESETS

CAMERA = PRESETS["sim-gbrg"]


def photo(path: Path, seed: int, height: int = 32, width: int = 48, camera=CAMERA) -> Path:
    rng = np.random.default_rng(seed)
    mosaic = rng.integers(min(camera.black), camera.white, (height, width), dtype=np.uint16)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_dng(path, mosaic, camera)
    return path


@pytest.fixture(scope="module")
def card(tmp_path_factory) -> Path:
    """A memory card: six photographs in two folders that count from 0001 each."""
    folder = tmp_path_factory.mktemp("card")
    for i in range(6):
        photo(folder / f"DCIM{i % 2}" / f"IMG_{i // 2:04d}.DNG", seed=i)
    return folder


def take(paths, root, **settings):
    """An import within this process."""
    return import_camera("camera", paths, root, **{"workers": 0, "demosaic": "bilinear"} | settings)


def reasons(imported) -> dict[str, str]:
    return {path.name: reason for path, reason in imported.refused}


def test_fit_files_are_stored_and_the_others_refused_with_a_reason(tmp_path, card):
    mixed = tmp_path / "mixed"
    shutil.copytree(card, mixed)
    whole = photo(mixed / "whole.dng", seed=100).read_bytes()
    (mixed / "truncated.dng").write_bytes(whole[: len(whole) // 2])
    (mixed / "empty.nef").write_bytes(b"")
    (mixed / "text.NEF").write_text("no photograph")
    photo(mixed / "upright.dng", seed=101, height=48, width=32)
    photo(mixed / "other.dng", seed=102, camera=PRESETS["sim-rggb"])
    shutil.copy(mixed / "DCIM0" / "IMG_0000.DNG", mixed / "copy.dng")
    (mixed / "notes.txt").write_text("not even looked at")
    (mixed / "._IMG_0000.DNG").write_text("a resource fork, not looked at either")

    imported = take([mixed], tmp_path / "root", seed=1)
    assert len(imported) == len(imported.accepted) == 7 and imported.already == 0
    why = reasons(imported)
    assert set(why) - {"IMG_0000.DNG", "copy.dng"} == {
        "truncated.dng",
        "empty.nef",
        "text.NEF",
        "upright.dng",
        "other.dng",
    }
    assert "truncated" in why["truncated.dng"] and "empty" in why["empty.nef"]
    assert "not a RAW file" in why["text.NEF"]
    assert why["upright.dng"] == importing.PORTRAIT
    assert why["other.dng"].startswith("camera is Simulated R1, but")
    [duplicate] = [why[name] for name in ("IMG_0000.DNG", "copy.dng") if name in why]
    assert duplicate.startswith("duplicate of ")
    assert not any(reason.startswith(str(mixed)) for reason in why.values())  # it stands beside

    pairs = Pairs.open(imported.folder)
    assert pairs.cfa == CAMERA.cfa and len(pairs) == 7
    stems = [name.rpartition("-")[0] for name in pairs.names]
    assert stems.count("IMG_0001") == stems.count("IMG_0002") == 2  # one from each folder
    assert stems.count("IMG_0000") + stems.count("copy") == 2 and stems.count("whole") == 1
    for i, image in enumerate(Index.read(imported.folder).images):
        frame = RawFrame.open(image.source.path)
        bayer = torch.from_numpy(frame.bayer).permute(2, 0, 1)
        torch.testing.assert_close(pairs.image(i)[0][0], bayer, rtol=0, atol=0.51 / 65535)
        target = torch.from_numpy(importing.develop(frame, "bilinear")).permute(2, 0, 1)
        torch.testing.assert_close(pairs.image(i)[1][0], target, rtol=0, atol=0.51 / 255)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(32, 48), (48, 32), (32, 32)])
def test_upright_is_what_is_displayed_upright(tmp_path, monkeypatch, orientation, size):
    path = photo(tmp_path / "photo.dng", 0, *size)
    frame = replace(RawFrame.open(path), orientation=orientation)
    monkeypatch.setattr(RawFrame, "open", lambda path: frame)
    height, width = size[::-1] if orientation in (5, 6, 7, 8) else size
    imported = take([path], tmp_path)
    assert len(imported) == (width >= height)
    assert len(take([path], tmp_path, orientation="any")) == 1
    if imported.accepted:  # stored in sensor orientation, whatever it is displayed in
        assert Pairs.open(imported.folder).image(0)[1].shape[2:] == size


def test_a_second_call_does_only_what_is_missing(tmp_path, card, monkeypatch):
    source = tmp_path / "card"
    shutil.copytree(card, source)
    (source / "text.nef").write_text("no photograph")
    photo(source / "upright.dng", seed=101, height=48, width=32)
    first = take([source], tmp_path)
    opened = []
    open_raw = RawFrame.open

    def spy(path):
        opened.append(Path(path).name)
        return open_raw(path)

    monkeypatch.setattr(RawFrame, "open", spy)
    again = take([source], tmp_path)
    assert opened == [] and again.accepted == () and len(again) == len(first) == 6
    assert sorted(again.refused) == sorted(first.refused) and len(again.refused) == 2

    photo(source / "new.dng", seed=102)
    photo(source / "text.nef", seed=103)  # repaired
    third = take([source, source / "new.dng"], tmp_path)
    assert sorted(opened) == ["new.dng", "text.nef"] and len(third) == 8
    assert list(reasons(third)) == ["upright.dng"]

    fourth = take([source], tmp_path, orientation="any")
    assert opened[2:] == ["upright.dng"] and len(fourth) == 9 and fourth.refused == ()
    assert take([source], tmp_path).refused == ()


def test_limit_counts_images_and_the_seed_chooses_them(tmp_path, card):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "text.nef").write_text("no photograph")
    paths = [card, tmp_path / "bad"]
    whole = take(paths, tmp_path / "whole", limit=4)
    assert len(whole) == 4
    for limit in (1, 3, 4, 4):  # in pieces, as after interruptions
        pieces = take(paths, tmp_path / "pieces", limit=limit)
        assert len(pieces) == limit
    assert Pairs.open(pieces.folder).data_hash == Pairs.open(whole.folder).data_hash
    choices = {frozenset(take(paths, tmp_path / f"seed {seed}", limit=2, seed=seed).accepted) for seed in range(6)}
    assert len(choices) > 1
    assert len(take(paths, tmp_path / "whole", limit=2)) == 4  # what is stored stays


def test_files_are_chosen_wherever_their_folder_lies(tmp_path, card):
    shutil.copytree(card, tmp_path / "elsewhere")
    here = take([card / "DCIM0"], tmp_path / "a", limit=2)
    there = take([tmp_path / "elsewhere" / "DCIM0"], tmp_path / "b", limit=2)
    assert here.accepted == there.accepted


def test_progress_reaches_what_can_be_reached(tmp_path, card):
    (tmp_path / "text.nef").write_text("no photograph")
    calls = []
    take([card, tmp_path / "text.nef"], tmp_path, on_progress=lambda *call: calls.append(call))
    assert len(calls) == 7
    assert calls[-1][:2] == (6, 6)
    assert sum(reason is not None for *_, reason in calls) == 1
    for done, total, path, _ in calls:
        assert 0 <= done <= total <= 7 and path.is_file()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"paths": ["/nowhere/at/all"]}, "/nowhere/at/all: no such file or folder"),
        ({"paths": []}, "no RAW files in"),
        ({"paths": [Path(__file__).parent]}, "no RAW files in .*looked for .*.cr2"),
        ({"limit": 0}, "limit 0"),
        ({"name": "a/b"}, "camera name 'a/b'"),
        ({"name": ""}, "camera name ''"),
        ({"name": ".."}, "camera name '..'"),
        ({"demosaic": "menon"}, "holds bilinear targets"),
    ],
)
def test_wrong_requests_are_one_clear_line(tmp_path, card, settings, message):
    take([card / "DCIM0"], tmp_path, limit=1)
    request = {"name": "camera", "paths": [card], "root": tmp_path, "demosaic": "bilinear", "workers": 0}
    with pytest.raises(ValueError, match=message) as error:
        import_camera(**request | settings)
    assert "\n" not in str(error.value)


def shots(folder: Path, counts: dict[str, int], seed: int = 0) -> Path:
    """A folder with photographs of several cameras, whose names give nothing away."""
    for preset, count in counts.items():
        for _ in range(count):
            photo(folder / f"IMG_{seed:04d}.dng", seed, camera=PRESETS[preset])
            seed += 1
    return folder


@pytest.mark.parametrize("first", range(6))
def test_of_two_cameras_the_one_of_most_files_is_imported(tmp_path, first):
    """Whichever file is opened first, and the others are named with their camera."""
    folder = shots(tmp_path / "raw", {"sim-rggb": 2, "sim-gbrg": 3})
    imported = take([folder], tmp_path, seed=first)
    assert len(imported) == 3 and Pairs.open(imported.folder).camera == "Simulated G1"
    assert set(reasons(imported)) == {"IMG_0000.dng", "IMG_0001.dng"}
    assert all(reason.startswith("camera is Simulated R1, but Simulated G1") for _, reason in imported.refused)
    shots(folder, {"sim-rggb": 9}, seed=5)  # what is stored stays the camera, though others are more now
    again = take([folder], tmp_path, seed=first)
    assert len(again) == 3 and len(again.refused) == 11
    assert Index.read(imported.folder).refused == (), "another call may choose otherwise"


@pytest.mark.parametrize("model", ["Simulated R1", "r1", "simulated  r1"])
def test_the_model_asked_for_is_imported(tmp_path, model):
    folder = shots(tmp_path / "raw", {"sim-rggb": 2, "sim-gbrg": 3})
    imported = take([folder], tmp_path, model=model)
    assert len(imported) == 2 and Pairs.open(imported.folder).camera == "Simulated R1"
    assert len(imported.refused) == 3
    with pytest.raises(
        ValueError, match="'G1' does not name the camera: the images stored already are of Simulated R1"
    ):
        take([folder], tmp_path, model="G1")
    with pytest.raises(ValueError, match=r"'D90' .* of Simulated G1 \(3\), Simulated R1 \(2\)"):
        take([folder], tmp_path / "new", model="D90")


def test_equally_many_files_of_two_cameras_are_a_question(tmp_path):
    folder = shots(tmp_path / "raw", {"sim-rggb": 2, "sim-gbrg": 2})
    with pytest.raises(
        ValueError, match=r"Simulated R1 \(2\), Simulated G1 \(2\)|Simulated G1 \(2\), Simulated R1 \(2\)"
    ):
        take([folder], tmp_path)
    assert not (tmp_path / "camera").exists()
    assert len(take([folder], tmp_path, model="R1")) == 2


def test_damaged_files_have_no_vote(tmp_path):
    folder = shots(tmp_path / "raw", {"sim-rggb": 1})
    for i in range(3):
        (folder / f"{i}.NEF").write_text("no photograph")
    assert len(take([folder], tmp_path)) == 1


def test_bodies_of_one_model_are_counted(tmp_path):
    for body, count in ((1, 2), (22, 1)):
        shots(tmp_path / "raw" / str(body), {"sim-gbrg": 0})
        for i in range(count):
            photo(tmp_path / "raw" / str(body) / f"{i}.dng", 10 * body + i, camera=replace(CAMERA, body=body))
    imported = take([tmp_path / "raw" / "1"], tmp_path)
    assert imported.bodies == {"1": 2}
    assert take([tmp_path / "raw" / "22"], tmp_path).bodies == {"1": 2, "22": 1}, "also those of earlier calls"
    shutil.rmtree(tmp_path / "raw" / "1")
    assert take([tmp_path / "raw"], tmp_path).bodies == {"22": 1}


@pytest.mark.parametrize("where", [b"caf\xe9.dng", b"caf\xe9/IMG.dng"], ids=["file", "folder"])
def test_a_name_that_is_no_utf8_is_refused_alone(tmp_path, card, where):
    """Names are bytes; an old memory card or archive holds some in Latin-1."""
    folder = tmp_path / "raw"
    shutil.copytree(card, folder)
    photo(folder / os.fsdecode(where), seed=50)
    imported = take([folder], tmp_path)
    assert len(imported) == 6
    [(path, reason)] = imported.refused
    assert path == folder / os.fsdecode(where) and "no UTF-8" in reason
    (imported.folder / "index.json").read_bytes().decode("ascii")
    assert "udce9" not in (imported.folder / "index.json").read_text()
    assert len(take([folder / os.fsdecode(where)], tmp_path).refused) == 1
    (folder / os.fsdecode(where)).rename(folder / "renamed.dng")
    assert len(take([folder], tmp_path)) == 7


def test_files_count_by_their_content_too(tmp_path, card):
    folder = tmp_path / "raw"
    shutil.copytree(card, folder)
    shutil.move(folder / "DCIM0" / "IMG_0000.DNG", folder / "a photograph")
    shutil.move(folder / "DCIM0" / "IMG_0001.DNG", folder / "b.raw")
    (folder / "headerless.raw").write_bytes(bytes(range(256)) * 96)
    Image.new("RGB", (48, 32)).save(folder / "a.tif")
    imported = take([folder], tmp_path)
    assert len(imported) == 6
    assert list(reasons(imported)) == ["headerless.raw"] and "not a RAW file" in reasons(imported)["headerless.raw"]


def test_refusals_by_older_rules_are_tried_again(tmp_path, card):
    """An index written before the rules changed has no number beside its refusals."""
    folder = tmp_path / "raw"
    shutil.copytree(card / "DCIM0", folder)
    (folder / "text.nef").write_text("no photograph")
    imported = take([folder], tmp_path)
    index = json.loads((imported.folder / "index.json").read_text())
    del index["refused"][0]["rules"]
    (imported.folder / "index.json").write_text(json.dumps(index))
    opened = []
    again = take([folder], tmp_path, on_progress=lambda done, total, path, reason: opened.append(path.name))
    assert opened == ["text.nef"] and len(again.refused) == 1
    assert [refusal.rules for refusal in Index.read(imported.folder).refused] == [RULES]
    opened.clear()
    take([folder], tmp_path, on_progress=lambda done, total, path, reason: opened.append(path.name))
    assert opened == []


def test_a_file_that_cannot_be_read_is_tried_again(tmp_path, card, monkeypatch):
    shutil.copytree(card / "DCIM0", tmp_path / "raw")

    def fail(path, tags=frozenset()):
        raise OSError(5, "Input/output error", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("cameras.raw.read_container", fail)
        imported = take([tmp_path / "raw"], tmp_path)
    assert set(reasons(imported).values()) == {"Input/output error"}
    assert len(take([tmp_path / "raw"], tmp_path)) == 3


def test_a_file_reached_twice_is_taken_once(card, tmp_path):
    link = tmp_path / "link.dng"
    link.symlink_to(card / "DCIM0" / "IMG_0000.DNG")
    assert len(raw_files([card, card / "DCIM0", link])) == 6


KILLED = """
import multiprocessing, sys, time
from cameras.importing import import_camera

def slowly(done, total, path, refused):
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    time.sleep(0.3)

if __name__ == "__main__":
    import_camera("camera", [sys.argv[1]], sys.argv[2], demosaic="bilinear", workers=1, on_progress=slowly)
"""


def test_an_import_killed_in_the_middle_goes_on(tmp_path, card):
    """kill -9; the same call again ends with the very pairs of an import that was never stopped."""
    script = tmp_path / "script.py"
    script.write_text(KILLED)
    process = subprocess.Popen(
        [sys.executable, script, card, tmp_path],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(importing.__file__).parents[1])},
    )
    process.stdout.readline()
    workers = [int(pid) for pid in process.stdout.readline().split()]
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = Pairs.open(tmp_path / "camera")
    assert 2 <= len(left) < 6
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in workers):
        assert time.monotonic() < deadline, "workers outlive their parent"
        time.sleep(0.05)
    for file in ("bayer.u16", "target.u8"):
        with (tmp_path / "camera" / file).open("ab") as stream:
            stream.write(b"half an image")

    resumed = take([card], tmp_path)
    assert resumed.already == len(left) and len(resumed) == 6
    never_stopped = take([card], tmp_path / "calm")
    for file in ("bayer.u16", "target.u8", "index.json"):
        assert (resumed.folder / file).read_bytes() == (never_stopped.folder / file).read_bytes()


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def develop_or_die(path: str, *settings):
    """Stands in for `_develop` in the workers: LibRaw brought down by a file."""
    if Path(path).name == "deadly.dng":
        os._exit(139)
    return DEVELOP(path, *settings)


DEVELOP = importing._develop


def test_a_file_that_kills_its_worker_is_refused_alone(tmp_path, card, monkeypatch):
    shutil.copytree(card, tmp_path / "card")
    photo(tmp_path / "card" / "deadly.dng", seed=100)
    monkeypatch.setattr(importing, "_develop", develop_or_die)
    imported = take([tmp_path / "card"], tmp_path, workers=1)
    assert len(imported) == 6
    assert list(reasons(imported)) == ["deadly.dng"] and "crashed" in reasons(imported)["deadly.dng"]
    assert Index.read(imported.folder).refused == ()  # it may have been the memory: the next call tries again


class Pool(Executor):
    """Runs each function when it is submitted, or breaks: one entry of `plan` for each call of `submit`."""

    def __init__(self, plan):
        self.plan = plan

    def submit(self, fn, /, *args):
        step, future = self.plan.pop(0), Future()
        if step == "broken before":
            raise BrokenProcessPool
        if step == "dies":
            future.set_exception(BrokenProcessPool())
        else:
            future.set_result(fn(*args))
        return future


def test_a_pool_that_breaks_while_idle_blames_no_file(tmp_path, card, monkeypatch):
    """A worker dies with two files under way. They are taken again, and between them the new worker dies as well."""
    plan = ["dies", "dies", "runs", "broken before", *["runs"] * 5]
    monkeypatch.setattr(importing, "_pool", lambda workers: Pool(plan))
    imported = take([card], tmp_path, workers=1)
    assert plan == [] and len(imported) == 6 and imported.refused == ()


@pytest.mark.parametrize("pattern, limit, cfa, size", [
    ("canon-eos-30d*", 5, "RGGB", (1174, 1761)), ("nikon-d5000*", 2, "GBRG", (1434, 2155)),
])  # fmt: skip
def test_real_raw_files(tmp_path, shared_raw, pattern, limit, cfa, size):
    files = sorted(shared_raw.glob(pattern))
    (tmp_path / "text.NEF").write_text("no photograph")
    truncated = tmp_path / f"truncated{files[0].suffix}"
    truncated.write_bytes(files[0].read_bytes()[:1_000_000])
    imported = take([*files, tmp_path], tmp_path / "root", limit=limit, demosaic="menon")
    assert len(imported) == min(limit, len(files))
    assert set(reasons(imported)) <= {"text.NEF", truncated.name}
    if limit > len(files):  # every file had to be looked at
        assert set(reasons(imported)) == {"text.NEF", truncated.name}
    pairs = Pairs.open(imported.folder)
    assert pairs.cfa == cfa and (int(pairs.height[0]), int(pairs.width[0])) == size
    # The target shows what the Bayer stack shows, at the same place: its green is the greens, gamma-encoded.
    bayer, target = (part[..., : 2 * 500, : 2 * 500] for part in pairs.image(0))
    greens = bayer[:, 1:3, :500, :500].mean(1, keepdim=True) ** (1 / 2.2)
    shown = F.avg_pool2d(target[:, 1:2], 2)
    assert correlation(greens, shown) > 0.98
    assert correlation(greens, shown) > correlation(greens[..., 1:], shown[..., :-1]) + 1e-3


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack((a.flatten(), b.flatten())))[0, 1])
