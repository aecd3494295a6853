"""The trials of a point of a search, and whether a search fits its study."""

from collections.abc import Mapping
from typing import Any

from study.settings.grid import Planned, planned
from study.settings.messages import StudyError
from study.settings.schema import Study
from study.settings.search import METRICS, SECTIONS, Domain, Search


def planned_at(study: Study, values: Mapping[str, Any], camera: str = "", isp: str = "") -> list[Planned]:
    """The trials of a point: those of a grid with the searched settings at ``values``, and the seeds of the search.

    Args:
        study: with a section ``search``.
        values: by the names of ``search.over``.
        camera, isp: those of the study where not given.

    Raises:
        StudyError: the values do not fit the study.
    """
    assert study.search is not None
    sections = {name: dict(getattr(study, name)) for name in SECTIONS}
    for path, value in values.items():
        section, _, key = path.partition(".")
        if key:
            sections[section][key] = value
        elif section in SECTIONS:
            sections[section] = {value: _named(study, section, value)}
    changed = study.model_copy(
        update={
            **sections,
            "cameras": tuple(item for item in study.cameras if camera in ("", item.name)),
            "isps": (isp,) if isp else study.isps,
            "lambdas": (values["lambda"],) if "lambda" in values else study.lambdas,
            "seeds": study.search.seeds,
            "also": (),
        }
    )
    further = {path: value for path, value in values.items() if "." in path}
    return [item.model_copy(update={"axes": {**item.axes, **further}}) for item in planned(changed)]


def _named(study: Study, section: str, name: Any) -> dict[str, Any]:
    """A section that the study or one of the grids beside it names."""
    known: dict[Any, Any] = {}
    for named in (*(entry.get(section, {}) for entry in study.also), getattr(study, section)):
        known |= {key: value for key, value in named.items() if isinstance(value, dict)}
    if name not in known:
        there = f"named are {', '.join(map(str, known))}" if known else "none is named"
        raise StudyError(f"there is no {section} '{name}' in the study file: {there}")
    return known[name]


def check_search(study: Study) -> None:
    """Refuse a search that does not fit its study.

    Raises:
        StudyError: one line that begins with ``search``.
    """
    if (search := study.search) is None:
        return
    members = {codec.replace(" ", ":") for codec in study.evaluation.codecs}
    for name in search.objectives:
        if name not in METRICS and name not in members:
            raise StudyError(
                f"search.objectives: there is no {name}: choose of {', '.join((*METRICS, *sorted(members)))}"
            )
    if "lambda" not in search.over and len(study.lambdas) > 1:
        raise StudyError("search.over: lambda is missing: name its range, or one λ in lambdas")
    corners = [
        {path: _corner(domain, which) for path, domain in search.over.items()} for which in range(_longest(search))
    ]
    for corner in corners:
        try:
            found = planned_at(study, corner)
        except ValueError as error:
            raise StudyError(f"search: {error}") from None
        if len(found) > len(study.cameras) * len(study.isps) * len(search.seeds):
            first, second = (
                next(item.axes for item in found if item.axes != found[0].axes),
                found[0].axes,
            )
            axis = next(name for name in first if first[name] != second[name])
            raise StudyError(f"search.over: {axis} is an axis of the grid: name its values there, too")
        codecs = {item.codec_pretraining for item in found} - {None}
        if codecs and not codecs <= {item.codec_pretraining for item in planned(study)}:
            raise StudyError(
                "search: a codec is pre-trained for the study's own grid alone, and a point needs another one: search "
                "no codec, rate_weight, downsample and kernel of the channel, or only values of the grid"
            )


def _longest(search: Search) -> int:
    return max(len(domain) if isinstance(domain, tuple) else 2 for domain in search.over.values())


def _corner(domain: Domain, which: int) -> Any:
    values = domain if isinstance(domain, tuple) else domain.bounds
    return values[min(which, len(values) - 1)]
