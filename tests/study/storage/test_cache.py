"""Each machine copies what it needs once, and never trusts what an earlier attempt left."""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from small_study import Data

from cameras.pairs import Pairs, verify
from study.storage import Storage, cache
from study.storage.cache import file_sha256

FORK = multiprocessing.get_context("fork")  # the child sees what is patched here


@pytest.fixture
def full(storage: Storage, data: Data) -> Storage:
    """A storage that has the camera and the NIP."""
    data.put(storage)
    return storage


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The cache of a machine that has no copies yet."""
    return tmp_path / "cache"


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], list[list]]:
    """All downloads of this process and its children: name, and number of bytes that were there before."""
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


def copies(folder: Path) -> list[Path]:
    """Complete and partial copies in a cache."""
    return sorted(path for path in folder.glob("*/*") if path.is_dir())


def test_copied_once(full: Storage, folder: Path, data: Data, downloads: Callable[[], list[list]]) -> None:
    pairs = cache.camera(full, folder, data.camera, data.data_hash)
    assert Pairs.open(pairs).data_hash == data.data_hash
    verify(pairs)
    weights = cache.nip(full, folder, data.nip, data.nip_sha256)
    assert file_sha256(weights) == data.nip_sha256
    assert pairs.is_relative_to(folder)
    assert weights.is_relative_to(folder)
    before = downloads()
    assert before == [*WHOLE, ["nip.safetensors", 0]]
    assert cache.camera(full, folder, data.camera, data.data_hash) == pairs
    assert cache.nip(full, folder, data.nip, data.nip_sha256) == weights
    assert downloads() == before
    assert copies(folder) == [pairs, weights.parent]


@in_a_folder
def test_without_a_cache_nothing_is_copied(full: Storage, data: Data, downloads: Callable[[], list[list]]) -> None:
    assert cache.camera(full, None, data.camera, data.data_hash) == full.folder / "cameras" / data.camera
    assert cache.nip(full, None, data.nip, data.nip_sha256) == full.folder / data.nip
    assert downloads() == []
    with pytest.raises(ValueError, match=f"{data.nip} is not the file that the trial was planned with"):
        cache.nip(full, None, data.nip, "0" * 64)


@in_a_folder
def test_two_processes_at_once_download_once(
    full: Storage, folder: Path, data: Data, downloads: Callable[[], list[list]], monkeypatch: pytest.MonkeyPatch
) -> None:
    both_started = FORK.Barrier(2)

    class LockAfterBoth(FileLock):
        def acquire(self, *arguments: object, **options: object) -> object:
            both_started.wait(30)  # neither has found a copy
            return super().acquire(*arguments, **options)

    monkeypatch.setattr(cache, "FileLock", LockAfterBoth)
    arguments = (full, folder, data.camera, data.data_hash)
    processes = [FORK.Process(target=cache.camera, args=arguments, daemon=True) for _ in "ab"]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert downloads() == WHOLE
    verify(cache.camera(*arguments))


@in_a_folder
def test_a_killed_copy_is_resumed(
    full: Storage, folder: Path, data: Data, downloads: Callable[[], list[list]], monkeypatch: pytest.MonkeyPatch
) -> None:
    download = Storage.download

    def killed(storage: Storage, name: str, path: Path) -> None:
        if name.endswith("target.u8"):
            path.write_bytes(storage.read(name)[:1000])
            os.kill(os.getpid(), signal.SIGKILL)
        download(storage, name, path)

    arguments = (full, folder, data.camera, data.data_hash)
    with monkeypatch.context() as patch:
        patch.setattr(Storage, "download", killed)
        process = FORK.Process(target=cache.camera, args=arguments, daemon=True)
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
    size = full.size(f"cameras/{data.camera}/bayer.u16")
    verify(cache.camera(*arguments))
    assert downloads() == [["bayer.u16", 0], ["bayer.u16", size], ["target.u8", 1000]]


@pytest.mark.parametrize("left", [b"too short, and wrong", b"too long" * 100_000], ids=["short", "long"])
def test_a_wrong_partial_copy_is_made_anew(
    full: Storage, folder: Path, data: Data, downloads: Callable[[], list[list]], left: bytes
) -> None:
    pairs = folder / "cameras" / f"{data.camera}-{data.data_hash[:16]}"
    part_of(pairs).mkdir(parents=True)
    (part_of(pairs) / "bayer.u16").write_bytes(left)
    assert cache.camera(full, folder, data.camera, data.data_hash) == pairs
    verify(pairs)
    assert downloads() == [["bayer.u16", len(left)], ["target.u8", 0], *WHOLE]

    weights = folder / "nips" / data.nip_sha256[:16] / "nip.safetensors"
    part_of(weights.parent).mkdir(parents=True)
    (part_of(weights.parent) / "nip.safetensors").write_bytes(left)
    assert cache.nip(full, folder, data.nip, data.nip_sha256) == weights
    assert file_sha256(weights) == data.nip_sha256


@pytest.mark.parametrize("partial", [False, True])
def test_a_damaged_source_is_refused(full: Storage, folder: Path, data: Data, partial: bool) -> None:
    name = f"cameras/{data.camera}/target.u8"
    sound = full.read(name)
    full.write(name, sound[:5000] + bytes([sound[5000] ^ 1]) + sound[5001:])
    if partial:
        part_of(folder / "cameras" / f"{data.camera}-{data.data_hash[:16]}").mkdir(parents=True)
    with pytest.raises(ValueError, match="image 0 is damaged; remove the folder and import") as raised:
        cache.camera(full, folder, data.camera, data.data_hash)
    assert str(raised.value).startswith(full.where(f"cameras/{data.camera}"))
    assert copies(folder) == [], "nothing of it is kept"

    full.write(name, sound[:-1])
    with pytest.raises(ValueError, match="bytes its index lists") as raised:
        cache.camera(full, folder, data.camera, data.data_hash)
    assert str(raised.value).startswith(full.where(name))

    full.write(name, sound)
    verify(cache.camera(full, folder, data.camera, data.data_hash))


def test_other_files_than_planned_are_refused(full: Storage, folder: Path, data: Data) -> None:
    with pytest.raises(ValueError, match=r"pairs of camera are not those .* planned with: run the study again"):
        cache.camera(full, folder, data.camera, "0" * 64)
    with pytest.raises(ValueError, match=r"nips/nip.safetensors is not the file .* planned with: run the study again"):
        cache.nip(full, folder, data.nip, "0" * 64)
    assert copies(folder) == []
    full.write(f"cameras/{data.camera}/index.json", b"{}")
    with pytest.raises(ValueError, match=r"index.json is damaged"):
        cache.camera(full, folder, data.camera, data.data_hash)


def test_missing_files_are_not_found(full: Storage, folder: Path, data: Data) -> None:
    for name in ("cameras/camera/target.u8", data.nip):
        full.delete(name)
    with pytest.raises(FileNotFoundError):
        cache.camera(full, folder, data.camera, data.data_hash)
    with pytest.raises(FileNotFoundError):
        cache.nip(full, folder, data.nip, data.nip_sha256)
    data.put(full)
    verify(cache.camera(full, folder, data.camera, data.data_hash))
    assert cache.nip(full, folder, data.nip, data.nip_sha256).exists()


@in_a_folder
def test_a_copy_gets_its_name_only_once_it_is_on_disk(
    full: Storage, folder: Path, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut must not leave a folder whose files are empty: nobody would read their bytes again."""
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
    verify(cache.camera(full, folder, data.camera, data.data_hash))
    assert synced
