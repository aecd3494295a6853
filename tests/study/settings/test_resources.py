"""What a trial is given decides nothing: it is no part of a key."""

from pathlib import Path

import pytest

from study.jobs.pretraining import PretrainingJob
from study.jobs.trial import TrialJob
from study.settings import Resources, load_study, planned

OTHERS = {
    "cpus": 3,
    "gpus": 0.5,
    "data": "host",
    "deterministic": False,
    "max_failures": 0,
    "checkpoint_seconds": 0,
    "cache": "elsewhere",
}


def test_every_resource_is_tried() -> None:
    assert set(OTHERS) == set(Resources.model_fields)
    defaults = Resources()
    assert all(getattr(defaults, name) != value for name, value in OTHERS.items())


@pytest.mark.parametrize("name", OTHERS)
def test_resources_are_no_part_of_a_key(name: str, tmp_path: Path) -> None:
    def jobs(resources: str) -> list[tuple[str, object]]:
        path = tmp_path / "study.yaml"
        path.write_text(
            "name: mine\ncameras: [Nikon D90]\nisps: [UNet]\nlambdas: [fixed, 0.1]\nseeds: 1\n"
            f"resources: {{{resources}}}\n"
        )
        items = planned(load_study(str(path)))
        of_nip = (items[0].trial.camera, items[0].trial.isp, items[0].trial.split, items[0].pretraining)
        found = [TrialJob.plan(item.trial, item.axes, "nip", "hash", "data") for item in items]
        return [(job.key, job.params) for job in (PretrainingJob.plan(*of_nip, "data"), *found)]

    value = OTHERS[name]
    assert jobs(f"{name}: {str(value).lower() if isinstance(value, bool) else value}") == jobs("")
