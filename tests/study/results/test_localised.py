"""Statistics of localisation over photographs, against SciPy."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from study.results import localised


def rows_of(values: np.ndarray, **columns: object) -> list[dict[str, object]]:
    """Values (photographs, kinds)."""
    return [
        {"camera": "A", "isp": "UNet", "detector": "fan", "photograph": str(i), "kind": kind, "size": 0.1}
        | {"codec": "jpeg:70", **dict.fromkeys(localised.SCORES, values[i, j]), "flagged": 0.0, **columns}
        for i in range(len(values))
        for j, kind in enumerate(("sharpen", "gaussian"))
    ]


def test_intervals_are_over_photographs() -> None:
    rng = np.random.default_rng(0)
    fixed, joint = rng.random((2, 2, 9, 2))  # of both seeds, by photograph and kind
    rows = [
        row
        for seed in (0, 1)
        for mode, lam, values in (("fixed", np.nan, fixed), ("joint", 0.01, joint))
        for row in rows_of(values[seed], mode=mode, lam=lam, seed=seed)
    ]
    clean = [row | {"kind": "pristine", "flagged": 0.25 * (row["photograph"] == "0"), "auc": None} for row in rows]
    table = pd.DataFrame(rows + [row for row in clean if row["size"]])
    table = table.drop_duplicates(["mode", "seed", "photograph", "kind"])
    found = localised.found(table).set_index("mode")
    gain = localised.localisation_gain(table).iloc[0]
    for values, got, bounds in (
        (joint.mean(axis=(0, 2)), found.loc["joint"], "f1"),
        ((joint - fixed).mean(axis=(0, 2)), gain, "auc"),
    ):
        low, high = stats.t.interval(0.95, 8, values.mean(), values.std(ddof=1) / 3)
        assert got[bounds] == pytest.approx(values.mean())
        assert (got[f"{bounds}_low"], got[f"{bounds}_high"]) == pytest.approx((low, high))
        assert (got["seeds"], got["images"]) == (2, 9)
    assert gain["by_seed"] == pytest.approx(tuple((joint - fixed).mean(axis=(1, 2))))
    clean_found = localised.pristine(table).iloc[0]
    assert clean_found["alarms"] == pytest.approx(1 / 9)
    assert clean_found["flagged"] == pytest.approx(0.25 / 9)
    exact = stats.binomtest(2, 18).proportion_ci(method="exact")
    assert (clean_found["alarms_low"], clean_found["alarms_high"]) == pytest.approx((exact.low, exact.high))
