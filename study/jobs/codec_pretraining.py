"""Pre-train the learned codec of one camera, for channels that start from one."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import channel
import models
from cameras import patches
from channel.codecs import CODECS
from forensics.compression import pretraining as pretrainer
from forensics.compression.pretraining import CodecPretraining, fidelity, pretrain, starting_codec
from forensics.trial import Split
from study.jobs import keys
from study.jobs.job import BaseJob, Callbacks, Context, JobResult, hash_tag
from study.jobs.pretraining import open_pairs
from study.tracking import write_texts

CODEC_FILE = "codec.safetensors"
CODEC_HASH = hash_tag(CODEC_FILE)


class CodecPretrainingJob(BaseJob):
    """The learned codec learns to compress one camera's photographs, as the channel shrinks them."""

    kind: ClassVar[str] = "pretrain codec"
    camera: str
    split: Split
    codec_pretraining: CodecPretraining
    data_hash: str

    @classmethod
    def plan(
        cls, camera: str, split: Split, codec_pretraining: CodecPretraining, data_hash: str
    ) -> "CodecPretrainingJob":
        """The job with the key of its content."""
        versions = {"patches": patches.VERSION, "codec learned": CODECS["learned"].version}
        versions |= {"channel": channel.distribution.VERSION, "codec pretraining": pretrainer.VERSION}
        settings = {"split": asdict(split), "codec_pretraining": asdict(codec_pretraining)}
        key = keys.key(cls.kind, {"camera": camera, "data": data_hash}, settings, versions)
        return cls(key=key, camera=camera, split=split, codec_pretraining=codec_pretraining, data_hash=data_hash)

    @property
    def name(self) -> str:
        settings = self.codec_pretraining
        return f"{self.camera} codec learned:{settings.features} β={settings.rate_weight:g}"

    @property
    def axes(self) -> dict[str, Any]:
        return {"camera": self.camera}

    @property
    def params(self) -> dict[str, Any]:
        settings = {"split": asdict(self.split), "codec_pretraining": asdict(self.codec_pretraining)}
        return {**self.axes, "seed": self.codec_pretraining.seed, **keys.flat(settings)}

    @property
    def tags(self) -> dict[str, str]:
        return {"data_fingerprint": self.data_hash}

    @property
    def steps(self) -> int:
        return self.codec_pretraining.iterations

    @property
    def weights(self) -> str:
        """Name of the weights in the storage."""
        return f"codecs/{self.camera}-learned-{self.key[:8]}.safetensors"

    @property
    def stored(self) -> dict[str, str]:
        return {CODEC_FILE: self.weights}

    def run(self, context: Context, callbacks: Callbacks, resume: Path | None, artifacts: Path) -> JobResult:
        """Pre-train the codec; see :func:`forensics.compression.pretraining.pretrain`."""
        pairs = open_pairs(context, self.camera, self.data_hash)
        settings, codec = self.codec_pretraining, starting_codec(self.codec_pretraining)
        train, validation, test = self.split.images(pairs.names)
        how = {"resume": resume, **context.training, **vars(callbacks)}
        trained = pretrain(codec, pairs, train, validation, settings, context.device, **how)
        if self.split.test:
            on_test = fidelity(trained.codec, pairs, test, settings, context.device, context.deterministic)
            callbacks.on_metrics(trained.steps, {f"test_{name}": value for name, value in on_test.items()})
        models.save(artifacts / CODEC_FILE, trained.codec, key=self.key, data_fingerprint=self.data_hash)
        write_texts(artifacts, {"pretraining.yaml": self.model_dump(mode="json")})
        return JobResult(trained.steps)
