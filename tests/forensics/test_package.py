"""A package comes back as it was, that of an earlier release opens, and a stranger's can at worst be refused."""

import json
import shutil
import stat
import zipfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from calibration_by_hand import by_hand
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_packages import compressed, same, small_package

import models
from forensics import package as packages
from forensics.analysis.calibration import Calibration
from forensics.documents import from_document
from forensics.fan import FAN
from forensics.package import PackageError, load_package, save_package
from forensics.trial import Distribution, Training, Trial
from models import tensorfile

FIXTURE = Path(__file__).parent / "package-v1.zip"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package as a folder; not to be changed."""
    path = tmp_path_factory.mktemp("packages") / "package"
    save_package(path, small_package())
    return path


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A package as a folder, to be changed."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def refusal(path: Path) -> str:
    with pytest.raises(PackageError) as caught:
        load_package(path)
    reason = str(caught.value)
    assert "\n" not in reason and reason.startswith(str(path)) and "/tmp/package-" not in reason
    return reason


def rewrite(folder: Path, **changes: Any) -> None:
    """Change package.json as somebody would who knows how it is made: list all files, and add the checksum."""
    document = json.loads((folder / "package.json").read_text())
    del document["sha256"]
    document |= changes
    others = (each for each in folder.iterdir() if each.name != "package.json")
    document["files"] = {each.name: packages._listed(each) for each in others}
    text = json.dumps(document | {"sha256": packages._digest(document)})
    (folder / "package.json").write_text(text)


@pytest.mark.parametrize("name", ["camera.zip", "camera"])
def test_a_package_comes_back_as_it_was_and_replaces_an_earlier_one(name: str, tmp_path: Path) -> None:
    path, package = tmp_path / "new folder" / name, small_package("ClassicISP")
    extra = tmp_path / "made.onnx"
    extra.write_bytes(b"of another program")
    save_package(path, package, {"nip.onnx": extra})
    assert same(load_package(path), package)
    save_package(path, small_package())
    assert same(load_package(path), small_package())
    assert [each.name for each in path.parent.iterdir()] == [name]


def test_equal_packages_have_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        save_package(tmp_path / name, small_package())
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_a_package_of_version_1_opens() -> None:
    """Its weights follow a formula, so that a few kilobytes hold 1.3 million of them."""
    assert FIXTURE.stat().st_size < 40_000
    assert same(load_package(FIXTURE), small_package())


def test_a_package_of_a_later_version_is_refused(copy: Path) -> None:
    rewrite(copy, version=packages.VERSION + 1, more="of what this release does not know")
    assert "made by a newer release" in refusal(copy)


def test_a_calibration_comes_back(tmp_path: Path) -> None:
    own, about = by_hand().to_tensors()
    calibration = Calibration.from_tensors({name: value.clone() for name, value in own.items()}, about)
    save_package(tmp_path / "camera", small_package(calibration=calibration))
    found = load_package(tmp_path / "camera").calibration
    assert found is not None
    (tensors, document), (wanted, said) = found.to_tensors(), calibration.to_tensors()
    assert json.dumps(document) == json.dumps(said)
    assert tensors.keys() == wanted.keys()
    assert all(torch.equal(tensors[name], wanted[name]) for name in wanted)


# What is not written


def test_what_is_no_package_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_text("dear to somebody")
    (tmp_path / "text.zip").write_text("no zip file")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("holiday.jpg", "dear to somebody")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("photos", "text.zip", "other.zip", "link"):
        with pytest.raises(PackageError, match="is no package: name another place"):
            save_package(tmp_path / name, small_package())
    assert (tmp_path / "photos" / "holiday.jpg").exists()


@pytest.mark.parametrize("name", ["camera.zip", "camera"])
@pytest.mark.parametrize("step", ["pack", "replace_folder", "_write_files", "_load"])
def test_a_full_disk_leaves_what_was_there(
    name: str, step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if step == ("replace_folder" if name.endswith(".zip") else "pack"):
        pytest.skip("not a step of this form")
    save_package(tmp_path / name, small_package())

    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(packages, step, full)
    with pytest.raises(OSError, match="No space left"):
        save_package(tmp_path / name, small_package("ClassicISP"))
    monkeypatch.undo()
    assert same(load_package(tmp_path / name), small_package())
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_unfit_parts_make_no_package() -> None:
    package = small_package()
    with pytest.raises(PackageError, match="tells 4 classes apart, the trial names 5"):
        replace(package, fan=FAN(4))
    with pytest.raises(PackageError, match="the NIP is a ClassicISP, that of the trial a INet"):
        replace(package, nip=models.build("ClassicISP"))
    with pytest.raises(PackageError, match="two even numbers"):
        replace(package, size=(95, 128))
    with pytest.raises(PackageError, match="FAN has weights that are not finite"):
        torch.nn.init.constant_(package.fan.decision.bias, torch.inf)
        replace(package)


def test_what_is_no_json_is_not_written(tmp_path: Path) -> None:
    for value in (float("nan"), {1, 2}, "\ud800"):
        with pytest.raises(PackageError, match="no JSON"):
            save_package(tmp_path / "camera", small_package(about={"value": value}))
    assert not list(tmp_path.iterdir())
    with pytest.raises(PackageError, match="nested deeper"):
        save_package(tmp_path / "camera", small_package(about=json.loads('{"a":' * 20 + "1" + "}" * 20)))
    with pytest.raises(PackageError, match=r"notes\.txt is no file of a package"):
        save_package(tmp_path / "camera", small_package(), {"notes.txt": FIXTURE})


# What is refused


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no document": (lambda at: (at / "package.json").unlink(), "no package.json"),
    "no FAN": (lambda at: [(at / "fan.safetensors").unlink(), rewrite(at)], "it has no fan.safetensors"),
    "missing file": (lambda at: (at / "fan.safetensors").unlink(), "its files are not those"),
    "unlisted file": (lambda at: (at / "nip.onnx").write_text("x"), "its files are not those"),
    "unknown file": (lambda at: [(at / "run.py").write_text("x"), rewrite(at)], "'run.py', which is no file"),
    "a link": (lambda at: [(at / "nip.onnx").symlink_to("/etc/passwd"), rewrite(at)], "is a link or no file"),
    "a folder": (lambda at: [(at / "nip.onnx").mkdir()], "is a link or no file"),
    "other bytes": (lambda at: (at / "nip.safetensors").write_bytes(b"x"), "nip.safetensors is damaged"),
    "no weights": (lambda at: [(at / "nip.safetensors").write_bytes(b"x" * 99), rewrite(at)], "nip.safetensors: no"),
    "swapped": (lambda at: [swap(at, "nip.safetensors", "fan.safetensors"), rewrite(at)], "no pipeline is called"),
    "no JSON": (lambda at: (at / "package.json").write_text("{"), "is no JSON"),
    "deep JSON": (lambda at: (at / "package.json").write_text("[" * 100_000), "is no JSON"),
    "infinite": (lambda at: (at / "package.json").write_text('{"version": 1e999}'), "not finite"),
    "large JSON": (lambda at: (at / "package.json").write_text(" " * 2**21), "more than the 1048576"),
    "edited": (lambda at: replace_text(at / "package.json", "camera", "kamera"), "package.json is damaged"),
    "no version": (lambda at: (at / "package.json").write_text("{}"), "names no version"),
    "old version": (lambda at: rewrite(at, version=0), "impossible version"),
    "more entries": (lambda at: rewrite(at, macro="rm"), "has other entries"),
    "no size": (lambda at: rewrite(at, size=[96, "128"]), "no height and width"),
    "huge size": (lambda at: rewrite(at, size=[10**6, 10**6]), "no photograph has a size"),
    "no about": (lambda at: rewrite(at, about=[]), "no JSON object"),
    "no trial": (lambda at: rewrite(at, trial=[]), "trial is no JSON object"),
    "other trial": (lambda at: rewrite(at, trial={"camera": "c", "isp": "UNet", "lam": 0.1}), "a INet, that of"),
    "other NIP": (lambda at: [weights(at, "Evil", {}), rewrite(at)], "no pipeline is called 'Evil'"),
    "huge NIP": (lambda at: [weights(at, "Pattern", {"side": 10**6}), rewrite(at)], "is beyond 512"),
    "deep NIP": (lambda at: [weights(at, "ClassicISP", {"filters": [9] * 99}), rewrite(at)], "is beyond 512"),
    "unknown setting": (lambda at: [weights(at, "INet", {"hook": "os"}), rewrite(at)], "has no setting 'hook'"),
}


def swap(folder: Path, one: str, other: str) -> None:
    (folder / one).rename(folder / "aside")
    (folder / other).rename(folder / one)
    (folder / "aside").rename(folder / other)


def replace_text(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new))


def weights(folder: Path, name: str, arguments: dict[str, Any]) -> None:
    document = {"name": name, "settings": arguments, "metadata": {}}
    tensorfile.write(folder / "nip.safetensors", "weights", {}, document)


@pytest.mark.parametrize("form", ["folder", "zip"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_does_not_fit_is_refused_in_one_line(change: str, form: str, copy: Path) -> None:
    make, expected = CHANGES[change]
    if form == "zip" and change in ("a link", "a folder"):
        pytest.skip("zip files have links of their own, below")
    make(copy)
    if form == "zip":
        compressed(copy, copy.with_suffix(".zip"))
    assert expected in refusal(copy.with_suffix(".zip") if form == "zip" else copy)


def entry(name: str, mode: int = 0) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (entry("../nip.onnx"), "no file of a package"),
        (entry("/nip.onnx"), "no file of a package"),
        (entry("folder/"), "no file of a package"),
        (entry("..\\nip.onnx"), "no file of a package"),
        (entry("nip.onnx\0.py"), "its files are not those"),  # Python's zipfile cuts the name when it writes
        (entry("NIP.onnx"), "no file of a package"),
        (entry("nip.onnx", stat.S_IFLNK | 0o777), "is a link"),
        (entry("nip.onnx", stat.S_IFIFO | 0o777), "is a link or no file"),
        (entry("nip.safetensors"), "it holds nip.safetensors twice"),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_file_gives_no_paths(more: zipfile.ZipInfo, expected: str, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "inner" / "camera.zip"
    path.parent.mkdir()
    compressed(folder, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(more, "x")
    assert expected in refusal(path)
    assert [each.name for each in tmp_path.rglob("*")] == ["inner", "camera.zip"]


def test_a_bomb_is_refused_before_it_is_unpacked(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "camera.zip"
    compressed(folder, path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("nip-int8.onnx", "w") as file:
        for _ in range(129):
            file.write(bytes(2**20))
    assert "more than the 134217728 that are accepted" in refusal(path)
    content = path.read_bytes()  # and one that announces less than there is
    size = (129 * 2**20).to_bytes(4, "little")
    assert content.count(size) == 2
    path.write_bytes(content.replace(size, (9).to_bytes(4, "little")))
    refusal(path)


def test_other_zip_files_are_refused(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "camera.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for each in folder.iterdir():
            archive.write(each, each.name)
    assert "another method than deflate" in refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(1000):
            archive.writestr(f"{number}", "")
    assert "more in it than a package has" in refusal(path)
    compressed(folder, path)
    content = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        content[content.index(signature) + flags] |= 1
    path.write_bytes(content)
    assert "is encrypted" in refusal(path)
    path.write_text("no zip file at all, but longer than the end of one")
    assert "neither a folder nor a complete zip file" in refusal(path)
    assert "there is no such package" in refusal(tmp_path / "nowhere")


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_damaged_is_refused_or_does_no_harm(data: st.DataObject, tmp_path: Path) -> None:
    content, path = bytearray(FIXTURE.read_bytes()), tmp_path / "damaged.zip"
    kind = data.draw(st.sampled_from(["flip", "cut", "insert", "overwrite"]))
    where = data.draw(st.integers(0, len(content) - 1))
    if kind == "flip":
        content[where] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "cut":
        del content[where : where + data.draw(st.integers(1, len(content)))]
    else:
        piece = data.draw(st.binary(min_size=1, max_size=40))
        content[where : where + (len(piece) if kind == "overwrite" else 0)] = piece
    path.write_bytes(content)
    try:
        found = load_package(path)
    except PackageError:
        return
    assert same(found, small_package())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_of_a_file_in_a_folder_is_noticed(data: st.DataObject, copy: Path) -> None:
    path = data.draw(st.sampled_from(sorted(copy.iterdir())))
    intact = path.read_bytes()
    content, where = bytearray(intact), data.draw(st.integers(0, len(intact) - 1))
    content[where] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    try:
        assert same(load_package(copy), small_package())  # white space, or a letter of the checksum's own name
    except PackageError:
        pass
    finally:
        path.write_bytes(intact)


# Trials as documents


@pytest.mark.parametrize(
    "trial",
    [
        Trial("a", "UNet", "fixed"),
        Trial("a", "UNet", 0),
        Trial("a", "Pattern", 1e-3, manipulations=("median:3", "awgn"), training=Training(window=32, average=0.5)),
        Trial("a", "INet", 0.5, channel=Distribution("1.5-3", "0.5 jpeg:30-90 + 0.5 none", kernel="lanczos")),
    ],
)
def test_a_trial_is_a_document_both_ways(trial: Trial) -> None:
    assert from_document(Trial, json.loads(json.dumps(asdict(trial))), "trial") == trial


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("camera",), 5),
        (("lam",), "unfixed"),
        (("lam",), True),
        (("seed",), 1.5),
        (("manipulations",), "sharpen"),
        (("manipulations",), ["sharpen", 5]),
        (("manipulations",), ["gaussian:1e9"]),
        (("training",), None),
        (("training", "window"), "32"),
        (("training", "precision"), "float16"),
        (("training", "hook"), 1),
        (("channel", "codec"), "pickle:50"),
    ],
)
def test_a_document_of_other_types_is_refused(place: tuple[str, ...], value: object) -> None:
    document = json.loads(json.dumps(asdict(Trial("a", "UNet", 0.1))))
    part = document
    for name in place[:-1]:
        part = part[name]
    part[place[-1]] = value
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        from_document(Trial, document, "trial")


def test_an_incomplete_trial_is_refused() -> None:
    with pytest.raises(ValueError, match="trial is incomplete"):
        from_document(Trial, {"camera": "a"}, "trial")


def test_a_package_says_its_classes() -> None:
    assert small_package().classes == ("native", "sharpen", "gaussian", "jpeg", "resample")
