"""Judge a finished trial as the world sees it, and add the metrics to the trial's own run.

The trial's training plans this job as its follow-up, so that every trial ends with its verdict. The run gets the
metrics ``accuracy_real`` (mean over the panel, on validation photographs), ``accuracy_real_worst`` (its lowest member),
``accuracy_real_jpeg_50_420`` and so on (each member), the same with ``test_`` before them where the study has test
photographs, ``verdict_seconds``, and the artifact ``verdict.json``::

    {"panel": {"codecs": ["jpeg:30", …], "photographs": null, …}, "classes": ["native", …],
     "unseen": ["webp:50", …], "accuracy": …, "worst": "jpeg:30", "photographs": …, "windows": …,
     "confusion": [[…], …], "members": {"jpeg:30": {"accuracy": …, "bpp": …, "psnr": …, "confusion": [[…], …]}, …},
     "test": {"accuracy": …, "worst": …, "photographs": …, "windows": …, "confusion": …, "members": …},
     "pillow": "13.0.0", "encoders": {"avif": "1.3.0", …}}

Rows of a confusion are true classes and sum to 1; that of the whole panel pools its members. ``bpp`` is that of the
files of native photographs, and ``psnr`` how close their decoded pixels are, in dB; of the member ``own``, the codec of
the trial's channel, both are metrics, too. ``unseen`` are members that the trial's training could not have drawn.

A run holds one verdict. One by another panel takes its place, and then the earlier one counts as not done.
"""

import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import channel
from forensics import panel as panels
from forensics.panel import OWN, Panel, Verdict, judge
from study import tracking
from study.jobs import keys
from study.jobs.evaluation import short_name
from study.jobs.job import Callbacks, Context, JobResult
from study.jobs.pretraining import open_pairs
from study.jobs.trial import AddedJob, TrialJob

FILE = "verdict.json"
METRIC = "accuracy_real"
KEY, STEP = "verdict_key", "verdict_step"  # tags: whose verdict a run holds, and at which step its metrics are


class VerdictJob(AddedJob):
    """A finished trial before a panel of real encoders. It runs on CPUs, or beside its trial on the trial's device."""

    kind: ClassVar[str] = "verdict"
    needs_gpu: ClassVar[bool] = False
    panel: Panel

    @classmethod
    def plan(cls, trial: TrialJob, panel: Panel) -> "VerdictJob":
        """The job with the key of its content."""
        versions: dict[str, int] = {"verdict": panels.VERSION}
        for codec in panel.codecs:
            versions |= channel.versions(trial.trial.manipulations, codec)
        key = keys.key(cls.kind, {"trial": trial.key}, {"evaluation": asdict(panel)}, versions)
        return cls(key=key, trial=trial.model_copy(update={"evaluation": None}), panel=panel)

    @property
    def name(self) -> str:
        return f"{self.trial.name} behind real encoders"

    @property
    def steps(self) -> int:
        """Photographs, each counted once for every member of the panel."""
        split = self.trial.trial.split
        images = self.panel.count(split.validation) + (self.panel.count(split.test) if split.test else 0)
        return images * len(self.panel.codecs)

    def run(self, context: Context, callbacks: Callbacks, resume: Path | None, artifacts: Path) -> JobResult:
        """Judge; see :func:`forensics.panel.judge`. Seconds to minutes: begun anew after a loss."""
        started = time.monotonic()
        trial = self.trial.trial
        nip, fan, of_channel, run = self.trial.trained(context)
        pairs = open_pairs(context, trial.camera, self.trial.data_hash)
        document: dict[str, Any] = {
            "panel": asdict(self.panel),
            "unseen": panels.unseen(trial, self.panel),
            "pillow": version("pillow"),
            "encoders": encoder_versions(),
        }
        metrics: dict[str, float] = {}
        done = 0
        for prefix in ("", "test_") if trial.split.test else ("",):
            verdict = judge(
                trial,
                pairs,
                nip,
                fan,
                self.panel,
                context.device,
                on_test=bool(prefix),
                on_progress=lambda members, before=done: callbacks.on_step(before + members),  # type: ignore[misc]
                deterministic=context.deterministic,
                codec=of_channel,
            )
            done += verdict.photographs * len(self.panel.codecs)
            document |= {"test": summary(verdict)} if prefix else {"classes": verdict.classes, **summary(verdict)}
            metrics |= {f"{prefix}{name}": value for name, value in figures(verdict).items()}
        tracking.write_texts(artifacts, {FILE: document})
        earlier, step = run.data.tags.get(KEY), int(run.data.tags.get(STEP, self.trial.steps))
        tags = {"pillow": version("pillow")}
        if earlier not in (None, self.key):
            step += 1  # what is logged at a step stays
            tags[f"{tracking.ADDED}{earlier}"] = "REPLACED"
        callbacks.on_metrics(step, metrics | {"verdict_seconds": time.monotonic() - started})
        return JobResult(self.steps, tags | {STEP: str(step), KEY: self.key})


def metric(codec: str) -> str:
    """``jpeg:50:4:2:0`` → ``accuracy_real_jpeg_50_420``"""
    return f"{METRIC}_{short_name(codec)}"


def figures(verdict: Verdict) -> dict[str, float]:
    """The metrics of a verdict by name."""
    members = {metric(codec): verdict.accuracy(codec) for codec in verdict.counts}
    own = {"bpp_own": verdict.bits[OWN], "psnr_own": verdict.psnr[OWN]} if OWN in verdict.counts else {}
    return {METRIC: verdict.accuracy(), f"{METRIC}_worst": verdict.accuracy(verdict.worst), **members, **own}


def summary(verdict: Verdict) -> dict[str, Any]:
    """What the run keeps of a verdict."""
    return {
        "accuracy": verdict.accuracy(),
        "worst": verdict.worst,
        "photographs": verdict.photographs,
        "windows": verdict.windows,
        "confusion": verdict.confusion().tolist(),
        "members": {
            codec: {
                "accuracy": verdict.accuracy(codec),
                "bpp": verdict.bits[codec],
                "psnr": verdict.psnr[codec],
                "confusion": verdict.confusion(codec).tolist(),
            }
            for codec in verdict.counts
        },
    }


def encoder_versions() -> dict[str, str]:
    """The libraries that Pillow encodes with."""
    from PIL import features

    named = {name: features.version(name) for name in ("jpg", "libjpeg_turbo", "webp", "avif", "jpg_2000")}
    return {name: found for name, found in named.items() if found}
