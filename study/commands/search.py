"""Search a study beyond its grid: propose points, run their trials, and learn from them which to try next."""

from collections.abc import Iterator
from dataclasses import dataclass

from study.execution.driver import Preflight, at_work, feed, stage, tidy
from study.preflight.estimate import Estimate, estimate
from study.search import points
from study.search.forecast import counts, expected
from study.search.points import FINISHED, STOPPED, Tried
from study.search.search import PointSource
from study.settings import Study, StudyError
from study.tracking import Snapshot


def require_search(study: Study) -> None:
    """Refuse a study without one.

    Raises:
        StudyError: it declares none.
    """
    if study.search is None:
        raise StudyError(f"study {study.name} has no section 'search': name there what to search, see README")


@dataclass(frozen=True)
class Forecast:
    """What a search has done, and what is left of it."""

    tried: list[Tried]
    counts: dict[str, int]
    cost: Estimate

    def rows(self) -> Iterator[tuple[object, ...]]:
        """Camera, ISP, the searched values, state and objectives of every point that was proposed."""
        for one in self.tried:
            found = ["" if value is None else f"{value:.4g}" for value in one.outcome.objectives or ()]
            shown = ", ".join(found) or one.outcome.reason
            yield (one.branch.camera, one.branch.isp, *one.point.values.values(), one.outcome.state, shown)


def forecast(study: Study, snapshot: Snapshot | None) -> Forecast:
    """Look at a search without changing or starting anything.

    Raises:
        StudyError: the study declares none.
    """
    require_search(study)
    tried = points.every(study, snapshot)
    cost = estimate(study, expected(study, snapshot, tried), snapshot, points.section(study).parallel)
    return Forecast(tried, counts(study, tried), cost)


def search(study: Study, preflight: Preflight, address: str = "local", retry_failed: bool = False) -> dict[str, str]:
    """Search until every point has ended; a search that was begun goes on. Returns why some trials failed, by name.

    Raises:
        StudyError: the study declares no search; cameras, tracking or cluster are not there, or another driver runs it.
    """
    require_search(study)
    with at_work(study, preflight, address, retry_failed) as session:
        failures = stage("pre-training", session, session.grid().before_trials)
        source = PointSource.of(study, session.snapshot(), retry_failed, session.remark)
        failures |= feed("search", session, source)
        session.ask(source.close)
        ended = {job.key for tried in source.every if tried.outcome.state in (FINISHED, STOPPED) for job in tried.jobs}
        tidy(session, ended)
        finished = [job for tried in source.every for job in tried.jobs if tried.outcome.state == FINISHED]
        verdicts = [later for job in finished for later in job.follow_ups]
        return failures | source.failures | stage("verdicts", session, verdicts)
