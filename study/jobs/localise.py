"""Try a finished trial on photographs with one altered region, and add the metrics to the trial's own run.

The run gets the metrics ``localise_auc``, ``localise_f1``, ``localise_iou`` and ``localise_everything`` (F1 of flagging
everything), means over the composites of the validation photographs; ``localise_pristine_flagged``, the share of pixels
flagged in pristine photographs, and ``localise_pristine_alarms``, the share of pristine photographs with any flagged
pixel. It gets the same with ``test_`` before where the study has test photographs, and with ``localise_prnu_`` for PRNU
where that was tried; ``localise_seconds``; the maps of one photograph, ``localisation.safetensors``; and
``localisation.json``::

    {"settings": {…}, "seconds": …, "prnu": "tried" or why not,
     "rules": {"fan": {"threshold": 3.5, "centred": true}, …}, "plain": {…},
     "rows": [{"photographs": "validation", "detector": "fan", "photograph": …, "kind": "sharpen", …}, …]}

A row is one of :class:`forensics.localisation.Result`. The tensors of a map are ``sharpen 0.0625 jpeg:70/received``
(3,H,W) uint8, ``…/truth`` (H,W) uint8, and for every detector ``…/fan`` (H,W) float16, the scores.

A run holds one localisation. One by other settings takes its place, and then the earlier one counts as not done.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import save_file
from torch import Tensor

import channel
import prnu
from cameras.pairs import Pairs
from forensics import localisation
from forensics.localisation import FAN_DETECTOR, PRISTINE, Detector, Localisation, Result, localise
from forensics.panel import shrunk_to_8_bits, stack
from forensics.trial import Trial
from models.determinism import computing
from models.nip import NIP, move
from prnu import predictor
from study import tracking
from study.jobs import keys
from study.jobs.job import Callbacks, Context, JobResult
from study.jobs.pretraining import open_pairs
from study.jobs.trial import AddedJob, TrialJob

FILE, MAPS = "localisation.json", "localisation.safetensors"
METRIC, PRNU_DETECTOR, TRIED = "localise", "prnu", "tried"
KEY, STEP = "localisation_key", "localisation_step"  # tags: whose results a run holds, and at which step
STRIDE = 8  # px between PRNU's windows


class LocaliseJob(AddedJob):
    """A finished trial on composites. ``other`` is a camera whose photographs give foreign content, with its hash."""

    kind: ClassVar[str] = "localise"
    other: tuple[str, str] | None = None
    settings: Localisation

    @classmethod
    def plan(cls, trial: TrialJob, other: tuple[str, str] | None, settings: Localisation) -> "LocaliseJob":
        """The job with the key of its content."""
        versions: dict[str, int] = {"localisation": localisation.VERSION, "prnu": prnu.VERSION}
        for codec in settings.codecs:
            versions |= channel.versions(trial.trial.manipulations, codec)
        identity = {"trial": trial.key, "other": None if other is None else other[1]}
        key = keys.key(cls.kind, identity, {"localisation": asdict(settings)}, versions)
        return cls(key=key, trial=trial.model_copy(update={"evaluation": None}), other=other, settings=settings)

    @property
    def name(self) -> str:
        return f"{self.trial.name} on composites"

    @property
    def steps(self) -> int:
        """Photographs received."""
        split, settings = self.trial.trial.split, self.settings
        images = settings.count(split.validation) + (settings.count(split.test) if split.test else 0)
        kinds = len(localisation.kinds(self.trial.trial, self.other is not None)) - 1
        return images * len(settings.codecs) * (1 + kinds * len(settings.sizes))

    def run(self, context: Context, callbacks: Callbacks, resume: Path | None, artifacts: Path) -> JobResult:
        """Make composites and search. Minutes: begun anew after a loss."""
        started = time.monotonic()
        trial, settings = self.trial.trial, self.settings
        nip, fan, _, run = self.trial.trained(context)
        pairs = open_pairs(context, trial.camera, self.trial.data_hash)
        other = None if self.other is None else open_pairs(context, *self.other)
        training, *sets = (images.tolist() for images in trial.split.images(pairs.names))
        validation, test = (images[: settings.photographs] for images in sets)
        device = torch.device(context.device)
        move(nip.eval(), device, trial.training.precision)
        with computing(device, context.deterministic):
            detectors = {FAN_DETECTOR: localisation.fan_detector(trial, fan, device)}
            tried = TRIED
            try:
                detectors[PRNU_DETECTOR] = _prnu_of(trial, nip, pairs, training, settings)
            except ValueError as error:
                tried = str(error)
            result = localise(
                trial,
                nip,
                localisation.of_pairs(pairs, validation, other, settings.seed),
                localisation.of_pairs(pairs, test, other, settings.seed + 1),
                settings,
                detectors,
                callbacks.on_step,
            )
        seconds = time.monotonic() - started
        tracking.write_texts(artifacts, {FILE: document(result, settings, tried) | {"seconds": seconds}})
        save_file(maps(result), artifacts / MAPS)
        earlier, step = run.data.tags.get(KEY), int(run.data.tags.get(STEP, self.trial.steps))
        tags = {}
        if earlier not in (None, self.key):
            step += 1  # what is logged at a step stays
            tags[f"{tracking.ADDED}{earlier}"] = "REPLACED"
        callbacks.on_metrics(step, figures(result) | {f"{METRIC}_seconds": seconds})
        return JobResult(self.steps, tags | {STEP: str(step), KEY: self.key})


def _prnu_of(trial: Trial, nip: NIP, pairs: Pairs, images: Sequence[int], settings: Localisation) -> Detector:
    """The detector out of the trial's training photographs.

    Raises:
        ValueError: there are too few, or they differ in size.
    """
    if len(images) < settings.fingerprint:
        few = f"{len(images)} training photographs are too few for a fingerprint"
        raise ValueError(f"{few}: localisation.fingerprint asks for {settings.fingerprint}")
    shrunk = [
        shrunk_to_8_bits(localisation.developed(trial, nip, stack(pairs, i), settings)[0], trial.channel)
        for i in images
    ]
    return prnu_detector(shrunk, settings)


def prnu_detector(shrunk: Sequence[Tensor], settings: Localisation) -> Detector:
    """PRNU as a detector: of every pixel the probability that the camera's fingerprint is missing there.

    The analyst has the camera: the fingerprint is that of photographs which were shrunk and not compressed. What to
    expect behind a codec is learned from further photographs that went through it.

    Args:
        shrunk: photographs of the same camera and pipeline, each (1,3,H,W) uint8: three quarters are for the
            fingerprint, the rest for the predictors.

    Raises:
        ValueError: photographs differ in size, are smaller than a window, or show no noise.
    """
    sums, estimation = prnu.Accumulator(), len(shrunk) * 3 // 4
    for photograph in islice(shrunk, estimation):
        sums.add(photograph / 255)
    K = sums.estimate()
    predictors = {
        codec: predictor.train((channel.encode(x, codec) / 255 for x in shrunk[estimation:]), K, settings.window)
        for codec in settings.codecs
    }

    def detect(received: Tensor, codec: str) -> Tensor:
        found = prnu.localise(received / 255, K, predictors[codec], settings.window, STRIDE)
        first = (found.rows[0].item() + 0.5, found.columns[0].item() + 0.5)
        return localisation.at_pixels(found.probability[0], first, STRIDE, *received.shape[-2:])

    return detect


def document(result: Result, settings: Localisation, prnu_tried: str) -> dict[str, Any]:
    """What the run keeps of a result."""
    parts = {"validation": result.validation, "test": result.test}
    return {
        "settings": asdict(settings),
        "prnu": prnu_tried,
        "rules": {name: asdict(rule) for name, rule in result.rules.items()},
        "plain": {name: asdict(rule) for name, rule in result.plain.items()},
        "rows": [{"photographs": name, **row} for name, rows in parts.items() for row in rows],
    }


def maps(result: Result) -> dict[str, Tensor]:
    """The tensors of the examples."""
    found: dict[str, Tensor] = {}
    for case in result.examples:
        place = f"{case.kind} {case.size:g} {case.codec}"
        found |= {f"{place}/received": case.received[0], f"{place}/truth": case.truth.to(torch.uint8)}
        found |= {f"{place}/{name}": scores.half() for name, scores in case.scores.items()}
    return {name: tensor.contiguous() for name, tensor in found.items()}


def figures(result: Result) -> dict[str, float]:
    """The metrics of a result by name."""
    found: dict[str, float] = {}
    for prefix, rows in (("", result.validation), ("test_", result.test)):
        for detector in result.rules if rows else ():
            name = f"{prefix}{METRIC}_" + ("" if detector == FAN_DETECTOR else f"{detector}_")
            own = [row for row in rows if row["detector"] == detector]
            pristine = [row for row in own if row["kind"] == PRISTINE]
            altered = [row for row in own if row["kind"] != PRISTINE]
            found |= {f"{name}{each}": _mean(altered, each) for each in ("auc", "f1", "f1_plain", "iou", "everything")}
            found[f"{name}pristine_flagged"] = _mean(pristine, "flagged")
            found[f"{name}pristine_alarms"] = sum(row["flagged"] > 0 for row in pristine) / len(pristine)
    return found


def _mean(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    return sum(row[name] for row in rows) / len(rows)
