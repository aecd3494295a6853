"""The codec of the trials' own channel, by real files: rate, fidelity, accuracy, and what it gains by learning."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from study.report import plots
from study.report.content import Content
from study.report.parts import Part, Section, note, panels, picture, show
from study.report.tables import NOTHING, Cells, Table, as_printed, interval, lambda_label, named, number
from study.results import own_codec
from study.results.statistics import ON

READING = """Whole photographs through the codec of the trial’s own channel, by the bytes of real files: libjpeg, or a
codec that learns with the weights that the trial gave it. Rate and PSNR are those of native photographs as they enter
and leave the codec. λ_c: weight of the codec’s own loss of distortion and rate; “unchanged”: the codec did not learn,
and the FAN was trained as long. “At equal rate”: minus the same codec unchanged, interpolated between its rates, seed
by seed; a dash where its rates do not enclose this one. {on} photographs; brackets: Student’s 95 % over seeds."""
UNCHANGED = "unchanged"


def section(content: Content) -> Section:
    rows = own_codec.own_codecs(content.done)
    if rows.empty:
        return Section("Behind the channel’s own codec", [])
    reading = READING.format(on=" and ".join(sorted(rows[ON].unique())).capitalize())
    return Section("Behind the channel’s own codec", [note(reading), panels(_pictures(rows)), show(table(rows))])


def table(rows: pd.DataFrame) -> Table:
    """A row per setting: rate, PSNR and accuracy, and the gains at equal rate where the codec learns."""
    means = own_codec.over_seeds(rows)
    by = list(means.columns[: means.columns.get_loc("seeds")])
    gains = own_codec.over_seeds(own_codec.at_equal_rate(rows))
    extra = [name for name in gains if "_gain" in name]
    numbers = means.merge(gains[[*by, *extra]], on=by, how="left") if len(gains) else means.assign(**_no_gains())
    numbers = numbers.sort_values([*(name for name in by if name not in ("rate_weight", "quality")), "bpp"])
    lines = []
    for found in numbers.to_dict("records"):
        place = {name: found[name] for name in by if name not in ("mode", "codec", "quality", "rate_weight")}
        learns = not np.isnan(place.pop("codec_lambda"))
        name, *subsampling = found["codec"].split(":", 1)
        line: Cells = named({**place, "Codec": ":".join((name, found["quality"], *subsampling))})
        line["", "β"] = f"{found['rate_weight']:g}"
        line["", "λ_c"] = f"{found['codec_lambda']:g}" if learns else UNCHANGED
        line["Real files", "Bits per pixel"] = interval(found, "bpp", 3)
        line["Real files", "PSNR (dB)"] = interval(found, "psnr", 2)
        line["Real files", "Accuracy (%)"] = interval(found, "accuracy", 1, scale=100)
        line["At equal rate", "PSNR (dB)"] = interval(found, "psnr_gain", 2, sign=True) if learns else NOTHING
        line["At equal rate", "Accuracy (points)"] = (
            interval(found, "accuracy_gain", 1, scale=100, sign=True) if learns else NOTHING
        )
        line["", "Seeds"] = number(found["seeds"], 0)
        lines.append(line)
    return Table("own-codec", "The channel’s own codec by real files", as_printed(lines, once=2), numbers)


def _no_gains() -> dict[str, float]:
    return {f"{name}_gain{end}": np.nan for name in own_codec.GAINS for end in ("", "_low", "_high")}


def _pictures(rows: pd.DataFrame) -> Iterator[Part]:
    by = [name for name in rows.columns[: rows.columns.get_loc("seed")] if name != "mode"]
    for values, group in rows.groupby(by, dropna=False, sort=False):
        title = " · ".join(
            str(value) if name in ("camera", "isp") else f"{'λ' if name == 'lam' else name} {_label(value)}"
            for name, value in zip(by, values, strict=True)
        )
        yield picture(rate_curves(group), "own-codec", title, f"Accuracy and PSNR over the rate, {title}")


def _label(value: object) -> str:
    return lambda_label(value) if isinstance(value, float) else str(value)


def rate_curves(rows: pd.DataFrame) -> Figure:
    """Accuracy and PSNR over bits per pixel: unchanged codecs as lines, those that learned as points with λ_c."""
    means = own_codec.over_seeds(rows)
    codecs = list(dict.fromkeys(means["codec"]))
    with plots.column(4.2) as figure:
        above, below = figure.subplots(2, 1, sharex=True)
        for codec, colour in zip(codecs, plots.PALETTE, strict=False):
            own = means[means["codec"] == codec].sort_values("bpp")
            learned = own["codec_lambda"].notna()
            for axes, name, scale in ((above, "accuracy", 100), (below, "psnr", 1)):
                _draw(axes, own[~learned], name, scale, colour, f"{codec}, {UNCHANGED}", line=True)
                _draw(axes, own[learned], name, scale, colour, f"{codec}, learning", line=False)
        above.set(ylabel="accuracy (%)", xscale="log")
        below.set(ylabel="PSNR (dB)", xlabel="bits per pixel of the files")
        below.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        below.xaxis.set_major_formatter("{x:g}")
        below.xaxis.set_minor_locator(NullLocator())
        plots.legend(figure, above, columns=2)
    return figure


def _draw(axes: Axes, rows: pd.DataFrame, name: str, scale: float, colour: str, label: str, line: bool) -> None:
    if rows.empty:
        return
    mean, low, high = (scale * rows[f"{name}{end}"].to_numpy() for end in ("", "_low", "_high"))
    bars = np.nan_to_num(np.stack((mean - low, high - mean)))
    style: dict[str, Any] = (
        {"linestyle": "-", "marker": "o", "mfc": plots.PAPER} if line else {"linestyle": "", "marker": "D"}
    )
    axes.errorbar(
        rows["bpp"], mean, bars, color=colour, label=label, markersize=4, elinewidth=0.8, linewidth=1.2, **style
    )
