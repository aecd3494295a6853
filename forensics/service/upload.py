"""What a browser sends: a form with a photograph, kept in memory and bounded."""

import io
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from cameras.errors import printable

MEGABYTES = 64  # of a photograph's file, and the little that a form has around it
DRAINED = 1 << 30  # bytes of a file that is too large, read and dropped so that the browser listens to the answer


class UploadError(ValueError):
    """What was sent cannot be used; one line says why. status: of the answer."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Upload:
    """A photograph that was sent: its name, its file's bytes, and the other fields of the form."""

    name: str
    content: io.BytesIO
    fields: dict[str, str]


class _InMemory(MultiPartParser):
    spool_max_size = (MEGABYTES << 20) + 1  # larger than all that is read: nothing goes to a temporary file


async def received(request: Request) -> Upload:
    """Read the form of a request.

    Raises:
        UploadError: it is too large, or holds no photograph.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise UploadError("This is no form with a photograph.")
    try:
        form = await _InMemory(
            request.headers, _bounded(request), max_files=1, max_fields=8, max_part_size=1024
        ).parse()
    except MultiPartException:
        raise UploadError("This is no form with one photograph.") from None
    return await _upload(form)


async def _bounded(request: Request) -> AsyncGenerator[bytes, None]:
    total = 0
    async for chunk in request.stream():
        total += len(chunk)
        if total <= MEGABYTES << 20:
            yield chunk
        elif total > DRAINED:
            break
    if total > MEGABYTES << 20:
        raise UploadError(f"The file has more than {MEGABYTES} MB: give a smaller one.", 413)


async def _upload(form: FormData) -> Upload:
    photograph = form.get("photograph")
    if not isinstance(photograph, UploadFile) or not photograph.filename:
        raise UploadError("No photograph was chosen: choose one, or drop one on the field.")
    content = await photograph.read()
    fields = {name: value for name, value in form.items() if isinstance(value, str)}
    return Upload(printable(photograph.filename), io.BytesIO(content), fields)
