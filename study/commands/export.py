"""Hand over what a finished trial found: a package with its NIP, its FAN, and what is known of them."""

import json
import math
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.artifacts import download_artifacts
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

import models
from cameras import atomic
from cameras.console import say, work
from cameras.pairs import Pairs
from channel import Manipulations
from forensics.documents import from_document
from forensics.fan import build as build_fan
from forensics.package import Package, save_package
from forensics.package_files import check_place
from forensics.panel import Panel, factor, window_side
from forensics.trial import Trial
from study import results, tracking
from study.commands import calibrate as calibrating
from study.commands.calibrate import calibrate
from study.commands.rerun import fetch, find_trial, logged_trial
from study.jobs import Context
from study.jobs.plan import resolve
from study.jobs.pretraining import NIP_FILE, open_pairs
from study.jobs.trial import FAN_FILE, TrialJob
from study.jobs.verdict import FILE as VERDICT_FILE
from study.report import package_page
from study.report.package_content import PackageContent
from study.results.runs_table import PROVENANCE, REAL, TEST, setting_columns
from study.search import points
from study.settings import Resources, Study, StudyError, user_errors, without_password
from study.storage import Storage
from study.tracking import Snapshot

LICENCE = (
    "The weights follow the licence of the photographs that they were trained on. No other licence was named when this "
    "package was made."
)
METRICS = ("accuracy", REAL, f"{REAL}_worst", "psnr", "ssim")


@dataclass(frozen=True)
class Choice:
    """A finished trial to hand over, and the trials of its setting, of which it is one."""

    run: Run
    setting: pd.DataFrame
    tracking_uri: str


def by_run(run_or_key: str, tracking_uri: str) -> Choice:
    """The trial of an MLflow run id, or of a trial key or the beginning of one.

    Raises:
        StudyError: there is none, or it has not finished.
    """
    client = tracking.look(tracking_uri := without_password(tracking_uri))
    if client is None:
        raise StudyError(f"nothing is logged at {tracking_uri}: name the folder of the results with --storage")
    with tracking.reachable(tracking_uri):
        run = find_trial(client, run_or_key)
        snapshot = tracking.snapshot(client, run.info.experiment_id)
    return _chosen(snapshot, results.trials(snapshot), run.info.run_id)


def by_setting(study: Study, snapshot: Snapshot, where: Mapping[str, Sequence[str]]) -> Choice:
    """Of the best setting with these values, as `best` ranks them, the seed that is best on validation photographs.

    Args:
        where: as :func:`study.results.best` takes it.

    Raises:
        StudyError: nothing has finished there.
    """
    with user_errors():
        planned = [*resolve(study, snapshot).table, *points.table(points.every(study, snapshot))]
        trials = results.of_plan(results.trials(snapshot), planned)
        judged = results.behind(trials, results.channel(results.metric(results.leading(trials))))
        found = results.best(results.summary(judged), where=where)
    if not len(found):
        raise StudyError(f"no trial of such a setting of study {study.name} has finished")
    seeds = judged[judged["run_id"].isin(found.iloc[0]["run_ids"])]
    return _chosen(snapshot, trials, seeds.loc[seeds["accuracy"].idxmax(), "run_id"])


def _chosen(snapshot: Snapshot, table: pd.DataFrame, run_id: str) -> Choice:
    run = next((run for run in snapshot.runs if run.info.run_id == run_id), None)
    if run is None or run.data.tags.get("kind") != TrialJob.kind:
        raise StudyError(f"run {run_id} is no trial: 'best --json' lists the run ids of trials")
    finished = results.finished(table)
    if run.info.status != "FINISHED" or run_id not in set(finished["run_id"]):
        raise StudyError(f"run {run_id} is {run.info.status} and has no result: only a finished trial can be exported")
    columns, own = setting_columns(finished), finished[finished["run_id"] == run_id]
    same = finished[columns].eq(own.iloc[0][columns]) | (finished[columns].isna() & own.iloc[0][columns].isna())
    return Choice(run, finished[same.all(axis=1)], snapshot.client.tracking_uri)


def export(
    choice: Choice,
    storage: str,
    out: Path,
    licence: str | None = None,
    onnx: bool = True,
    photographs: Sequence[Path] = (),
) -> Package:
    """Write the package of a finished trial, and beside it a page about it, see :mod:`study.report.package_page`.

    Args:
        storage: where the photographs of its camera lie here.
        out: a folder, or a zip file if its name ends in ``.zip``.
        licence: of the weights; None: :data:`LICENCE`.
        onnx: whether to write ONNX files as well, check them, and measure what 8 bits cost.
        photographs: RAW files to calibrate and check with, see :func:`study.commands.calibrate.calibrate`.

    Raises:
        StudyError: its data or artifacts are not here, something else is at ``out`` or in the page's place, or a
            check failed.
        OSError: ``out`` cannot be written, and nothing is left there; or its page cannot, and the package has none.
    """
    with tempfile.TemporaryDirectory() as name, user_errors():
        check_place(out)
        package_page.check_place(package_page.beside(out))
        folder = Path(name)
        with tracking.reachable(choice.tracking_uri):
            fetch(choice.run, choice.tracking_uri, folder)
            panel = _panel(choice, folder)
        job, _ = logged_trial(choice.run, folder)
        nip, fan = models.load(folder / NIP_FILE), models.load(folder / FAN_FILE, build=build_fan)
        pairs = open_pairs(_context(storage), job.trial.camera, job.data_hash)
        package = Package(nip, fan, job.trial, _size(pairs), None, _about(choice, job, nip, pairs, licence))
        calibration, checked = calibrate(package, pairs, panel, photographs)
        package = replace(package, calibration=calibration, about={**package.about, "calibration": checked})
        files: dict[str, Path] = {}
        if onnx:
            files, measured = _for_other_programs(package, pairs, panel, folder)
            package = replace(package, about={**package.about, **measured})
        page = package_page.page(_content(out, package))
        save_package(out, package, files)
        atomic.write(package_page.beside(out), page)
    return package


def _content(out: Path, package: Package) -> PackageContent:
    trial, calibrated = asdict(package.trial), package.calibration is not None
    return PackageContent(out.name, package.about, trial, package.size, calibrated)


def _for_other_programs(
    package: Package, pairs: Pairs, panel: Panel, folder: Path
) -> tuple[dict[str, Path], dict[str, Any]]:
    from forensics.exported.files import export as export_files

    trial = package.trial
    images = panel.images(trial, pairs.names, on_test=trial.split.test > 0)
    with work("exporting", 2 * len(images) * len(panel.codecs)) as advance:
        return export_files(package, pairs, panel, folder, on_phase=say, on_progress=advance)


def _panel(choice: Choice, folder: Path) -> Panel:
    """The encoders that the trial was judged by, else the default ones."""
    place = tracking.present(choice.tracking_uri, choice.run.info.artifact_uri)
    with suppress(OSError, MlflowException):
        download_artifacts(
            artifact_uri=f"{place}/{VERDICT_FILE}", tracking_uri=choice.tracking_uri, dst_path=str(folder)
        )
        document = json.loads((folder / VERDICT_FILE).read_text("utf-8"))
        panel = from_document(Panel, document["panel"], VERDICT_FILE)
        return replace(panel, codecs=panel.encoders or Panel().codecs)
    return Panel()


def _context(storage: str) -> Context:
    cache = None if Storage(storage).is_folder else Resources().cache
    return Context(storage=storage, cache=cache, tracking_uri="", experiment_id="")


def _size(pairs: Pairs) -> tuple[int, int]:
    """Height and width of most of the photographs, developed."""
    sizes = Counter(zip(pairs.height.tolist(), pairs.width.tolist(), strict=True))
    (height, width), _ = sizes.most_common(1)[0]
    return 2 * height, 2 * width


def _about(choice: Choice, job: TrialJob, nip: models.NIP, pairs: Pairs, licence: str | None) -> dict[str, Any]:
    """What a package says about itself, beside its calibration and its files for other programs."""
    trial, run = job.trial, choice.run
    tags = {name: run.data.tags[name] for name in (*PROVENANCE, "device") if name in run.data.tags}
    return {
        "release": _release(),
        "classes": list(Manipulations(trial.manipulations).classes),
        "lambda": trial.lam,
        "camera": {"name": trial.camera, "model": pairs.camera},
        "lattice": _lattice(trial, nip.period),
        "metrics": _metrics(choice),
        "provenance": {"run_id": run.info.run_id, "trial_key": job.key, "seed": trial.seed, **tags},
        "licence": licence or LICENCE,
    }


def _release() -> str:
    with suppress(PackageNotFoundError):
        return version("forensic-imaging-pipelines")
    return "unknown"


def _lattice(trial: Trial, period: int) -> dict[str, float]:
    """Sides in pixels: the NIP's period, before and after the channel, and the window that the FAN was trained on."""
    return {"developed": 2 * period, "received": 2 * period / factor(trial.channel), "window": window_side(trial)}


def _metrics(choice: Choice) -> dict[str, Any]:
    """Of this trial, and means over the setting's seeds with their 95 % intervals; of test photographs if there are."""
    run_id, setting = choice.run.info.run_id, choice.setting
    own = setting["run_id"] == run_id
    # An earlier state of the study may have left the same seed twice.
    newest = pd.concat([setting[~own].sort_values("end"), setting[own]]).drop_duplicates("seed", keep="last")
    (row,) = results.summary(newest).to_dict("records")
    (trial,) = setting[own].to_dict("records")
    on_test = not math.isnan(trial[f"{TEST}accuracy"])
    prefix = TEST if on_test else ""
    names = {name: prefix + name for name in METRICS if prefix + name in row}
    return {
        "photographs": "test" if on_test else "validation",
        "trial": {name: _number(trial[column]) for name, column in names.items()},
        "setting": {
            "seeds": int(row["seeds"]),
            **{
                name: {
                    "mean": _number(row[column]),
                    "interval": [_number(row[column + end]) for end in ("_low", "_high")],
                }
                for name, column in names.items()
            },
        },
    }


def _number(value: float) -> float | None:
    """A number as JSON has it: none for NaN."""
    return None if math.isnan(value) else float(value)


def figures(package: Package) -> list[tuple[str, str]]:
    """What a package says about itself, as rows of a table."""
    about, trial = package.about, package.trial
    metrics = about["metrics"]
    rows = [
        ("classes", ", ".join(about["classes"])),
        ("λ", f"{trial.lam}"),
        ("photographs", "×".join(map(str, package.size))),
        *((f"{name}, {metrics['photographs']}", _estimate(name, metrics)) for name in metrics["trial"]),
    ]
    rows += calibrating.rows(about["calibration"])
    if "onnx" in about:
        rows.append(("ONNX NIP, equal 8-bit values", f"{about['onnx']['nip']:.3%}"))
        rows.append(("ONNX FAN, largest difference of logits", f"{about['onnx']['fan']:.1g}"))
        lost = about["int8"]
        for name, digits in (("psnr", 2), ("accuracy_real", 3)):
            before, after, difference = (lost[name][kind] for kind in ("float", "int8", "difference"))
            text = f"{after:.{digits}f} for {before:.{digits}f}: {difference:+.{digits}f}"
            rows.append((f"{name} with 8 bits, {lost['on']}", text))
    return rows


def _estimate(name: str, metrics: Mapping[str, Any]) -> str:
    """A metric of the trial, and over the seeds of its setting."""
    value, over_seeds = metrics["trial"][name], metrics["setting"][name]
    low, high = over_seeds["interval"]
    interval = "" if low is None or high is None else f" [{low:.4g}, {high:.4g}]"
    mean = "" if over_seeds["mean"] is None else f"; {metrics['setting']['seeds']} seeds: {over_seeds['mean']:.4g}"
    return "" if value is None else f"{value:.4g}{mean}{interval}"
