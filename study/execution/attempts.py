"""One attempt at a job where earlier ones may have failed: on a worker, as Ray Tune makes them.

What an error says is weighed with what is noted of earlier ones (:mod:`study.execution.failures`). Either the job
itself is to blame: it is closed as FAILED and not repeated. Or the error is raised: the process ends, and Tune makes
the next attempt in another, at most ``resources.max_failures`` times.

- Out of memory: the job is tried again alone on its card and with all of its memory. If that fails twice, it is too
  large for the card.
- An unknown error that comes again to the same job, in the same line at the same step, and that two machines have
  seen: a mistake in the code. Where there is one machine only, the repetition has to do.
"""

import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress

from cameras.errors import one_line, redacted
from study.execution import card, delivery, failures, faults, worker
from study.execution.place import Begun, Place
from study.jobs import Context, Job
from study.storage.retry import JOB_SECONDS, retry

MEMORY_ATTEMPTS = 3  # one beside other jobs, two alone


def attempt(
    job: Job,
    context: Context,
    place: Place,
    on_progress: Callable[[int, Mapping[str, float]], None],
    say: Callable[[str], None],
) -> str | None:
    """Run a job and what follows it, see :func:`study.execution.worker.run`. Returns why it failed if it would fail
    again.

    A job that failed is followed by nothing, nor is one whose result still waits for the tracker. What its follow-ups
    fail of is their own: the driver finds it where it plans what is missing of them.

    Raises:
        Exception: what may go better in another process, or at another place.
    """
    place.wait(say)
    earlier = retry(lambda: failures.failures(context.store), say, JOB_SECONDS)
    shortages = sum((failure.key, failure.what) == (job.key, failures.MEMORY) for failure in earlier)
    alone = shortages > 0
    if alone:
        say(
            f"out of memory with resources.gpus: {context.gpus:g}; tried again alone on {place}, with all of its memory"
        )
    granted = context.model_copy(update={"gpus": 1.0}) if alone else context
    with place.shared(alone), place.begin(job.key, say) as begun:

        def judge(error: Exception, step: int) -> str | None:
            return verdict(error, step, job, context, place, begun, shortages)

        failure = worker.run(job, granted, on_progress, say, judge)
        if failure is None:
            begun.succeeded()
    if failure is None and earlier:
        with suppress(OSError):  # the next run of the study forgets them
            failures.forget(context.store, {job.key})
    if failure is None and job.follow_ups and not delivery.is_pending(context.store, job.key):
        for follow_up in job.follow_ups:
            attempt(follow_up, context, place, lambda step, metrics: on_progress(job.steps, metrics), say)
    return failure


def verdict(
    error: Exception, step: int, job: Job, context: Context, place: Place, begun: Begun, shortages: int
) -> str | None:
    """Why the job itself is to blame for an error; None where it is not, or nobody knows yet."""
    kind = faults.kind(error)
    if kind == "job":
        return str(error)
    if kind == "machine":
        return None
    what = failures.MEMORY if kind == "memory" else faults.signature(error, step)
    try:
        earlier = failures.failures(context.store)
        text = redacted("".join(traceback.format_exception(error)))
        failures.note(context.store, job.key, what, place.machine, text)
    except OSError:
        return None  # it is tried again, as without this attempt
    if kind == "memory":
        begun.excuse()
        return _too_large(error, context, place) if shortages + 1 >= MEMORY_ATTEMPTS else None
    here = failures.machine_hash(place.machine)
    seen_elsewhere = place.is_only_machine or any(
        failure.what == what and failure.machine != here for failure in earlier
    )
    if seen_elsewhere:
        begun.excuse()
    repeated = any((failure.key, failure.what) == (job.key, what) for failure in earlier)
    return f"{type(error).__name__}: {error}" if repeated and seen_elsewhere else None


def _too_large(error: Exception, context: Context, place: Place) -> str:
    figures = "; ".join(filter(None, [card.figures(context), one_line(error, 250)]))
    return (
        f"out of memory with resources.gpus: {context.gpus:g}, and twice alone on {place} ({figures}): make "
        "training.patch or training.batch smaller, or use cards with more memory; 'python -m study check' says what "
        "each NIP needs"
    )
