"""What `rerun` promises of a repetition, by device, setting and card."""

import pytest

from forensics.repetition import TOLERANCE
from study.commands.rerun import Comparison, _why_not_exact
from study.jobs import Context
from study.tracking import provenance


def context(device: str, deterministic: bool = True) -> Context:
    return Context(
        storage="", cache=None, tracking_uri="", experiment_id="", device=device, deterministic=deterministic
    )


def test_on_a_cpu_the_bits_are_the_same() -> None:
    assert _why_not_exact(context("cpu"), {"hardware": "another processor"}) == ""


def test_on_a_gpu_the_same_bits_need_the_setting_and_the_same_kind_of_card() -> None:
    same = {"hardware": provenance("cuda")["hardware"]}
    assert _why_not_exact(context("cuda"), same) == ""
    assert "resources.deterministic: false" in _why_not_exact(context("cuda", deterministic=False), same)
    assert "Tesla T4" in _why_not_exact(context("cuda"), {"hardware": "Tesla T4"})


@pytest.mark.parametrize(
    ("difference", "deviation", "why", "expected"),
    [
        ("", "", "", "bit-identical"),
        ("", "", "another card", "bit-identical"),
        ("weights nip.c10.bias", "", "", "not bit-identical: weights nip.c10.bias"),
        ("weights nip.c10.bias", "", "another card", "within the tolerance (accuracy ± "),
        ("weights nip.c10.bias", "psnr: logged 30, now 40", "another card", "beyond the tolerance (accuracy ± "),
    ],
)
def test_the_comparison_in_a_line(difference: str, deviation: str, why: str, expected: str) -> None:
    assert expected in Comparison("", [], difference, deviation, why).verdict
    assert set(TOLERANCE) == {"accuracy", "psnr", "ssim", "ssim_paper"}
