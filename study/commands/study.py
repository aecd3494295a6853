"""Commands for a study: check, run, status, and what builds on its finished trials."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from study.commands.app import (
    AddressOption,
    JsonOption,
    RetryOption,
    StorageOption,
    StudyArgument,
    app,
    conclude,
    err,
    load,
    out,
    print_line,
    read,
    table,
)
from study.settings import Study, StudyError

if TYPE_CHECKING:
    from study.preflight.estimate import Estimate


@app.command()
def demo(storage: StorageOption = None) -> None:
    """Simulated cameras → report: nothing to download, minutes on two cores."""
    run("demo", storage=storage)


@app.command()
def check(source: StudyArgument, storage: StorageOption = None, address: AddressOption = "local") -> None:
    """Is everything there that a study needs, on every node? One line for each fault, and exit code 2."""
    from study.preflight.check import check as check_study
    from study.preflight.check import faults_of

    findings = check_study(load(source, storage), address)
    rows = [(f.what, f.node, "ok" if f.fault is None else "fault", f.remark) for f in findings]
    out.print(table("Check", ("what", "where", "", "remark"), rows))
    faults = faults_of(findings)
    for fault in faults:
        err.print(f"[bold red]fault:[/] {escape(fault)}", soft_wrap=True, highlight=False)
    if faults:
        sys.exit(2)


@app.command()
def pretrain(
    source: StudyArgument,
    storage: StorageOption = None,
    address: AddressOption = "local",
    retry_failed: RetryOption = False,
) -> None:
    """Pre-train the NIP of every camera × ISP of a study, and the codecs of its channels."""
    from study.execution.driver import pretrain as pretrain_study
    from study.preflight.check import require

    conclude(pretrain_study(load(source, storage), require, address, retry_failed))


@app.command()
def run(
    source: StudyArgument,
    storage: StorageOption = None,
    address: AddressOption = "local",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the trials and start nothing")] = False,
    retry_failed: RetryOption = False,
) -> None:
    """Everything that is missing of a study: cameras, NIPs, trials, report. The same call resumes."""
    study = load(source, storage)
    if dry_run:
        _dry_run(study)
        return
    from study.commands.report import write_report
    from study.execution.driver import run as run_study
    from study.preflight.check import require

    failures = run_study(study, require, address, retry_failed)
    print_line(f"report: {write_report(study, source)}")
    conclude(failures)


def _dry_run(study: Study) -> None:
    from study.preflight.status import status as status_of

    state = status_of(study, read(study))
    axes = tuple(state.grid.planned[0].axes)
    rows = [
        (item.trial.camera, item.trial.isp, item.trial.lam, item.trial.seed, *item.axes.values(), its_status)
        for item, its_status in zip(state.grid.planned, state.statuses, strict=True)
    ]
    out.print(table(f"{study.name}: {len(rows)} trials", ("camera", "ISP", "λ", "seed", *axes, "status"), rows))
    print_line(", ".join(f"{count} {its_status}" for its_status, count in state.counts.items()))
    _print_cost(state.cost)


def _print_cost(cost: "Estimate") -> None:
    from cameras.disk import gigabytes

    hours = ["unknown" if job.seconds is None else f"{job.seconds * cost.share / 3600:.1f}" for job in cost.jobs]
    jobs = [(job.isp, job.kind, job.count, job.finished, left) for job, left in zip(cost.jobs, hours, strict=True)]
    out.print(table("Estimate", ("ISP", "jobs", "planned", "finished", f"{cost.device} hours to go"), jobs))
    unknown = f", and what was never measured: {', '.join(cost.unknown)}" if cost.unknown else ""
    print_line(f"to go: {cost.hours:.1f} {cost.device} hours{unknown}; to be written: {gigabytes(cost.written)}")


@app.command()
def search(
    source: StudyArgument,
    storage: StorageOption = None,
    address: AddressOption = "local",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the points and start nothing")] = False,
    export: Annotated[Path | None, typer.Option(help="write a file for optuna-dashboard and start nothing")] = None,
    retry_failed: RetryOption = False,
) -> None:
    """Look for better trade-offs than the grid's: the study's section `search`. The same call resumes."""
    study = load(source, storage)
    if dry_run:
        _dry_search(study)
        return
    if export is not None:
        _export_search(study, source, export)
        return
    from study.commands.report import write_report
    from study.commands.search import search as search_study
    from study.preflight.check import require

    failures = search_study(study, require, address, retry_failed)
    print_line(f"report: {write_report(study, source)}")
    conclude(failures)


def _dry_search(study: Study) -> None:
    from study.commands.search import forecast

    found = forecast(study, read(study))
    search = study.search
    assert search is not None
    columns = ("camera", "ISP", *search.over, "status", ", ".join(search.objectives))
    out.print(table(f"{study.name}: points proposed so far", columns, found.rows()))
    print_line(_points(found.counts))
    _print_cost(found.cost)


def _points(counts: Mapping[str, int]) -> str:
    """``search: 40 points: 12 finished, …``"""
    states = ", ".join(f"{count} {state}" for state, count in counts.items() if state != "points")
    return f"search: {counts['points']} points: {states}"


def _export_search(study: Study, source: str, path: Path) -> None:
    from study.commands.search import require_search
    from study.search.export import export

    require_search(study)
    if (snapshot := read(study)) is None:
        raise StudyError(f"study {study.name} has no results in {study.storage} yet: python -m study search {source}")
    export(study, snapshot, path)
    print_line(f"written: {path}; optuna-dashboard {path} shows it")


@app.command()
def status(source: StudyArgument, storage: StorageOption = None, as_json: JsonOption = False) -> None:
    """Done, running, failed, left; time to go."""
    from cameras.console import duration
    from study.preflight.status import status as status_of

    study = load(source, storage)
    state = status_of(study, read(study))
    trials = len(state.grid.planned)
    if as_json:
        found: dict[str, Any] = {"study": study.name, "trials": trials, **state.counts}
        found |= {"search": state.search} if state.search else {}
        found["seconds_to_go"] = state.seconds_to_go
        print(json.dumps(found, indent=1))
        return
    print_line(f"{study.name}: {trials} trials: " + ", ".join(f"{n} {s}" for s, n in state.counts.items()))
    if state.search:
        print_line(_points(state.search))
    cost = state.cost
    to_go = f"{duration(cost.seconds_to_go)} with {cost.slots} jobs at a time"
    print_line(f"to go: at least {to_go}; unmeasured: {', '.join(cost.unknown)}" if cost.unknown else f"to go: {to_go}")


@app.command()
def evaluate(
    source: StudyArgument,
    codec: Annotated[
        list[str], typer.Option(help="real encoder and qualities: jpeg:30,50,70 · jpeg:50:4:2:0 · webp:50")
    ],
    storage: StorageOption = None,
    address: AddressOption = "local",
    retry_failed: RetryOption = False,
) -> None:
    """Score every finished trial again behind real encoders, at 8 bits; what is scored already is left alone."""
    from study.commands.evaluate import evaluate as evaluate_study
    from study.preflight.check import require

    scores, failures = evaluate_study(load(source, storage), codec, require, address, retry_failed)
    scores = scores.drop(columns=["trial_key", "seed"])
    setting = list(scores.columns[: scores.columns.get_loc("dJPEG")])
    means = scores.groupby(setting, sort=False, dropna=False).mean().reset_index().round(3)
    out.print(table(f"{source}: accuracy, mean over seeds", means.columns, means.itertuples(index=False)))
    conclude(failures)


@app.command()
def localise(
    source: StudyArgument,
    storage: StorageOption = None,
    address: AddressOption = "local",
    retry_failed: RetryOption = False,
) -> None:
    """Where was a photograph altered? Try every finished trial on photographs with one altered region."""
    from study.commands.localise import localise as localise_study
    from study.preflight.check import require

    found, failures = localise_study(load(source, storage), require, address, retry_failed)
    setting = list(found.columns[: found.columns.get_loc("auc")].drop("seed"))
    means = found.drop(columns="seed").groupby(setting, sort=False, dropna=False).mean().reset_index().round(3)
    out.print(table(f"{source}: localisation, mean over seeds", means.columns, means.itertuples(index=False)))
    conclude(failures)


@app.command()
def fingerprints(
    source: StudyArgument,
    storage: StorageOption = None,
    address: AddressOption = "local",
    retry_failed: RetryOption = False,
) -> None:
    """What the pipelines of a study do to sensor fingerprints: matrices, maps and error rates, as a report page."""
    from study.commands.fingerprints import run as run_experiments
    from study.preflight.check import require

    page, failures = run_experiments(load(source, storage), require, address, retry_failed)
    print_line(f"report: {page}")
    conclude(failures)


@app.command()
def adopt(source: StudyArgument, storage: StorageOption = None) -> None:
    """Give finished runs of an older version of this project their new keys, so that they count as done."""
    from study.commands.adopt import adopt as adopt_study

    out.print(f"{adopt_study(load(source, storage))} finished runs have new keys")
