"""Commands for what a study found: best, rerun, report."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from study.commands.app import (
    JsonOption,
    StorageOption,
    StudyArgument,
    app,
    calls,
    load,
    out,
    print_line,
    read,
    table,
)
from study.settings import StudyError, expanded, user_errors

if TYPE_CHECKING:
    import pandas as pd


class Photographs(StrEnum):
    """Which photographs decide about limits and order."""

    VALIDATION = "validation"
    TEST = "test"


@app.command()
def best(
    source: StudyArgument,
    storage: StorageOption = None,
    min_psnr: Annotated[float | None, typer.Option(help="dB")] = None,
    max_psnr: Annotated[float | None, typer.Option(help="dB, itself excluded")] = None,
    min_ssim: Annotated[float | None, typer.Option(help="-1–1")] = None,
    max_ssim: Annotated[float | None, typer.Option(help="-1–1, itself excluded")] = None,
    min_accuracy: Annotated[float | None, typer.Option(help="0–1")] = None,
    max_accuracy: Annotated[float | None, typer.Option(help="0–1, itself excluded")] = None,
    isp: Annotated[list[str] | None, typer.Option(help="may be repeated: any of them")] = None,
    camera: Annotated[list[str] | None, typer.Option(help="may be repeated: any of them")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="a value of a further axis, or of lambda: channel.codec=jpeg:50; may be repeated: any of them"
        ),
    ] = None,
    each_seed: Annotated[bool, typer.Option("--each-seed", help="rank single trials, not means over seeds")] = False,
    on: Annotated[
        Photographs,
        typer.Option(help="which photographs decide; a choice by those of the test looks better than it is"),
    ] = Photographs.VALIDATION,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="comma-separated output, with run ids and queries")] = False,
    codec: Annotated[
        str | None,
        typer.Option(help="rank by one encoder of the panel (jpeg:50), by its worst (worst), or by dJPEG"),
    ] = None,
) -> None:
    """The best trade-offs of a study and its search, out of MLflow: most accurate first, and how to get to their runs.

    Accuracy is behind real encoders (the mean over the panel) where trials have been judged so, else behind dJPEG. The
    validation photographs decide about limits and order, unless --on test. Where there are test photographs, the result
    is theirs.
    """
    from study import results
    from study.jobs.plan import resolve
    from study.search import points

    study = load(source, storage)
    if (snapshot := read(study)) is None:
        raise StudyError(f"study {study.name} has no results in {study.storage} yet: python -m study run {source}")
    with user_errors():
        planned = [*resolve(study, snapshot).table, *points.table(points.every(study, snapshot))]
        trials = results.of_plan(results.trials(snapshot), planned)
        behind = results.channel(results.metric(codec or results.leading(trials)))
        judged = results.behind(trials, behind)
        found = results.best(
            results.summary(judged, each_seed),
            min_psnr=min_psnr,
            max_psnr=max_psnr,
            min_ssim=min_ssim,
            max_ssim=max_ssim,
            min_accuracy=min_accuracy,
            max_accuracy=max_accuracy,
            where=wanted(camera, isp, where),
            on=on.value,
        )
    if as_csv or as_json:
        metrics = results.summary(trials[trials["run_id"].isin(judged["run_id"])], each_seed)  # named as in MLflow
        by = ["run_ids", "trial_keys"]
        found = found[by].merge(metrics, on=by, how="left", validate="one_to_one").assign(behind=behind)
        found = results.with_queries(found, calls(study, source)["rerun"])
        print(found.to_csv(index=False) if as_csv else found.to_json(orient="records", indent=1))
        return
    unseen = results.unseen(results.verdicts(snapshot, judged)) if behind in results.members(trials) else {}
    names = {results.PANEL: "real encoders, mean over the panel", results.WORST: "the worst of the real encoders"}
    out.print(table(f"{study.name}, behind {names.get(behind, behind)}", *_ranked(found, behind, unseen)))
    if any(behind in encoders for encoders in unseen.values()):
        print_line(f"unseen: the training of these trials could not have drawn {behind}")
    if without := len(results.finished(trials)) - len(results.finished(judged)):
        print_line(f"finished trials that were not judged behind it: {without}. --codec dJPEG ranks all")
    if len(found):
        ways = results.queries(found.iloc[0].to_dict(), calls(study, source)["rerun"])
        print_line(" ".join(("The first of them again, in this process:", *ways["rerun"][:1])))
        print_line(f"Its runs in MLflow: {ways['filter']}")


def wanted(camera: list[str] | None, isp: list[str] | None, where: list[str] | None) -> dict[str, list[str]]:
    """The values that are wanted of camera, ISP and further axes, λ as MLflow writes it."""
    wanted: dict[str, list[str]] = {name: values for name, values in (("camera", camera), ("isp", isp)) if values}
    for pair in where or ():
        name, equals, value = pair.partition("=")
        if not equals:
            raise StudyError(f"--where {pair}: write NAME=VALUE, such as channel.codec=jpeg:50")
        with suppress(ValueError):
            value = str(float(value)) if name == "lambda" else value
        wanted.setdefault(name, []).append(value)
    return wanted


def _ranked(
    found: "pd.DataFrame", behind: str, unseen: Mapping[str, frozenset[str]]
) -> tuple[Sequence[str], list[tuple[object, ...]]]:
    """Headings and rows of the ranking; settings are marked whose training could not have drawn the encoder."""
    from study import results

    axes = results.axes(found)
    shown, tested = results.reported(found), bool(found["test_accuracy"].notna().any())
    seeds = "seed" if "seed" in found else "seeds"
    rows: list[tuple[object, ...]] = []
    for row, chosen, further in zip(
        shown.itertuples(), found.itertuples(), found[axes].itertuples(index=False), strict=True
    ):
        interval = "" if row.seeds < 2 else f" [{row.accuracy_low:.3f}, {row.accuracy_high:.3f}]"
        mark = " unseen" if any(behind in unseen.get(run_id, ()) for run_id in row.run_ids) else ""
        weight = f"{row.lam:g}" if row.mode == "joint" else row.mode
        gap = (f"{row.gap:+.3f}",) if behind != results.TRAINED else ()
        metrics = (f"{row.accuracy:.3f}{interval}{mark}", *gap, f"{row.psnr:.2f}", f"{row.ssim:.4f}")
        validation = (row.photographs, f"{chosen.accuracy:.3f}, {chosen.psnr:.2f} dB") if tested else ()
        rows.append((row.camera, row.isp, weight, *further, getattr(row, seeds), *metrics, *validation))
    measured_on = ("measured on", "in validation") if tested else ()
    gap_heading = ("gap to dJPEG",) if behind != results.TRAINED else ()
    headings = ("camera", "ISP", "λ", *axes, seeds, "accuracy [95 %]", *gap_heading, "PSNR (dB)", "SSIM")
    return (*headings, *measured_on), rows


@app.command()
def rerun(
    run_or_key: Annotated[str, typer.Argument(help="MLflow run id, or trial key (its beginning will do)")],
    storage: StorageOption = None,
    tracking_uri: Annotated[
        str | None, typer.Option(help="where it is logged, if neither there nor in the environment")
    ] = None,
) -> None:
    """One trial again, in this process and without Ray; compared with what was logged."""
    from study.commands.rerun import rerun as rerun_trial
    from study.tracking import default_uri

    place = str(Path(storage).resolve()) if "://" not in (storage := expanded(storage or "results")) else storage
    comparison = rerun_trial(run_or_key, place, tracking_uri or default_uri(place))
    out.print(table(comparison.name, ("metric", "logged", "now"), comparison.rows))
    out.print(comparison.verdict)


@app.command()
def report(source: StudyArgument, storage: StorageOption = None) -> None:
    """One self-contained HTML page, with figures and tables beside it."""
    from study.commands.report import write_report

    with user_errors():
        written = write_report(load(source, storage), source)
    print_line(f"report: {written}")
