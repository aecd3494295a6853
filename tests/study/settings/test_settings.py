"""Study files: what they mean, and one clear line for whatever does not fit."""

from dataclasses import replace
from pathlib import Path

import pytest

from forensics.trial import Distribution, Trial
from models.nip import NIP
from models.pretrain import Pretraining
from models.registry import NIPS
from study.settings import StudyError, load_study, planned, presets

GOOD = """
name: mine
cameras: [Nikon D90]
isps: [INet, UNet]
lambdas: [fixed, 0.1]
seeds: 3
"""


@pytest.fixture
def study_file(tmp_path: Path):  # type: ignore[no-untyped-def]
    def write(text: str) -> str:
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return str(path)

    return write


def test_the_paper_is_1320_trials() -> None:
    trials = planned(load_study("paper"))
    assert len(trials) == 1320
    assert len({repr(item.trial) for item in trials}) == 1320
    trial = trials[0].trial
    assert (trial.training.iterations, trial.training.batch, trial.training.patch) == (6000, 20, 128)
    assert (trial.split.train, trial.split.validation) == (120, 30)
    assert trial.validation.accuracy_patches * trial.split.validation == 3000
    assert trial.validation.fidelity_patches * trial.split.validation == 60


@pytest.mark.parametrize("name", presets())
def test_every_preset_is_valid(name: str) -> None:
    assert planned(load_study(name))


def test_the_usual_axes(study_file) -> None:  # type: ignore[no-untyped-def]
    trials = planned(load_study(study_file(GOOD)))
    assert len(trials) == 2 * 2 * 3
    assert {item.trial.seed for item in trials} == {0, 1, 2}
    assert {item.trial.lam for item in trials} == {"fixed", 0.1}
    assert all(item.axes == {} for item in trials)


def test_a_list_makes_any_setting_an_axis(study_file) -> None:  # type: ignore[no-untyped-def]
    text = GOOD + "channel: {codec: ['jpeg:50', 'jpeg:90']}\ntraining: {learning_rate: [1.0e-4, 1.0e-3], batch: 5}\n"
    trials = planned(load_study(study_file(text)))
    assert len(trials) == 12 * 4
    for item in trials:
        assert item.trial.channel.codec == item.axes["channel.codec"]
        assert item.trial.training.learning_rate == item.axes["training.learning_rate"]
        assert item.trial.training.batch == 5


def test_manipulations_are_an_axis_as_lists_of_lists(study_file) -> None:  # type: ignore[no-untyped-def]
    trials = planned(load_study(study_file(GOOD + "manipulations: [[sharpen], [sharpen, 'jpeg:70']]\n")))
    assert {item.trial.manipulations for item in trials} == {("sharpen",), ("sharpen", "jpeg:70")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("seeds: 3", "seeds: 3\nlambda: [1]"), "unknown key 'lambda': known here are name, storage"),
        (("seeds: 3", "seeds: 3\ntraining: {rate: 1}"), "unknown key 'training.rate': known here are iterations"),
        (("seeds: 3", "seeds: 3\nresources: {cpu: 1}"), "unknown key 'resources.cpu': known here are cpus"),
        (("[Nikon D90]", "[{name: a, simulated: {}}]"), "unknown key 'cameras.0.simulated': known here are name"),
        (("[Nikon D90]", "[{name: a, simulate: {preset: D90}}]"), "no simulated camera D90: choose one of sim-rggb"),
        (("[INet, UNet]", "[VNet]"), "isps.0"),
        (("[INet, UNet]", "[INet, INet]"), "INet is named twice"),
        (("[fixed, 0.1]", "[fixed, -1]"), "lambda = -1.0 is impossible: use a number"),
        (("[fixed, 0.1]", "[none]"), "lambdas.0"),
        (("seeds: 3", "seeds: 0"), "seeds"),
        (("name: mine\n", ""), "'name' is missing"),
        (("name: mine", "name: ../mine"), "name"),
        (
            ("seeds: 3", "seeds: 3\ntraining: {patch: 8}"),
            "training.patch = 8 is impossible: UNet halves a patch four",
        ),
        (("seeds: 3", "seeds: 3\ntraining: {patch: [32, 8]}"), "training.patch = 8 is impossible"),
        (("seeds: 3", "seeds: 3\ntraining: {learning_rate: .inf}"), "training.learning_rate = inf is impossible"),
        (("seeds: 3", "seeds: 3\ntraining: {batch: [5, 5]}"), "training.batch: a value is named twice"),
        (("seeds: 3", "seeds: 3\nresources: {gpus: 2}"), "gpus: 2 is impossible: a trial computes on one GPU"),
        (("seeds: 3", "seeds: 3\nresources: {gpus: 1.01}"), "use a number from 0 to 1"),
        (("seeds: 3", "seeds: 3\nresources: {data: disk}"), "resources.data"),
        (("seeds: 3", "seeds: 3\nresources: {deterministic: perhaps}"), "resources.deterministic"),
        (("seeds: 3", "seeds: 3\nmanipulations: 5"), "manipulations"),
        (("seeds: 3", "seeds: 3\ntraining: {iterations: []}"), "training.iterations: an axis needs at least one value"),
        (("seeds: 3", "seeds: 3\nchannel: {codec: 'gif:50'}"), "gif"),
        (("seeds: 3", "seeds: 3\nchannel: {downsample: 4}\ntraining: {patch: 16}"), "the FAN would receive 8 px"),
        (("seeds: 3", "seeds: 3\nmanipulations: [sharpenn]"), "unknown manipulation 'sharpenn'"),
        (("seeds: 3", "seeds: 3\nmanipulations: [sharpen, [median]]"), "not both"),
        (("seeds: 3", "seeds: 3\npretraining: {batch: 0}"), "batch must be at least 1"),
        (("seeds: 3", "seeds: [3"), "not valid YAML"),
        ((GOOD, "just words"), "'key: value' lines"),
    ],
)
def test_an_impossible_study_is_one_clear_line(study_file, change: tuple[str, str], message: str) -> None:  # type: ignore[no-untyped-def]
    source = study_file(GOOD.replace(*change))
    with pytest.raises(StudyError) as raised:
        load_study(source)
    text = str(raised.value)
    assert message in text
    assert text.startswith(source)
    assert "\n" not in text


def test_a_nip_that_cannot_start_as_the_standard_pipeline_is_refused(  # type: ignore[no-untyped-def]
    study_file, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(NIPS, "Other", type("Other", (NIP,), {}))
    text = GOOD.replace("[INet, UNet]", "[INet, UNet, Other]")
    assert planned(load_study(study_file(text)))
    with pytest.raises(StudyError, match=r"pretraining.start: standard: Other has no such start, use random"):
        load_study(study_file(text + "pretraining: {start: [random, standard]}\n"))


def test_a_binary_file_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StudyError, match="cannot be read"):
        load_study(str(path))


def test_the_paper_preset_spells_out_the_defaults() -> None:
    item = planned(load_study("paper"))[0]
    assert item.pretraining == Pretraining()
    assert item.trial == Trial(item.trial.camera, item.trial.isp, item.trial.lam, item.trial.seed)


def test_the_robust_preset_is_the_paper_but_for_its_channel_and_windows() -> None:
    paper, robust = planned(load_study("paper")), planned(load_study("robust"))
    assert len({item.trial.channel for item in robust}) == 1
    assert robust[0].trial.channel.build().random
    assert {item.trial.training.window for item in robust} == {112}
    papers = [
        replace(item.trial, channel=Distribution(), training=replace(item.trial.training, window=None))
        for item in robust
    ]
    assert papers == [item.trial for item in paper]


def test_an_unknown_study_names_the_presets() -> None:
    with pytest.raises(StudyError, match=r"no study 'demmo'.*demo, fan-only, learned-codec, paper, robust, smoke"):
        load_study("demmo")
