"""What is wrong with a study file, in one line."""

import typing
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel, ValidationError


class StudyError(ValueError):
    """Something only the user can put right: its message is one line that says what and how."""


@contextmanager
def user_errors(where: str = "") -> Iterator[None]:
    """In this block a ValueError says what only the user can put right; its line begins with ``where``."""
    try:
        yield
    except ValueError as error:
        raise StudyError(f"{where}{error}") from None


def explain(error: ValidationError, model: type) -> str:
    """The first thing wrong, in one line; an unknown key is answered with the known ones."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if not (isinstance(part, str) and "[" in part))
    if first["type"] == "extra_forbidden":
        return f"unknown key '{place}': known here are {', '.join(_keys(model, first['loc'][:-1]))}"
    if first["type"] == "missing":
        return f"'{place}' is missing"
    message = first["msg"].removeprefix("Value error, ")
    given = "" if first["type"] == "value_error" else f" (got {first['input']!r})"
    return f"{place}: {message}{given}" if place else f"{message}{given}"


def _keys(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """The keys of the settings found by walking ``place`` from ``model``."""
    hints = typing.get_type_hints(model)
    for part in place:
        if isinstance(part, int):
            continue
        model = _settings_class(hints[part])
        hints = typing.get_type_hints(model)
    return list(model.model_fields)


def _settings_class(hint: Any) -> type[BaseModel]:
    """The settings class inside a hint such as ``tuple[Camera, ...]`` or ``Simulation | None``."""
    if isinstance(hint, type) and typing.get_origin(hint) is None:
        return hint
    return next(_settings_class(argument) for argument in typing.get_args(hint) if argument is not type(None))
