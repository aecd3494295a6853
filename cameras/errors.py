"""Errors and paths in one line that can be printed."""

import os
import re


def one_line(error: object, limit: int = 500) -> str:
    """The text of an error without line breaks, cut at ``limit`` characters; the type of an error without text."""
    return " ".join(redacted(printable(str(error))).split())[:limit] or type(error).__name__


def redacted(text: str) -> str:
    """A text without the passwords in its addresses: ``http://***@host``."""
    return re.sub(r"(?<=://)([^\s/@:]*:[^\s\"']*|[^\s/@]+)@", "***@", text)


def printable(text: str | os.PathLike[str]) -> str:
    """A path or text with every byte that is no UTF-8 as an escape: ``caf\\xe9.NEF``.

    Names of files are bytes. Python keeps those that are no UTF-8 as lone surrogates, which no terminal, log or JSON
    file accepts.
    """
    return re.sub("[\udc80-\udcff]", lambda byte: f"\\x{ord(byte[0]) - 0xDC00:02x}", os.fspath(text))
