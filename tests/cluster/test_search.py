"""A search through three losses in a row: as many points as asked, none lost, none run twice."""

import json
import sqlite3
import time
from collections import Counter
from contextlib import closing

from laboratory import JUDGED, METRICS, STEPS, Laboratory
from machines import wait_for

POINTS, SEEDS = 6, 2
SEARCH = f"""
search:
  over:
    lambda: {{log: [0.001, 0.1]}}
    training.learning_rate: {{log: [1.0e-4, 1.0e-2]}}
  points: {POINTS}
  seeds: {SEEDS}
  random: 3
"""
LOCKED = 12.0  # seconds


def proposed(laboratory: Laboratory) -> dict[str, dict[str, float]]:
    """The values of every point, by the tag that holds it."""
    found = laboratory.client.get_experiment_by_name(laboratory.name)
    if found is None:
        return {}
    tags = laboratory.client.get_experiment(found.experiment_id).tags
    return {name: json.loads(text)["values"] for name, text in tags.items() if name.startswith("search.")}


def test_driver_and_worker_killed_and_database_locked(laboratory: Laboratory) -> None:
    laboratory.search = SEARCH
    driver = laboratory.start(verb="search")
    wait_for(lambda: proposed(laboratory) and len(laboratory.finished()) >= 2, driver, pause=0.3)
    driver.kill()
    before, ended = proposed(laboratory), laboratory.finished()
    assert len(ended) < POINTS * SEEDS, "killed too late: the search is done"

    driver = laboratory.start(verb="search")
    wait_for(lambda: len(laboratory.finished()) >= len(ended) + 2, driver, pause=0.3)
    laboratory.cluster.kill_worker(next(iter(laboratory.cluster.training())))
    assert len(laboratory.finished()) < POINTS * SEEDS, "killed too late: the search is done"
    laboratory.cluster.start_worker()

    with closing(sqlite3.connect(laboratory.server.folder / "mlflow.db", timeout=30, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        back = time.monotonic() + LOCKED
        wait_for(lambda: time.monotonic() > back, driver)
        database.execute("ROLLBACK")
    driver.finish()

    points = proposed(laboratory)
    assert before.items() <= points.items()
    assert len(points) == POINTS
    assert sorted(name[-5:] for name in points) == [f"{number:05d}" for number in range(POINTS)]
    runs = laboratory.runs()
    assert Counter(run.info.status for run in runs) == {"FINISHED": POINTS * SEEDS}
    places = [tuple(float(run.data.params[name]) for name in ("lambda", "training.learning_rate")) for run in runs]
    asked = [tuple(values[name] for name in ("lambda", "training.learning_rate")) for values in points.values()]
    assert Counter(places) == dict.fromkeys(asked, SEEDS)
    for run in runs:
        for name in METRICS | JUDGED:
            history = laboratory.client.get_metric_history(run.info.run_id, name)
            steps = STEPS if name in METRICS else STEPS[-1:]
            assert [entry.step for entry in history] == steps, f"{name} of {run.info.run_id}"
    assert not laboratory.checkpoints()
    assert not laboratory.names("pending")
    assert "search:" not in laboratory.start(verb="search").finish(), "a search that is over has nothing to do"
    assert len(laboratory.runs()) == POINTS * SEEDS
