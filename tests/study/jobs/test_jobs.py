"""Every kind of job by the one protocol: as text and back, with its places on the axes and its params."""

from pathlib import Path

import pytest

from forensics import Trial
from forensics.compression.pretraining import CodecPretraining
from forensics.localisation import Localisation
from forensics.panel import Panel
from forensics.trial import Distribution, Split, Training
from models.pretrain import Pretraining
from study.jobs import KINDS, Job, from_text, to_text
from study.jobs.codec_pretraining import CodecPretrainingJob
from study.jobs.evaluation import EvaluationJob
from study.jobs.fingerprints import FingerprintJob, JointNip, PretrainedNip
from study.jobs.localise import LocaliseJob
from study.jobs.low_light import DarkFolders, LowLightJob
from study.jobs.pretraining import PretrainingJob
from study.jobs.trial import PretrainedCodec, TrialJob
from study.jobs.verdict import VerdictJob
from study.settings import Fingerprints, LowLight, Simulation, load_study, planned

DATA, NIP = "d" * 64, "e" * 64
TRIAL = TrialJob.plan(
    Trial(
        "camera",
        "UNet",
        0.1,
        seed=2,
        manipulations=("sharpen", "jpeg:70-90"),
        training=Training(learning_rate=1 / 3),
        channel=Distribution(codec="jpeg:90"),
    ),
    {"channel.codec": "jpeg:90", "manipulations": ["sharpen", "jpeg:70-90"]},
    "nips/camera-UNet-01234567.safetensors",
    NIP,
    DATA,
)
CODEC = CodecPretrainingJob.plan("camera", Split(7, 3), CodecPretraining(features=16, rate_weight=50.0), DATA)
BEHIND_CODEC = TrialJob.plan(
    Trial("camera", "UNet", "fixed", training=Training(codec_lambda=0.001), channel=Distribution(codec="learned:16")),
    {},
    "nips/camera-UNet-01234567.safetensors",
    NIP,
    DATA,
    PretrainedCodec(file=CODEC.weights, sha256=DATA),
)
FIXED = TrialJob.plan(Trial("camera", "INet", "fixed"), {}, "nips/inet.safetensors", NIP, DATA)
PRETRAINING = PretrainingJob.plan("camera", "DNet", Split(7, 3), Pretraining(tolerance=1e-3), DATA)
FINGERPRINTS = FingerprintJob.plan(
    camera="camera",
    simulation=Simulation(preset="sim-rggb", images=7),
    data_hash=DATA,
    others={"other": NIP},
    pretrained=(PretrainedNip(name="INet", file="nips/inet.safetensors", sha256=NIP),),
    joint=(JointNip(name="UNet λ=0.1", lam=0.1, trial_key="aa", run_id="1"),),
    settings=Fingerprints(window=65),
    channel=Distribution(downsample=1),
)


def low_light(source: Simulation | DarkFolders) -> LowLightJob:
    return LowLightJob.plan(
        camera="camera",
        source=source,
        pretraining=Pretraining(max_iterations=7),
        settings=LowLight(scenes=10, training=5),
        pixels=64 * 64,
        evaluation=2,
        seed=3,
    )


JOBS: dict[str, Job] = {
    "pre-training": PRETRAINING,
    "pre-training of a codec": CODEC,
    "trial behind a codec that learns": BEHIND_CODEC,
    "joint trial": TRIAL,
    "fixed trial": FIXED,
    "evaluation": EvaluationJob.plan(TRIAL, "jpeg:50:4:2:0"),
    "verdict": VerdictJob.plan(TRIAL, Panel(photographs=8, megapixels=0.5)),
    "trial with a verdict": TRIAL.model_copy(update={"evaluation": Panel(windows=7)}),
    "composites": LocaliseJob.plan(TRIAL, ("other", NIP), Localisation(codecs=("jpeg:50",), megapixels=None)),
    "composites of one camera": LocaliseJob.plan(FIXED, None, Localisation()),
    "fingerprints": FINGERPRINTS,
    "fingerprints of a real camera": FINGERPRINTS.model_copy(update={"simulation": None, "joint": ()}),
    "simulated low light": low_light(Simulation(preset="sim-rggb")),
    "low light": low_light(DarkFolders(folder=Path("/photos"), sha256=DATA, others=Path("/more"), others_sha256=NIP)),
}


def test_every_kind_is_listed() -> None:
    assert {type(job) for job in JOBS.values()} == set(KINDS.values()), "a new kind belongs into this test, too"
    assert {job.kind for job in JOBS.values()} == set(KINDS)


@pytest.mark.parametrize("name", JOBS)
def test_a_job_travels_as_text(name: str) -> None:
    job = JOBS[name]
    text = to_text(job)
    again = from_text(text)
    assert type(again) is type(job)
    assert again == job
    assert again.key == job.key
    assert again.run_key == job.run_key
    assert again.params == job.params
    assert to_text(again) == text
    assert "\n" not in text


@pytest.mark.parametrize("study", ["paper", "smoke"])
def test_the_key_of_a_grid_survives_the_text(study: str) -> None:
    """Planned again from what travelled, a trial has the key that it had."""
    for item in planned(load_study(study))[:100]:
        job = TrialJob.plan(item.trial, item.axes, "nips/x.safetensors", NIP, DATA)
        again = from_text(to_text(job))
        assert TrialJob.plan(again.trial, again.further_axes, again.nip, NIP, DATA).key == job.key


@pytest.mark.parametrize("name", JOBS)
def test_a_job_has_all_that_the_engine_asks_for(name: str) -> None:
    job = JOBS[name]
    for member in (
        "kind",
        "key",
        "run_key",
        "name",
        "steps",
        "axes",
        "params",
        "tags",
        "stored",
        "run",
        "follow_ups",
        "needs_gpu",
        "model_dump",
    ):
        assert hasattr(job, member), member
    assert len(job.key) == 32
    assert job.steps > 0
    assert job.name.startswith("camera ")
    adds = isinstance(job, EvaluationJob | VerdictJob | LocaliseJob)
    assert (job.run_key != job.key) == adds
    assert job.params.keys() >= (set() if adds else {"camera"})
    assert job.axes["camera"] == "camera"


def test_a_trial_lists_every_setting_and_axis() -> None:
    assert TRIAL.axes == {
        "camera": "camera",
        "isp": "UNet",
        "lambda": 0.1,
        "seed": 2,
        "channel.codec": "jpeg:90",
        "manipulations": ["sharpen", "jpeg:70-90"],
    }
    expected = {"camera": "camera", "isp": "INet", "lambda": "fixed", "seed": 0, "channel.codec": "jpeg:50"}
    assert expected.items() <= FIXED.params.items()
    assert FIXED.params.keys() >= {"training.iterations", "validation.every", "split.train", "manipulations"}
    assert FIXED.tags == {"data_fingerprint": DATA, "nip_sha256": NIP}
    assert {**PRETRAINING.axes, "seed": 0, "pretraining.tolerance": 1e-3}.items() <= PRETRAINING.params.items()


def test_only_pretrainings_leave_files_for_other_jobs() -> None:
    assert PRETRAINING.stored == {"nip.safetensors": f"nips/camera-DNet-{PRETRAINING.key[:8]}.safetensors"}
    assert {name for name, job in JOBS.items() if job.stored} == {"pre-training", "pre-training of a codec"}
    assert CODEC.stored == {"codec.safetensors": f"codecs/camera-learned-{CODEC.key[:8]}.safetensors"}


def test_the_codec_that_a_trial_starts_from_is_part_of_its_key() -> None:
    assert BEHIND_CODEC.codec is not None and BEHIND_CODEC.tags["codec_sha256"] == DATA
    plan = (BEHIND_CODEC.trial, {}, BEHIND_CODEC.nip, NIP, DATA)
    other = TrialJob.plan(*plan, BEHIND_CODEC.codec.model_copy(update={"sha256": NIP}))
    moved = TrialJob.plan(*plan, BEHIND_CODEC.codec.model_copy(update={"file": "elsewhere"}))
    assert other.key != BEHIND_CODEC.key == moved.key


def test_only_trials_of_a_study_are_followed_by_a_verdict() -> None:
    found = {name: [later.kind for later in job.follow_ups] for name, job in JOBS.items() if job.follow_ups}
    assert found == {"trial with a verdict": ["verdict"]}
    (later,) = JOBS["trial with a verdict"].follow_ups
    assert later == VerdictJob.plan(TRIAL, Panel(windows=7))
    assert {name for name, job in JOBS.items() if not job.needs_gpu} == {"verdict"}
