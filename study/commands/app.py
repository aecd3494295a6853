"""``python -m study …``: every stage of a study as a command."""

import json
import re
import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from study.settings import NAME, Study, StudyError, expanded, load_study, presets

app = typer.Typer(
    help="How much picture quality must a camera give up so that later manipulation can be detected?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
out = Console()
err = Console(stderr=True)

StudyArgument = Annotated[str, typer.Argument(help=f"a preset ({', '.join(presets())}) or a YAML file")]
StorageOption = Annotated[
    str | None, typer.Option(help="folder or bucket of pairs, NIPs and checkpoints; overrides the study's own")
]
AddressOption = Annotated[str, typer.Option(help="'local', 'auto' for this machine's cluster, or host:port")]
JsonOption = Annotated[bool, typer.Option("--json", help="machine-readable output")]


def main() -> None:
    """Run a command; what only the user can put right ends in one line and exit code 2."""
    try:
        app()
    except StudyError as error:
        _refuse(str(error))
    except OSError as error:  # a full or read-only disk, a folder that is a file
        _refuse(f"{error.filename or 'storage'}: {error.strerror or error}")


def _refuse(reason: str) -> NoReturn:
    err.print(f"[bold red]error:[/] {escape(reason)}", soft_wrap=True, highlight=False)
    sys.exit(2)


def _load(source: str, storage: str | None) -> Study:
    study = load_study(source)
    return study if storage is None else study.model_copy(update={"storage": expanded(storage)})


def _table(title: str, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> Table:
    table = Table(title=escape(title), title_justify="left")
    for column in columns:
        table.add_column(escape(column))
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    return table


def _json(content: Any) -> None:
    print(json.dumps(content, indent=1))


class Orientation(StrEnum):
    landscape = "landscape"
    any = "any"


class Demosaicing(StrEnum):
    menon = "menon"
    bilinear = "bilinear"


@app.command()
def demo(storage: StorageOption = None) -> None:
    """Simulated cameras → report: nothing to download, minutes on two cores."""
    run("demo", storage=storage)


@app.command()
def simulate(
    folder: Annotated[Path, typer.Argument(help="where the DNG files go")],
    camera: Annotated[str, typer.Option(help="preset of a simulated camera")] = "sim-rggb",
    count: Annotated[int, typer.Option(min=1, help="number of pictures")] = 24,
    height: Annotated[int, typer.Option(min=64)] = 512,
    width: Annotated[int, typer.Option(min=64)] = 768,
    photos: Annotated[Path | None, typer.Option(help="folder of photographs to take pictures of")] = None,
    scenes: Annotated[
        str, typer.Option(help="'dead-leaves', or 'scikit-image' for the photographs that it ships")
    ] = "dead-leaves",
    seed: int = 0,
) -> None:
    """Write a simulated camera's RAW files: real DNG, with a known PRNU pattern in them."""
    from cameras.dng import simulate_folder
    from cameras.simulate import PRESETS
    from cameras.console import work

    if camera not in PRESETS:
        raise StudyError(f"there is no simulated camera '{camera}': choose one of {', '.join(PRESETS)}")
    with work(f"{camera}: {count} pictures", count) as advance:
        try:
            simulate_folder(
                PRESETS[camera],
                folder,
                count,
                height,
                width,
                seed,
                scenes=photos if photos is not None else scenes,
                progress=lambda done, total: advance(done),
            )
        except ValueError as error:
            raise StudyError(str(error)) from None
    out.print(f"{count} DNG files in {folder}", markup=False)


@app.command(name="import")
def import_(
    paths: Annotated[list[Path], typer.Argument(help="RAW files, or folders of them")],
    camera: Annotated[str, typer.Option(help="name of the camera in study files")],
    storage: StorageOption = None,
    limit: Annotated[int, typer.Option(min=1, help="number of photographs, chosen by a seed")] = 150,
    orientation: Orientation = Orientation.landscape,
    demosaic: Demosaicing = Demosaicing.menon,
    seed: int = 0,
    at_least: Annotated[int, typer.Option(min=1, help="with fewer in the end, the exit code is 2")] = 1,
    workers: Annotated[int | None, typer.Option(help="processes; all CPUs where not given")] = None,
) -> None:
    """RAW files → pairs of Bayer stack and developed target. Called again, it does only what is missing."""
    from cameras.importing import import_camera
    from study.execution.cameras import publish_pairs
    from cameras.console import work
    from study.storage import Storage

    if not re.fullmatch(NAME, camera):
        raise StudyError(f"camera '{camera}': use letters, digits, spaces, dots, dashes and underscores")
    shared = Storage(expanded(storage or "results"))
    here = shared.folder if shared.is_folder else Path("results")
    with work(f"{camera}: import", limit) as advance:
        try:
            imported = import_camera(
                camera,
                paths,
                here / "cameras",
                limit=limit,
                orientation=orientation.value,
                demosaic=demosaic.value,
                seed=seed,
                workers=workers,
                on_progress=lambda done, total, path, reason: advance(done, path.name),
            )
        except ValueError as error:
            raise StudyError(str(error)) from None
    if len(imported):
        publish_pairs(here, camera, shared)
    if imported.refused:
        rows = [(path.name, reason) for path, reason in imported.refused]
        out.print(_table("Refused", ("file", "reason"), rows))
    new, refused = len(imported.accepted), len(imported.refused)
    out.print(
        f"{camera}: {len(imported)} of the {limit} photographs asked for ({new} new, {refused} refused), "
        f"in {imported.folder}",
        markup=False,
        soft_wrap=True,
    )
    if len(imported) < at_least:
        raise StudyError(f"{camera}: {len(imported)} photographs are too few, --at-least {at_least} were asked for")


@app.command()
def develop(
    paths: Annotated[list[Path], typer.Argument(help="RAW files, or folders of them")],
    out_folder: Annotated[Path, typer.Option("--out", help="where the PNG files go")] = Path("developed"),
    pipeline: Annotated[str, typer.Option("--with", help="standard, libraw, or a NIP's safetensors file")] = "standard",
) -> None:
    """Develop whole photographs, by a NIP or by a standard pipeline, and look at them."""
    from study.commands.develop import develop_files

    for path, picture, remark in develop_files(paths, pipeline, out_folder):
        out.print(f"{path.name}: {picture or 'refused'} {remark}".rstrip(), markup=False, soft_wrap=True)


RetryOption = Annotated[bool, typer.Option("--retry-failed", help="try again what failed by itself, such as a NaN")]


@app.command()
def check(source: StudyArgument, storage: StorageOption = None, address: AddressOption = "local") -> None:
    """Is everything there that a study needs, on every node? One line for each fault, and exit code 2."""
    from study.preflight.check import check as check_study

    findings = check_study(_load(source, storage), address)
    rows = [(f.what, f.node, "ok" if f.fault is None else "fault", f.remark) for f in findings]
    out.print(_table("Check", ("what", "where", "", "remark"), rows))
    faults = [finding for finding in findings if finding.fault is not None]
    for finding in faults:
        line = escape(f"{finding.what}, {finding.node}: {finding.fault}")
        err.print(f"[bold red]fault:[/] {line}", soft_wrap=True, highlight=False)
    if faults:
        sys.exit(2)


@app.command()
def pretrain(
    source: StudyArgument,
    storage: StorageOption = None,
    address: AddressOption = "local",
    retry_failed: RetryOption = False,
) -> None:
    """Pre-train the NIP of every camera × ISP of a study."""
    from study.execution.driver import pretrain as pretrain_study

    _conclude(pretrain_study(_load(source, storage), address, retry_failed))


@app.command()
def run(
    source: StudyArgument,
    storage: StorageOption = None,
    address: AddressOption = "local",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the trials and start nothing")] = False,
    retry_failed: RetryOption = False,
) -> None:
    """Everything that is missing of a study: cameras, NIPs, trials, report. The same call resumes."""
    study = _load(source, storage)
    if dry_run:
        _dry_run(study)
        return
    from study.commands.report import publish
    from study.execution.driver import run as run_study

    failures = run_study(study, address, retry_failed)
    out.print(f"report: {publish(study)}", soft_wrap=True, markup=False)
    _conclude(failures)


def _conclude(failures: dict[str, str]) -> None:
    """Name what failed, with exit code 1: the rest of the study is there nevertheless."""
    if failures:
        err.print(_table("Failed", ("what", "reason"), failures.items()))
        err.print(f"{len(failures)} failed; --retry-failed tries them again")
        sys.exit(1)


def _dry_run(study: Study) -> None:
    from study.preflight.estimate import estimate, gigabytes
    from study.preflight.status import survey

    state = survey(study)
    rows = [
        (item.trial.camera, item.trial.isp, item.trial.lam, item.trial.seed, *item.axes.values(), status)
        for item, status in zip(state.planned, state.statuses, strict=True)
    ]
    axes = tuple(state.planned[0].axes)
    out.print(_table(f"{study.name}: {len(rows)} trials", ("camera", "ISP", "λ", "seed", *axes, "status"), rows))
    out.print(", ".join(f"{count} {status}" for status, count in state.counts.items()))

    cost = estimate(study)
    jobs = [(job.isp, job.kind, job.count, job.finished, _hours(job.seconds, cost.share)) for job in cost.jobs]
    out.print(_table("Estimate", ("ISP", "jobs", "planned", "finished", f"{cost.device} hours to go"), jobs))
    unknown = f", and what was never measured: {', '.join(cost.unknown)}" if cost.unknown else ""
    out.print(
        f"to go: {cost.hours:.1f} {cost.device} hours{unknown}; to be written: {gigabytes(cost.written)}",
        soft_wrap=True,
        highlight=False,
    )


def _hours(seconds: float | None, share: float) -> str:
    return "unknown" if seconds is None else f"{seconds * share / 3600:.1f}"


@app.command()
def status(source: StudyArgument, storage: StorageOption = None, as_json: JsonOption = False) -> None:
    """Done, running, failed, left; speed and time to go."""
    from cameras.console import duration
    from study.preflight.status import survey

    study = _load(source, storage)
    state = survey(study)
    if as_json:
        _json({"study": study.name, "trials": len(state.planned), **state.counts, "seconds_to_go": state.seconds_to_go})
        return
    out.print(f"{study.name}: {len(state.planned)} trials: " + ", ".join(f"{n} {s}" for s, n in state.counts.items()))
    if state.trials_per_hour:
        out.print(
            f"{state.trials_per_hour:.1f} trials an hour; {duration(state.seconds_to_go or 0)} to go at this speed"
        )


@app.command()
def best(
    source: StudyArgument,
    storage: StorageOption = None,
    min_psnr: Annotated[float | None, typer.Option(help="dB")] = None,
    min_accuracy: Annotated[float | None, typer.Option(help="0–1")] = None,
    isp: str | None = None,
    camera: str | None = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="comma-separated output, with run ids and queries")] = False,
) -> None:
    """The best trade-offs of a study, out of MLflow: most accurate first, and how to get to their runs."""
    from study import results, tracking
    from study.preflight.status import survey

    study = _load(source, storage)
    uri = tracking.tracking_uri(study)
    if tracking.look(uri) is None:
        raise StudyError(f"study {study.name} has no results in {study.storage} yet: python -m study run {source}")
    try:
        table = results.of_plan(results.trials(uri, study.name), survey(study).plan)
        found = results.best(
            results.summary(table), min_psnr=min_psnr, min_accuracy=min_accuracy, camera=camera, isp=isp
        )
    except ValueError as error:
        raise StudyError(str(error)) from None
    if as_csv or as_json:
        found = results.with_queries(found)
        print(found.to_csv(index=False) if as_csv else found.to_json(orient="records", indent=1))
        return
    axes = results.axes(found)
    rows = [
        (row.camera, row.isp, f"{row.lam:g}" if row.mode == "joint" else row.mode, *further, row.seeds, *_figures(row))
        for row, further in zip(found.itertuples(), found[axes].itertuples(index=False), strict=True)
    ]
    headings = ("camera", "ISP", "λ", *axes, "seeds", "accuracy [95 %]", "PSNR (dB)", "SSIM")
    out.print(_table(study.name, headings, rows))
    if len(found):
        ways = results.queries(found.iloc[0].to_dict())
        out.print("The first of them again, in this process:", *ways["rerun"][:1], soft_wrap=True, markup=False)
        out.print("Its runs in MLflow:", ways["filter"], soft_wrap=True, markup=False)


def _figures(row: Any) -> tuple[str, str, str]:
    interval = "" if row.seeds < 2 else f" [{row.accuracy_low:.3f}, {row.accuracy_high:.3f}]"
    return f"{row.accuracy:.3f}{interval}", f"{row.psnr:.2f}", f"{row.ssim:.4f}"


@app.command()
def evaluate(
    source: StudyArgument,
    codec: Annotated[
        list[str], typer.Option(help="real encoder and qualities: jpeg:30,50,70 · jpeg:50:4:2:0 · webp:50")
    ],
    storage: StorageOption = None,
) -> None:
    """Score every finished trial again behind real encoders, at 8 bits; what is scored already is left alone."""
    from study.jobs.evaluation import evaluate as evaluate_study

    table = evaluate_study(_load(source, storage), codec)
    setting = [name for name in table.columns[: table.columns.get_loc("dJPEG")] if name not in ("trial_key", "seed")]
    means = table.drop(columns=["trial_key", "seed"]).groupby(setting, sort=False).mean().reset_index()
    out.print(_table(f"{source}: accuracy, mean over seeds", means.columns, means.round(3).itertuples(index=False)))


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
    out.print(_table(comparison.name, ("figure", "logged", "now"), comparison.rows))
    out.print("bit-identical" if comparison.identical else f"not bit-identical: {comparison.difference}")


@app.command()
def report(source: StudyArgument, storage: StorageOption = None) -> None:
    """One self-contained HTML page, with figures and tables beside it."""
    from study.commands.report import publish

    out.print(f"report: {publish(_load(source, storage))}", soft_wrap=True, markup=False)
