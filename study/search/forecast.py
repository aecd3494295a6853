"""How far a search is, and what it would still do: for ``status`` and for ``search --dry-run``."""

from collections import Counter

from study.jobs.plan import Grid
from study.search import points
from study.search.points import FAILED, FINISHED, LEFT, STOPPED, Tried, Values
from study.search.sampler import propose
from study.settings import Study
from study.tracking import Snapshot


def counts(study: Study, tried: list[Tried]) -> dict[str, int]:
    """Points by how they stand; ``points`` is how many there will be, ``left`` those that have not ended."""
    found = Counter(one.outcome.state for one in tried)
    asked = max(len(points.branches(study)) * points.section(study).points, len(tried))
    ended = {state: found[state] for state in (FINISHED, STOPPED, FAILED)}
    return {"points": asked, **ended, LEFT: asked - sum(ended.values())}


def expected(study: Study, snapshot: Snapshot | None, tried: list[Tried]) -> Grid:
    """The trials that are still to be run: of the points that were proposed, and of others drawn in the place of those
    that the sampler will propose, as if no trial were stopped.
    """
    search = points.section(study)
    drawing = search.model_copy(update={"random": search.points + len(tried) + 2, "sampler": "tpe"})
    grids = []
    for branch in points.branches(study):
        own = [one for one in tried if one.branch == branch]
        told = [one.told for one in own]
        values: list[Values] = [one.point.values for one in own if one.outcome.state == LEFT]
        while len(told) < search.points and (found := propose(drawing, told)):
            told.append(points.Told(found[0], points.Outcome(LEFT)))
            values.append(found[0])
        grids.append(points.jobs(study, snapshot, branch, values))
    pretrainings = {job.key: job for grid in grids for job in grid.pretrainings}
    return Grid(
        tuple(item for grid in grids for item in grid.planned),
        tuple(pretrainings.values()),
        tuple({job.key: job for grid in grids for job in grid.codecs}.values()),
        tuple(job for grid in grids for job in grid.jobs),
    )
