"""The page about a package: its numbers are those that the package says, what is missing is said in a line."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_page import Document

from study.report import package_page
from study.report.package_content import PackageContent
from study.report.sections.package import detection, false_alarms, probabilities
from study.results.reliability import share
from study.settings import StudyError

CLASSES = ("native", "sharpen", "gaussian", "jpeg", "resample")
KINDS = ("jpeg:30", "jpeg:50:4:2:0", "webp")
NATIVE = 100  # of each kind
REFUSED = "a false-alarm rate of 0.01 cannot be promised: the package was calibrated with 40 native photographs"


def at(native: int, above: int, seed: int) -> dict[str, Any]:
    """What is found at a rate, with so many native photographs and so many above the threshold."""
    drawn = np.random.default_rng(seed).integers(0, native + 1, 12).tolist()

    def of(count: int, number: int) -> dict[str, Any]:
        return share(pd.Series([True] * count + [False] * (number - count)))

    by_class = {name: of(drawn[i], native) for i, name in enumerate(CLASSES[1:])}
    caught = sum(one["count"] for one in by_class.values())
    return {
        "above": of(above, native),
        "false_alarms": of(max(above - 1, 0), native),
        "false_regions": of(drawn[4], native),
        "not_judged": of(drawn[5], len(CLASSES) * native),
        "detected": of(caught, 4 * native),
        "detected_above": of(caught, 4 * native),
        "named_right": of(caught // 2, caught),
        "detected_by_class": by_class,
    }


def rate(*above: int) -> dict[str, Any]:
    """What is found at a rate, with so many native photographs of each kind above the threshold."""
    kinds = {kind: at(NATIVE, count, seed) for seed, (kind, count) in enumerate(zip(KINDS, above, strict=True))}
    return at(len(KINDS) * NATIVE, sum(above), 9) | {"by_kind": kinds}


def about(rates: Mapping[str, Any]) -> dict[str, Any]:
    """What a package says about itself, as `study export` writes it."""
    by_kind = {kind: {"ece": 0.011 + i, "cllr": 0.2 + i, "cllr_min": 0.15 + i} for i, kind in enumerate(KINDS)}
    reliability = {
        "rates": rates,
        "photographs": 300,
        "ece": 0.0213,
        "cllr": 0.3217,
        "cllr_min": 0.2907,
        "by_kind": by_kind,
        "bins": [
            {"confidence": 0.37, "accuracy": 0.41, "photographs": 77},
            {"confidence": 0.68, "accuracy": 0.655, "photographs": 212},
            {"confidence": 0.993, "accuracy": 0.985, "photographs": 1211},
        ],
    }
    over_seeds = {"mean": 0.8124, "interval": [0.7011, 0.9234]}
    return {
        "release": "0.1.0",
        "classes": list(CLASSES),
        "lambda": 0.0005,
        "camera": {"name": "sim-rggb", "model": "Simulated <R1>"},
        "lattice": {"developed": 32, "received": 16.0, "window": 48},
        "metrics": {
            "photographs": "test",
            "trial": {"accuracy": 0.8567, "psnr": 31.4129},
            "setting": {"seeds": 3, "accuracy": over_seeds, "psnr": {"mean": 32.0665, "interval": [None, None]}},
        },
        "calibration": {
            "photographs": 320,
            "source": "photographs that the study has not seen",
            "reliability": reliability,
        },
        "onnx": {"nip": 0.999986, "fan": 9.1e-06},
        "int8": {
            "photographs": 4,
            "on": "test",
            "psnr": {"float": 30.69, "int8": 28.85, "difference": -1.84},
            "accuracy_real": {"float": 0.5192, "int8": 0.4883, "difference": -0.0309},
        },
        "provenance": {"run_id": "abc123", "seed": 1, "git_revision": "c92f84f"},
        "licence": "CC0 & <free>",
    }


def content(said: Mapping[str, Any], calibrated: bool = True) -> PackageContent:
    trial = {
        "camera": "sim-rggb",
        "isp": "UNet",
        "manipulations": ("sharpen", "jpeg:80"),
        "channel": {"downsample": 2, "codec": "jpeg:30-95"},
    }
    return PackageContent("camera.zip", said, trial, (512, 768), calibrated)


def shown(said: Mapping[str, Any], calibrated: bool = True) -> Document:
    return Document(package_page.page(content(said, calibrated)).decode())


RATES = {"0.01": rate(1, 0, 12), "0.05": rate(5, 4, 7)}


@pytest.fixture(scope="module")
def document() -> Document:
    return shown(about(RATES))


def test_it_needs_nothing_beside_it(document: Document) -> None:
    for tag, name, value in document.attributes:
        if name in ("src", "href", "xlink:href", "srcset"):
            assert value.startswith(("#", "data:")), (tag, name, value[:80])
    (drawn,) = [value for tag, name, value in document.attributes if (tag, name) == ("svg", "aria-label")]
    assert drawn == "Accuracy by probability of the most probable history"


def test_what_is_offered_is_what_is_shown(document: Document) -> None:
    named = [value for tag, name, value in document.attributes if (tag, name) == ("a", "download")]
    linked = [value for tag, name, value in document.attributes if (tag, name) == ("a", "href")]
    links = dict(zip(named, (base64.b64decode(each.partition("base64,")[2]) for each in linked), strict=True))
    assert links["reliability-Reliability-all-kinds-of-file.pdf"].startswith(b"%PDF")
    found = pd.read_csv(io.BytesIO(links["false-alarms.csv"]))
    assert len(found) == 2 * (1 + len(KINDS)) * len(false_alarms.MEASURES)
    for row in found.to_dict("records"):
        at_rate = RATES[{"1 %": "0.01", "5 %": "0.05"}[row["nominal_rate"]]]
        one = (at_rate if row["files"] == "all" else at_rate["by_kind"][row["files"]])[row["what"]]
        assert (row["count"], row["of"]) == (one["count"], one["of"])
        assert [row["share"], row["low"], row["high"]] == pytest.approx([one["share"], *one["interval"]])
    assert {
        f"{name}.csv" for name in ("metrics", "detected", "detected-by-kind", "reliability", "costs")
    } <= links.keys()
    bins = pd.read_csv(io.BytesIO(links["reliability.csv"]))
    assert bins.to_dict("records") == about(RATES)["calibration"]["reliability"]["bins"]


def test_its_numbers_are_those_of_the_package(document: Document) -> None:
    for text in (
        "sim-rggb · UNet · λ = 0.0005",
        "Package camera.zip, release 0.1.0.",
        "sim-rggb (Simulated <R1>)",
        "768 × 512 px",
        "shrunk by 2, jpeg:30-95",
        "32 px as developed, 16 px as received",
        "48 px as received",
        "320 photographs that the study has not seen",
        "a guess is right in 20.0 %",
        "channel of the training (%) 85.7 81.2 [70.1, 92.3]",
        "PSNR (dB) 31.41 32.07 ",
        "calibration error (ECE) is 0.021. Cllr is 0.322, of which 0.031 would go",
        "jpeg:50:4:2:0 1.011 1.200 1.150 0.050",
        "PSNR (dB) 30.69 28.85 −1.84",
        "Accuracy, real encoders (%) 51.9 48.8 −3.1",
        "changes by −1.84 dB, and the accuracy behind real encoders by −3.1 percentage points",
        "same 8-bit value in 99.9986 % of all cases",
        "differ by 9e-06 at most",
        "4 test photographs",
        "CC0 & <free>",
        "abc123",
        "c92f84f",
    ):
        assert text in document.text, text


@pytest.mark.parametrize(
    ("above", "verdict", "by_kind"),
    [
        ((1, 0, 2), "The nominal rate lies in the interval.", "3 of 3 intervals."),
        (
            (1, 0, 12),
            "there are more false alarms than it promises.",
            "2 of 3 intervals, not in that of webp.",
        ),
        (
            (12, 11, 12),
            "there are more false alarms than it promises.",
            f"0 of 3 intervals, not in that of {', '.join(KINDS)}.",
        ),
    ],
)
def test_it_says_whether_the_nominal_rate_lies_in_the_interval(
    above: tuple[int, ...], verdict: str, by_kind: str
) -> None:
    found = shown(about({"0.01": rate(*above)})).text
    count = sum(above)
    assert f"{count} of 300 native photographs are above the threshold: {100 * count / 300:.1f} [" in found
    assert verdict in found
    assert f"By kind of file it lies in {by_kind}" in found


def test_fewer_false_alarms_than_promised_are_said_too() -> None:
    found = shown(about({"0.05": rate(1, 1, 1)})).text
    assert "lies above the interval: there are fewer false alarms than it promises." in found
    assert "By kind of file it lies in 3 of 3 intervals." in found


def in_percent(one: Mapping[str, Any]) -> str:
    low, high = one["interval"]
    return f"{100 * one['share']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def test_every_cell_holds_its_share() -> None:
    printed = false_alarms.false_alarms(content(about(RATES))).printed
    assert list(printed.iloc[:, 0]) == ["1 %", "", "", "", "5 %", "", "", ""]
    cells = [at for found in RATES.values() for at in (found, *found["by_kind"].values())]
    for name, heading in false_alarms.MEASURES.items():
        assert list(printed[heading]) == [in_percent(at[name]) for at in cells]
    pooled = detection.detected(content(about(RATES))).printed
    each = [one for found in RATES.values() for one in (found["detected"], *found["detected_by_class"].values())]
    assert list(pooled["Called altered (%)"]) == [in_percent(one) for one in each]
    assert list(pooled["Photographs"]) == [str(one["of"]) for one in each]
    by_kind = detection.detected_by_kind(content(about(RATES))).printed
    for name in CLASSES[1:]:
        assert list(by_kind["Called altered (%)", name]) == [in_percent(at["detected_by_class"][name]) for at in cells]
    assert list(by_kind["Of these (%)", "named right"]) == [in_percent(at["named_right"]) for at in cells]


def test_the_diagram_draws_the_bins() -> None:
    bins = probabilities.reliability(content(about(RATES))).numbers
    upper, lower = probabilities.plot(bins).axes
    diagonal, drawn = upper.lines
    np.testing.assert_array_equal(drawn.get_xydata(), bins[["confidence", "accuracy"]])
    np.testing.assert_array_equal(*diagonal.get_data())
    assert [bar.get_height() for bar in lower.patches] == [77, 212, 1211]
    assert [bar.get_x() + bar.get_width() / 2 for bar in lower.patches] == pytest.approx([0.35, 0.65, 0.95])


def test_a_rate_that_cannot_be_promised_says_why() -> None:
    found = shown(about({"0.01": {"refused": REFUSED}, "0.05": RATES["0.05"]}))
    assert found.text.count(f"A{REFUSED[1:]}.") == 2
    assert "At a nominal rate of 5 %" in found.text and "At a nominal rate of 1 %" not in found.text
    nothing = shown(about({"0.01": {"refused": REFUSED}}))
    assert nothing.text.count(f"A{REFUSED[1:]}.") == 2
    assert "What it detects" in nothing.text


def test_a_kind_without_photographs_has_dashes() -> None:
    at_rate = RATES["0.05"] | {"named_right": share(pd.Series([], dtype=bool))}
    assert "of these, – % are named right" in shown(about({"0.05": at_rate})).text


def test_what_is_missing_is_said_in_a_line() -> None:
    said = about(RATES)
    bare = {name: value for name, value in said.items() if name not in ("onnx", "int8")}
    bare |= {"calibration": {"photographs": 2, "source": "validation photographs"}, "lambda": "fixed"}
    found = shown(bare, calibrated=False).text
    assert found.count("This package has no calibration") == 3
    assert "sim-rggb · UNet · fixed" in found and "not changed while the FAN was trained" in found
    assert "no ONNX files, and what 8 bits cost has not been measured" in found
    assert "Calibrated with" not in found
    for title in ("How often it is wrong", "What it detects", "Are its probabilities right?", "What 8 bits cost"):
        assert title in found
    assert shown(bare).text.count("has not been checked") == 3


def test_it_lies_beside_the_package() -> None:
    assert package_page.beside(Path("a/camera.zip")) == Path("a/camera.html")
    assert package_page.beside(Path("a/camera")) == Path("a/camera.html")
    assert package_page.beside(Path("a/camera-1.2")) == Path("a/camera-1.2.html")


def test_only_an_earlier_page_is_replaced(tmp_path: Path) -> None:
    place = tmp_path / "camera.html"
    package_page.check_place(place)
    place.write_bytes(package_page.page(content(about(RATES))))
    package_page.check_place(place)
    for foreign in (b"", b"<html>dear to somebody</html>"):
        place.write_bytes(foreign)
        with pytest.raises(StudyError, match=r"camera\.html is there and is no page about a package"):
            package_page.check_place(place)
    place.unlink()
    place.mkdir()
    with pytest.raises(StudyError, match="name another place"):
        package_page.check_place(place)
    place.rmdir()
    place.symlink_to(tmp_path / "nowhere")
    with pytest.raises(StudyError, match="name another place"):
        package_page.check_place(place)
