"""The service: one page that takes a photograph and says what happened to it. Nothing is stored.

A browser on this machine alone is answered: the address is the loopback's, other names for it (DNS rebinding) and
forms of other pages are refused. One photograph is analysed at a time; a page that waits says so while it loads.
"""

import asyncio
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from cameras.photographs import PhotographError, header
from forensics.analysis.analyse import FALSE_ALARMS, analyse, calibrated
from forensics.analysis.calibration import CalibrationError, threshold
from forensics.package import Package
from forensics.service import page
from forensics.service.upload import MEGABYTES, Upload, UploadError, received

HOSTS = ("127.0.0.1", "localhost")
RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)  # of false alarms, of which the calibration allows some
MOST_AT_ONCE = 4  # photographs in memory: one that is analysed, and others that wait
LIMITS = f"JPEG, PNG, TIFF, WebP or AVIF, at most {MEGABYTES} MB and {page.MOST_SHOWN / 1e6:.0f} megapixels."
TITLE = "What happened to this photograph?"
SECURITY = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src '{page.STYLE_HASH}'; img-src data:; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def application(package: Package) -> Starlette:
    """The service of a package.

    Raises:
        PackageError: the package has no calibration.
        CalibrationError: it was calibrated with too few photographs for any rate.
    """
    desk = _Desk(package)
    routes = [Route("/", desk.ask, methods=["GET"]), Route("/", desk.answer, methods=["POST"])]
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS), www_redirect=False)
    return Starlette(routes=routes, middleware=[hosts, Middleware(_Counted, desk)])


class _Desk:
    """Where photographs are handed in. ``inside``: how many there are; ``line``: how many wait or are analysed."""

    def __init__(self, package: Package) -> None:
        self.package = package
        self.rates = _possible(package)
        self.rate = FALSE_ALARMS if FALSE_ALARMS in self.rates else self.rates[0]
        self.inside = self.line = 0
        self.turn = asyncio.Lock()

    async def ask(self, request: Request) -> Response:
        return self._page("", 200)

    async def answer(self, request: Request) -> Response:
        """Take a photograph; what cannot be used is refused at once, all else analysed while the page loads."""
        if self.inside > MOST_AT_ONCE:
            return self._refused("Too many photographs wait: try again in a minute.", 503)
        own = f"http://{request.headers['host']}"
        if request.headers.get("origin", own) != own:
            return self._refused("This form was sent by another page.", 403)
        try:
            upload = await received(request)
            rate = self._rate(upload)
            _check(upload)
        except UploadError as error:
            return self._refused(str(error), error.status)
        return StreamingResponse(self._analysed(upload, rate), headers=SECURITY, media_type="text/html")

    async def _analysed(self, upload: Upload, rate: float) -> AsyncIterator[str]:
        """The page about a photograph, in pieces: a word to wait, and what was found."""
        self.line += 1
        try:
            yield page.beginning(f"{upload.name} – analysis") + page.waiting(self.line - 1)
            async with self.turn:
                found = await run_in_threadpool(self._found, upload, rate)
            yield found + self._rest(rate)
        finally:
            self.line -= 1

    def _found(self, upload: Upload, rate: float) -> str:
        try:
            analysis = analyse(self.package, upload.content, rate)
        except PhotographError as error:
            return page.refusal(f"{upload.name} {error}.")
        return page.one(page.show(upload.name, upload.content, analysis))

    def _rate(self, upload: Upload) -> float:
        chosen = upload.fields.get("false_alarms", "")
        rate = next((rate for rate in self.rates if f"{rate:g}" == chosen), None)
        if rate is None:
            raise UploadError("This false-alarm rate is not on offer: choose one of the list.")
        return rate

    def _refused(self, reason: str, status: int) -> Response:
        return self._page(page.refusal(reason), status)

    def _page(self, content: str, status: int) -> Response:
        return HTMLResponse(page.beginning(TITLE) + content + self._rest(self.rate), status, SECURITY)

    def _rest(self, rate: float) -> str:
        return page.form(self.rates, rate, LIMITS) + page.ending(self.package)


class _Counted:
    """Counts the photographs that are inside, from the first byte of a request to the last of its answer."""

    def __init__(self, app: ASGIApp, desk: _Desk) -> None:
        self.app, self.desk = app, desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        photograph = scope["type"] == "http" and scope["method"] == "POST"
        self.desk.inside += photograph
        try:
            await self.app(scope, receive, send)
        finally:
            self.desk.inside -= photograph


def _possible(package: Package) -> list[float]:
    """The false-alarm rates that the calibration can promise."""
    native = calibrated(package).scales[0].known.native
    found = []
    for rate in RATES:
        try:
            threshold(native, rate)
        except CalibrationError:
            continue
        found.append(rate)
    if not found:
        threshold(native, max(RATES))  # says how many photographs are needed
    return found


def _check(upload: Upload) -> None:
    """Refuse what is no photograph, or too large a one, before its pixels take memory."""
    try:
        about = header(upload.content)
    except PhotographError as error:
        raise UploadError(f"{upload.name} {error}.", 422) from None
    if about.height * about.width > page.MOST_SHOWN:
        raise UploadError(
            f"{upload.name} has {about.height * about.width / 1e6:.0f} megapixels, more than "
            f"{page.MOST_SHOWN / 1e6:.0f}: give a smaller one.",
            422,
        )
