"""Search a study beyond its grid: propose points, run their trials, and learn from them which to try next."""

from study.execution.driver import Preflight, at_work, feed, stage, tidy
from study.search.points import FINISHED, STOPPED
from study.search.search import PointSource
from study.settings import Study, StudyError


def search(study: Study, preflight: Preflight, address: str = "local", retry_failed: bool = False) -> dict[str, str]:
    """Search until every point has ended; a search that was begun goes on. Returns why some trials failed, by name.

    Raises:
        StudyError: the study declares no search; cameras, tracking or cluster are not there, or another driver runs it.
    """
    if study.search is None:
        raise StudyError(f"study {study.name} has no section 'search': name there what to search, see README")
    with at_work(study, preflight, address, retry_failed) as session:
        failures = stage("pre-training", session, session.grid().pretrainings)
        source = PointSource.of(session)
        failures |= feed("search", session, source)
        session.ask(source.close)
        ended = {job.key for tried in source.every if tried.outcome.state in (FINISHED, STOPPED) for job in tried.jobs}
        tidy(session, ended)
        finished = [job for tried in source.every for job in tried.jobs if tried.outcome.state == FINISHED]
        verdicts = [later for job in finished for later in job.follow_ups]
        return failures | source.failures | stage("verdicts", session, verdicts)
