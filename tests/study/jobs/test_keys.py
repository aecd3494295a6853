"""Keys: what changes them, and what must never change them."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, field, make_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import forensics
import models
import prnu
from cameras import patches
from channel import CODECS, OPERATORS, distribution
from forensics import Trial, evaluation
from forensics.compression.pretraining import CodecPretraining
from forensics.trial import Distribution, Split, Training, Validation
from models import pretrain
from models.pretrain import Pretraining
from study.jobs import keys
from study.jobs.codec_pretraining import CodecPretrainingJob
from study.jobs.evaluation import EvaluationJob
from study.jobs.fingerprints import FingerprintJob, JointNip, PretrainedNip
from study.jobs.low_light import DarkFolders, LowLightJob
from study.jobs.pretraining import PretrainingJob
from study.jobs.trial import TrialJob, trial_key
from study.settings import Fingerprints, LowLight, Simulation, load_study, planned

DATA, NIP = "d" * 64, "e" * 64
PAPERS = ("gaussian", "jpeg", "resample", "sharpen")  # manipulations, sorted
JOINT = JointNip(name="UNet λ=0.1", lam=0.1, trial_key="aa", run_id="1")


def fingerprint_job(**changes: Any) -> FingerprintJob:
    content: dict[str, Any] = {
        "camera": "camera",
        "simulation": Simulation(preset="sim-rggb"),
        "data_hash": DATA,
        "others": {"other": NIP},
        "pretrained": (PretrainedNip(name="INet", file="nips/inet.safetensors", sha256=NIP),),
        "joint": (JOINT,),
        "settings": Fingerprints(),
        "channel": Distribution(),
    }
    return FingerprintJob.plan(**content | changes)


def low_light_job(**changes: Any) -> LowLightJob:
    content: dict[str, Any] = {
        "camera": "camera",
        "source": Simulation(preset="sim-rggb"),
        "pretraining": Pretraining(),
        "settings": LowLight(),
        "pixels": 1024 * 1024,
        "evaluation": 30,
        "seed": 0,
    }
    return LowLightJob.plan(**content | changes)


def pretraining_key(isp: str = "UNet", split: Split = Split(), pretraining: Pretraining = Pretraining()) -> str:  # noqa: B008
    return PretrainingJob.plan("camera", isp, split, pretraining, DATA).key


def key_of(text: str) -> str:
    """What keys are: hand-written JSON, hashed."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


# --- Known keys: where one of these changes, finished work is lost ---


def versions_of_a_trial(*manipulations: str) -> str:
    """All of these parts are at 2 since their gradients add in one order, and patches have a generator of their own."""
    manipulated = "".join(f'"manipulation {name}": 2, ' for name in manipulations)
    return f'"versions": {{"channel": 2, "codec jpeg": 2, {manipulated}"training": 2}}'


@pytest.mark.parametrize(
    ("trial", "text"),
    [
        (
            Trial("Nikon D90", "UNet", 0.1, seed=3),
            f'{{"identity": {{"camera": "Nikon D90", "data": "{DATA}", "isp": "UNet", "lam": 0.1, "nip": "{NIP}", '
            f'"seed": 3}}, "kind": "trial", "settings": {{}}, {versions_of_a_trial(*PAPERS)}}}',
        ),
        (
            Trial("Nikon D90", "INet", 1, manipulations=("sharpen", "median")),
            f'{{"identity": {{"camera": "Nikon D90", "data": "{DATA}", "isp": "INet", "lam": 1.0, "nip": "{NIP}", '
            '"seed": 0}, "kind": "trial", "settings": {"manipulations": ["sharpen", "median"]}, '
            f"{versions_of_a_trial('median', 'sharpen')}}}",
        ),
        (
            Trial(
                "small",
                "DNet",
                "fixed",
                split=Split(3, 1, seed=7),
                training=Training(iterations=6, textured=True, learning_rate=5e-4, precision="bfloat16"),
                validation=Validation(textured=False),
                channel=Distribution(codec="jpeg:90", subsampling="4:2:0"),
            ),
            f'{{"identity": {{"camera": "small", "data": "{DATA}", "isp": "DNet", "lam": "fixed", "nip": "{NIP}", '
            '"seed": 0}, "kind": "trial", "settings": {"channel.codec": "jpeg:90", "channel.subsampling": "4:2:0", '
            '"split.seed": 7, "split.train": 3, "split.validation": 1, "training.iterations": 6, '
            '"training.learning_rate": 0.0005, "training.precision": "bfloat16", "training.textured": true, '
            f'"validation.textured": false}}, {versions_of_a_trial(*PAPERS)}}}',
        ),
    ],
    ids=["paper", "two manipulations", "much else"],
)
def test_known_keys_of_trials(trial: Trial, text: str) -> None:
    assert trial_key(trial, DATA, NIP) == key_of(text)
    assert TrialJob.plan(trial, {}, "nips/x.safetensors", NIP, DATA).key == key_of(text)


@pytest.mark.parametrize(
    ("job", "text"),
    [
        (
            PretrainingJob.plan("Nikon D90", "UNet", Split(), Pretraining(), DATA),
            f'{{"identity": {{"camera": "Nikon D90", "data": "{DATA}", "isp": "UNet"}}, "kind": "pretrain", '
            '"settings": {}}',
        ),
        (
            PretrainingJob.plan("small", "INet", Split(4, 2), Pretraining(batch=2, tolerance=0.01, seed=1), DATA),
            f'{{"identity": {{"camera": "small", "data": "{DATA}", "isp": "INet"}}, "kind": "pretrain", '
            '"settings": {"pretraining.batch": 2, "pretraining.seed": 1, "pretraining.tolerance": 0.01, '
            '"split.train": 4, "split.validation": 2}}',
        ),
    ],
    ids=["paper", "small"],
)
def test_known_keys_of_pretrainings(job: PretrainingJob, text: str) -> None:
    assert job.key == key_of(text)


def test_known_keys_of_the_prnu_experiments() -> None:
    """Fingerprints have new keys: the channel is at 2, and the field `raw` went when LibRaw began to develop stacks.

    That changed the results of LibRaw, but the key as well: so `prnu` stays at 2, and low light keeps what is finished.
    """
    assert fingerprint_job().key == key_of(
        f'{{"identity": {{"camera": "camera", "data_hash": "{DATA}", "joint": [{{"lam": 0.1, "name": "UNet '
        '\\u03bb=0.1", "trial_key": "aa"}], "others": {"other": "' + NIP + '"}, "preset": "sim-rggb", "pretrained": '
        f'[{{"file": "nips/inet.safetensors", "name": "INet", "sha256": "{NIP}"}}]}}, "kind": "prnu", '
        '"settings": {}, "versions": {"channel": 2, "codec jpeg": 2, "prnu": 2}}'
    )
    assert low_light_job().key == key_of(
        '{"identity": {"camera": "camera", "preset": "sim-rggb"}, "kind": "low_light", "settings": {}, '
        '"versions": {"prnu": 2}}'
    )


# --- A setting is added, or its default changes ---


def grid_keys(study: str, adapt: Callable[[Training], Training] = lambda training: training) -> list[str]:
    """The keys of all pre-trainings and trials of a study, with adapted settings of training."""
    found = []
    for item in planned(load_study(study)):
        trial = replace(item.trial, training=adapt(item.trial.training))
        found.append(PretrainingJob.plan(trial.camera, trial.isp, trial.split, item.pretraining, DATA).key)
        found.append(TrialJob.plan(trial, item.axes, "nips/x.safetensors", NIP, DATA).key)
    return found


def wider(training: Training, **values: Any) -> Training:
    """The same settings, as if Training had one more: ``warmup``, with the default 0."""
    added = make_dataclass("Training", [("warmup", int, field(default=0))], bases=(Training,), frozen=True)
    return added(**asdict(training), **values)


@pytest.fixture
def baseline_of_warmup(monkeypatch: pytest.MonkeyPatch) -> None:
    known = keys._baseline() | {"training.warmup": 0}
    monkeypatch.setattr(keys, "_baseline", lambda: known)


@pytest.mark.parametrize("study", ["paper", "demo"])
@pytest.mark.usefixtures("baseline_of_warmup")
def test_a_new_setting_leaves_all_keys_unchanged(study: str) -> None:
    before = grid_keys(study)
    assert grid_keys(study, wider) == before
    changed = grid_keys(study, lambda training: wider(training, warmup=100))
    assert changed[::2] == before[::2], "pre-trainings do not use it"
    assert set(changed[1::2]).isdisjoint(before)
    assert len(set(changed[1::2])) == len(set(before[1::2])), "trials stay distinct"


def test_a_new_setting_without_a_baseline_names_the_file() -> None:
    with pytest.raises(
        LookupError, match=r"training.warmup is not in study/jobs/baseline.yaml: add the value"
    ) as raised:
        grid_keys("demo", wider)
    assert "\n" not in str(raised.value)
    assert Path(keys.__file__).with_name("baseline.yaml").is_file()


def test_a_default_may_change() -> None:
    """A trial whose study file names the old value keeps its key; one that follows the default gets another."""
    slower = make_dataclass("Training", [("learning_rate", float, field(default=1e-3))], bases=(Training,), frozen=True)

    def key(training: Training) -> str:
        return trial_key(Trial("camera", "INet", 0.1, training=training), DATA, NIP)

    assert key(slower(learning_rate=1e-4)) == key(Training()) == key(Training(learning_rate=1e-4))
    assert key(slower()) == key(Training(learning_rate=1e-3)) != key(Training())


# --- Every setting counts ---

ANOTHER = {  # values of settings that are no numbers
    "codec": "jpeg:90",
    "rounding": "round",
    "subsampling": "4:2:0",
    "precision": "bfloat16",
    "tolerance": 0.01,
    "scenes": "scikit-image",
    "loss": "L1",
    "nip_loss": "L1",
    "start": "standard",
    "decay": "cosine",
    "nip_learning_rate": 1e-5,
    "window": 32,
    "codec_lambda": 0.001,
    "codec_learning_rate": 1e-3,
    "average": 0.1,
    "kernel": "bilinear",
    "storage": "8-bit",
    "schedule": "worst-of-recent",
}
SEVERAL = Distribution(codec="learned_jpeg:50 + none")  # of one codec, no schedule can choose; and one that learns


def changes(settings: Any, *left_out: str) -> list[tuple[str, Any]]:
    """For each setting its name, and the settings with only that one changed."""
    found, values = [], dict(vars(settings))
    for name in values.keys() - set(left_out):
        value = values[name]
        if isinstance(value, bool):
            other: Any = not value
        elif isinstance(value, int):
            other = value + 2  # sides of pictures are even
        elif isinstance(value, float):
            other = value / 2
        else:
            other = ANOTHER[name]
        found.append((name, type(settings)(**{**values, name: other})))
    return found


def test_every_setting_of_a_trial_changes_its_key() -> None:
    trial, found = Trial("camera", "INet", 0.1, channel=SEVERAL), {}
    for section in ("split", "training", "validation", "channel"):
        for name, settings in changes(getattr(trial, section)):
            found[f"{section}.{name}"] = trial_key(replace(trial, **{section: settings}), DATA, NIP)
    for name, value in (
        ("camera", "other"),
        ("isp", "DNet"),
        ("lam", 0.2),
        ("seed", 1),
        ("manipulations", ("sharpen",)),
    ):
        found[name] = trial_key(replace(trial, **{name: value}), DATA, NIP)
    found |= {"data": trial_key(trial, NIP, NIP), "nip": trial_key(trial, DATA, DATA)}
    assert len({*found.values(), trial_key(trial, DATA, NIP)}) == len(found) + 1


def test_every_setting_of_a_pretraining_changes_its_key() -> None:
    found = [pretraining_key(split=split) for _, split in changes(Split())]
    found += [pretraining_key(pretraining=pretraining) for _, pretraining in changes(Pretraining())]
    assert len({*found, pretraining_key(), pretraining_key("INet")}) == len(found) + 2


def test_every_setting_of_a_codecs_pretraining_changes_its_key() -> None:
    start = CodecPretraining(factor=2.5, kernel="lanczos", precision="float32")

    def key(settings: CodecPretraining = start, split: Split = Split()) -> str:  # noqa: B008
        return CodecPretrainingJob.plan("camera", split, settings, DATA).key

    found = [key(settings) for _, settings in changes(start)] + [key(split=split) for _, split in changes(Split())]
    assert len({*found, key()}) == len(found) + 1


def test_every_setting_of_the_prnu_experiments_changes_their_keys(tmp_path: Path) -> None:
    job = fingerprint_job()
    jobs = [fingerprint_job(settings=settings) for _, settings in changes(Fingerprints(), "low_light")]
    jobs += [
        fingerprint_job(simulation=simulation) for _, simulation in changes(Simulation(preset="sim-rggb"), "preset")
    ]
    jobs += [fingerprint_job(channel=channel) for _, channel in changes(SEVERAL)]
    jobs += [
        fingerprint_job(simulation=Simulation(preset="sim-gbrg")),
        fingerprint_job(simulation=None),
        fingerprint_job(camera="another"),
        fingerprint_job(data_hash=NIP),
        fingerprint_job(others={}),
        fingerprint_job(pretrained=()),
        fingerprint_job(joint=(JOINT.model_copy(update={"trial_key": "bb"}),)),
    ]
    assert len({job.key, *(other.key for other in jobs)}) == len(jobs) + 1
    elsewhere = fingerprint_job(joint=(JOINT.model_copy(update={"run_id": "2"}),))
    assert elsewhere.key == job.key, "where a NIP lies is no part of the key"
    brighter = Fingerprints(low_light=LowLight(exposure=0.1))
    assert fingerprint_job(settings=brighter).key == job.key, "low light is another job"


def test_every_setting_of_low_light_changes_its_key(tmp_path: Path) -> None:
    dark = DarkFolders(folder=tmp_path, sha256=DATA)
    for source in (Simulation(preset="sim-rggb"), dark):
        simulated = isinstance(source, Simulation)
        job = low_light_job(source=source)
        left_out = {"iterations", "folder", "others"} | (set() if simulated else {"exposure"})
        jobs = [low_light_job(source=source, settings=settings) for _, settings in changes(LowLight(), *left_out)]
        jobs += [low_light_job(source=source, pretraining=pretraining) for _, pretraining in changes(Pretraining())]
        jobs += [low_light_job(source=source, **{name: 200_000}) for name in ("pixels", "evaluation", "seed")]
        jobs += [low_light_job(source=source, camera="another")]
        if simulated:
            jobs += [low_light_job(source=changed) for _, changed in changes(source, "preset")]
            jobs += [low_light_job(source=Simulation(preset="sim-gbrg"))]
        else:
            jobs += [low_light_job(source=dark.model_copy(update={"sha256": NIP}))]
            jobs += [low_light_job(source=dark.model_copy(update={"others_sha256": NIP}))]
        assert len({job.key, *(other.key for other in jobs)}) == len(jobs) + 1
        again = LowLight(iterations=5, **({} if simulated else {"exposure": 0.2}))
        assert low_light_job(source=source, settings=again).key == job.key, "it is part of the pre-training"
    moved = dark.model_copy(update={"folder": tmp_path / "moved", "others": tmp_path})
    assert low_light_job(source=moved).key == low_light_job(source=dark).key, "where files lie is no part of the key"


def test_an_evaluation_is_of_its_trial_and_codec() -> None:
    trials = [TrialJob.plan(Trial("camera", "INet", lam), {}, "nips/x.safetensors", NIP, DATA) for lam in (0.1, 0.2)]
    codecs = ("dJPEG", "jpeg:50", "jpeg:51", "webp:50")
    found = {EvaluationJob.plan(trial, codec).key for trial in trials for codec in codecs}
    assert len(found) == len(trials) * len(codecs)
    assert found.isdisjoint(trial.key for trial in trials)


# --- Versions of the parts ---


def keys_of_all() -> dict[str, str]:
    """The keys of jobs that use different parts."""
    unet = TrialJob.plan(Trial("camera", "UNet", 0.1), {}, "nips/u.safetensors", NIP, DATA)
    plain = Trial("camera", "INet", "fixed", manipulations=("median",), channel=Distribution(codec="none"))
    inet = TrialJob.plan(plain, {}, "nips/i.safetensors", NIP, DATA)
    return {
        "pretrain UNet": pretraining_key("UNet"),
        "pretrain INet": pretraining_key("INet"),
        "UNet": unet.key,
        "INet": inet.key,
        "UNet behind dJPEG": EvaluationJob.plan(unet, "dJPEG").key,
        "INet behind AVIF": EvaluationJob.plan(inet, "avif:50").key,
        "PRNU": fingerprint_job().key,
        "low light": low_light_job().key,
    }


TRIALS = {"UNet", "UNet behind dJPEG", "INet", "INet behind AVIF"}
PARTS: dict[str, tuple[Callable[[pytest.MonkeyPatch, int], None], set[str]]] = {
    "NIP UNet": (
        lambda patch, version: patch.setattr(models.NIPS["UNet"], "version", version),
        {"pretrain UNet", "UNet", "UNet behind dJPEG", "low light"},
    ),
    "NIP INet": (
        lambda patch, version: patch.setattr(models.NIPS["INet"], "version", version),
        {"pretrain INet", "INet", "INet behind AVIF"},
    ),
    "NIP DNet": (lambda patch, version: patch.setattr(models.NIPS["DNet"], "version", version), set()),
    "pre-training": (
        lambda patch, version: patch.setattr(pretrain, "VERSION", version),
        {"pretrain UNet", "pretrain INet", "low light"},
    ),
    "patches": (
        lambda patch, version: patch.setattr(patches, "VERSION", version),
        {"pretrain UNet", "pretrain INet", "low light"} | TRIALS,
    ),
    "FAN": (lambda patch, version: patch.setitem(forensics.VERSIONS, "FAN", version), TRIALS),
    "training": (lambda patch, version: patch.setitem(forensics.VERSIONS, "training", version), TRIALS),
    "channel": (lambda patch, version: patch.setattr(distribution, "VERSION", version), {"PRNU"} | TRIALS),
    "manipulation median": (
        lambda patch, version: patch.setitem(OPERATORS, "median", replace(OPERATORS["median"], version=version)),
        {"INet", "INet behind AVIF"},
    ),
    "manipulation jpeg": (
        lambda patch, version: patch.setitem(OPERATORS, "jpeg", replace(OPERATORS["jpeg"], version=version)),
        {"UNet", "UNet behind dJPEG"},
    ),
    "manipulation awgn": (
        lambda patch, version: patch.setitem(OPERATORS, "awgn", replace(OPERATORS["awgn"], version=version)),
        set(),
    ),
    "codec jpeg": (
        lambda patch, version: patch.setitem(CODECS, "jpeg", replace(CODECS["jpeg"], version=version)),
        {"UNet", "UNet behind dJPEG", "PRNU"},
    ),
    "codec avif": (
        lambda patch, version: patch.setitem(CODECS, "avif", replace(CODECS["avif"], version=version)),
        {"INet behind AVIF"},
    ),
    "evaluation": (
        lambda patch, version: patch.setattr(evaluation, "VERSION", version),
        {"UNet behind dJPEG", "INet behind AVIF"},
    ),
    "prnu": (lambda patch, version: patch.setattr(prnu, "VERSION", version), {"PRNU", "low light"}),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_new_version_of_a_part_changes_only_the_keys_of_jobs_that_use_it(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_version, users = PARTS[part]
    set_version(monkeypatch, 1)
    before = keys_of_all()
    seen = [before]
    for version in (2, 3):
        set_version(monkeypatch, version)
        seen.append(keys_of_all())
    for name in before:
        assert len({found[name] for found in seen}) == (3 if name in users else 1), name


def test_version_1_is_not_part_of_a_key() -> None:
    """So a part may get a version later."""
    plain = keys.key("trial", {"camera": "a"}, {}, {})
    assert keys.key("trial", {"camera": "a"}, {}, {"FAN": 1, "isp UNet": 1}) == plain
    assert keys.key("trial", {"camera": "a"}, {}, {"FAN": 1, "isp UNet": 2}) != plain
    text = '{"identity": {"camera": "a"}, "kind": "trial", "settings": {}, "versions": {"isp UNet": 2}}'
    assert keys.key("trial", {"camera": "a"}, {}, {"FAN": 1, "isp UNet": 2}) == key_of(text)
