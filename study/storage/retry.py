"""Waiting for what comes back by itself: a storage, a tracker."""

import math
import time
from collections.abc import Callable
from typing import TypeVar

LONGEST_PAUSE = 30.0  # seconds between two tries
Result = TypeVar("Result")


def storage_fails(error: Exception) -> bool:
    """Whether a storage cannot do its work just now. A file that is not there is an answer."""
    return isinstance(error, OSError) and not isinstance(error, FileNotFoundError)


def patiently(
    action: Callable[[], Result],
    say: Callable[[str], None] = lambda text: None,
    seconds: float = math.inf,
    passes: Callable[[Exception], bool] = storage_fails,
) -> Result:
    """Repeat an action as long as it fails for reasons that pass, for at most so many seconds; returns what it returns.

    Args:
        action: what to do; doing it twice must be as good as doing it once.
        say: told the first reason, and that it is over.
        seconds: after which the reason is raised after all.
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
                say(f"{' '.join(str(error).split())[:300]}; trying again until it works")
            failed = True
        else:
            if failed:
                say("it works again")
            return result
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
