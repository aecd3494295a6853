"""What the sections of a package's page read: what the package says about itself."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import nan
from typing import Any

from study.report.tables import Cells, estimate

ALL = "all"  # kinds of file


@dataclass(frozen=True)
class PackageContent:
    """A package without its networks.

    Attributes:
        name: of its file or folder.
        about: as `study export` writes it.
        trial: the settings of its trial, plain values.
        size: height and width of a photograph as developed.
        calibrated: whether it has a calibration.
    """

    name: str
    about: Mapping[str, Any]
    trial: Mapping[str, Any]
    size: tuple[int, int]
    calibrated: bool

    @property
    def reliability(self) -> Mapping[str, Any] | None:
        """As :func:`study.results.reliability.assess` found it; None where nothing has been checked."""
        return self.about.get("calibration", {}).get("reliability")

    @property
    def unchecked(self) -> str:
        """Why there is no reliability."""
        if self.calibrated:
            return "The calibration has not been checked: there were no further photographs."
        return (
            "This package has no calibration: it develops photographs, but cannot analyse them. Export it again with "
            "--photographs, RAW files that the study has not seen."
        )

    def rates(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The nominal false-alarm rates, such as "1 %", with what was found at each."""
        for rate, found in (self.reliability or {"rates": {}})["rates"].items():
            yield f"{100 * float(rate):g} %", found

    def possible(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Those of the :meth:`rates` that the calibration has enough photographs for."""
        return ((rate, found) for rate, found in self.rates() if "refused" not in found)


def refusal(found: Mapping[str, Any]) -> str:
    """Why nothing was found at a nominal rate, as a sentence."""
    reason = found["refused"]
    return f"{reason[:1].upper()}{reason[1:]}."


def by_kind(found: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """What was found of all photographs, and then of each kind of file."""
    return {ALL: found, **found.get("by_kind", {})}


def percent(found: Mapping[str, Any], digits: int = 1) -> str:
    """A share with its interval, in percent: "0.8 [0.2, 2.2]"."""
    share = nan if found["share"] is None else found["share"]
    return estimate([share, *found["interval"]], digits, scale=100)


def named(rate: str, kind: str) -> Cells:
    """The cells that name a row of a nominal rate and a kind of file."""
    return {("", "Rate"): rate, ("", "Files"): kind}


def numbers(rate: str, kind: str, what: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """A share as a row of numbers."""
    low, high = found["interval"]
    names = {"nominal_rate": rate, "files": kind, "what": what}
    return names | {name: found[name] for name in ("count", "of", "share")} | {"low": low, "high": high}
