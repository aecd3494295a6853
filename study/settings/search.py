"""The ``search:`` section of a study file: what is searched, for what, and for how long.

::

    search:
      over:
        lambda: {log: [0.0005, 0.05]}        # also linear: and whole: (numbers)
        training.patch: [16, 32]             # one of these
        channel: [robust, paper]             # named sections of the study file, or of its `also`
      points: 40
"""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from study.settings.frozen import Frozen

SECTIONS = ("training", "channel")  # whose settings can be searched, beside λ
METRICS = ("accuracy_real", "accuracy_real_worst", "accuracy", "psnr", "ssim", "ssim_paper")
DIGITS = 4  # of a proposed number: it can be read and typed


class Range(Frozen):
    """Numbers from the first to the second: ``log`` by their logarithm, ``linear`` evenly, ``whole`` numbers alone."""

    log: tuple[float, float] | None = None
    linear: tuple[float, float] | None = None
    whole: tuple[int, int] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [bounds for bounds in (self.log, self.linear, self.whole) if bounds is not None]
        if len(given) != 1:
            raise ValueError("give one of log, linear and whole: {log: [0.001, 0.1]}")
        if not (given[0][0] < given[0][1] and all(map(math.isfinite, given[0]))):
            raise ValueError(f"{list(given[0])} is no range: the first number must be smaller than the second")
        if self.log is not None and self.log[0] <= 0:
            raise ValueError(f"log: {list(self.log)} must begin above 0")
        return self

    @property
    def bounds(self) -> tuple[float, float]:
        return next(bounds for bounds in (self.log, self.linear, self.whole) if bounds is not None)

    def __contains__(self, value: object) -> bool:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        low, high = self.bounds
        return is_number and low <= value <= high  # type: ignore[operator]

    def rounded(self, value: float) -> float:
        """To :data:`DIGITS` significant digits, within the bounds."""
        low, high = self.bounds
        return int(value) if self.whole else min(max(float(f"{value:.{DIGITS}g}"), low), high)


Domain = Range | tuple[Any, ...]  # the latter: one of these


class StopEarly(Frozen):
    """When a poor point is given up (asynchronous successive halving, Li et al. 2020).

    At iteration ``after``, and each time that 1/``keep`` times as many are made, a trial goes on if its validation is
    among the best ``keep`` of all that came as far.
    """

    after: Annotated[int, Field(ge=1)]
    keep: Annotated[float, Field(gt=0, lt=1)] = 0.5


class Search(Frozen):
    """Look for the best trade-offs beyond the grid: each camera × ISP of the study has a search of its own.

    Attributes:
        over: the range of every searched setting: ``lambda``, ``training.…``, ``channel.…``, or a named ``channel``.
        objectives: metrics on validation photographs, all to be maximised: ``accuracy_real``, ``accuracy_real_worst``,
            a member of the study's panel (``jpeg:50``), ``accuracy``, ``psnr``, ``ssim``, ``ssim_paper``.
        sampler: of Optuna: ``tpe``, ``nsga2``, ``nsga3``, or ``gp`` (Gaussian process).
        points: tried in all, by each camera × ISP.
        seeds: of each point, as of a study; its objectives are means over them.
        random: points drawn at random before the sampler takes over; of ``nsga2`` and ``nsga3`` also a generation.
        parallel: jobs at the same time; where not given, as many as there is room for.
        seed: of the sampler.
        stop_early: see there; where not given, every trial runs to its end.
    """

    over: dict[str, Domain] = Field(min_length=1)
    objectives: Annotated[tuple[str, ...], Field(min_length=1)] = ("accuracy_real", "psnr")
    sampler: Literal["tpe", "nsga2", "nsga3", "gp"] = "tpe"
    points: Annotated[int, Field(ge=1)] = 40
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)
    random: Annotated[int, Field(ge=2)] = 10
    parallel: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    stop_early: StopEarly | None = None

    @field_validator("over", mode="before")
    @classmethod
    def _domains(cls, over: Any) -> Any:
        if not isinstance(over, dict):
            return over
        for path, domain in over.items():
            section = str(path).partition(".")[0]
            if path != "lambda" and section not in SECTIONS:
                reason = " (the NIPs would differ)" if section in ("pretraining", "split") else ""
                raise ValueError(f"{path} cannot be searched{reason}: name lambda, training.… or channel.…")
            if not isinstance(domain, dict | list | tuple | Range):
                raise ValueError(f"{path}: give a list of values, or a range such as {{log: [0.001, 0.1]}}")
            if isinstance(domain, list | tuple) and len({str(value) for value in domain}) < max(len(domain), 2):
                raise ValueError(f"{path}: {list(domain)} must name at least two values, each once")
        return over

    @field_validator("seeds", mode="before")
    @classmethod
    def _counted(cls, seeds: Any) -> Any:
        """``seeds: 2`` is short for the seeds 0 and 1."""
        return tuple(range(seeds)) if isinstance(seeds, int) else seeds

    @field_validator("seeds", "objectives")
    @classmethod
    def _distinct(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(values)) < len(values):
            raise ValueError(f"{list(values)} names one twice")
        return values

    @model_validator(mode="after")
    def _one_yardstick(self) -> Self:
        if "accuracy" in self.objectives and any(path.startswith("channel") for path in self.over):
            raise ValueError(
                "objectives: accuracy is measured behind the searched channel itself: name accuracy_real instead"
            )
        return self

    @property
    def size(self) -> float:
        """How many different points there are; infinite where a range holds real numbers."""
        sizes = [len(domain) if isinstance(domain, tuple) else _size(domain) for domain in self.over.values()]
        return math.prod(sizes)


def _size(domain: Range) -> float:
    return domain.whole[1] - domain.whole[0] + 1 if domain.whole else math.inf
