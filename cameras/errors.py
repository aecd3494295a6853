"""Errors in one line."""


def one_line(error: object, limit: int = 500) -> str:
    """The text of an error without line breaks, cut at ``limit`` characters; the type of an error without text."""
    return " ".join(str(error).split())[:limit] or type(error).__name__
