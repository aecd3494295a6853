"""What a search found: tables, growth by device time, importances, the report's section, a file for Optuna."""

from pathlib import Path

import moocore
import numpy as np
import optuna
import pandas as pd
import pytest
from mlflow import MlflowClient
from played_search import Worker, pretrained, searched, source_of, trade_off
from small_study import new_experiment

from study import results, tracking
from study.preflight.status import status
from study.report.content import Content, Provenance
from study.report.sections import search as search_section
from study.results import searched as of_search
from study.search import points
from study.search.export import export
from study.search.forecast import counts, expected
from study.search.importances import importances
from study.settings import Study
from study.tracking import Snapshot


@pytest.fixture(scope="module")
def played(client: MlflowClient, tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Snapshot]:
    """Twelve points of two seeds, some of which were stopped; the last is not run yet."""
    folder = tmp_path_factory.mktemp("played")
    experiment_id = new_experiment(client, folder)
    study = searched(str(folder / "nothing"), points=12, stop_early={"after": 20, "keep": 0.5})
    pretrained(study, client, experiment_id)
    worker, source = Worker(client, experiment_id, every=20), source_of(study, client, experiment_id)
    while len(source.every) < 12:
        job = source.next()
        assert job is not None
        worker.play(job, source)
    source.close()
    for run in tracking.snapshot(client, experiment_id).of_kind("trial"):
        client.log_metric(run.info.run_id, "seconds", 10.0 + len(run.info.run_id) % 3)
        client.log_metric(run.info.run_id, "ssim", 0.9)
    return study, tracking.snapshot(client, experiment_id)


def test_status_counts_points(played: tuple[Study, Snapshot]) -> None:
    study, snapshot = played
    found = counts(study, points.every(study, snapshot))
    assert found["points"] == 12 == found["finished"] + found["stopped"] + found["failed"] + found["left"]
    assert found["finished"] >= 5
    assert found["stopped"] >= 1
    assert found["left"] >= 1
    assert status(study, snapshot).search == found


def test_what_is_left_is_what_was_not_run(played: tuple[Study, Snapshot]) -> None:
    """The points that are still to be proposed are drawn; those that have ended are not counted."""
    study, snapshot = played
    more = study.model_copy(update={"search": points.section(study).model_copy(update={"points": 15})})
    tried = points.every(more, snapshot)
    left = sum(one.outcome.state == points.LEFT for one in tried)
    assert len(expected(more, snapshot, tried).planned) == 2 * (left + 3)


def test_a_study_without_a_search_has_no_points(played: tuple[Study, Snapshot]) -> None:
    study, snapshot = played
    without = study.model_copy(update={"search": None})
    assert points.every(without, snapshot) == []
    assert status(without, snapshot).search == {}
    assert importances(without, snapshot) == []


def test_points_are_means_over_seeds(played: tuple[Study, Snapshot]) -> None:
    study, snapshot = played
    tried = points.every(study, snapshot)
    rows = points.table(tried)
    table = of_search.of_search(results.trials(snapshot), rows)
    names = of_search.settings(rows)
    assert names == ["lambda", "training.learning_rate"]
    found = of_search.points(table, names, ["accuracy_real", "psnr"]).set_index("point")
    finished = [one for one in tried if one.outcome.state == points.FINISHED]
    assert list(found.index) == [one.point.number for one in finished]
    for one in finished:
        row = found.loc[one.point.number]
        assert (row["accuracy_real"], row["psnr"]) == pytest.approx(one.outcome.objectives)
        assert {name: row[name] for name in names} == one.point.values
        assert row["seeds"] == 2
    assert len(table) > 2 * len(finished), "stopped trials, too"


def test_growth_equals_a_count_by_hand(played: tuple[Study, Snapshot]) -> None:
    study, snapshot = played
    table = of_search.of_search(results.trials(snapshot), points.table(points.every(study, snapshot)))
    grown = of_search.by_device_time(table, ["search", "point"], "psnr")
    assert grown["hypervolume"].is_monotonic_increasing
    assert grown["seconds"].is_monotonic_increasing
    ordered = table.sort_values(["end", "run_id"]).reset_index(drop=True)
    for row in grown.itertuples():
        so_far = ordered[ordered["seconds"].fillna(0).cumsum() <= row.seconds + 1e-9]
        done = so_far[so_far["status"] == "FINISHED"].groupby("point").filter(lambda group: len(group) == 2)
        done = done[done["state"] == points.FINISHED] if len(done) else done
        means = done.groupby("point")[["psnr", "accuracy"]].mean().to_numpy()
        assert row.hypervolume == pytest.approx(moocore.hypervolume(means, (20.0, 0.2), maximise=True))
    whole = grown["seconds"].iloc[-1]
    assert whole <= table["seconds"].sum()


def test_importances_add_up(played: tuple[Study, Snapshot]) -> None:
    study, snapshot = played
    from study.search import importances as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "FEWEST", 4)
        found = pd.DataFrame(importances(study, snapshot))
    assert set(found["setting"]) == {"lambda", "training.learning_rate"}
    sums = found.groupby("objective")["importance"].sum()
    assert list(sums.index) == ["accuracy_real", "psnr"]
    np.testing.assert_allclose(sums, 1)


def test_optuna_reads_the_file(played: tuple[Study, Snapshot], tmp_path: Path) -> None:
    study, snapshot = played
    export(study, snapshot, tmp_path / "search.journal")
    assert [path.name for path in tmp_path.iterdir()] == ["search.journal"]
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "search.journal"))
    storage = optuna.storages.JournalStorage(backend)
    (summary,) = optuna.get_all_study_summaries(storage)
    loaded = optuna.load_study(study_name=summary.study_name, storage=storage)
    tried = points.every(study, snapshot)
    assert [trial.params for trial in loaded.trials] == [one.point.values for one in tried]
    assert [trial.user_attrs["trial_keys"] for trial in loaded.trials] == [list(one.outcomes) for one in tried]
    assert loaded.metric_names == ["accuracy_real", "psnr"]


def test_the_report_draws_the_search(played: tuple[Study, Snapshot], monkeypatch: pytest.MonkeyPatch) -> None:
    study, snapshot = played
    rows = points.table(points.every(study, snapshot))
    weights = [
        {"camera": "one", "isp": "INet", "objective": objective, "setting": setting, "importance": 0.5}
        for objective in ("accuracy_real", "psnr")
        for setting in study.search.over  # type: ignore[union-attr]
    ]
    content = Content.of(snapshot, [], Provenance(search=rows, importances=weights))
    section = search_section.section(content)
    files = {name for part in section.parts for name in part.files}
    assert {f"figures/search-{kind}-one-INet.pdf" for kind in ("front", "time", "importance", "parallel")} <= files
    assert "tables/search.csv" in files
    assert section.html.count("<svg") == 4
    empty = search_section.section(Content.of(snapshot, [], Provenance()))
    assert empty.html == ""


def test_the_formula_is_what_was_played(played: tuple[Study, Snapshot]) -> None:
    """Else all of the above would compare the same mistake with itself."""
    study, snapshot = played
    one = next(one for one in points.every(study, snapshot) if one.outcome.state == points.FINISHED)
    expected = [trade_off(job, 80)["psnr"] for job in one.jobs]
    assert one.outcome.objectives is not None
    assert one.outcome.objectives[1] == pytest.approx(sum(expected) / 2)
