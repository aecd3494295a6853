"""A new part is one file and one line where its kind is listed: toys in a copy of the tree, and a small study of them.

README, "To add a …", names the files.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Part:
    """A part in one new file, and the line that is added to the list of its kind."""

    file: str
    code: str
    listed_in: str
    lines: dict[str, str]  # the new line, by the line after which it is added


NIP = Part(
    "models/toynet.py",
    '''
import torch.nn.functional as F
from torch import nn
from models.nip import NIP, clip

class ToyNet(NIP):
    """One 1×1 convolution, depth to space."""

    def __init__(self, cfa="RGGB", cam2srgb=None):
        super().__init__(cfa, cam2srgb)
        self.c = nn.Conv2d(4, 12, 1)

    def initialise(self, generator):
        nn.init.normal_(self.c.weight, std=0.3, generator=generator)
        nn.init.constant_(self.c.bias, 0.4)

    def forward(self, bayer):
        return clip(F.pixel_shuffle(self.c(bayer), 2))
''',
    "models/registry.py",
    {"CLASSES = (": '    "models.toynet:ToyNet",'},
)
MANIPULATION = Part(
    "channel/manipulations/dim.py",
    """
from channel.manipulations.operator import Operator

def dim(images, factor):
    return images * factor

OPERATOR = Operator(dim, default=0.5, low=0.1, high=1, version=3)
""",
    "channel/manipulations/__init__.py",
    {"NAMES = (": '    "dim",'},
)
CODEC = Part(
    "channel/codecs/posterise.py",
    '''
import numpy as np
from torch import nn
from channel.codecs.codec import Codec, to_file
from channel.quantization import soft

def encode(pixels, quality, subsampling):
    """As many steps as the quality says."""
    posterised = np.rint(np.rint(pixels / 255 * quality) * 255 / quality).astype(np.uint8)
    return to_file(posterised, format="PNG")

class Posterise(nn.Module):
    def __init__(self, quality, rounding, subsampling):
        super().__init__()
        self.quality = quality

    def forward(self, images):
        return soft(images * self.quality) / self.quality

CODEC = Codec(encode, differentiable=Posterise, version=2)
''',
    "channel/codecs/__init__.py",
    {"NAMES = (": '    "posterise",'},
)
SECTION = Part(
    "study/report/sections/toys.py",
    """
from study.report.parts import Section, paragraph

def section(content):
    names = ", ".join(sorted(set(content.trials["isp"])))
    return Section("Toys", [paragraph(f"Playing with {names}.")], anchor="toys")
""",
    "study/report/sections/__init__.py",
    {"SECTIONS = (": '    "toys",'},
)
JOB = Part(
    "study/jobs/toy.py",
    '''
from typing import ClassVar
from study.jobs import keys
from study.jobs.job import BaseJob, JobResult

class ToyJob(BaseJob):
    """Counts to its number."""

    kind: ClassVar[str] = "toy"
    number: int

    @classmethod
    def plan(cls, number):
        return cls(key=keys.key(cls.kind, {"number": number}, {}, {}), number=number)

    @property
    def name(self):
        return f"toy {self.number}"

    @property
    def steps(self):
        return self.number

    @property
    def params(self):
        return {"number": self.number}

    def run(self, context, callbacks, resume, artifacts):
        for step in range(1, self.number + 1):
            callbacks.on_step(step)
            callbacks.on_metrics(step, {"count": float(step)})
        (artifacts / "count.txt").write_text(str(self.number))
        return JobResult(self.number)
''',
    "study/jobs/__init__.py",
    {
        "CLASSES = (": '    "study.jobs.toy:ToyJob",',
    },
)

STUDY = """
name: toys
cameras:
  - name: toy-camera
    simulate: {preset: sim-rggb, images: 5, height: 192, width: 256}
isps: [ToyNet]
lambdas: [0.01]
seeds: 1
manipulations: [dim, gaussian]
channel: {codec: "posterise:20"}
split: {train: 3, validation: 2}
pretraining: {patch: 16, batch: 4, learning_rate: 1.0e-3, max_iterations: 10, check_every: 5, validation_patch: 32}
training: {patch: 16, batch: 4, iterations: 10}
validation: {every: 5, accuracy_patches: 4, fidelity_patches: 2}
evaluation: {codecs: ["jpeg:50"], windows: 3}
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with all toys."""
    tree = tmp_path_factory.mktemp("tree")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
    for part in (NIP, MANIPULATION, CODEC, SECTION, JOB):
        (tree / part.file).write_text(part.code)
        lines = (tree / part.listed_in).read_text().splitlines(keepends=True)
        for before, line in part.lines.items():
            lines.insert(lines.index(f"{before}\n") + 1, f"{line}\n")
        (tree / part.listed_in).write_text("".join(lines))
    (tree / "toys.yaml").write_text(STUDY)
    return tree


def python(tree: Path, *arguments: str) -> str:
    """Runs Python in the copy, and returns what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# Nothing here needs the study.
PIECES = """
import json
import torch, models, channel
from channel.codecs import Encoder

nip = models.build("ToyNet", cfa="GBRG")
models.save("toynet.safetensors", nip)
again = models.load("toynet.safetensors")
bayer = torch.rand(2, 4, 8, 8)
images = nip(bayer)
manipulations = channel.Manipulations(("dim", "dim:0.2-0.3"))
dimmed = manipulations(images, torch.Generator().manual_seed(0))
pixels = (255 * images).byte()
posterised = channel.Channel(1, "posterise:20")(images)
print(json.dumps({
    "file": models.__file__,
    "nips": list(models.NIPS),
    "reloaded": torch.equal(again(bayer), images),
    "classes": manipulations.classes,
    "dimmed": torch.equal(dimmed[2:4], images * 0.5),
    "stored": channel.encode(pixels, "posterise:2").unique().tolist(),
    "posterised": torch.allclose(*(f(20 * posterised) for f in (torch.round, torch.clone))),
    "text": str(Encoder.parse("posterise:7:4:4:4")),
    "versions": channel.versions(("dim:0.7", "gaussian"), "posterise:20"),
}))
"""


def test_nip_manipulation_and_codec_from_a_file_and_a_line_each(tree: Path) -> None:
    found = json.loads(python(tree, "-c", PIECES))
    assert found["file"] == str(tree / "models" / "__init__.py")
    assert "ToyNet" in found["nips"]
    assert found["reloaded"] and found["dimmed"] and found["posterised"]
    assert found["classes"] == ["native", "dim", "dim:0.2-0.3"]
    assert set(found["stored"]) <= {0, 128, 255}
    assert found["text"] == "posterise:7"
    assert found["versions"] == {
        "channel": 2,
        "manipulation dim": 3,
        "manipulation gaussian": 2,
        "codec posterise": 2,
    }


# What a command for the new kind of job would do.
PLAY = """
from study.execution.driver import at_work, stage
from study.jobs.toy import ToyJob
from study.settings import load_study

if __name__ == "__main__":
    with at_work(load_study("toys.yaml"), lambda study, address: None, "local", False) as session:
        assert stage("toys", session, [ToyJob.plan(3)]) == {}
"""


def test_a_study_with_a_toy_of_every_kind(tree: Path) -> None:
    from mlflow import MlflowClient

    python(tree, "-m", "study", "run", "toys.yaml")
    (tree / "play.py").write_text(PLAY)
    python(tree, "play.py")

    client = MlflowClient(f"sqlite:///{tree / 'results' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("toys")
    assert experiment is not None
    runs = {run.data.tags["kind"]: run for run in client.search_runs([experiment.experiment_id])}
    assert {kind: run.info.status for kind, run in runs.items()} == dict.fromkeys(
        ("pretrain", "trial", "toy"), "FINISHED"
    )

    trial = runs["trial"]
    assert trial.data.params["isp"] == "ToyNet"
    assert trial.data.params["channel.codec"] == "posterise:20"
    confusion = client.download_artifacts(trial.info.run_id, "confusion.json")
    assert json.loads(Path(confusion).read_text())["classes"] == ["native", "dim", "gaussian"]

    assert runs["toy"].data.metrics["count"] == 3
    assert Path(client.download_artifacts(runs["toy"].info.run_id, "count.txt")).read_text() == "3"

    (page,) = (tree / "results").rglob("report.html")
    assert "Playing with ToyNet." in page.read_text()
