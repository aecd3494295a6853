"""Reading a study of the paper's size, 1,320 finished trials, out of sqlite.

python -m benchmarks.results
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.timing import milliseconds
from study import results
from study.results import fronts
from study.results.claims import paper

CAMERAS = ("Canon EOS 40D", "Canon EOS 5D", "Nikon D7000", "Nikon D90")
ISPS = ("INet", "UNet", "DNet")


def timed(what: str, call: Callable[[], Any]) -> Any:
    returned: list[Any] = []
    once = milliseconds(lambda: returned.append(call()), repeats=1, warmup=0)
    print(f"{what:32} {len(returned[0]):6} rows {once / 1000:8.2f} s")
    return returned[0]


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "study"))
    import synthetic_tracking  # the tests' own

    with tempfile.TemporaryDirectory() as folder:
        uri = synthetic_tracking.fill(
            Path(folder), "paper", CAMERAS, ISPS, synthetic_tracking.LAMBDAS, range(10), points=20
        )
        table = timed("trials", lambda: results.trials(uri, "paper"))
        summary = timed("summary, with intervals", lambda: results.summary(table))
        findings = paper.Findings(table, results.pretrained(uri, "paper"))
        timed("gain, paired by seed", lambda: results.gain(table))
        timed("fronts", lambda: fronts.front(summary, "psnr"))
        timed("hypervolumes, with intervals", lambda: fronts.hypervolume(table, "psnr"))
        timed("accuracy at 42.5 dB, intervals", lambda: fronts.accuracy_at(table, "psnr", 42.5))
        timed("the same for every seed", lambda: fronts.accuracy_at(table, "psnr", 42.5, each_seed=True))
        timed("best", lambda: results.best(summary, min_psnr=40))
        timed("verdicts on the paper's claims", lambda: paper.verdicts(findings))
        timed("confusions", lambda: results.confusions(uri, table))
        timed("curves of one ISP", lambda: results.curves(uri, table[table["isp"] == "UNet"], "accuracy"))


if __name__ == "__main__":
    main()
