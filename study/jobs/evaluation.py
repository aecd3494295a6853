"""Judge the finished trials of a study behind real encoders, and log it to their own runs.

A trial's ``evaluation.json``::

    {"classes": ["native", …],
     "dJPEG": {"accuracy": …, "confusion": [[…], …]},                          behind the trial's own channel
     "codecs": {"jpeg:50": {"accuracy": …, "confusion": …, "fusion": …}, …},   behind real encoders
     "fusion": {"mean_log_probability": {"1": [accuracy, low, high], "2": …}, "majority": …},     behind dJPEG
     "patches_per_image": …, "images": …}

``accuracy`` is that of single patches, ``fusion`` that of photographs by the number of patches that decide
(:func:`forensics.evaluation.fused_accuracy`). The metrics ``accuracy_dJPEG``, ``accuracy_jpeg_50``,
``accuracy_jpeg_50_420``, … are logged after the file: where they are, all is.
"""

import json
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from mlflow import MlflowClient
from mlflow.entities import Run
from torch import Tensor

import models
from cameras.pairs import Index, Pairs
from channel.encoders import SUBSAMPLINGS, save_options
from forensics import evaluation
from forensics.evaluation import DIFFERENTIABLE, RULES, Evaluation, fused_accuracy
from forensics.fan import build as build_fan
from study import tracking
from study.execution.cameras import open_cameras
from cameras.console import Advance, work
from study.execution.worker import open_pairs, set_up_process
from study.jobs import TrialJob
from study.jobs.plan import place, resolve
from study.settings import Planned, Study, StudyError

FILE = "evaluation.json"


def parse_codecs(texts: Iterable[str]) -> tuple[str, ...]:
    """``["jpeg:30,50", "webp:50", "jpeg:50:4:2:0"]`` → ``("jpeg:30", "jpeg:50", "webp:50", "jpeg:50:4:2:0")``.

    Each codec comes once and in its shortest form: a subsampling that is the default is left out.

    Raises:
        StudyError: an unknown codec, quality or subsampling, or none at all.
    """
    codecs = []
    for text in texts:
        name, _, rest = text.partition(":")
        qualities, _, subsampling = rest.partition(":")
        for quality in qualities.split(","):
            try:
                save_options(f"{name}:{quality}:{subsampling}")
            except ValueError as error:
                raise StudyError(f"{text}: {error}") from None
            default = subsampling in ("", SUBSAMPLINGS[name][0])
            codecs.append(f"{name}:{int(quality)}" if default else f"{name}:{int(quality)}:{subsampling}")
    if not codecs:
        raise StudyError("no codec to evaluate behind: name one, e.g. --codec jpeg:30,50,70")
    return tuple(dict.fromkeys(codecs))


def metric(codec: str) -> str:
    """``jpeg:50:4:2:0`` → ``accuracy_jpeg_50_420``"""
    name, *settings = codec.split(":", 2)
    return "_".join(("accuracy", name, *(setting.replace(":", "") for setting in settings)))


def evaluate(study: Study, codecs: Iterable[str]) -> pd.DataFrame:
    """Judge every finished trial of the study behind these codecs, in this process, as far as that is not done yet.

    Args:
        study: its pairs must lie in its storage; the trials' weights come from the tracker.
        codecs: as :func:`parse_codecs` takes them.

    Returns:
        One row per finished trial, in the order of the plan: ``trial_key``, ``camera``, ``isp``, ``lambda`` (number or
        "fixed"), ``seed``, the study's further axes, and the accuracy of single patches (0–1) in a column ``dJPEG``,
        for the trial's own channel, and one for each codec.

    Raises:
        StudyError: an unknown codec, no finished trial, or pairs, weights or tracking that cannot be used.
    """
    codecs = parse_codecs(codecs)
    cameras = open_cameras(study)
    trials = _finished(study, cameras)
    left = [trial for trial in trials if trial.missing(codecs)]
    if left:
        device = "cuda" if study.resources.gpus and torch.cuda.is_available() else "cpu"
        set_up_process(left[0].job)
        with work(f"evaluation ({len(left)} trials)", sum(trial.patches for trial in left)) as advance:
            done = 0
            for camera in cameras:
                mine = [trial for trial in left if trial.job.trial.camera == camera]
                if not mine:
                    continue
                try:
                    here = open_pairs(mine[0].job, camera).to(device)  # once for all trials of the camera
                except ValueError as error:
                    raise StudyError(str(error)) from None
                for trial in mine:
                    _evaluate(trial, here, codecs, device, partial(_advance, advance, done, camera))
                    done += trial.patches
        trials = _finished(study, cameras)
    return pd.DataFrame([trial.row(codecs) for trial in trials])


@dataclass(frozen=True)
class Finished:
    """A finished trial of the study."""

    planned: Planned
    job: TrialJob
    run: Run

    def missing(self, codecs: Iterable[str]) -> list[str]:
        """Codecs that it has not been judged behind."""
        return [codec for codec in codecs if metric(codec) not in self.run.data.metrics]

    @property
    def patches(self) -> int:
        """Number of patches that it is judged by."""
        return self.job.trial.split.validation * self.job.trial.validation.accuracy_patches

    def row(self, codecs: Iterable[str]) -> dict[str, Any]:
        trial = self.job.trial
        setting = {"camera": trial.camera, "isp": trial.isp, "lambda": trial.lam, "seed": trial.seed}
        accuracies = {codec: self.run.data.metrics[metric(codec)] for codec in (DIFFERENTIABLE, *codecs)}
        return {"trial_key": self.job.key, **setting, **self.planned.axes, **accuracies}


def _finished(study: Study, cameras: Mapping[str, Index]) -> list[Finished]:
    grid = resolve(study, dict(cameras), place(study, experiment_id=""))
    uri = tracking.tracking_uri(study)
    runs: dict[str, Run] = {}
    if client := tracking.look(uri):
        with tracking.reachable(uri):
            found = client.get_experiment_by_name(study.name)
            runs = tracking.runs_by_key(client, found.experiment_id) if found else {}
    trials = [
        Finished(planned, job, runs[job.key])
        for planned, job in zip(grid.planned, grid.jobs, strict=True)
        if job is not None and job.key in runs and runs[job.key].info.status == "FINISHED"
    ]
    if not trials:
        raise StudyError(f"study {study.name} has no finished trial yet: python -m study run STUDY")
    return trials


def _evaluate(
    finished: Finished, pairs: Pairs, codecs: Iterable[str], device: str, on_patches: Callable[[int], None]
) -> None:
    """Judge one trial behind the codecs that are missing, and log it."""
    job, run_id = finished.job, finished.run.info.run_id
    client = MlflowClient(job.place.tracking_uri)
    try:
        with tracking.reachable(client.tracking_uri), tempfile.TemporaryDirectory() as folder:
            nip = models.load(client.download_artifacts(run_id, "nip.safetensors", folder))
            fan = models.load(client.download_artifacts(run_id, "fan.safetensors", folder), build=build_fan)
            document = _logged(client, run_id, folder)
        judged = evaluation.evaluate(job.trial, pairs, nip, fan, finished.missing(codecs), device, on_patches)
    except ValueError as error:
        raise StudyError(f"run {run_id} ({job.name}) cannot be evaluated: {error}") from None
    with tracking.reachable(client.tracking_uri):
        tracking.log_texts(client, run_id, {FILE: merged(document, judged)})
        scores = {metric(codec): judged.accuracy(codec) for codec in judged.posteriors}
        tracking.log_metrics(client, run_id, tracking.metrics(job.steps, scores))


def _advance(advance: Advance, done: int, camera: str, patches: int) -> None:
    advance(done + patches, camera)


def _logged(client: MlflowClient, run_id: str, folder: str) -> dict[str, Any]:
    """The document of an earlier evaluation, {} where there is none."""
    if all(item.path != FILE for item in client.list_artifacts(run_id)):
        return {}
    return json.loads(Path(client.download_artifacts(run_id, FILE, folder)).read_text())


def merged(document: Mapping[str, Any], judged: Evaluation) -> dict[str, Any]:
    """The document of an earlier evaluation of a trial, or {}, with what is new."""
    images, patches, *_ = judged.posteriors[DIFFERENTIABLE].shape
    scores = {
        codec: {
            "accuracy": judged.accuracy(codec),
            "confusion": judged.confusion(codec).tolist(),
            "fusion": _fusion(posteriors),
        }
        for codec, posteriors in judged.posteriors.items()
    }
    own = scores.pop(DIFFERENTIABLE)
    return {
        "classes": list(judged.classes),
        "codecs": {**document.get("codecs", {}), **scores},
        "fusion": own.pop("fusion"),
        DIFFERENTIABLE: own,
        "patches_per_image": patches,
        "images": images,
    }


def _fusion(posteriors: Tensor) -> dict[str, dict[str, list[float]]]:
    """By rule and number of patches. The same patches and photographs are drawn for every codec and trial."""
    return {
        rule: {
            str(k): list(estimate)
            for k, estimate in fused_accuracy(posteriors, rule, torch.Generator().manual_seed(0)).items()
        }
        for rule in RULES
    }
