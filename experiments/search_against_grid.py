"""Search and grid at equal device time, three times each: the hypervolume that either has reached on test photographs.

    python experiments/search_against_grid.py            about an hour on two cores; it resumes

Each repetition has a seed of its own for trainings and sampler. The validation photographs choose what is on a front,
and the test photographs say where it lies. A repetition is compared at the device time of the shorter of its two.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import yaml

from study import results, tracking
from study.results import searched
from study.results.statistics import interval
from study.search import points
from study.settings import Study, load_study

HERE = Path(__file__).with_suffix("").parent / "search-against-grid.yaml"
REPETITIONS = 3


def main() -> None:
    rows = [repetition(number) for number in range(REPETITIONS)]
    table = pd.DataFrame(rows).set_index("repetition")
    print(table.round(3).to_string())
    for name in ("grid", "search", "search - grid"):
        mean, spread = table[name].mean(), table[name].std()
        low, high = interval(mean, spread, REPETITIONS)
        print(f"{name}: {mean:.3f} [{low:.3f}, {high:.3f}]")


def repetition(number: int) -> dict[str, float]:
    """Run grid and search with seeds of their own, and compare them at the device time of the shorter."""
    content = yaml.safe_load(HERE.read_text(encoding="utf-8"))
    content["name"] += f"-{number}"
    content["seeds"] = content["search"]["seeds"] = [number]
    content["search"]["seed"] = number
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "study.yaml"
        searching = {**content, "name": f"{content['name']}-search"}  # of its own: it shall not learn from the grid
        grid = written(file, {key: value for key, value in content.items() if key != "search"}, "run")
        search = written(file, searching, "search")
    grid_trials = behind(grid)
    # Both fronts begin at the fixed NIP, and both pay for it.
    fixed = grid_trials[grid_trials["mode"] == "fixed"].assign(state=searched.FINISHED, search="fixed")
    searched_trials = searched.of_search(behind(search), points.table(points.every(search, read(search))))
    searched_trials = pd.concat([fixed.assign(point=range(len(fixed))), searched_trials])
    by_grid = searched.by_device_time(grid_trials, ["lam", *results.axes(grid_trials)], "psnr", on_test=True)
    by_search = searched.by_device_time(searched_trials, ["search", "point"], "psnr", on_test=True)
    seconds = min(by_grid["seconds"].max(), by_search["seconds"].max())
    reached = {
        name: curve.loc[curve["seconds"] <= seconds, "hypervolume"].max()
        for name, curve in (("grid", by_grid), ("search", by_search))
    }
    return {
        "repetition": number,
        "device minutes": seconds / 60,
        **reached,
        "search - grid": reached["search"] - reached["grid"],
        "grid, all": by_grid["hypervolume"].iloc[-1],
        "search, all": by_search["hypervolume"].iloc[-1],
    }


def written(file: Path, content: dict[str, object], command: str) -> Study:
    """Write a study file, run or search it, and load it."""
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    subprocess.run([sys.executable, "-m", "study", command, str(file)], check=True)
    return load_study(str(file))


def read(study: Study) -> tracking.Snapshot | None:
    return tracking.read(tracking.tracking_uri(study), study.name)


def behind(study: Study) -> pd.DataFrame:
    """The trials of a study as judged behind real encoders."""
    snapshot = read(study)
    assert snapshot is not None
    return results.behind(results.trials(snapshot), results.PANEL)


if __name__ == "__main__":
    main()
