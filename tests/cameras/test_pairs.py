"""Stored pairs: what is appended is what is read, whatever happens in between."""

import json
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from cameras.pairs import Index, PairError, Pairs, Source, append, refuse, split

SIZES = [(6, 9), (9, 6), (1, 1), (7, 12)]  # Bayer pixels
CAMERA = {"cfa": "GBRG", "cam2srgb": np.array([[2, -1, 0], [0, 1, 0], [0, -1, 2]]), "camera": "Maker Model"}


def image(seed: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    bayer = rng.integers(0, 65536, (height, width, 4), dtype=np.uint16)
    return bayer, rng.integers(0, 256, (2 * height, 2 * width, 3), dtype=np.uint8)


IMAGES = {f"image {i}": image(i, *size) for i, size in enumerate(SIZES)}


def store(folder: Path, names=IMAGES) -> Path:
    for name in names:
        append(folder, name, *IMAGES[name], **CAMERA)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_stored_pairs_are_the_arrays_appended(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pairs = Pairs.open(store(tmp_path))
    assert pairs.names == tuple(IMAGES) and len(pairs) == len(SIZES)
    assert list(zip(pairs.height.tolist(), pairs.width.tolist(), strict=True)) == SIZES
    assert (pairs.cfa, pairs.camera) == ("GBRG", "Maker Model")
    np.testing.assert_array_equal(pairs.cam2srgb, CAMERA["cam2srgb"])
    for i, (bayer, target) in enumerate(IMAGES.values()):
        read_bayer, read_target = pairs.image(i)
        assert read_bayer.dtype == read_target.dtype == torch.float32
        np.testing.assert_array_equal(read_bayer[0].permute(1, 2, 0), bayer / np.float32(65535))
        np.testing.assert_array_equal(read_target[0].permute(1, 2, 0), target / np.float32(255))


def test_pairs_in_memory_equal_pairs_on_disk(tmp_path):
    stored = Pairs.open(store(tmp_path))
    built = Pairs.from_images(IMAGES.values(), **CAMERA, names=list(IMAGES))
    assert built.data_hash == stored.data_hash and built.names == stored.names
    for field in ("bayer", "target", "offset", "height", "width"):
        torch.testing.assert_close(getattr(built, field), getattr(stored, field), rtol=0, atol=0)


def test_floating_point_is_rounded_to_the_nearest_step(tmp_path):
    bayer = np.random.default_rng(0).random((5, 4, 4), dtype=np.float32)
    target = np.random.default_rng(1).random((10, 8, 3))
    append(tmp_path, "image", bayer, target, **CAMERA)
    read_bayer, read_target = Pairs.open(tmp_path).image(0)
    assert np.abs(read_bayer[0].permute(1, 2, 0).numpy() - bayer).max() <= 0.5001 / 65535
    assert np.abs(read_target[0].permute(1, 2, 0).numpy() - target).max() <= 0.5001 / 255


def test_moving_takes_every_tensor_along():
    moved = Pairs.from_images(IMAGES.values(), **CAMERA).to("meta")
    assert moved.device.type == "meta"
    tensors = [value for value in vars(moved).values() if isinstance(value, torch.Tensor)]
    assert len(tensors) == 5 and {tensor.device.type for tensor in tensors} == {"meta"}


def test_data_hash_is_of_the_contents_not_of_their_order(tmp_path):
    data_hash = Pairs.open(store(tmp_path / "a")).data_hash
    assert Pairs.open(store(tmp_path / "b", reversed(IMAGES))).data_hash == data_hash
    (bayer, target), *others = IMAGES.values()
    brighter = np.where(target < 255, target + 1, target).astype(np.uint8)
    names = list(IMAGES)
    variants = {
        "pixels": Pairs.from_images([(bayer, brighter), *others], **CAMERA, names=names),
        "shape": Pairs.from_images(
            [(bayer.reshape(9, 6, 4), target.reshape(18, 12, 3)), *others], **CAMERA, names=names
        ),
        "name": Pairs.from_images(IMAGES.values(), **CAMERA, names=["other", *names[1:]]),
        "number": Pairs.from_images(others, **CAMERA, names=names[1:]),
        "cfa": Pairs.from_images(IMAGES.values(), **CAMERA | {"cfa": "RGGB"}, names=names),
        "matrix": Pairs.from_images(IMAGES.values(), **CAMERA | {"cam2srgb": np.eye(3)}, names=names),
    }
    assert len({data_hash, *(pairs.data_hash for pairs in variants.values())}) == len(variants) + 1


@pytest.mark.parametrize("file", ["bayer.u16", "target.u8"])
def test_leftovers_of_a_crash_are_overwritten(tmp_path, file):
    """A process was killed after it wrote (part of) an image, before the index listed it."""
    names = list(IMAGES)
    store(tmp_path / "crashed", names[:2])
    with (tmp_path / "crashed" / file).open("ab") as stream:
        stream.write(b"\xff" * 12345)
    assert Pairs.open(tmp_path / "crashed").names == tuple(names[:2])
    store(tmp_path / "crashed", names[2:])
    assert contents(tmp_path / "crashed") == contents(store(tmp_path / "calm"))


def test_appending_from_many_threads_loses_nothing(tmp_path):
    def one(i: int) -> None:
        append(tmp_path, f"{i}", *image(i, 5 + i, 8), **CAMERA)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(16)))
    pairs = Pairs.open(tmp_path)
    assert sorted(map(int, pairs.names)) == list(range(16))
    for i, name in enumerate(pairs.names):
        expected = image(int(name), 5 + int(name), 8)[0]
        np.testing.assert_array_equal(pairs.image(i)[0][0].permute(1, 2, 0), expected / np.float32(65535))


BAYER, TARGET = image(99, 4, 6)
NAN, ABOVE_ONE = np.full((4, 6, 4), np.nan), np.full((8, 12, 3), 1.001)


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"bayer": BAYER[..., :3]}, r"Bayer stack has shape \(4, 6, 3\)"),
        ({"bayer": BAYER[:0]}, "Bayer stack has shape"),
        ({"target": TARGET[:-1]}, r"target has shape \(7, 12, 3\), expected \(8, 12, 3\)"),
        ({"bayer": NAN}, "Bayer stack has values outside"),
        ({"target": ABOVE_ONE}, "target has values outside"),
        ({"bayer": -BAYER.astype(np.float32)}, "Bayer stack has values outside"),
        ({"target": TARGET.astype(np.int64)}, "target is int64"),
        ({"bayer": IMAGES["image 0"][0], "target": IMAGES["image 0"][1]}, "duplicate of image 0"),
        ({"name": "image 1"}, "another image of this name"),
        ({"cfa": "RGGB"}, "cfa is RGGB, but GBRG"),
        ({"cfa": "XTRANS"}, "XTRANS"),
        ({"camera": "Other"}, "camera is Other, but Maker Model"),
        ({"development": "bilinear"}, "development is bilinear, but menon"),
        ({"cam2srgb": np.eye(3)}, "colour matrix"),
        ({"cam2srgb": np.eye(4)}, "3×3"),
    ],
)
def test_an_image_that_does_not_belong_is_refused(tmp_path, change, reason):
    store(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(PairError, match=reason):
        append(**{"folder": tmp_path, "name": "new", "bayer": BAYER, "target": TARGET} | CAMERA | change)
    assert contents(tmp_path) == before


def damage_json(**change):
    def damage(folder: Path) -> None:
        path = folder / "index.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))

    return damage


def shorten(file: str):
    def damage(folder: Path) -> None:
        path = folder / file
        path.write_bytes(path.read_bytes()[:-1])

    return damage


def first_image(**change):
    def damage(folder: Path) -> None:
        path = folder / "index.json"
        document = json.loads(path.read_text())
        document["images"][0] |= change
        path.write_text(json.dumps(document))

    return damage


@pytest.mark.parametrize(
    "damage, what",
    [
        (lambda folder: shutil.rmtree(folder), "no pairs in"),
        (lambda folder: (folder / "index.json").unlink(), "no pairs in"),
        (damage_json(images=[], cfa=None, cam2srgb=None), "no pairs in"),
        (lambda folder: (folder / "index.json").write_text(""), "index.json is damaged"),
        (lambda folder: (folder / "index.json").write_bytes(b"\xff\xfe\x00"), "index.json is damaged"),
        (lambda folder: (folder / "index.json").write_text("[1, 2]"), "index.json is damaged"),
        (lambda folder: (folder / "index.json").write_text("{}"), "index.json is damaged .no 'format'"),
        (damage_json(format=99), "format 99"),
        (damage_json(images=7), "index.json is damaged"),
        (damage_json(cfa="RG"), "index.json is damaged"),
        (damage_json(cam2srgb=[1, 2]), "index.json is damaged"),
        (first_image(offset=5), "impossible extent"),
        (first_image(height=-6), "impossible extent"),
        (first_image(height="tall"), "index.json is damaged"),
        (first_image(name="image 1"), "same name"),
        (first_image(colour="red"), "index.json is damaged"),
        (shorten("bayer.u16"), "bayer.u16 holds"),
        (shorten("target.u8"), "target.u8 holds"),
        (lambda folder: (folder / "target.u8").unlink(), "target.u8 holds 0 of"),
    ],
)
def test_damage_is_one_clear_line(tmp_path, damage, what):
    damage(store(tmp_path / "camera"))
    with pytest.raises(ValueError, match=what) as error:
        Pairs.open(tmp_path / "camera")
    assert str(tmp_path / "camera") in str(error.value) and "\n" not in str(error.value)


def test_nothing_is_appended_to_a_file_that_is_too_short(tmp_path):
    shorten("target.u8")(store(tmp_path))
    with pytest.raises(ValueError, match=r"target.u8 is shorter than its index says"):
        append(tmp_path, "new", BAYER, TARGET, **CAMERA)
    assert "new" not in [stored.name for stored in Index.read(tmp_path).images]


def test_refusals_are_remembered_until_the_file_is_accepted(tmp_path):
    path = tmp_path / "photo.dng"
    path.write_text("not yet")
    folder = tmp_path / "camera"
    refuse(folder, Source.of(path), "once")
    refuse(folder, Source.of(path), "twice")
    with pytest.raises(ValueError, match="no pairs"):
        Pairs.open(folder)
    assert [entry.reason for entry in Index.read(folder).refused] == ["twice"]
    append(folder, "photo", BAYER, TARGET, **CAMERA, source=Source.of(path))
    index = Index.read(folder)
    assert index.refused == () and index.images[0].source == Source.of(path)


@pytest.mark.parametrize("count, names", [(0, []), (2, ["a", "a"]), (2, ["a"])])
def test_pairs_in_memory_need_a_name_each(count, names):
    with pytest.raises(ValueError, match=f"{count} images"):
        Pairs.from_images(list(IMAGES.values())[:count], **CAMERA, names=names)


def test_split_divides_images_whatever_their_order():
    names = [f"IMG_{i:04d}" for i in range(150)]
    train, validation = split(names, 120, 30, seed=3)
    assert len(train) == 120 and len(validation) == 30
    assert sorted(torch.cat((train, validation)).tolist()) == list(range(150))
    shuffled = [names[i] for i in np.random.default_rng(0).permutation(150)]
    for indices, others in zip((train, validation), split(shuffled, 120, 30, seed=3), strict=True):
        assert [names[i] for i in indices] == [shuffled[i] for i in others]
    fewer, same = split(names, 10, 30, seed=3)
    assert torch.equal(same, validation) and set(fewer.tolist()) < set(train.tolist())
    assert not torch.equal(split(names, 120, 30, seed=4)[1], validation)


def test_split_says_how_many_images_there_are():
    with pytest.raises(ValueError, match=r"120 \+ 30 images, but there are only 149"):
        split([str(i) for i in range(149)], 120, 30, seed=0)
    with pytest.raises(ValueError, match="at least one image"):
        split(["a", "b"], 2, 0, seed=0)
