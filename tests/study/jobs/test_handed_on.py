"""What a study says of the device reaches what computes there."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from small_study import Data

from cameras.pairs import Index
from forensics.trial import Distribution, Split
from models.flip import flip
from models.pretrain import Pretrained, Pretraining
from study.execution.worker import describe
from study.jobs import Callbacks, Context
from study.jobs import fingerprints as fingerprint_job
from study.jobs import low_light as low_light_job
from study.jobs import pretraining as pretraining_job
from study.jobs import trial as trial_job
from study.jobs.fingerprints import FingerprintJob
from study.jobs.low_light import LowLightJob
from study.jobs.pretraining import PretrainingJob
from study.jobs.trial import TrialJob
from study.settings import Fingerprints, LowLight, Simulation


class Reached(Exception):  # noqa: N818
    """The computation would begin."""


@pytest.fixture
def there(data: Data) -> Context:
    """A context in which everything differs from its default."""
    return Context(
        storage=str(data.folder),
        cache=None,
        tracking_uri="",
        experiment_id="",
        gpus=0.5,
        data="host",
        deterministic=False,
    )


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What computations are called with; none of them begins."""
    options: dict[str, Any] = {}

    def compute(*arguments: Any, **more: Any) -> None:
        options.update(more, arguments=arguments)
        raise Reached

    monkeypatch.setattr(trial_job, "train", compute)
    monkeypatch.setattr(pretraining_job, "pretrain", compute)
    monkeypatch.setattr(pretraining_job, "fidelity", compute)
    monkeypatch.setattr(low_light_job.lowlight, "examine", compute)
    return options


def test_a_trial(job: TrialJob, there: Context, given: dict[str, Any]) -> None:
    with pytest.raises(Reached):
        job.train(there, Callbacks())
    assert (given["data"], given["deterministic"], given["memory"]) == ("host", False, None)
    assert given["at_end"] == {"flip": flip}


def test_a_pretraining_and_its_test(
    data: Data, there: Context, given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Index.read(data.folder / "cameras" / data.camera).data_hash
    job = PretrainingJob.plan(data.camera, "INet", Split(2, 1, 1), Pretraining(max_iterations=1), known)
    with pytest.raises(Reached):
        job.run(there, Callbacks(), None, tmp_path)
    assert (given["data"], given["deterministic"], given["memory"]) == ("host", False, None)
    monkeypatch.setattr(
        pretraining_job, "pretrain", lambda nip, *arguments, **options: Pretrained(nip, 1, 0, 0, 0, "converged")
    )
    with pytest.raises(Reached):
        job.run(there, Callbacks(), None, tmp_path)
    assert given["arguments"][-2:] == ("cpu", False)


def test_low_light(there: Context, given: dict[str, Any], tmp_path: Path) -> None:
    source = Simulation(preset="sim-rggb", height=64, width=64)
    job = LowLightJob.plan(
        camera="camera",
        source=source,
        pretraining=Pretraining(),
        settings=LowLight(scenes=8, training=2),
        pixels=64 * 64,
        evaluation=2,
        seed=0,
    )
    with pytest.raises(Reached):
        job.run(there, Callbacks(), None, tmp_path)
    assert given["arguments"][-1] is False


def test_the_hardware_of_a_run_is_that_of_its_device(job: TrialJob, there: Context) -> None:
    hardware = {device: describe(job, there.model_copy(update={"device": device})) for device in ("cpu", "cuda")}
    assert "CPUs" in hardware["cpu"].tags["hardware"]
    assert "CPUs" not in hardware["cuda"].tags["hardware"]


def test_fingerprints(there: Context, data: Data, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They are compared while the device computes as the study says."""
    state: list[tuple[str, bool]] = []

    @contextmanager
    def computing(device: str, deterministic: bool) -> Iterator[None]:
        state.append((device, deterministic))
        yield
        state.clear()

    def experiment(*arguments: object, **options: object) -> None:
        assert state == [("cpu", False)]
        raise Reached

    monkeypatch.setattr(fingerprint_job, "computing", computing)
    monkeypatch.setattr(fingerprint_job.experiment, "experiment", experiment)
    job = FingerprintJob.plan(
        camera=data.camera,
        data_hash=data.data_hash,
        others={},
        pretrained=(),
        joint=(),
        settings=Fingerprints(estimation=2, prediction=1, evaluation=1),
        channel=Distribution(),
    )
    with pytest.raises(Reached):
        job.run(there, Callbacks(), None, tmp_path)
