"""What went wrong, in one line."""


def one_line(error: object, limit: int = 500) -> str:
    """The text of an error without line breaks, cut at ``limit`` characters; its type where it says nothing."""
    return " ".join(str(error).split())[:limit] or type(error).__name__
