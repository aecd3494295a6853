"""Frozen data classes as JSON documents, both ways; what was not written by us is checked field by field."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

Kind = TypeVar("Kind")


def from_document(kind: type[Kind], document: object, name: str) -> Kind:
    """Build a data class from what ``json.loads`` makes of ``dataclasses.asdict`` of it.

    Fields may be data classes, numbers, texts, truth values, None, tuples of one type, and unions of these. A field
    that is missing has its default.

    Args:
        name: of the document, for errors.

    Raises:
        ValueError: an unknown field, a value of another type, or one that the class itself refuses.
    """
    return cast(Kind, _built(kind, document, name))


def _built(kind: Any, value: object, name: str) -> Any:
    if is_dataclass(kind):
        return _data_class(kind, value, name)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        for one in arguments:
            if _is(one, value):
                return _built(one, value, name)
    elif origin is tuple and isinstance(value, list):
        return tuple(_built(arguments[0], each, f"{name}[{place}]") for place, each in enumerate(value))
    elif _is(kind, value):
        return value
    raise ValueError(f"{name} = {str(value)[:40]!r} is of a type that it cannot have")


def _data_class(kind: Any, value: object, name: str) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} is no JSON object")
    known = {field.name for field in fields(kind)}
    if unknown := sorted(map(str, value.keys() - known)):
        raise ValueError(f"{name} has no field {unknown[0][:40]!r}: it may be of a newer release")
    hints = get_type_hints(kind)
    try:
        return kind(**{field: _built(hints[field], each, f"{name}.{field}") for field, each in value.items()})
    except TypeError as error:  # a field without a default is missing
        raise ValueError(f"{name} is incomplete: {error}") from None


def _is(kind: Any, value: object) -> bool:
    """Whether a value of JSON is of a simple type. JSON has numbers alone: a whole one may stand for a fraction."""
    if get_origin(kind) is Literal:
        return any(type(value) is type(one) and value == one for one in get_args(kind))
    if get_origin(kind) is tuple:
        return isinstance(value, list)
    return type(value) is kind or (kind is float and type(value) is int) or (kind in (None, NoneType) and value is None)
