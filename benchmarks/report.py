"""report of the 1,320 trials of the paper, with histories, confusions, pictures, evaluations, verdicts; goal ≤ 20 s

The runs are synthetic and lie in sqlite and a folder. Python's start and imports do not count.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from benchmarks.rows import Row

CAMERAS = ("Canon EOS 40D", "Canon EOS 5D", "Nikon D7000", "Nikon D90")
ISPS = ("INet", "UNet", "DNet")
VALIDATIONS = 20


def rows(tiny: bool = False) -> Iterator[Row]:
    from study import tracking
    from study.report.page import Provenance, report

    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "study"))
    try:
        import synthetic_tracking  # type: ignore[import-not-found]
    finally:
        del sys.path[0]

    seeds = range(2 if tiny else 10)
    cameras, isps = (CAMERAS[:1], ISPS[:1]) if tiny else (CAMERAS, ISPS)
    grid = (cameras, isps, synthetic_tracking.LAMBDAS, seeds)
    with tempfile.TemporaryDirectory() as name:
        uri = synthetic_tracking.fill(
            Path(name),
            "paper",
            *grid,
            points=VALIDATIONS,
            examples=True,
            evaluated=True,
            pretrained=True,
            verdicts=True,
        )
        plan = [
            {"camera": camera, "isp": isp, "lambda": lam, "seed": seed, "key": f"{camera}/{isp}/{lam}/{seed}"}
            for camera, isp, lam, seed in product(*grid)
        ]
        start, cpu = time.perf_counter(), time.process_time()
        snapshot = tracking.read(uri, "paper")
        read = time.perf_counter()
        assert snapshot is not None
        report("paper", snapshot, Path(name) / "report", plan, Provenance())
        written, worked = time.perf_counter(), time.process_time() - cpu
        assert (Path(name) / "report" / "report.html").is_file()
    yield Row(f"read {len(snapshot.runs)} runs", read - start, "s")
    yield Row(f"report of {len(plan)} trials, with reading", written - start, "s")
    yield Row("CPU time of it", worked, "s")
