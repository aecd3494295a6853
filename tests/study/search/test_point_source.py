"""A search at work, and again after it was lost: as many points as asked, none lost, none run twice."""

import math
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from played_search import Worker, jobs_of, pretrained, searched, source_of, trade_off
from small_study import refused_connection

from study import tracking
from study.jobs import Job
from study.jobs.trial import TrialJob
from study.search import points, search
from study.search.points import FAILED, FINISHED, LEFT, STOPPED
from study.settings import Study


@pytest.fixture
def study(tmp_path: Path, client: MlflowClient, experiment_id: str, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setattr(search, "LOOK_SECONDS", 0.0)
    found = searched(str(tmp_path / "nothing"))
    pretrained(found, client, experiment_id)
    return found


@pytest.fixture
def worker(client: MlflowClient, experiment_id: str) -> Worker:
    return Worker(client, experiment_id)


def states(source: search.PointSource) -> list[str]:
    return [tried.outcome.state for tried in source.every]


def test_a_search_ends_with_the_points_it_was_asked_for(
    study: Study, worker: Worker, client: MlflowClient, experiment_id: str
) -> None:
    source = source_of(study, client, experiment_id)
    worker.play_all(source)
    assert states(source) == [FINISHED] * 6
    assert sorted(worker.played) == sorted(job.key for job in jobs_of(source)), "each of 6 points × 2 seeds, once"
    for tried in source.every:
        one, two = (trade_off(job, 80) for job in tried.jobs)
        expected = tuple((one[name] + two[name]) / 2 for name in ("accuracy_real", "psnr"))
        assert tried.outcome.objectives == pytest.approx(expected)
        assert {job.trial.lam for job in tried.jobs} == {tried.point.values["lambda"]}
        assert [job.trial.seed for job in tried.jobs] == [0, 1]
    again = source_of(study, client, experiment_id)
    assert again.is_over
    assert [tried.told for tried in again.every] == [tried.told for tried in source.every]


@pytest.mark.parametrize("killed_after", [0, 1, 2, 5, 11])
def test_a_driver_that_is_lost_leaves_its_points_to_the_next(
    study: Study, worker: Worker, client: MlflowClient, experiment_id: str, killed_after: int
) -> None:
    """Two jobs are begun when it is lost: neither they nor their points are made anew."""
    first = source_of(study, client, experiment_id)
    for _ in range(killed_after):
        job = first.next()
        assert job is not None
        worker.play(job, first)
    begun = [job for job in (first.next(), first.next()) if job is not None]
    for job in begun:
        worker.begin(job)
    proposed = [tried.point for tried in first.every]

    second = source_of(study, client, experiment_id)
    assert [tried.point for tried in second.every] == proposed
    first_again = [second.next(), second.next()][: len(begun)]
    assert [job.key for job in first_again if job] == [job.key for job in begun]
    for job in first_again:
        assert job is not None
        worker.play(job, second)
    worker.play_all(second)
    assert states(second) == [FINISHED] * 6
    keys = [job.key for job in jobs_of(second)]
    assert len(keys) == len(set(keys)) == 12
    runs = tracking.snapshot(client, experiment_id).of_kind("trial")
    assert sorted(run.data.tags["trial_key"] for run in runs) == sorted(keys)
    again = {key for key in keys if worker.played.count(key) > 1}
    assert again == {job.key for job in begun}, "only what was lost in the middle is begun again"


def test_a_search_goes_on_as_if_it_had_not_been_interrupted(
    study: Study, client: MlflowClient, experiment_id: str, tmp_path: Path
) -> None:
    """A driver for each single job proposes the points that one driver proposes."""
    other = client.create_experiment(f"other of {experiment_id}", artifact_location=tmp_path.as_uri())
    pretrained(study, client, other)
    whole = source_of(study, client, experiment_id)
    Worker(client, experiment_id).play_all(whole)
    worker = Worker(client, other)
    while job := (source := source_of(study, client, other)).next():
        worker.play(job, source)
    assert [tried.point.values for tried in source.every] == [tried.point.values for tried in whole.every]


def test_more_points_can_be_asked_for_later(
    study: Study, worker: Worker, client: MlflowClient, experiment_id: str
) -> None:
    worker.play_all(source_of(study, client, experiment_id))
    assert study.search is not None
    more = study.model_copy(update={"search": study.search.model_copy(update={"points": 8})})
    worker.play_all(source_of(more, client, experiment_id))
    assert len(worker.played) == len(set(worker.played)) == 16


def test_what_the_grid_has_run_costs_nothing_and_is_told(
    study: Study, worker: Worker, client: MlflowClient, experiment_id: str
) -> None:
    """Another search over λ alone has run some trials; a search over two values finds them, all others apart."""
    assert study.search is not None
    narrow = study.search.model_copy(update={"over": {"lambda": (0.01, 0.02, 0.5)}, "points": 3})
    grid = study.model_copy(update={"search": narrow})
    worker.play_all(source_of(grid, client, experiment_id))
    assert len(worker.played) == 6
    choice = study.search.model_copy(update={"over": {"lambda": (0.01, 0.02, 0.03)}, "points": 3})
    source = source_of(study.model_copy(update={"search": choice}), client, experiment_id)
    (known,) = source.known.values()
    assert sorted(told.values["lambda"] for told in known) == [0.01, 0.02]
    for told in known:
        both = [trade_off(job_at(study, told.values["lambda"], seed), 80)["psnr"] for seed in (0, 1)]
        assert told.outcome.objectives is not None
        assert told.outcome.objectives[1] == pytest.approx(sum(both) / 2)
    worker.play_all(source)
    assert len(worker.played) == 8, "only λ = 0.03 was left"


def job_at(study: Study, lam: float, seed: int) -> TrialJob:
    from study.settings import planned_at

    item = next(
        item for item in planned_at(study, {"lambda": lam, "training.learning_rate": 1e-4}) if item.trial.seed == seed
    )
    return TrialJob.plan(item.trial, {}, "nips/x", "e" * 64, "d" * 64)


def test_the_tracker_away_loses_nothing(
    study: Study, worker: Worker, client: MlflowClient, experiment_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No point is proposed that the tracker does not know, and a result that cannot be read is read later."""
    monkeypatch.setattr(search, "PAUSE", 0.0)
    source = source_of(study, client, experiment_id)
    away = False

    class Line:
        def __getattr__(self, name: str) -> object:
            if away:
                raise refused_connection()
            return getattr(client, name)

    source.client = Line()  # type: ignore[assignment]
    first, second = source.next(), source.next()
    assert first is not None and second is not None
    worker.play(first, source)
    worker.play(second, source)
    away = True
    assert source.next() is None
    assert len(source.every) == 1
    assert source.unread == {first.key, second.key}
    assert not source.is_over
    away = False
    worker.play_all(source)
    assert states(source) == [FINISHED] * 6
    assert len(worker.played) == len(set(worker.played)) == 12


def test_a_refusal_is_no_absence(study: Study, client: MlflowClient, experiment_id: str) -> None:
    source = source_of(study, client, experiment_id)

    class Refuses:
        def set_experiment_tag(self, *arguments: object) -> None:
            raise MlflowException.invalid_parameter_value("no")

    source.client = Refuses()  # type: ignore[assignment]
    with pytest.raises(MlflowException):
        source.next()


def test_a_verdict_that_was_lost_is_made_up_for(
    study: Study, worker: Worker, client: MlflowClient, experiment_id: str
) -> None:
    source = source_of(study, client, experiment_id)
    job = source.next()
    assert job is not None
    worker.play(job, source, judged=False)
    worker.play_all(source)
    assert worker.kinds.count("verdict") == 1
    assert states(source) == [FINISHED] * 6


def test_a_point_with_a_failed_trial_counts_and_is_not_repeated(
    study: Study, worker: Worker, client: MlflowClient, experiment_id: str
) -> None:
    source = source_of(study, client, experiment_id)
    job = source.next()
    assert job is not None
    run_id = worker.begin(job)
    client.set_tag(run_id, "failure", "loss is not finite")
    client.set_terminated(run_id, "FAILED")
    source.ended(job.key, "loss is not finite")
    worker.play_all(source)
    assert states(source) == [FAILED] + [FINISHED] * 5
    assert list(source.failures.values()) == ["loss is not finite"]
    assert len(worker.played) == 11, "its other seed would tell nothing"
    assert source_of(study, client, experiment_id).is_over
    retried = source_of(study, client, experiment_id, retry_failed=True)
    assert states(retried)[0] == LEFT
    worker.play_all(retried)
    assert states(retried) == [FINISHED] * 6


def test_each_camera_and_isp_has_a_search_of_its_own(tmp_path: Path, client: MlflowClient, experiment_id: str) -> None:
    study = searched(str(tmp_path), points=3, seeds=1).model_copy(update={"isps": ("INet", "UNet")})
    pretrained(study, client, experiment_id)
    source = source_of(study, client, experiment_id)
    worker = Worker(client, experiment_id)
    order: list[Job] = []
    while job := source.next():
        order.append(job)
        worker.play(job, source)
    assert [str(job.params["isp"]) for job in order] == ["INet", "UNet"] * 3, "in turn"


def test_no_more_jobs_at_a_time_than_allowed(tmp_path: Path, client: MlflowClient, experiment_id: str) -> None:
    study = searched(str(tmp_path), parallel=3)
    pretrained(study, client, experiment_id)
    source = source_of(study, client, experiment_id)
    found = [source.next() for _ in range(4)]
    assert [job is not None for job in found] == [True, True, True, False]
    assert found[0] is not None
    source.ended(found[0].key, "lost")
    assert source.next() is not None


def test_poor_points_are_stopped_and_marked(tmp_path: Path, client: MlflowClient, experiment_id: str) -> None:
    study = searched(str(tmp_path), points=12, seeds=2, stop_early={"after": 20, "keep": 0.5})
    pretrained(study, client, experiment_id)
    worker = Worker(client, experiment_id, every=20)
    source = source_of(study, client, experiment_id)
    worker.play_all(source)
    source.close()
    found = states(source)
    assert set(found) == {FINISHED, STOPPED}
    front = [tried for tried in source.every if tried.outcome.state == FINISHED]
    for tried in source.every:
        place = [tuple(trade_off(tried.jobs[0], 20)[name] for name in ("accuracy", "psnr"))]
        others = [tuple(trade_off(one.jobs[0], 20)[name] for name in ("accuracy", "psnr")) for one in front]
        if tried.outcome.state == STOPPED:
            assert any(all(a > b for a, b in zip(other, place[0], strict=True)) for other in others), "on the front"
            assert tried.outcome.reason.startswith("stopped early at iteration 20")
    runs = {run.data.tags["trial_key"]: run for run in tracking.snapshot(client, experiment_id).of_kind("trial")}
    for tried in source.every:
        begun = [runs[job.key] for job in tried.jobs if job.key in runs]
        if tried.outcome.state == STOPPED:
            assert len(begun) == 1, "its other seed is never begun"
        assert {run.info.status for run in begun} == {"KILLED" if tried.outcome.state == STOPPED else "FINISHED"}
        assert {tracking.GIVEN_UP in run.data.tags for run in begun} == {tried.outcome.state == STOPPED}
    again = source_of(study, client, experiment_id)
    assert again.is_over
    assert states(again) == found


def test_milestones_are_known_after_a_restart(tmp_path: Path, client: MlflowClient, experiment_id: str) -> None:
    """A new driver stops what the first would have stopped."""
    study = searched(str(tmp_path), points=6, seeds=1, stop_early={"after": 20, "keep": 0.5})
    pretrained(study, client, experiment_id)
    worker, source = Worker(client, experiment_id, every=20), source_of(study, client, experiment_id)
    for _ in range(3):
        job = source.next()
        assert job is not None
        worker.play(job, source)
    again = source_of(study, client, experiment_id)
    assert {key: set(there) for key, there in again.milestones.items()} == {
        key: set(there) for key, there in source.milestones.items()
    }
    for key, there in again.milestones.items():
        for trial, place in there.items():
            assert place == pytest.approx(source.milestones[key][trial])


def test_an_objective_that_is_infinite_is_no_result(study: Study, client: MlflowClient, experiment_id: str) -> None:
    def endless(job: TrialJob, step: int) -> dict[str, float]:
        return {**trade_off(job, step), "psnr": math.inf if job.trial.seed else 30.0}

    source = source_of(study, client, experiment_id)
    job, second = source.next(), source.next()
    worker = Worker(client, experiment_id, endless)
    assert job is not None and second is not None
    worker.play(job, source)
    worker.play(second, source)
    source.next()
    assert states(source)[0] == FAILED
    assert "no finite" in source.every[0].outcome.reason


def test_branches_differ_by_what_they_look_for(tmp_path: Path) -> None:
    ids = {
        str(change): points.branches(searched(str(tmp_path), **change))[0].id
        for change in (
            {},
            {"points": 99, "seeds": 5, "parallel": 2, "random": 5},
            {"seed": 1},
            {"sampler": "nsga2"},
            {"objectives": ["accuracy_real", "ssim"]},
            {"over": {"lambda": {"log": [0.001, 0.2]}, "training.learning_rate": {"log": [1e-4, 1e-2]}}},
        )
    }
    values = list(ids.values())
    assert values[0] == values[1], "more of the same"
    assert len(set(values)) == 5
    study = searched(str(tmp_path))
    longer = study.model_copy(update={"training": {"iterations": 90}})
    assert points.branches(longer)[0].id != values[0]
    faster = study.model_copy(update={"training": {"iterations": 80, "learning_rate": 0.5}})
    assert points.branches(faster)[0].id == values[0], "the search gives the learning rate itself"
