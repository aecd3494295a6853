"""``python -m benchmarks.results``: reading a study of the paper's size, 1,320 finished trials, out of sqlite."""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from study import results

CAMERAS = ("Canon EOS 40D", "Canon EOS 5D", "Nikon D7000", "Nikon D90")
ISPS = ("INet", "UNet", "DNet")


def timed(what: str, call: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    result = call()
    print(f"{what:32} {len(result):6} rows {time.perf_counter() - start:8.2f} s")
    return result


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "study"))
    import synthetic_tracking  # the tests' own

    with tempfile.TemporaryDirectory() as folder:
        uri = synthetic_tracking.fill(
            Path(folder), "paper", CAMERAS, ISPS, synthetic_tracking.LAMBDAS, range(10), points=20
        )
        table = timed("trials", lambda: results.trials(uri, "paper"))
        summary = timed("summary, with intervals", lambda: results.summary(table))
        timed("gain, paired by seed", lambda: results.gain(table))
        timed("fronts", lambda: results.front(summary, "psnr"))
        timed("best", lambda: results.best(summary, min_psnr=40))
        timed("confusions", lambda: results.confusions(uri, table))
        timed("curves of one ISP", lambda: results.curves(uri, table[table["isp"] == "UNet"], "accuracy"))


if __name__ == "__main__":
    main()
