"""The report of the PRNU experiments: one HTML file that needs nothing beside it, in the look of a study's report.

    prnu.html              everything, pictures embedded, light and dark
    figures/*.pdf          every figure, one column wide
    tables/*.csv *.tex     every matrix and table, in numbers and as printed; pairs.csv holds every single PCE

Every section opens with what its numbers say, in a sentence that is made of them.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader

from prnu.experiment import DEVELOPED, PCE_THRESHOLD, CameraResult, Proportion
from prnu.lowlight import LowLight
from prnu.recovery import Recovery
from study.report import fingerprint_plots as figures
from study.report import fingerprint_tables as tables
from study.report.fingerprint_tables import FIXED, JOINT, STANDARD
from study.report.page import Picture, picture, write

Matrix = list[list[tuple[str, float, str]]]  # rows of (text, shade in [0, 1], what the cell says at length)


def page(
    study: str,
    cameras: Sequence[CameraResult],
    low_light: Sequence[LowLight],
    lambdas: Mapping[str, float],
    folder: Path,
    notes: Mapping[str, str],
    *,
    simulated: Sequence[str] = (),
) -> Path:
    """Write the page of a study's PRNU experiments and return the path of ``prnu.html``.

    Args:
        study: its name, the title.
        cameras: the results of the experiment, one per camera.
        low_light: those of the experiment in low light.
        lambdas: λ of the jointly trained pipelines, by name. A pipeline's name begins with that of its ISP; the one
            that NIPs are trained to reproduce is called "standard".
        folder: created where it is missing; files of an earlier page are replaced.
        notes: further lines for the section on provenance.
        simulated: those of the cameras whose photographs come from a simulation.
    """
    pairs = tables.attributions(cameras, lambdas)
    shown = [
        tables.correlations(cameras),
        tables.localisation(cameras),
        tables.low_light(low_light),
        tables.attribution(pairs),
        tables.mistakes(pairs),
    ]
    if any(result.recoveries for result in cameras):
        shown.append(tables.recovery(cameras, lambdas))
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    content = environment.get_template("fingerprints.html.j2").render(
        study=study,
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        cameras=cameras,
        pipelines=len({name for result in cameras for name in result.pipelines}),
        joint=len({name for result in cameras for name in result.pipelines if name in lambdas}),
        simulated=sorted(simulated),
        threshold=PCE_THRESHOLD,
        paper={"correlations": tables.CORRELATIONS, "f1": tables.BEST_F1},
        tables={table.name: table for table in shown},
        findings={
            "recovery": recovery_findings(cameras, lambdas),
            "correlations": correlations_finding(cameras, lambdas),
            "localisation": localisation_finding(cameras),
            "example": example_finding(cameras),
            "low_light": low_light_findings(low_light),
            "survival": survival_findings(pairs),
            "mistakes": mistakes_findings(pairs),
        },
        recovery=list(_recovery(cameras, lambdas, folder)),
        correlations=list(_correlations(cameras)),
        localisation=list(_localisation(cameras)),
        chance=_chance(cameras),
        examples=list(_examples(cameras, folder)),
        low_light=low_light,
        survival=list(_survival(pairs, folder)),
        mistakes=list(_mistakes(pairs, folder)),
        provenance=list(_provenance(cameras)),
        notes=notes,
    )
    for table in shown:
        write(folder / "tables" / f"{table.name}.csv", table.csv.encode())
        write(folder / "tables" / f"{table.name}.tex", table.latex.encode())
    write(folder / "tables" / "pairs.csv", tables.every_pair(pairs).to_csv(index=False).encode())
    write(folder / "prnu.html", content.encode())
    return folder / "prnu.html"


# --- findings: what the numbers say, or None where there are none ---


def recovery_findings(cameras: Sequence[CameraResult], lambdas: Mapping[str, float]) -> list[str]:
    """How near the standard pipeline's fingerprints come to the true pattern, and what joint training does to that."""
    found = tables.recoveries(cameras, lambdas)
    standard = found[(found["isp"] == STANDARD) & (found["view"] == DEVELOPED)]
    texts = []
    for row in standard.to_dict("records"):
        entry: Recovery = row["recovery"]
        text = (
            f"On {row['camera']}, the standard pipeline’s fingerprint of {entry.images[-1]} photographs correlates "
            f"with {_number(entry.correlations[-1], 3)} with the sensor’s true pattern"
        )
        if entry.law is not None:
            apart = max(abs(entry.at(N) / rho - 1) for N, rho in zip(entry.images, entry.correlations, strict=True))
            text += f", {100 * apart:.1f} % at most off the law that theory asks for at any number of photographs"
        texts.append(text + ".")
    settings = ["isp", "setting", "lam", "view"]
    by_camera = found.groupby([*settings, "camera"], sort=False, dropna=False)[["last", "chance"]].mean().reset_index()
    for (isp, view), joint in by_camera[by_camera["setting"] == JOINT].groupby(["isp", "view"], sort=False):
        smallest = joint[joint["lam"] == joint["lam"].min()].set_index("camera")
        seen = by_camera[by_camera["view"] == view]
        reference = seen[(seen["setting"] == FIXED) & (seen["isp"] == isp)]
        reference = (reference if len(reference) else seen[seen["isp"] == STANDARD]).set_index("camera")
        both = smallest.index.intersection(reference.index, sort=False)
        if both.empty:
            continue
        after, before = (rows.loc[both, "last"].mean() for rows in (smallest, reference))
        chance = smallest.loc[both, "chance"].max()
        where = "Before the channel" if view == DEVELOPED else "After the channel"
        texts.append(
            f"{where}, joint training of {isp} at λ = {smallest['lam'].iloc[0]:g} {_recovered(after, before, chance)}: "
            f"the correlation is {_number(after, 3)} against {_number(before, 3)} of "
            f"{tables.label(reference.iloc[0])}, mean over {_count(len(both), 'camera')}, where chance is "
            f"0 ± {_number(chance, 3)}."
        )
    return texts


def _recovered(joint: float, before: float, chance: float) -> str:
    """What became of a correlation, of which a tenth is taken for nothing."""
    if joint <= 3 * chance:
        return "wipes the sensor’s pattern out" if before > 3 * chance else "finds none of the sensor’s pattern to lose"
    if joint < 0.9 * before:
        return "costs part of the sensor’s pattern"
    return "keeps the sensor’s pattern" if joint <= 1.1 * before else "brings out more of the sensor’s pattern"


def correlations_finding(cameras: Sequence[CameraResult], lambdas: Mapping[str, float]) -> str | None:
    """How alike the fingerprints by different pipelines are, and whether joint training sets them apart."""
    found = [
        (rho, result.pipelines[i], result.pipelines[j], result.camera)
        for result in cameras
        for i, row in enumerate(result.correlations.tolist())
        for j, rho in enumerate(row[:i])
    ]
    if not found:
        return None
    values = [rho for rho, *_ in found]
    median, (least, one, other, camera) = float(np.median(values)), min(found)
    alike = (
        "hardly depends on the pipeline"
        if least >= 0.9
        else "depends on the pipeline, but stays recognisable"
        if least >= 0.3
        else "depends on the pipeline, with some down to next to nothing in common"
        if median >= 0.3
        else "depends on the pipeline so much that little is left in common"
    )
    text = (
        f"The fingerprint of a camera {alike}: over {_count(len(values), 'pair')} of pipelines on "
        f"{_count(len(cameras), 'camera')}, correlations range from {_number(least)} ({other} and {one} on {camera}) "
        f"to {_number(max(values))}, median {_number(median)}."
    )
    with_standard: dict[bool, list[float]] = {True: [], False: []}  # by whether the other one is jointly trained
    for rho, *names, _ in found:
        if STANDARD in names:
            partner = next(name for name in names if name != STANDARD)
            with_standard[partner in lambdas].append(rho)
    if with_standard[True] and with_standard[False]:
        joint, fixed = (float(np.mean(with_standard[kind])) for kind in (True, False))
        text += (
            f" With the standard pipeline’s fingerprint, those of jointly trained pipelines correlate with "
            f"{_number(joint)} on average, those of all others with {_number(fixed)}."
        )
    return text


def localisation_finding(cameras: Sequence[CameraResult]) -> str | None:
    """Whether a camera model by the same pipeline finds forgeries better than one by another, image by image."""
    compared = [result for result in cameras if len(result.pipelines) > 1]
    if not compared:
        return None
    match = np.concatenate([result.f1.diagonal().double().numpy().mean(-1) for result in compared])
    mismatch = np.concatenate([tables.off_diagonal(result.f1).mean(0) for result in compared])
    (own, own_low, own_high), (foreign, foreign_low, foreign_high), (gain, low, high) = (
        (float(value) for value in tables.mean_interval(sample)) for sample in (match, mismatch, match - mismatch)
    )
    better = (
        "neither measurably better nor worse"
        if not (low > 0 or high < 0)
        else f"{'better' if gain > 0 else 'worse'} by {_number(abs(gain), 3)}"
    )
    return (
        f"Forgeries are found {better} with a camera model by the same pipeline than with one by another: best F1 "
        f"{_number(own, 3)}{_interval(own_low, own_high)} against {_number(foreign, 3)}"
        f"{_interval(foreign_low, foreign_high)}, difference {_number(gain, 3)}{_interval(low, high)} over "
        f"{_count(len(match), 'image')} of {_count(len(compared), 'camera')}."
    )


def example_finding(cameras: Sequence[CameraResult]) -> str | None:
    """Which camera model sees the example's forgery best, and which worst."""
    if not cameras:
        return None
    parts = []
    for result in cameras:
        scores = sorted(zip(result.example.f1.tolist(), result.pipelines, strict=True))
        (worst, last), (best, first) = scores[0], scores[-1]
        if len(scores) == 1:
            parts.append(
                f"on {result.camera} the camera model of {first} finds the forged square with F1 {_number(best)}"
            )
            continue
        own = dict(zip(result.pipelines, result.example.f1.tolist(), strict=True))[result.example_pipeline]
        parts.append(
            f"on {result.camera} the forged square is found best by the camera model of {first} (F1 {_number(best)}) "
            f"and worst by that of {last} ({_number(worst)}); {result.example_pipeline}, which developed the "
            f"photograph, reaches {_number(own)}"
        )
    return f"{_sentence('; '.join(parts))}."


def low_light_findings(found: Sequence[LowLight]) -> list[str]:
    """Whether photographs match their own pipeline's fingerprint, and no stranger's do; whether pipelines share one."""
    return [_low_light_finding(entry) for entry in found]


def _low_light_finding(found: LowLight) -> str:
    rows = tables.pooled(tables.attributions([found], {}), ["pipeline"]).to_dict("records")
    lost = [row["pipeline"] for row in rows if row["found"].share < 0.5]
    vain = [row["pipeline"] for row in rows if row["found"].share >= 0.5 and row["mistaken"].share >= 0.5]
    verdicts = []
    if lost:
        verdicts.append(f"most photographs by {_list(lost)} do not match even the fingerprint of their own pipeline")
    if vain:
        verdicts.append(f"most photographs by {_list(vain)} match, but so do those of other cameras")
    verdict = "; ".join(verdicts) or "every low-light pipeline leaves a fingerprint that most of its photographs match"
    counts = _list([_low_light(row) for row in rows])
    text = f"On {found.camera}, {verdict}: PCE exceeds {PCE_THRESHOLD:g} in {counts}."
    between = [rho for i, line in enumerate(found.correlations) for rho in line[:i]]
    if between:
        text += (
            f" Its fingerprints by different pipelines correlate with {_number(min(between))}"
            f"{f' to {_number(max(between))}' if len(between) > 1 else ''}."
        )
    return text


def _low_light(row: Mapping[str, Any]) -> str:
    others = f" against {_rate(row['mistaken'], 'of other cameras')}" if row["mistaken"].pairs else ""
    return f"{_rate(row['found'])} by {row['pipeline']}{others}"


def survival_findings(pairs: pd.DataFrame) -> list[str]:
    """What joint training at the smallest λ does to attribution, for every ISP, before and after the channel."""
    known = tables.pooled(pairs[pairs["same"].map(len) > 0], ["isp", "setting", "lam", "view"])
    texts = []
    for isp, joint in known[known["setting"] == JOINT].groupby("isp", sort=False):
        smallest = joint[joint["lam"] == joint["lam"].min()]
        for row in smallest.to_dict("records"):
            seen = known[known["view"] == row["view"]]
            reference = seen[(seen["setting"] == FIXED) & (seen["isp"] == isp)]
            reference = reference if len(reference) else seen[seen["isp"] == STANDARD]
            before = reference.to_dict("records")[0] if len(reference) else None
            where = "Before the channel" if row["view"] == DEVELOPED else "After the channel"
            texts.append(f"{where}, joint training of {isp} at λ = {row['lam']:g} {_survived(row, before)}.")
    return texts


def _survived(row: Mapping[str, Any], before: Mapping[str, Any] | None) -> str:
    """What became of the fingerprint, with the figures of both settings."""
    found: Proportion = row["found"]
    figures = f"{_rate(found)} reach PCE {PCE_THRESHOLD:g}, median {tables.energy(row['pce'])}{_others(row)}"
    if before is None:
        return f"leaves a fingerprint that can be examined, but nothing to compare it with: {figures}"
    reference: Proportion = before["found"]
    if found.share >= 0.5 and row["mistaken"].interval[0] > before["mistaken"].interval[1]:
        verdict = "leaves a pattern that photographs of other cameras match, too"
    elif found.share >= 0.5 and row["mistaken"].share >= 0.5:
        verdict = "leaves nothing that tells of the sensor, as photographs of other cameras match, too"
    elif found.interval[1] < reference.interval[0]:
        lost = found.share < 0.5 <= reference.share
        verdict = (
            "makes most photographs lose their fingerprint" if lost else "costs some photographs their fingerprint"
        )
    elif found.interval[0] > reference.interval[1]:
        verdict = "brings the fingerprint out in more photographs"
    elif max(found.share, reference.share) < 0.5:
        verdict = "finds hardly a fingerprint to lose"
    elif row["pce_high"] < before["pce_low"]:
        verdict = "weakens the fingerprint, but photographs still match it"
    elif row["pce_low"] > before["pce_high"]:
        verdict = "strengthens the fingerprint"
    else:
        verdict = "keeps the fingerprint"
    return (
        f"{verdict}: {figures}, against {_rate(reference)}, median {tables.energy(before['pce'])}{_others(before)}, by "
        f"{tables.label(before)}"
    )


def mistakes_findings(pairs: pd.DataFrame) -> list[str]:
    """Whether what a jointly trained pipeline leaves in every camera's photographs passes for a fingerprint."""
    known = pairs[pairs["other"].map(len) > 0]
    joint = known[known["setting"] == JOINT]
    texts = []
    for view, seen in joint.groupby("view", sort=False):
        every = tables.pooled(seen, ["view"])["mistaken"].iloc[0]
        settings = tables.pooled(seen, ["isp", "setting", "lam"]).to_dict("records")
        worst = max(settings, key=lambda row: row["mistaken"].share)
        standard = known[(known["view"] == view) & (known["isp"] == STANDARD)]
        reference = tables.pooled(standard, ["view"])["mistaken"].iloc[0] if len(standard) else None
        where = "Before the channel" if view == DEVELOPED else "After the channel"
        of = "of different cameras by one jointly trained pipeline"
        if every.count == 0:
            text = f"{where}, no pair {of} exceeds PCE {PCE_THRESHOLD:g}: {_rate(every, 'pairs')}"
        else:
            mistaken = reference is not None and worst["mistaken"].interval[0] > reference.interval[1]
            verdict = (
                "the learned artefact is mistaken for a fingerprint"
                if mistaken
                else "false matches occur, though not measurably more often than by the standard pipeline"
                if reference is not None
                else "false matches occur"
            )
            text = (
                f"{where}, {verdict}: {_rate(every, 'pairs')} {of} exceed PCE {PCE_THRESHOLD:g}, most by "
                f"{tables.label(worst)}, {_rate(worst['mistaken'], 'pairs')}"
            )
        texts.append(text + ("." if reference is None else f"; by the standard pipeline, {_rate(reference, 'pairs')}."))
    return texts


# --- parts of the page ---


def _recovery(cameras: Sequence[CameraResult], lambdas: Mapping[str, float], folder: Path) -> Iterator[Picture]:
    for result in cameras:
        if result.recoveries:
            figure = figures.recovery(result.recoveries, lambdas)
            alt = f"Correlation with the true pattern by number of photographs, {result.camera}"
            yield picture(figure, "recovery", result.camera, folder, alt)


def _correlations(cameras: Sequence[CameraResult]) -> Iterator[dict[str, Any]]:
    """Fig. 5a as heat maps of one scale: the palest and the darkest off the diagonal."""
    low, high = _range([tables.off_diagonal(result.correlations) for result in cameras])
    for result in cameras:
        names = result.pipelines
        rows: Matrix = [
            [
                (_number(rho), _shade(rho, low, high), f"{a}, {b}: {_number(rho, 4)}")
                for b, rho in zip(names, row, strict=True)
            ]
            for a, row in zip(names, result.correlations.tolist(), strict=True)
        ]
        yield {"title": result.camera, "names": names, "rows": rows, "low": _number(low), "high": _number(high)}


def _localisation(cameras: Sequence[CameraResult]) -> Iterator[dict[str, Any]]:
    """Fig. 5b as heat maps of one scale."""
    low, high = _range([result.mean_f1.numpy().ravel() for result in cameras])
    for result in cameras:
        names = result.pipelines
        mean, lower, upper = tables.mean_interval(result.f1.double().numpy())
        rows: Matrix = [
            [
                (
                    _number(mean[i, j]),
                    _shade(mean[i, j], low, high),
                    f"model by {model}, photographs by {name}: "
                    f"{_number(mean[i, j], 3)}{_interval(lower[i, j], upper[i, j])}",
                )
                for j, name in enumerate(names)
            ]
            for i, model in enumerate(names)
        ]
        images = result.f1.shape[-1]
        yield {
            "title": result.camera,
            "names": names,
            "rows": rows,
            "low": _number(low),
            "high": _number(high),
            "images": _count(images, "image"),
        }


def _range(values: Sequence[np.ndarray]) -> tuple[float, float]:
    """Of all of them; the whole of [0, 1] where there are none."""
    everything = np.concatenate([*values, np.empty(0)])
    return (float(everything.min()), float(everything.max())) if len(everything) else (0.0, 1.0)


def _shade(value: float, low: float, high: float) -> float:
    return round(float(np.clip((value - low) / (high - low), 0, 1)), 3) if high > low else 0.5


def _chance(cameras: Sequence[CameraResult]) -> str | None:
    """F1 of flagging every pixel."""
    floors = sorted({_number(result.example.chance) for result in cameras})
    return floors[0] if len(floors) == 1 else f"{floors[0]} to {floors[-1]}" if floors else None


def _examples(cameras: Sequence[CameraResult], folder: Path) -> Iterator[Picture]:
    for result in cameras:
        title = f"{result.camera} · developed by {result.example_pipeline}"
        figure = figures.forgery(result.example, result.pipelines)
        yield picture(figure, "forgery", title, folder, f"Maps of tampering probability, {title}")


def _survival(pairs: pd.DataFrame, folder: Path) -> Iterator[Picture]:
    """A figure per camera and jointly trained ISP."""
    known = pairs[pairs["same"].map(len) > 0]
    for camera, isp in known[known["setting"] == JOINT][["camera", "isp"]].drop_duplicates().to_numpy():
        points = _of_isp(known[known["camera"] == camera], isp)
        title = f"{camera} · {isp}"
        yield picture(figures.survival(points), "survival", title, folder, f"PCE and AUC against λ, {title}")


def _mistakes(pairs: pd.DataFrame, folder: Path) -> Iterator[Picture]:
    """A figure per jointly trained ISP, of all cameras together."""
    known = pairs[pairs["other"].map(len) > 0]
    for isp in known[known["setting"] == JOINT]["isp"].unique():
        yield picture(figures.mistakes(_of_isp(known, isp)), "mistakes", isp, folder, f"False matches by λ, {isp}")


def _of_isp(pairs: pd.DataFrame, isp: str) -> pd.DataFrame:
    """Statistics of the standard pipeline, of an ISP fixed, and of it jointly trained, in falling λ."""
    known = tables.pooled(pairs, ["isp", "setting", "lam", "view"])
    return pd.concat(
        [
            known[known["isp"] == STANDARD],
            known[(known["isp"] == isp) & (known["setting"] == FIXED)],
            known[(known["isp"] == isp) & (known["setting"] == JOINT)].sort_values(
                "lam", ascending=False, kind="stable"
            ),
        ]
    )


def _provenance(cameras: Sequence[CameraResult]) -> Iterator[tuple[str, str]]:
    for result in cameras:
        height, width = result.fingerprints.shape[-2:]
        parts, settings = result.images, result.settings
        yield (
            result.camera,
            f"{len(parts.estimation)} images for fingerprints, {len(parts.prediction)} for predictors, "
            f"{len(parts.evaluation)} evaluated; crops of {height} × {width} px, windows of {settings.window} px every "
            f"{settings.stride} px, forged square of {settings.forgery} px, σ₀ = {255 * settings.sigma:g}/255",
        )


# --- numbers as text ---


def _number(value: float, digits: int = 2) -> str:
    return tables.number(float(value), digits)


def _interval(low: float, high: float) -> str:
    return "" if math.isnan(low) else f" [{_number(low, 3)}, {_number(high, 3)}]"


def _rate(found: Proportion, what: str = "photographs") -> str:
    low, high = (100 * bound for bound in found.interval)
    share = f"{100 * found.share:.1f} %, 95 % interval {low:.1f} to {high:.1f} %"
    return f"{found.count} of {found.pairs} {what} ({share})"


def _others(row: Mapping[str, Any]) -> str:
    """How many photographs of other cameras match, and how well PCE tells them from the own ones."""
    if math.isnan(row["auc"]):
        return ""
    mistaken, interval = row["mistaken"], _interval(row["auc_low"], row["auc_high"])
    return f", as do {mistaken.count} of {mistaken.pairs} of other cameras, AUC {_number(row['auc'], 3)}{interval}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _list(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
