"""Weights files: they rebuild their module, and nothing else is taken for one."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import models
from models import tensorfile


@pytest.mark.parametrize("name", models.NIPS)
def test_a_file_rebuilds_its_module(name: str, tmp_path: Path, generator: torch.Generator) -> None:
    nip = models.build(name, torch.Generator().manual_seed(7), cfa="GBRG", cam2srgb=torch.rand(3, 3).tolist())
    nip.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for tensor in nip.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator))
    models.save(tmp_path / "a.safetensors", nip, camera="Test", psnr="42.5")
    loaded = models.load(tmp_path / "a.safetensors")
    assert (loaded.name, loaded.settings) == (nip.name, nip.settings)
    assert loaded.state_dict().keys() == nip.state_dict().keys()
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in nip.state_dict().items())
    assert models.metadata(tmp_path / "a.safetensors") == {"camera": "Test", "psnr": "42.5"}
    models.save(tmp_path / "b.safetensors", loaded, psnr="42.5", camera="Test")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_other_packages_load_with_their_own_builder(tmp_path: Path) -> None:
    class Detector(torch.nn.Linear):
        name = "Detector"

        def __init__(self, classes: int) -> None:
            super().__init__(3, classes)
            self.settings = {"classes": classes}

    detector = Detector(classes=5)
    models.save(tmp_path / "detector", detector)
    with pytest.raises(ValueError, match="no pipeline is called 'Detector'"):
        models.load(tmp_path / "detector")
    loaded = models.load(tmp_path / "detector", build=lambda name, **settings: Detector(**settings))
    assert torch.equal(loaded.weight, detector.weight)


def flip_a_bit(content: bytes) -> bytes:
    return content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:7],
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: content + b"\0",
        flip_a_bit,
        lambda content: content.replace(b"GBRG", b"GRBG"),
        lambda content: b"a text file\n" * 100,
        lambda content: pickle.dumps({"weights": [1, 2, 3]}),
    ],
)
def test_anything_else_is_refused_in_one_line(damage: object, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    models.save(path, models.build("INet", cfa="GBRG"))
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"^[^\n]*weights\.safetensors: [^\n]+$"):
        models.load(path)


def test_foreign_and_missing_files_are_refused(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(3)}, tmp_path / "foreign")
    save_file({"x": torch.zeros(3)}, tmp_path / "tagged", metadata={"json": "[1]"})
    tensorfile.write(tmp_path / "other", "checkpoint", {}, {})
    (tmp_path / "folder").mkdir()
    for name in ("foreign", "tagged", "other", "folder", "missing"):
        with pytest.raises(ValueError, match=rf"{name}: [^\n]+$"):
            models.load(tmp_path / name)


def test_a_document_may_have_numbers_as_keys(tmp_path: Path) -> None:
    """80 comes before 160, but "80" after "160": the checksum must be of what JSON makes of them."""
    document = {"history": {80: 0.5, 160: 0.25}}
    tensorfile.write(tmp_path / "file", "checkpoint", {"x": torch.ones(2)}, document)
    assert tensorfile.read(tmp_path / "file", "checkpoint")[1] == {"history": {"80": 0.5, "160": 0.25}}


def test_weights_that_do_not_fit_their_module_are_refused(tmp_path: Path) -> None:
    nip = models.build("INet")
    nip.colour = torch.nn.Conv2d(3, 3, 3)
    models.save(tmp_path / "altered", nip)
    with pytest.raises(ValueError, match="altered: weights of another version"):
        models.load(tmp_path / "altered")


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights"
    models.save(path, models.build("INet"))
    old = path.read_bytes()
    monkeypatch.setattr("os.fsync", lambda descriptor: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space"):
        models.save(path, models.build("DNet"))
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_read_does_not_change_with_its_file(tmp_path: Path) -> None:
    """Files are downloaded one over the other, in place."""
    path = tmp_path / "file"
    tensorfile.write(path, "checkpoint", {"x": torch.ones(1000)}, {})
    tensors, _ = tensorfile.read(path, "checkpoint")
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert torch.equal(tensors["x"], torch.ones(1000))
