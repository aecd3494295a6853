"""One file by HTTP, continued where an earlier transfer broke off.

A part of a file is continued with a Range request (RFC 9110, section 14) on the condition that the server still has
the same version of the file (If-Range, section 13.1.5). Where the server names no version, or does not know ranges, the
transfer starts from the beginning.
"""

import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cameras.disk import require_space

AGENT = "forensic-imaging-pipelines (research; fetches single RAW files of public sets)"
PIECE = 1 << 16  # bytes
GONE = (404, 410)
IN_TROUBLE = (408, 425, 429, 500, 502, 503, 504)  # the same request may succeed later


class GoneError(ValueError):
    """The server does not have the file."""


class FailedError(ValueError):
    """The file did not arrive as a whole; another call may succeed."""


class BrokenError(FailedError):
    """A transfer that is worth another attempt at once."""


class StoppedError(Exception):
    """The transfer was told to stop. What arrived is kept."""


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for.

    timeout: seconds in which a connection must be made and some bytes must come.
    slowest: bytes per second, over the timeout, below which a transfer counts as broken.
    pauses: seconds before the second attempt, the third, …; there is one attempt more than pauses.
    """

    timeout: float = 30.0
    slowest: float = 1000.0
    pauses: tuple[float, ...] = (1, 2, 4, 8, 16)


def version_file(part: Path) -> Path:
    """The file that says of which version of the server's file ``part`` is a part."""
    return part.with_name(f"{part.name}.version")


def transfer(address: str, part: Path, patience: Patience, stop: threading.Event) -> None:
    """Bring all bytes of ``address`` into the file ``part``, which may hold its first bytes from an earlier transfer.

    Raises:
        GoneError: the server does not have the file.
        FailedError: it did not arrive, in spite of all attempts. What arrived is kept in ``part``.
        StoppedError: ``stop`` was set.
        ValueError: the disk has no room for it.
    """
    for pause in patience.pauses:
        try:
            return _attempt(address, part, patience, stop)
        except BrokenError:
            if stop.wait(pause):
                raise StoppedError from None
    return _attempt(address, part, patience, stop)


def _attempt(address: str, part: Path, patience: Patience, stop: threading.Event) -> None:
    import requests
    from urllib3.exceptions import HTTPError

    version = version_file(part)
    have = part.stat().st_size if part.exists() and version.exists() else 0
    headers = {"User-Agent": AGENT, "Accept-Encoding": "identity"}  # the bytes of the file, not a compressed form
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": version.read_text()}
    try:
        with requests.get(address, headers=headers, stream=True, timeout=patience.timeout) as response:
            _check_status(response, part, have)
            if response.status_code != 206:
                _start_over(part, response)
            _receive(response, part, patience, stop)
    except (requests.RequestException, HTTPError) as error:
        raise BrokenError(_reason(error)) from error


def _check_status(response: Any, part: Path, have: int) -> None:
    """Raise the error that the answer's first lines mean."""
    status = response.status_code
    if status in GONE:
        raise GoneError(f"the server does not have it ({status})")
    if status == 416 or (status == 206 and not _continues(response, have)):
        version_file(part).unlink(missing_ok=True)  # the part does not fit the file: the next attempt starts over
        raise BrokenError("the server's file does not continue the part that is here")
    if status in IN_TROUBLE:
        raise BrokenError(f"the server answers {status}")
    if status not in (200, 206):
        raise FailedError(f"the server answers {status}")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise FailedError("the server answers with a web page")


def _continues(response: Any, have: int) -> bool:
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    return found is not None and int(found[1]) == have


def _start_over(part: Path, response: Any) -> None:
    """Empty the part, and note the version of the file where the answer names one that If-Range may use."""
    version_file(part).unlink(missing_ok=True)
    part.write_bytes(b"")
    tag = response.headers.get("ETag", "")
    named = response.headers.get("Last-Modified", "") if tag.startswith("W/") or not tag else tag
    if named:
        version_file(part).write_text(named)


def _receive(response: Any, part: Path, patience: Patience, stop: threading.Event) -> None:
    """Add what comes to the part. urllib3 raises an error where fewer bytes come than were announced."""
    if announced := response.headers.get("Content-Length"):
        require_space(part.parent, int(announced))
    received, since = 0, time.monotonic()
    with part.open("ab") as file:
        while piece := response.raw.read1(PIECE):
            file.write(piece)
            received += len(piece)
            if stop.is_set():
                raise StoppedError
            if (elapsed := time.monotonic() - since) > patience.timeout:
                if received < patience.slowest * elapsed:
                    raise BrokenError(f"slower than {patience.slowest:g} bytes per second")
                received, since = 0, time.monotonic()


def _reason(error: Exception) -> str:
    """What went wrong with a connection, without the names of classes and objects in it."""
    import requests

    if "timed out" in str(error).lower():
        return "the server did not answer in time"
    if isinstance(error, requests.ConnectionError):
        return "no connection to the server"
    return "the connection broke off"
