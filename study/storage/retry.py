"""Retry what fails for reasons that pass by themselves: a storage or a tracker that is away."""

import math
import time
from collections.abc import Callable
from typing import TypeVar

from cameras.errors import one_line

LONGEST_PAUSE = 30.0  # seconds between two tries
JOB_SECONDS = 600.0  # that a job retries before it gives up its process
Result = TypeVar("Result")


def storage_fails(error: Exception) -> bool:
    """Whether a storage cannot do its work just now. A file that is not there is an answer."""
    return isinstance(error, OSError) and not isinstance(error, FileNotFoundError)


def retry(
    action: Callable[[], Result],
    say: Callable[[str], None] = lambda text: None,
    seconds: float = math.inf,
    passes: Callable[[Exception], bool] = storage_fails,
) -> Result:
    """Repeat an action while it fails for reasons that pass, for at most so many seconds; return its result.

    Args:
        action: what to do; doing it twice must be as good as doing it once.
        say: receives the first reason, and a line when it works again.
        seconds: after which the reason is raised.
        passes: whether an exception is such a reason; others are raised at once.
    """
    end, pause, failed = time.monotonic() + seconds, 1.0, False
    while True:
        try:
            result = action()
        except Exception as error:
            if not passes(error) or time.monotonic() + pause > end:
                raise
            if not failed:
                say(f"{one_line(error, 300)}; trying again until it works")
            failed = True
        else:
            if failed:
                say("it works again")
            return result
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
