"""What a training channel compresses with: one codec, or a mixture of several, written as one line of text.

jpeg:50                                         one quality
jpeg:30-95                                      any whole number of a range, all equally often
jpeg:30,50,70:4:4:4,4:2:0                       one of a set, and one of two chroma subsamplings
0.7 jpeg:30-95 + 0.2 webp:50-80 + 0.1 none      several with weights; without weights all are equal
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

from channel.codecs import CODECS, trained

NONE = "none"
TERM = re.compile(r"(?:(?P<weight>\d+\.?\d*|\.\d+)\s+)?(?P<name>[^\s:]+)(?::(?P<qualities>[^:]*)(?::(?P<rest>.*))?)?")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Term:
    """One codec of a mixture.

    Attributes:
        name: of the codec; ``jpeg`` is dJPEG, ``libjpeg`` the real encoder; or ``none``.
        qualities: all that it draws from, ascending; of ``none`` there are none.
        subsamplings: all that it draws from; empty: that of the channel for JPEG, and else the encoder's default.
        share: of the batches, 0 to 1.
    """

    name: str
    qualities: tuple[int, ...]
    subsamplings: tuple[str, ...]
    share: Fraction

    def possible(self, default: str) -> tuple[str, ...]:
        """Returns the subsamplings to draw from in a channel whose own is ``default``."""
        if self.subsamplings or self.name == NONE:
            return self.subsamplings
        jpeg = trained.encoder_name(self.name) == "jpeg" or not trained.is_real(self.name)
        return (default if jpeg else CODECS[self.name].subsamplings[0],)

    def __str__(self) -> str:
        """The codec without its weight."""
        if self.name == NONE:
            return NONE
        first, last = self.qualities[0], self.qualities[-1]
        is_range = len(self.qualities) > 1 and last - first == len(self.qualities) - 1
        qualities = f"{first}-{last}" if is_range else ",".join(map(str, self.qualities))
        return ":".join([self.name, qualities, *([",".join(self.subsamplings)] if self.subsamplings else [])])


@dataclass(frozen=True)
class Mixture:
    """The codecs of a channel; of each batch, one compresses."""

    terms: tuple[Term, ...]

    @classmethod
    def parse(cls, text: str) -> "Mixture":
        """``TERM + TERM + …``, each ``[WEIGHT ]NAME:QUALITIES[:SUBSAMPLINGS]``, or ``none`` for no codec.

        Raises:
            ValueError: anything else; the message names the remedy.
        """
        matches = [TERM.fullmatch(part.strip()) for part in str(text).split("+")]
        found = [match for match in matches if match]
        if len(found) < len(matches):
            raise ValueError(f"codec {text!r}: write NAME:QUALITY, or several joined by +, e.g. 3 jpeg:30-95 + 1 none")
        weights = [Fraction(match["weight"] or 1) for match in found]
        if len({match["weight"] is None for match in found}) > 1:
            raise ValueError(f"codec {text!r}: give every term a weight, or none of them")
        if 0 in weights:
            raise ValueError(f"codec {text!r}: a weight of 0 means never, so leave the term out")
        terms = [
            _term(match["name"], match["qualities"], match["rest"], weight / sum(weights), text)
            for match, weight in zip(found, weights, strict=True)
        ]
        if len({str(term) for term in terms}) < len(terms):
            raise ValueError(f"codec {text!r} names a term twice: add their weights")
        return cls(tuple(terms))

    def __str__(self) -> str:
        """The shortest text that `parse` reads as the same; weights are shares, or whole numbers where those go on."""
        weights = _weights([term.share for term in self.terms])
        return " + ".join(f"{weight}{term}" for weight, term in zip(weights, self.terms, strict=True))


def has_one(text: str) -> bool:
    """Whether a mixture is one codec, not ``none``, at one quality and at most one subsampling."""
    first, *others = Mixture.parse(text).terms
    return not others and len(first.qualities) == 1 and len(first.subsamplings) <= 1


def _term(name: str, qualities: str | None, subsamplings: str | None, share: Fraction, text: str) -> Term:
    if name == NONE:
        if qualities is not None:
            raise ValueError(f"codec {text!r}: none has no quality, write none")
        return Term(NONE, (), (), share)
    if name not in trained.names():
        raise ValueError(f"unknown codec {name!r} in {text!r}: choose one of {', '.join(trained.names())} or {NONE}")
    found = _qualities(qualities or "")
    codec = CODECS[trained.encoder_name(name)]
    chosen = subsamplings.split(",") if subsamplings else []
    if trained.learns(name):
        known = codec.qualities if len(codec.qualities) < 100 else ("1 to 100",)
        if len(found) != 1 or found[0] not in codec.qualities or len(chosen) > 1:
            raise ValueError(
                f"codec {text!r}: {name} learns for one quality and one subsampling: write {name}:NUMBER, the number "
                f"{' or '.join(map(str, known))}"
            )
    elif not found or not set(found) <= set(codec.qualities):
        raise ValueError(
            f"codec {text!r}: qualities of {name} are whole numbers from 1 to 100, each once: "
            f"write {name}:50, {name}:30-95 or {name}:30,50,70"
        )
    if trained.is_real(name) or trained.learns(name):
        if not set(chosen) <= set(codec.subsamplings):
            raise ValueError(f"codec {text!r}: subsampling of {name} is {' or '.join(codec.subsamplings)}")
        follows = name == trained.LIBJPEG or (trained.learns(name) and not codec.pretrained)  # the channel's own
        if not follows and chosen == [codec.subsamplings[0]]:
            chosen = []
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"codec {text!r} names a subsampling twice")
    return Term(name, found, tuple(sorted(chosen, reverse=True)), share)


def _qualities(text: str) -> tuple[int, ...]:
    """Ascending; empty where the text is none of ``50``, ``30-95`` and ``30,50,70``."""
    if match := re.fullmatch(r"(\d{1,3})-(\d{1,3})", text):
        return tuple(range(int(match[1]), int(match[2]) + 1))
    if re.fullmatch(r"\d{1,3}(,\d{1,3})*", text):
        named = sorted(map(int, text.split(",")))
        return tuple(named) if len(set(named)) == len(named) else ()
    return ()


def _weights(shares: Sequence[Fraction]) -> list[str]:
    if len(set(shares)) == 1:
        return [""] * len(shares)
    if all(1000 % share.denominator == 0 for share in shares):
        return [f"{float(share):g} " for share in shares]
    whole = math.lcm(*(share.denominator for share in shares))
    return [f"{share * whole} " for share in shares]


def pick(values: Sequence[Value], uniform: float) -> Value:
    """Returns one of the values, all equally often for uniform numbers in [0, 1)."""
    return values[int(uniform * len(values))]
