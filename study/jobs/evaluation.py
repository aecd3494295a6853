"""Judge a finished trial behind one codec, and add the metrics to the trial's own run.

The run gets the metric ``accuracy_jpeg_50`` (``accuracy_jpeg_50_420``, ``accuracy_dJPEG``, …) and the artifact
``evaluation/jpeg_50.json``::

    {"codec": "jpeg:50", "classes": ["native", …], "accuracy": …, "confusion": [[…], …],
     "fusion": {"mean_log_probability": {"1": [accuracy, low, high], "2": …}, "majority": …},
     "patches_per_image": …, "images": …, "pillow": "13.0.0",
     "test": {"classes": …, "accuracy": …, …}}

``accuracy`` is that of single patches, ``fusion`` that of photographs by the number of patches that decide
(:func:`forensics.evaluation.fused_accuracy`). Where the study has test images, ``test`` holds the same on them, and the
run gets ``test_accuracy_jpeg_50`` beside the other metric.
"""

from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

import channel
from channel.codecs import Encoder
from forensics import evaluation
from forensics.evaluation import RULES, fused_accuracy
from study import tracking
from study.jobs import keys
from study.jobs.job import Callbacks, Context, JobResult
from study.jobs.pretraining import open_pairs
from study.jobs.trial import AddedJob, TrialJob
from study.settings import StudyError


class EvaluationJob(AddedJob):
    """A finished trial behind one codec: a real encoder, or ``dJPEG`` for the trial's own channel."""

    kind: ClassVar[str] = "evaluation"
    codec: str

    @classmethod
    def plan(cls, trial: TrialJob, codec: str) -> "EvaluationJob":
        """The job with the key of its content."""
        versions = {"evaluation": evaluation.VERSION, **channel.versions((), codec)}
        key = keys.key(cls.kind, {"trial": trial.key, "codec": codec}, {}, versions)
        return cls(key=key, trial=trial, codec=codec)

    @property
    def name(self) -> str:
        return f"{self.trial.name} behind {self.codec}"

    @property
    def axes(self) -> dict[str, Any]:
        return self.trial.axes | {"codec": self.codec}

    @property
    def steps(self) -> int:
        """Number of patches."""
        trial = self.trial.trial
        return (trial.split.validation + trial.split.test) * trial.validation.accuracy_patches

    def run(self, context: Context, callbacks: Callbacks, resume: Path | None, artifacts: Path) -> JobResult:
        """Evaluate; see :func:`forensics.evaluation.evaluate`. Seconds to minutes: begun anew after a loss."""
        trial = self.trial.trial
        nip, fan, of_channel, _ = self.trial.trained(context)
        pairs = open_pairs(context, trial.camera, self.trial.data_hash)
        document: dict[str, Any] = {"codec": self.codec, "pillow": version("pillow")}
        metrics, done = {}, 0
        for prefix in ("", "test_") if trial.split.test else ("",):
            judged = evaluation.evaluate(
                trial,
                pairs,
                nip,
                fan,
                [self.codec],
                context.device,
                on_patches=lambda patches, before=done: callbacks.on_step(before + patches),  # type: ignore[misc]
                on_test=bool(prefix),
                deterministic=context.deterministic,
                codec=of_channel,
            )
            images, patches, *_ = judged.posteriors[self.codec].shape
            done += images * patches
            found = {
                "classes": list(judged.classes),
                "accuracy": judged.accuracy(self.codec),
                "confusion": judged.confusion(self.codec).tolist(),
                "fusion": _fusion(judged.posteriors[self.codec]),
                "patches_per_image": patches,
                "images": images,
            }
            document |= {"test": found} if prefix else found
            metrics[f"{prefix}{metric(self.codec)}"] = judged.accuracy(self.codec)
        (artifacts / "evaluation").mkdir()
        tracking.write_texts(artifacts / "evaluation", {f"{short_name(self.codec)}.json": document})
        callbacks.on_metrics(self.trial.steps, metrics)
        return JobResult(self.steps, {"pillow": version("pillow")})


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
                codecs.append(str(Encoder.parse(f"{name}:{quality}:{subsampling}")))
            except ValueError as error:
                raise StudyError(f"{text}: {error}") from None
    if not codecs:
        raise StudyError("no codec to evaluate behind: name one, e.g. --codec jpeg:30,50,70")
    return tuple(dict.fromkeys(codecs))


def short_name(codec: str) -> str:
    """``jpeg:50:4:2:0`` → ``jpeg_50_420``"""
    name, *settings = codec.split(":", 2)
    return "_".join((name, *(setting.replace(":", "") for setting in settings)))


def metric(codec: str) -> str:
    """``jpeg:50:4:2:0`` → ``accuracy_jpeg_50_420``; ``dJPEG`` → ``accuracy_dJPEG``"""
    return f"accuracy_{short_name(codec)}"


def _fusion(posteriors: Tensor) -> dict[str, dict[str, list[float]]]:
    """By rule and number of patches. The same patches and photographs are drawn for every codec and trial."""
    return {
        rule: {
            str(k): list(estimate)
            for k, estimate in fused_accuracy(posteriors, rule, torch.Generator().manual_seed(0)).items()
        }
        for rule in RULES
    }
