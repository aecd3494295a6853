"""report of the 1,320 trials of the paper, with histories, confusions, pictures, evaluations, verdicts; goal ≤ 20 s

The runs are synthetic and lie in sqlite and a folder. Python's start and imports do not count. Then Chromium opens the
page: its first paint (goal ≤ 2 s), and what a reader picks in the section to ask, until it is painted (goal ≤ 100 ms).
"""

import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.rows import Row

CAMERAS = ("Canon EOS 40D", "Canon EOS 5D", "Nikon D7000", "Nikon D90")
ISPS = ("INet", "UNet", "DNet")
VALIDATIONS = 20
FIRST_PAINT = """new Promise((tell) => new PerformanceObserver((list) => tell(list.getEntries()[0].startTime))
    .observe({type: "paint", buffered: true}))"""
PICK = """(async () => {{
    const painted = () => new Promise((tell) => requestAnimationFrame(() => setTimeout(tell)));
    const control = document.querySelector('.explorer {}');
    await painted();
    const start = performance.now();
    {};
    await painted();
    return performance.now() - start;
}})()"""
CHANGED = "control.dispatchEvent(new Event('change'))"
PICKS = {  # what a reader does -> a control, and what is done to it
    "a box ticked": ("input[type=checkbox]", "control.click()"),
    "a bound typed": ("[name=fidelity-least]", f"control.value = 35.5 + Math.random(); {CHANGED}"),
}


def rows(tiny: bool = False) -> Iterator[Row]:
    from study import tracking
    from study.report.page import Provenance, report

    tests = Path(__file__).parents[1] / "tests" / "study"
    sys.path[:0] = [str(tests), str(tests / "report")]
    try:
        import driven_chromium  # type: ignore[import-not-found]
        import synthetic_tracking  # type: ignore[import-not-found]
    finally:
        del sys.path[:2]

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
        page = Path(name) / "report" / "report.html"
        asked = list(browsed(driven_chromium, page))
    yield Row(f"read {len(snapshot.runs)} runs", read - start, "s")
    yield Row(f"report of {len(plan)} trials, with reading", written - start, "s")
    yield Row("CPU time of it", worked, "s")
    yield from asked


def browsed(driver: Any, path: Path) -> Iterator[Row]:
    """Time the page in a browser; ``driver`` is the tests' module for it."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        yield Row("first paint", None, note="Chromium is not installed")
        return
    html = path.read_text()
    embedded = sum(map(len, re.findall(r"<script.*?</script>", html, re.DOTALL)))
    with tempfile.TemporaryDirectory() as profile, driver.opened(browser, Path(profile)) as page:
        page.open(path)
        sizes = {"MB": len(html) / 1e6, "MB of it to ask": embedded / 1e6}
        yield Row("first paint in Chromium", page.ask(FIRST_PAINT) / 1000, "s", figures=sizes)
        page.ask(PICK.format("[name=points]", f"control.value = 'trials'; {CHANGED}"))
        for what, way in PICKS.items():
            times = [page.ask(PICK.format(*way)) for _ in range(9)]
            yield Row(f"{what}, among all trials", statistics.median(times), "ms", figures={"ms at most": max(times)})
