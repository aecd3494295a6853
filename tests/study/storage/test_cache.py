"""Each machine copies what it needs once, and never trusts what an earlier attempt has left."""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from small_study import Data

from cameras.pairs import Pairs, verify
from study.jobs import Place, file_sha256
from study.storage import Storage
from study.storage import cache as staging

FORK = multiprocessing.get_context("fork")  # the child sees what is patched here


@pytest.fixture
def place(storage: Storage, data: Data, tmp_path: Path) -> Place:
    """On a machine that has nothing yet, beside a storage that has it all."""
    data.put(storage)
    return Place(storage=storage.uri, staging=tmp_path / "staging", tracking_uri="", experiment_id="")


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], list[list]]:
    """All downloads of this process and its children: name, and bytes that were there before."""
    log, download = tmp_path / "downloads", Storage.download

    def logged(storage: Storage, name: str, path: Path) -> None:
        there = path.stat().st_size if path.exists() else 0
        with log.open("a") as file:
            file.write(json.dumps([Path(name).name, there]) + "\n")
        download(storage, name, path)

    monkeypatch.setattr(Storage, "download", logged)
    log.touch()
    return lambda: [json.loads(line) for line in log.read_text().splitlines()]


in_a_folder = pytest.mark.parametrize("storage", ["folder"], indirect=True)
WHOLE = [["bayer.u16", 0], ["target.u8", 0]]  # downloads of a camera from nothing


def part_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.part")


def copies(place: Place) -> list[Path]:
    """Whole ones and those in part."""
    return sorted(path for path in place.staging.glob("*/*") if path.is_dir())


def test_staged_once(place: Place, data: Data, downloads: Callable[[], list[list]]) -> None:
    folder = staging.camera(place, data.camera, data.fingerprint)
    assert Pairs.open(folder).data_hash == data.fingerprint
    verify(folder)
    weights = staging.nip(place, data.nip, data.nip_sha256)
    assert file_sha256(weights) == data.nip_sha256
    assert folder.is_relative_to(place.staging)
    assert weights.is_relative_to(place.staging)
    before = downloads()
    assert before == [*WHOLE, ["nip.safetensors", 0]]
    assert staging.camera(place, data.camera, data.fingerprint) == folder
    assert staging.nip(place, data.nip, data.nip_sha256) == weights
    assert downloads() == before
    assert copies(place) == [folder, weights.parent]


@in_a_folder
def test_what_is_read_in_place_is_not_copied(place: Place, data: Data, downloads: Callable[[], list[list]]) -> None:
    in_place = place.model_copy(update={"staging": None})
    assert staging.camera(in_place, data.camera, data.fingerprint) == Path(place.storage) / "cameras" / data.camera
    assert staging.nip(in_place, data.nip, data.nip_sha256) == Path(place.storage) / data.nip
    assert downloads() == []
    with pytest.raises(ValueError, match=f"{data.nip} is not the file that the trial was planned with"):
        staging.nip(in_place, data.nip, "0" * 64)


@in_a_folder
def test_two_processes_at_once_download_once(
    place: Place, data: Data, downloads: Callable[[], list[list]], monkeypatch: pytest.MonkeyPatch
) -> None:
    both_begun, locked = FORK.Barrier(2), staging._locked

    def after_both(path: Path) -> AbstractContextManager[None]:
        both_begun.wait(30)  # neither has found a copy
        return locked(path)

    monkeypatch.setattr(staging, "_locked", after_both)
    processes = [
        FORK.Process(target=staging.camera, args=(place, data.camera, data.fingerprint), daemon=True) for _ in "ab"
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert downloads() == WHOLE
    verify(staging.camera(place, data.camera, data.fingerprint))


@in_a_folder
def test_killed_in_the_middle_goes_on(
    place: Place, data: Data, downloads: Callable[[], list[list]], monkeypatch: pytest.MonkeyPatch
) -> None:
    download = Storage.download

    def killed(storage: Storage, name: str, path: Path) -> None:
        if name.endswith("target.u8"):
            path.write_bytes(storage.read(name)[:1000])
            os.kill(os.getpid(), signal.SIGKILL)
        download(storage, name, path)

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "download", killed)
        process = FORK.Process(target=staging.camera, args=(place, data.camera, data.fingerprint), daemon=True)
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
    size = Storage(place.storage).size(f"cameras/{data.camera}/bayer.u16")
    verify(staging.camera(place, data.camera, data.fingerprint))
    assert downloads() == [["bayer.u16", 0], ["bayer.u16", size], ["target.u8", 1000]]


@pytest.mark.parametrize("left", [b"too short, and wrong", b"too long" * 100_000], ids=["short", "long"])
def test_a_copy_in_part_that_is_wrong_is_made_anew(
    place: Place, data: Data, downloads: Callable[[], list[list]], left: bytes
) -> None:
    folder = place.staging / "cameras" / f"{data.camera}-{data.fingerprint[:16]}"
    part_of(folder).mkdir(parents=True)
    (part_of(folder) / "bayer.u16").write_bytes(left)
    assert staging.camera(place, data.camera, data.fingerprint) == folder
    verify(folder)
    assert downloads() == [["bayer.u16", len(left)], ["target.u8", 0], *WHOLE]

    weights = place.staging / "nips" / data.nip_sha256[:16] / "nip.safetensors"
    part_of(weights.parent).mkdir(parents=True)
    (part_of(weights.parent) / "nip.safetensors").write_bytes(left)
    assert staging.nip(place, data.nip, data.nip_sha256) == weights
    assert file_sha256(weights) == data.nip_sha256


@pytest.mark.parametrize("begun", [False, True])
def test_a_damaged_source_is_refused(place: Place, data: Data, begun: bool) -> None:
    storage, name = Storage(place.storage), f"cameras/{data.camera}/target.u8"
    sound = storage.read(name)
    storage.write(name, sound[:5000] + bytes([sound[5000] ^ 1]) + sound[5001:])
    if begun:
        part_of(place.staging / "cameras" / f"{data.camera}-{data.fingerprint[:16]}").mkdir(parents=True)
    with pytest.raises(ValueError, match="image 0 is damaged; remove the folder and import") as raised:
        staging.camera(place, data.camera, data.fingerprint)
    assert str(raised.value).startswith(storage.where(f"cameras/{data.camera}"))
    assert copies(place) == [], "nothing of it is kept"

    storage.write(name, sound[:-1])
    with pytest.raises(ValueError, match="bytes its index lists") as raised:
        staging.camera(place, data.camera, data.fingerprint)
    assert str(raised.value).startswith(storage.where(name))

    storage.write(name, sound)
    verify(staging.camera(place, data.camera, data.fingerprint))


def test_others_than_planned_are_refused(place: Place, data: Data) -> None:
    with pytest.raises(ValueError, match=r"pairs of camera are not those .* planned with: run the study again"):
        staging.camera(place, data.camera, "0" * 64)
    with pytest.raises(ValueError, match=r"nips/nip.safetensors is not the file .* planned with: run the study again"):
        staging.nip(place, data.nip, "0" * 64)
    assert copies(place) == []
    storage = Storage(place.storage)
    storage.write(f"cameras/{data.camera}/index.json", b"{}")
    with pytest.raises(ValueError, match=r"index.json is damaged"):
        staging.camera(place, data.camera, data.fingerprint)


def test_what_is_missing_is_not_found(place: Place, data: Data) -> None:
    storage = Storage(place.storage)
    for name in ("cameras/camera/target.u8", data.nip):
        storage.delete(name)
    with pytest.raises(FileNotFoundError):
        staging.camera(place, data.camera, data.fingerprint)
    with pytest.raises(FileNotFoundError):
        staging.nip(place, data.nip, data.nip_sha256)
    data.put(storage)
    verify(staging.camera(place, data.camera, data.fingerprint))
    assert staging.nip(place, data.nip, data.nip_sha256).exists()


@in_a_folder
def test_a_copy_takes_its_place_only_once_it_is_on_disk(
    place: Place, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut must not leave a folder whose files are empty: nobody would look at their bytes again."""
    synced: set[str] = set()
    fsync, rename = os.fsync, Path.rename

    def logged(descriptor: int) -> None:
        synced.add(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def after_sync(path: Path, target: Path) -> Path:
        assert synced == {"index.json", "bayer.u16", "target.u8"} == {file.name for file in path.iterdir()}
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", logged)
    monkeypatch.setattr(Path, "rename", after_sync)
    verify(staging.camera(place, data.camera, data.fingerprint))
    assert synced
