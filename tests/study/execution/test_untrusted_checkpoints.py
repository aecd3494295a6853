"""Checkpoints that somebody else has written: refused, or resumed from to the end; nothing in them is ever run."""

import copy
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from forgery import Small, altered, fill, json_values, little_memory, places, quick
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

import models
from cameras.pairs import Pairs, split
from forensics import train
from forensics.trial import Split, Training, Trial, Validation
from models import tensorfile
from models.checkpoint import CheckpointError
from models.pretrain import Pretraining, pretrain

DTYPES = {
    torch.float32,
    torch.float8_e4m3fn,
    torch.complex64,
    torch.int64,
    torch.uint8,
}
intact: list[Small] = []  # making one takes longer than refusing a file


def refused(path: Path) -> bool:
    """Whether the checkpoint is refused. Then it has changed nothing; else training can resume from it."""
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
    """A genuine checkpoint, and its parts."""

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
    """Where a forged checkpoint is put."""
    return genuine.path.with_name("forged.safetensors")


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
    """Every tensor missing, of every other type, and of other shapes, which would be written past its end."""
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


# --- The trainings that resume from them ---


METRICS = {"accuracy": 0.5, "psnr": 30.0, "ssim": 0.9, "loss_fan": 1.0, "loss_nip": 0.1}
TRIAL = Trial(
    "camera",
    "INet",
    0.1,
    split=Split(3, 1),
    training=Training(iterations=8, batch=1, patch=16),
    validation=Validation(every=2, accuracy_patches=1, fidelity_patches=1, textured=False),
)
PRETRAINED = {key: METRICS[key] for key in ("loss_nip", "psnr", "ssim")}
PRETRAINING = Pretraining(patch=16, batch=1, max_iterations=8, check_every=2, validation_patch=16)

# The history that a checkpoint claims; ``...`` stands for metrics of the right form.
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
        {"0": {**metrics, "psnr": value}, "2": {**metrics, "psnr": value}}
        for metrics in (METRICS, PRETRAINED)
        for value in (None, True, 10**400)
    ),
    {"0": {**PRETRAINED, "a/b\n": 1.0}},
    {"2": {**METRICS, "a/b\n": 1.0}},
]


@dataclass(frozen=True)
class Resumable:
    """A training, what its first checkpoint holds, and how to resume from another."""

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
def test_a_history_that_no_training_has(name: str, trainings: dict[str, Resumable]) -> None:
    training = trainings[name]
    (first, metrics), *_ = training.document["state"]["history"].items()
    logged: list[Any] = []

    def resume(state: Any) -> None:
        tensorfile.write(training.path, "checkpoint", training.tensors, {**training.document, "state": state})
        training.resume(training.path, lambda *metrics: logged.append(metrics))

    for history in HISTORIES:
        if isinstance(history, dict):
            history = {step: metrics if claimed is ... else claimed for step, claimed in history.items()}
        if isinstance(history, dict) and (first, metrics) in history.items() and len(history) == 1:
            continue  # that one is true
        with pytest.raises(CheckpointError, match=r"^[^\n]+$"):
            resume({"history": history})
            pytest.fail(f"resumed from {history}")
    for state in (None, [], "history", 2, {}):
        with pytest.raises(CheckpointError, match=r"^[^\n]+$"):
            resume(state)
    assert not logged, "metrics of a refused checkpoint were logged"
    resume(training.document["state"])  # the genuine one
    assert logged


@pytest.mark.parametrize("name", ["trial", "pre-training"])
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_altered_history(name: str, trainings: dict[str, Resumable], data: st.DataObject) -> None:
    """It is refused, or training resumes from it to the end."""
    training = trainings[name]
    place = data.draw(st.sampled_from(places(training.document["state"])))
    state = altered(training.document["state"], place, data.draw(json_values))
    tensorfile.write(training.path, "checkpoint", training.tensors, {**training.document, "state": state})
    with suppress(CheckpointError):
        training.resume(training.path, lambda step, metrics: None)
