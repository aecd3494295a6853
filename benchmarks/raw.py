"""import of RAW files: simulated DNGs of 1.5 Mpx, decoded, checked, developed (Menon) and stored as pairs"""

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.rows import Row
from cameras.dng import simulate_folder
from cameras.importing import import_camera
from cameras.simulate import PRESETS


def rows(tiny: bool = False) -> Iterator[Row]:
    count, height, width = (2, 64, 96) if tiny else (16, 1024, 1536)
    camera = PRESETS["sim-gbrg"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = time.perf_counter()
        files = simulate_folder(camera, folder / "raw", count, height, width, seed=0)
        yield Row("simulate and write DNGs", count / (time.perf_counter() - start), "files/s")
        for workers in (0,) if tiny else (0, os.cpu_count() or 1):
            start = time.perf_counter()
            imported = import_camera(
                camera.name, files, folder / f"pairs {workers}", limit=count, orientation="any", workers=workers
            )
            seconds = time.perf_counter() - start
            assert len(imported) == count, imported.refused
            how = f"{workers} processes, their start included" if workers else "in this process"
            yield Row(
                f"import, {how}", count / seconds, "files/s", figures={"ms/Mpx": 1e9 * seconds / count / height / width}
            )
