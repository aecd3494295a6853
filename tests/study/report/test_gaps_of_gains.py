"""The gap to dJPEG beside a gain is that of the same setting."""

from types import SimpleNamespace

import pandas as pd

from study.report.sections.headline import _with_gap


def test_where_one_channel_alone_has_a_fixed_isp() -> None:
    """Trials behind the paper's channel have no fixed ISP to gain on; their gap is not that of the others."""
    place = {"camera": "Alpha", "isp": "UNet", "lam": 0.1}
    summary = pd.DataFrame([{**place, "channel": "robust", "gap": -0.02}, {**place, "channel": "paper", "gap": -0.3}])
    gains = pd.DataFrame([{**place, "channel": "robust", "accuracy": 0.1}])
    found = _with_gap(SimpleNamespace(summary=summary, gains=gains), gains)  # type: ignore[arg-type]
    assert found["gap"].tolist() == [-0.02]
