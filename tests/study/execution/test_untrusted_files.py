"""Files that somebody else has put into the storage: nothing in them is ever run; at worst they are refused.

A checksum protects from accidents only: whoever forges a file knows how to write one. No check can find a file of the
right form with wrong numbers: whoever may write to the storage can spoil results, but cannot run code.
"""

import io
import json
import math
import pickle
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forgery import KEY, SHA256, Small, altered, fill, little_memory, places
from safetensors.torch import save

import models
from cameras.pairs import Pairs, verify
from models import tensorfile
from study.execution.delivery import FILE, FOLDER, deliver
from study.settings import StudyError
from study.storage import Storage, cache

# --- Bait: files that do something when they are unpickled ---


class Trap:
    """Its unpickling creates a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (Path.touch, (self.marker,))


def as_pickle(trap: Trap) -> bytes:
    return pickle.dumps(trap)


def as_torch(trap: Trap) -> bytes:
    file = io.BytesIO()
    torch.save(trap, file)
    return file.getvalue()


def as_numpy(trap: Trap) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([trap], dtype=object), allow_pickle=True)
    return file.getvalue()


BAITS: dict[str, tuple[Callable[[Trap], bytes], Callable[[bytes], object]]] = {
    "pickle": (as_pickle, pickle.loads),
    "torch": (as_torch, lambda content: torch.load(io.BytesIO(content), weights_only=False)),
    "numpy": (as_numpy, lambda content: np.load(io.BytesIO(content), allow_pickle=True)),
}


@pytest.mark.parametrize("bait", BAITS)
def test_the_bait_is_dangerous(bait: str, tmp_path: Path) -> None:
    make, swallow = BAITS[bait]
    content = make(Trap(tmp_path / "marker"))
    assert not (tmp_path / "marker").exists()
    swallow(content)
    assert (tmp_path / "marker").exists()


# What the project reads from a storage, by the file's name.
READERS: dict[str, Callable[[Path], object]] = {
    "nips/camera-INet-01234567.safetensors": lambda path: models.load(path),
    f"checkpoints/{KEY}-000000300.safetensors": lambda path: Small(0).load(path),
    "cameras/camera/index.json": lambda path: Pairs.open(path.parent),
    "cameras/camera/bayer.u16": lambda path: verify(path.parent),
    "cameras/camera/target.u8": lambda path: verify(path.parent),
    f"{FOLDER}/{KEY}/{FILE}": lambda path: deliver(Storage(str(path.parents[2])), Any, "0", {KEY: KEY}),
}
# What it copies to a machine's cache first.
CACHED: dict[str, Callable[[Path], object]] = {
    "nips/camera-INet-89abcdef.safetensors": lambda path: cache.nip(
        Storage(str(path.parents[1])), path.parents[1] / "copies", f"nips/{path.name}", SHA256
    ),
    "cameras/camera/index.json": lambda path: cache.camera(
        Storage(str(path.parents[2])), path.parents[2] / "copies", "camera", SHA256
    ),
}


@pytest.mark.parametrize("bait", BAITS)
@pytest.mark.parametrize(("name", "read"), [*READERS.items(), *CACHED.items()])
def test_nothing_in_the_storage_is_unpickled(
    name: str, read: Callable[[Path], object], bait: str, tmp_path: Path
) -> None:
    fill(tmp_path)
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    content = BAITS[bait][0](Trap(tmp_path / "marker"))
    size = path.stat().st_size if path.exists() else 0
    path.write_bytes(content.ljust(size, b"\0"))  # pickles end before the file does: the size alone reveals nothing
    with pytest.raises(ValueError):
        read(path)
    assert not (tmp_path / "marker").exists()


# --- Results, pairs and weights ---


def result(key: str, *artifacts: str, run_key: str = KEY) -> bytes:
    """A pending result of a job."""
    description = {"key": key, "run_key": run_key, "kind": "trial", "name": "a trial", "params": {}, "tags": {}}
    ending = {"status": "FINISHED", "reason": None, "tags": {}}
    document = {"description": description, "metrics": [], "artifacts": artifacts, "ending": ending}
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    "name",
    [
        "../escaped",
        "a/../../escaped",
        "{elsewhere}/escaped",
        "..",
        ".",
        "",
        "a/..",
        "a/b/c",
        "a/",
        "/a",
        "a\n",
        "a/b\n",
    ],
)
def test_a_pending_result_writes_nothing_outside_its_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its artifacts are copied to the driver's machine, under the names that it lists."""
    elsewhere = tmp_path / "temporary" / "elsewhere"
    elsewhere.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    name = name.format(elsewhere=elsewhere)
    storage = Storage(str(tmp_path / "storage"))
    storage.write(f"{FOLDER}/{KEY}/{FILE}", result(KEY, name))
    source = tmp_path / "storage" / f"{FOLDER}/{KEY}/{name}"
    if not source.exists():
        source.parent.mkdir(parents=True, exist_ok=True)
        with suppress(IsADirectoryError):
            source.write_bytes(b"escaped")
    with pytest.raises(StudyError, match="is damaged"):
        deliver(storage, Any, "0", {KEY: KEY})
    assert [path for path in (tmp_path / "temporary").rglob("*") if path != elsewhere] == []


@pytest.mark.parametrize("keys", [(SHA256[:32], KEY), (KEY, SHA256[:32])], ids=["another job", "another run"])
def test_a_pending_result_is_of_its_own_job(keys: tuple[str, str], tmp_path: Path) -> None:
    """Or a result could be slipped in for another job, or into another run."""
    storage = Storage(str(tmp_path))
    storage.write(f"{FOLDER}/{KEY}/{FILE}", result(keys[0], run_key=keys[1]))
    with pytest.raises(StudyError, match="is damaged"):
        deliver(storage, Any, "0", {KEY: KEY})


ODDITIES = [None, True, 0, -1, 2.0, 1.5, 10**30, -(10**30), math.nan, "", "5", "\ud800", "RGGB", [], {}, [1], {"a": 1}]


def test_an_altered_index(tmp_path: Path) -> None:
    """The index of a camera's pairs is refused, or the memory that it describes is there."""
    fill(tmp_path)
    folder = tmp_path / "cameras" / "camera"
    document = json.loads((folder / "index.json").read_text())
    for place in places({**document, "images": document["images"][:2]}):
        for value in ODDITIES:
            (folder / "index.json").write_text(json.dumps(altered(document, place, value)))
            with suppress(ValueError), little_memory():
                pairs = Pairs.open(folder)
                pairs.image(0)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 5_000 + "1" + "}" * 5_000, "1" * 5_000])
def test_an_index_that_no_parser_can_take(text: str, tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "cameras" / "camera" / "index.json").write_text(text)
    with pytest.raises(ValueError, match="is damaged"):
        Pairs.open(tmp_path / "cameras" / "camera")


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"name": "INet"},
        {"name": [], "settings": {}},
        {"name": "INet", "settings": None},
        {"name": "INet", "settings": [1]},
        {"name": "INet", "settings": {"cfa": 3}},
        {"name": "INet", "settings": {"cfa": "RGGB", "cam2srgb": "x"}},
        {"name": "INet", "settings": {"cam2srgb": {"a": 1}}},
        {"name": "UNet", "settings": {"generator": 5}},
        {"name": "INet", "settings": {"name": "UNet"}},
        {"name": "ClassicISP", "settings": {"filters": "many"}},
        {"name": "ClassicISP", "settings": {"filters": -1}},
        {"name": "ClassicISP", "settings": {"filters": 2**62}},
        {"name": "__class__", "settings": {}},
    ],
)
def test_weights_that_build_nothing(document: Any, tmp_path: Path) -> None:
    weights = models.build("INet").state_dict()
    tensorfile.write(tmp_path / "nip.safetensors", "weights", weights, document)
    with little_memory(), pytest.raises(ValueError):
        models.load(tmp_path / "nip.safetensors")


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64, torch.complex64])
@pytest.mark.parametrize("kind", ["weights", "checkpoint", ["weights"], None])
def test_weights_of_another_kind(kind: Any, dtype: torch.dtype, tmp_path: Path) -> None:
    weights = {"a": torch.zeros(2, dtype=dtype)}
    tensorfile.write(tmp_path / "nip.safetensors", kind, weights, {"name": "INet", "settings": {}})
    with pytest.raises(ValueError):
        models.load(tmp_path / "nip.safetensors")


def test_plain_safetensors_are_no_weights(tmp_path: Path) -> None:
    (tmp_path / "nip.safetensors").write_bytes(save(models.build("INet").state_dict()))
    with pytest.raises(ValueError, match="no weights file"):
        models.load(tmp_path / "nip.safetensors")
