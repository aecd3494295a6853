"""Files that somebody else has put into the storage: nothing in them is ever run, and at worst they are refused.

A checksum protects from accidents only, and these strangers know how to write one. What no check can find is a file
of the right form with wrong numbers: whoever may write to the storage can spoil results, but cannot run code.
"""

import ast
import copy
import io
import json
import math
import pickle
import resource
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor

import models
from cameras.pairs import Pairs, append, split, verify
from forensics import train
from forensics.trial import Split, Training, Trial, Validation
from models import tensorfile
from models.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from models.pretrain import Pretraining, pretrain
from study.execution import delivery as outbox
from study.jobs import Place
from study.storage import Storage
from study.storage import cache as staging

ROOT = Path(__file__).resolve().parents[3]


# --- Bait: files that do something when they are unpickled ---


class Trap:
    """Whoever unpickles it makes a file."""

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


def as_yaml(trap: Trap) -> bytes:
    return f"!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{trap.marker}']]".encode()


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


def fill(storage: Path) -> None:
    """A camera of four photographs, in the storage's own folders."""
    for number in range(4):
        bayer, target = np.random.default_rng(number), np.random.default_rng(9 + number)
        append(
            storage / "cameras" / "camera",
            f"{number}.dng",
            bayer.random((48, 64, 4), dtype=np.float32),
            target.random((96, 128, 3), dtype=np.float32),
            cfa="GBRG",
            cam2srgb=np.eye(3),
            camera="Camera",
        )


def staged(storage: Path, read: Callable[[Place], object]) -> object:
    place = Place(storage=str(storage), staging=storage / "copies", tracking_uri="sqlite://", experiment_id="0")
    return read(place)


KEY, SHA256 = "0123456789abcdef" * 2, "0" * 64

# What the project reads from a storage, by the file's name.
READERS: dict[str, Callable[[Path], object]] = {
    "nips/camera-INet-01234567.safetensors": lambda path: models.load(path),
    f"checkpoints/{KEY}-000000300.safetensors": lambda path: Small(0).load(path),
    "cameras/camera/index.json": lambda path: Pairs.open(path.parent),
    "cameras/camera/bayer.u16": lambda path: verify(path.parent),
    "cameras/camera/target.u8": lambda path: verify(path.parent),
    f"outbox/{KEY}/parcel.json": lambda path: outbox.deliver(Storage(str(path.parents[3])), Any, "0", [KEY]),
}
STAGED: dict[str, Callable[[Path], object]] = {
    "nips/camera-INet-89abcdef.safetensors": lambda path: staged(
        path.parents[1], lambda place: staging.nip(place, f"nips/{path.name}", SHA256)
    ),
    "cameras/camera/index.json": lambda path: staged(
        path.parents[3], lambda place: staging.camera(place, "camera", SHA256)
    ),
}


@pytest.mark.parametrize("bait", BAITS)
@pytest.mark.parametrize(("name", "read"), [*READERS.items(), *STAGED.items()])
def test_nothing_in_the_storage_is_unpickled(
    name: str, read: Callable[[Path], object], bait: str, tmp_path: Path
) -> None:
    fill(tmp_path)
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    content = BAITS[bait][0](Trap(tmp_path / "marker"))
    size = path.stat().st_size if path.exists() else 0
    path.write_bytes(content.ljust(size, b"\0"))  # pickles end before the file does: size alone gives nothing away
    with pytest.raises(ValueError):
        read(path)
    assert not (tmp_path / "marker").exists()


# --- Checkpoints of somebody else's making ---


class Small:
    """The parts of a training, small."""

    def __init__(self, seed: int) -> None:
        self.generators = {"patches": torch.Generator().manual_seed(seed)}
        self.module = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 1), torch.nn.BatchNorm2d(3))
        for parameter in self.module.parameters():
            torch.nn.init.uniform_(parameter, generator=self.generators["patches"])
        self.adam = torch.optim.Adam(self.module.parameters(), lr=1e-3, fused=True)
        self.step()

    def step(self) -> None:
        self.adam.zero_grad()
        self.module(torch.rand(2, 2, 3, 3, generator=self.generators["patches"])).square().mean().backward()
        self.adam.step()

    def parts(self) -> tuple[Any, ...]:
        return {"nip": self.module}, {"adam": self.adam}, self.generators, {"trial": {"lam": 0.1, "seed": 1}}

    def save(self, path: Path) -> None:
        save_checkpoint(path, *self.parts(), {"history": {2: {"accuracy": 0.5}}})

    def load(self, path: Path) -> dict[str, Any]:
        return load_checkpoint(path, *self.parts())

    def bits(self) -> list[Any]:
        tensors = [*self.module.state_dict().values(), self.generators["patches"].get_state()]
        tensors += [value for fields in self.adam.state_dict()["state"].values() for value in fields.values()]
        return [*(tensor.numpy().tobytes() for tensor in tensors), self.adam.state_dict()["param_groups"]]


@contextmanager
def little_memory(more: int = 256 * 2**20) -> Iterator[None]:
    """Whoever asks for so many bytes more than the process has now gets a MemoryError or a RuntimeError."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


intact: list[Small] = []  # making one takes longer than refusing a file


def refused(path: Path) -> bool:
    """Whether the checkpoint is: in that case it has changed nothing, else training goes on from it."""
    small = intact.pop() if intact else Small(1)
    before = small.bits()
    try:
        with little_memory():
            small.load(path)
    except CheckpointError:
        assert small.bits() == before
        intact.append(small)
        return True
    small.step()
    return False


@dataclass(frozen=True)
class Checkpoint:
    """A genuine one, and what it consists of."""

    path: Path
    content: bytes
    tensors: dict[str, Tensor]
    document: dict[str, Any]

    @property
    def header(self) -> dict[str, Any]:
        return json.loads(self.content[8 : 8 + struct.unpack("<Q", self.content[:8])[0]])

    def with_header(self, header: bytes | Mapping[str, Any]) -> bytes:
        """Its tensors under another safetensors header."""
        header = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(header)) + header + self.content[8 + struct.unpack("<Q", self.content[:8])[0] :]


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    path = tmp_path_factory.mktemp("genuine") / "checkpoint.safetensors"
    Small(0).save(path)
    return Checkpoint(path, path.read_bytes(), *tensorfile.read(path, "checkpoint"))


@pytest.fixture
def path(genuine: Checkpoint) -> Path:
    """Where somebody else's is put."""
    return genuine.path.with_name("forged.safetensors")


quick = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def test_a_genuine_one_is_taken(genuine: Checkpoint) -> None:
    assert not refused(genuine.path)


@quick
@given(content=st.binary(max_size=300), length=st.none() | st.integers(0, 2**64 - 1))
def test_random_bytes(genuine: Checkpoint, path: Path, content: bytes, length: int | None) -> None:
    path.write_bytes(content if length is None else struct.pack("<Q", length) + content)
    assert refused(path)


@quick
@given(data=st.data())
def test_truncated_or_with_flipped_bits(genuine: Checkpoint, path: Path, data: st.DataObject) -> None:
    content = bytearray(genuine.content)
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        for position in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=3, unique=True)):
            content[position] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    assert refused(path)


def claims(genuine: Checkpoint) -> Iterator[tuple[str, bytes]]:
    """Headers that promise more than there is, or more than a parser can take."""
    header, body = genuine.header, len(genuine.content)
    for length in (0, 2**31, 2**63, 2**64 - 1, 99_999_999):
        yield f"a header of {length} bytes", struct.pack("<Q", length) + genuine.content[8:]
    for shape in ([2**62], [2**31, 2**31, 2**31], [0, 2**62], [2**64], [-1], [1.5], ["1"]):
        for dtype in ("F32", "F4", "C64"):
            claimed = {"dtype": dtype, "shape": shape, "data_offsets": [0, 4]}
            yield f"a tensor of {shape} {dtype}", genuine.with_header({**header, "modules/nip/0.bias": claimed})
            yield (
                f"{shape} {dtype} at the end",
                genuine.with_header({**header, "x": {**claimed, "data_offsets": [body, 2**62]}}),
            )
    for depth in (500, 2_000, 100_000):
        for text in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth, "[" * depth):
            yield f"nested {depth} deep", genuine.with_header({**header, "__metadata__": {"json": text}})
            yield f"a header nested {depth} deep", genuine.with_header(text.encode())
    for text in ("null", "[]", "3", "{}", "1" * 5000, '{"sha256": 1, "kind": [], "document": {}}', '"\\ud800"'):
        yield f"metadata {text[:20]}", genuine.with_header({**header, "__metadata__": {"json": text}})
    yield "no metadata", genuine.with_header({key: value for key, value in header.items() if key != "__metadata__"})


def test_claims_that_do_not_hold(genuine: Checkpoint, path: Path) -> None:
    for claim, content in claims(genuine):
        path.write_bytes(content)
        assert refused(path), claim


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in nested JSON there is a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(deeper for key, part in inner for deeper in places(part, (*place, key)))]


def altered(document: Any, place: tuple[Any, ...], value: Any) -> Any:
    """The document with another value at a place."""
    if not place:
        return value
    document = copy.deepcopy(document)
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return document


@quick
@given(data=st.data())
def test_an_altered_document_under_its_own_checksum(genuine: Checkpoint, path: Path, data: st.DataObject) -> None:
    place = data.draw(st.sampled_from(places(genuine.document)))
    document = altered(genuine.document, place, data.draw(json_values))
    tensorfile.write(path, "checkpoint", genuine.tensors, document)
    refused(path)


@quick
@given(data=st.data())
def test_a_document_without_a_part(genuine: Checkpoint, path: Path, data: st.DataObject) -> None:
    *place, last = data.draw(st.sampled_from([place for place in places(genuine.document) if place]))
    document = copy.deepcopy(genuine.document)
    inner = document
    for key in place:
        inner = inner[key]
    del inner[last]
    tensorfile.write(path, "checkpoint", genuine.tensors, document)
    assert refused(path) or place[:1] == ["state"]  # the training's own word, which it checks itself


def test_other_tensors_under_their_own_checksum(genuine: Checkpoint, path: Path) -> None:
    """Every tensor missing, of every other type, and of other shapes: a wrong one would be written past its end."""
    for name, tensor in genuine.tensors.items():
        others = [None, tensor[None], torch.cat((tensor.reshape(-1), tensor.reshape(-1))), torch.zeros(0)]
        others += [torch.zeros(tensor.shape).to(dtype) for dtype in (*DTYPES - {tensor.dtype},)]
        others += [torch.tensor(1.0)] if tensor.ndim else []
        for other in others:
            tensors = {**genuine.tensors, name: other}
            if other is None:
                del tensors[name]
            tensorfile.write(path, "checkpoint", tensors, genuine.document)
            assert refused(path), (name, other)


DTYPES = {
    torch.float32,
    torch.float8_e4m3fn,
    torch.complex64,
    torch.int64,
    torch.uint8,
}


@pytest.mark.parametrize(
    "name",
    [
        "x",
        "",
        "modules/nip/9.bias",
        "generators/other",
        "optimisers/",
        "optimisers/adam/",
        "optimisers/adam/0",
        "optimisers/adam//",
        "optimisers/adam/9/exp_avg",
        "optimisers/adam/-1/exp_avg",
        "optimisers/adam/x/exp_avg",
        "optimisers/adam/0_0/exp_avg",
        "optimisers/adam/0/exp_avg/0",
        "optimisers/adam/0/max_exp_avg_sq",
        "optimisers/other/0/exp_avg",
    ],
)
def test_a_tensor_too_many(name: str, genuine: Checkpoint, path: Path) -> None:
    tensors = {**genuine.tensors, name: genuine.tensors["optimisers/adam/0/exp_avg"].clone()}
    tensorfile.write(path, "checkpoint", tensors, genuine.document)
    assert refused(path)


@quick
@given(state=st.binary(min_size=48, max_size=48), place=st.sampled_from([0, 2504, 5008]))
def test_any_state_of_a_generator(genuine: Checkpoint, path: Path, state: bytes, place: int) -> None:
    """Its first bytes say where in itself it reads."""
    tensors = copy.deepcopy(genuine.tensors)
    tensors["generators/patches"][place : place + 48] = torch.frombuffer(bytearray(state), dtype=torch.uint8)
    tensorfile.write(path, "checkpoint", tensors, genuine.document)
    refused(path)


# --- The trainings that are to go on from them ---


FIGURES = {"accuracy": 0.5, "psnr": 30.0, "ssim": 0.9, "loss_fan": 1.0, "loss_nip": 0.1}
TRIAL = Trial(
    "camera",
    "INet",
    0.1,
    split=Split(3, 1),
    training=Training(iterations=8, batch=1, patch=16),
    validation=Validation(every=2, accuracy_patches=1, fidelity_patches=1, textured=False),
)
PRETRAINED = {key: FIGURES[key] for key in ("loss_nip", "psnr", "ssim")}
PRETRAINING = Pretraining(patch=16, batch=1, max_iterations=8, check_every=2, validation_patch=16)

# A training's own word on its past; each of the first two has some past of the right form.
HISTORIES: list[Any] = [
    None,
    [],
    "2",
    {},
    {"first": ...},
    {"-2": ...},
    {"2.0": ...},
    {"10": ...},
    {"2": ..., "6": ...},
    {"2": ..., "x": ...},
    {"4": ...},
    {str(step): ... for step in range(0, 100, 2)},
    {"0": {}, "2": {}},
    {"0": None, "2": None},
    {"0": [1.0], "2": [1.0]},
    *(
        {"0": {**figures, "psnr": value}, "2": {**figures, "psnr": value}}
        for figures in (FIGURES, PRETRAINED)
        for value in (None, True, 10**400)
    ),
    {"0": {**PRETRAINED, "a/b\n": 1.0}},
    {"2": {**FIGURES, "a/b\n": 1.0}},
]


@dataclass(frozen=True)
class Resumable:
    """A training, what its first checkpoint holds, and how to go on from another."""

    path: Path
    tensors: dict[str, Tensor]
    document: dict[str, Any]
    resume: Callable[[Path, Callable[..., None]], object]


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Resumable]:
    storage = tmp_path_factory.mktemp("storage")
    fill(storage)
    pairs = Pairs.open(storage / "cameras" / "camera")
    nip = models.build("INet", cfa=pairs.cfa, cam2srgb=pairs.cam2srgb.tolist())
    images = split(pairs.names, 3, 1, 0)

    def run_trial(**options: Any) -> object:
        return train(TRIAL, pairs, nip, **options)

    def run_pretraining(**options: Any) -> object:
        return pretrain(copy.deepcopy(nip), pairs, *images, PRETRAINING, **options)

    made = {}
    for name, run in (("trial", run_trial), ("pre-training", run_pretraining)):
        path = storage / f"{name}.safetensors"
        run(on_checkpoint=lambda step, write, path=path: None if path.exists() else write(path))
        made[name] = Resumable(
            path.with_name("forged.safetensors"),
            *tensorfile.read(path, "checkpoint"),
            lambda path, on_metrics, run=run: run(resume=path, on_metrics=on_metrics),
        )
    return made


@pytest.mark.parametrize("name", ["trial", "pre-training"])
def test_a_past_that_no_training_has(name: str, trainings: dict[str, Resumable]) -> None:
    training = trainings[name]
    (first, figures), *_ = training.document["state"]["history"].items()
    told: list[Any] = []

    def resume(state: Any) -> None:
        tensorfile.write(training.path, "checkpoint", training.tensors, {**training.document, "state": state})
        training.resume(training.path, lambda *figures: told.append(figures))

    for history in HISTORIES:
        if isinstance(history, dict):
            history = {step: figures if past is ... else past for step, past in history.items()}
        if isinstance(history, dict) and (first, figures) in history.items() and len(history) == 1:
            continue  # that one is true
        with pytest.raises(CheckpointError, match=r"^[^\n]+$"):
            resume({"history": history})
            pytest.fail(f"went on from {history}")
    for state in (None, [], "history", 2, {}):
        with pytest.raises(CheckpointError, match=r"^[^\n]+$"):
            resume(state)
    assert not told, "figures of a refused checkpoint were logged"
    resume(training.document["state"])  # the genuine one
    assert told


@pytest.mark.parametrize("name", ["trial", "pre-training"])
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_altered_past(name: str, trainings: dict[str, Resumable], data: st.DataObject) -> None:
    """Refused, or gone on from to the end."""
    training = trainings[name]
    place = data.draw(st.sampled_from(places(training.document["state"])))
    state = altered(training.document["state"], place, data.draw(json_values))
    tensorfile.write(training.path, "checkpoint", training.tensors, {**training.document, "state": state})
    with suppress(CheckpointError):
        training.resume(training.path, lambda step, figures: None)


# --- Other files of somebody else's making ---


def parcel(key: str, *artifacts: str) -> bytes:
    description = {"key": key, "kind": "trial", "name": "a trial", "params": {}, "tags": {}}
    ending = {"status": "FINISHED", "reason": None, "tags": {}}
    document = {"description": description, "figures": [], "artifacts": artifacts, "ending": ending}
    return json.dumps(document).encode()


@pytest.mark.parametrize("name", ["../escaped", "a/../../escaped", "{elsewhere}/escaped", "..", ".", "", "a/b", "a\n"])
def test_a_parcel_writes_nothing_outside_of_itself(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its artifacts are copied to the driver's machine, under the names that it gives."""
    elsewhere = tmp_path / "temporary" / "elsewhere"
    elsewhere.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    name = name.format(elsewhere=elsewhere)
    storage = Storage(str(tmp_path / "storage"))
    storage.write(f"outbox/{KEY}/{outbox.PARCEL}", parcel(KEY, name))
    source = tmp_path / "storage" / f"outbox/{KEY}/{name}"
    if not source.exists():
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_bytes(b"escaped")
    with pytest.raises(ValueError, match="is damaged"):
        outbox.deliver(storage, Any, "0", [KEY])
    assert [path for path in (tmp_path / "temporary").rglob("*") if path != elsewhere] == []


def test_a_parcel_is_of_its_own_job(tmp_path: Path) -> None:
    """Or a result could be slipped in for another job."""
    storage = Storage(str(tmp_path))
    storage.write(f"outbox/{KEY}/{outbox.PARCEL}", parcel(SHA256[:32]))
    with pytest.raises(ValueError, match="is damaged"):
        outbox.deliver(storage, Any, "0", [KEY])


ODDITIES = [None, True, 0, -1, 2.0, 1.5, 10**30, -(10**30), math.nan, "", "5", "\ud800", "RGGB", [], {}, [1], {"a": 1}]


def test_an_altered_index(tmp_path: Path) -> None:
    """Of a camera's pairs: refused, or the memory it speaks of is there."""
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


# --- The source itself ---

UNPICKLERS = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "jsonpickle"}
UNSAFE = {
    "torch.load",
    "torch.jit.load",
    "torch.hub.load",
    "torch.package.PackageImporter",
    "torch.export.load",
    "ray.cloudpickle",
    "ray.tune.Tuner.restore",  # Tune keeps its notes pickled; they are written, and never read
    "ray.tune.ExperimentAnalysis",
    "pandas.read_pickle",
    "yaml.load",
    "yaml.load_all",
    "yaml.full_load",
    "yaml.full_load_all",
    "yaml.unsafe_load",
    "yaml.unsafe_load_all",
    "numpy.lib.format.read_array",
    "eval",
    "exec",
    "compile",
    "__import__",
}
ENDINGS = ("load_model", "read_pickle")  # mlflow.pytorch.load_model and others like it


def dangers(source: str) -> list[str]:
    """What in a module could run what is in a file."""
    tree = ast.parse(source)
    full: dict[str, str] = {}  # what a name of the module stands for
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                full[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            full |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}

    def dotted(node: ast.expr) -> str:
        if isinstance(node, ast.Attribute):
            return f"{dotted(node.value)}.{node.attr}"
        return full.get(node.id, node.id) if isinstance(node, ast.Name) else ""

    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in UNPICKLERS]
        elif isinstance(node, ast.ImportFrom):
            found += [node.module or ""] if (node.module or "").split(".")[0] in UNPICKLERS else []
            found += [name for alias in node.names if (name := f"{node.module}.{alias.name}") in UNSAFE]
        elif isinstance(node, ast.Attribute | ast.Name):
            name = dotted(node)
            found += [name] if name in UNSAFE or name.split(".")[-1] in ENDINGS else []
        elif isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "weights_only", "trust_remote_code"):
            harmless = isinstance(node.value, ast.Constant) and node.value.value is (node.arg == "weights_only")
            found += [] if harmless else [node.arg]
    return found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import a, joblib.externals as b",
        "def f():\n    from cloudpickle import loads",
        "import torch as t\nt.load('x')",
        "from torch import load",
        "import torch\ng = torch.jit.load",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import numpy as np\nnp.load('x', allow_pickle=maybe)",
        "import yaml\nyaml.load(f, Loader=yaml.Loader)",
        "from yaml import unsafe_load",
        "import pandas as pd\npd.read_pickle('x')",
        "import mlflow\nmlflow.pytorch.load_model('x')",
        "from ray import tune\ntune.Tuner.restore('x')",
        "eval('x')",
    ],
)
def test_the_search_finds(source: str) -> None:
    assert dangers(source)


def test_no_module_can_run_what_is_in_a_file() -> None:
    sources = [path for package in sorted(PACKAGES) for path in sorted((ROOT / package).rglob("*.py"))]
    assert {str(path.relative_to(ROOT)): found for path in sources if (found := dangers(path.read_text()))} == {}
    harmless = "import re, yaml\nre.compile('x')\nyaml.safe_load(f)\nmodule.load_state_dict(x)\nmodel.eval()"
    assert dangers(harmless) == []


PACKAGES = {path.parent.name for path in ROOT.glob("*/__init__.py")} | {"benchmarks"}
