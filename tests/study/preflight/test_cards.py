"""How many jobs fit on a card, held against a sum by hand."""

import pytest
import yaml

from forensics import Trial
from forensics.compression.pretraining import CodecPretraining
from forensics.memory import codec_pretraining_memory, pretraining_memory, trial_memory
from study.preflight.cards import CARDS, Card, Need, at_a_time, card_of, fit, needs, plain_name, share, spare
from study.settings import Study, StudyError, load_study, planned

GB = 10**9
TEN = Card("ten", 10 * GB)


def need(gigabytes: float) -> Need:
    return Need("UNet", "a trial of UNet", int(gigabytes * GB), Trial("camera", "UNet", 0.1))


def test_a_job_that_fits_says_how_much_of_its_share_it_takes() -> None:
    assert fit(need(3.1), CARDS["L4"], 0.25) == "3.1 GB of the 5.9 GB that 0.25 of one L4 (24 GB) gives"
    assert fit(need(2.5), TEN, 0.25)


def test_a_job_that_does_not_fit_names_the_share_that_does() -> None:
    with pytest.raises(StudyError) as error:
        fit(need(2.6), TEN, 0.25)
    assert str(error.value) == (
        "a trial of UNet needs 2.6 GB, and 0.25 of one ten (10 GB) gives 2.5 GB: "
        "set resources.gpus to 0.33 (at most 3 at a time)"
    )


def test_a_job_that_fits_on_no_share_names_what_makes_it_smaller() -> None:
    with pytest.raises(StudyError, match=r"has no more than 10 GB: a smaller training\.batch"):
        fit(need(10.1), TEN, 1)


def test_where_more_jobs_fit_than_share_a_card_it_is_said() -> None:
    assert spare(need(2.4), TEN, 0.5) == "resources.gpus: 0.25 would fit 4 jobs"
    assert spare(need(2.4), TEN, 0.25) == spare(need(2.6), TEN, 0.3) == ""


def test_the_largest_job_of_a_nip_decides() -> None:
    """Joint training needs more than fixed; a pre-training of larger batches more than either."""
    study = load_study("paper").model_copy(update={"isps": ("UNet", "INet"), "lambdas": (0.1, "fixed")})
    inet, unet = needs(planned(study))
    assert (inet.isp, unet.isp) == ("INet", "UNet"), "the largest last"
    assert (unet.job, unet.memory) == ("a trial of UNet", trial_memory(unet.trial).total)
    assert unet.trial.joint
    study = study.model_copy(update={"isps": ("UNet",), "pretraining": {**study.pretraining, "batch": 200}})
    (unet,) = needs(planned(study))
    assert unet.job == "the pre-training of UNet"
    assert unet.memory == pretraining_memory("UNet", planned(study)[0].pretraining).total
    assert unet.trial.joint


def test_a_codecs_pretraining_and_its_width_count() -> None:
    """Of a narrow codec a trial needs less; a pre-training of large batches needs more than all else."""

    def largest(**codec_pretraining: int) -> Need:
        content = {"name": "mine", "cameras": ["camera"], "isps": ["INet"], "lambdas": ["fixed"], "seeds": 1}
        content |= {"training": {"codec_lambda": [0.1, 0.2]}, "channel": {"codec": "learned:16"}}
        (found,) = needs(planned(Study.model_validate({**content, "codec_pretraining": codec_pretraining})))
        return found

    usual, narrow, large = largest(), largest(width=48), largest(batch=2000)
    assert usual.job == narrow.job == "a trial of INet"
    assert narrow.memory < usual.memory == trial_memory(usual.trial, 128).total
    assert large.job == "the pre-training of learned:16"
    assert large.memory == codec_pretraining_memory(CodecPretraining(features=16, batch=2000)).total
    assert large.trial == usual.trial


@pytest.mark.parametrize("memory", [0.3, 0.99, 1, 1.01, 2.5, 2.6, 3.3, 3.32, 5, 5.1, 9.9, 10, 10.1])
def test_as_many_jobs_as_fit_and_not_one_more(memory: float) -> None:
    jobs = at_a_time(int(memory * GB), TEN)
    assert jobs * memory <= 10, "they fit together"
    assert jobs == 0 or (share(jobs) * 10 >= memory and jobs * share(jobs) <= 1), "each into its share"
    assert (jobs + 1) * memory > 10 or share(jobs + 1) * 10 < memory, "no further one does"


@pytest.mark.parametrize(
    ("config", "card"),
    [
        ("{InstanceType: g6.xlarge}", "L4"),
        ("{InstanceType: g6e.xlarge}", "L40S"),
        ("{InstanceType: g5.2xlarge}", "A10G"),
        ("{InstanceType: g4dn.xlarge}", "T4"),
        ("{InstanceType: p4d.24xlarge}", "A100-40"),
        ("{InstanceType: p5.48xlarge}", "H100"),
        ("{InstanceType: p5en.48xlarge}", "H200"),
        ("{InstanceType: m7i.large}", None),
        ("{InstanceType: g6f.large}", None),  # a part of an L4
        ("{machineType: g2-standard-8}", "L4"),
        ("{machineType: zones/us-central1-a/machineTypes/a3-highgpu-8g}", "H100"),
        (
            "{machineType: n1-standard-8, guestAccelerators: [{acceleratorType: a/nvidia-tesla-t4}]}",
            "T4",
        ),
        ("{machineType: e2-standard-2}", None),
        ("{}", None),
    ],
)
def test_the_cluster_file_tells_the_card(config: str, card: str | None) -> None:
    assert card_of(yaml.safe_load(config)) == (CARDS[card] if card else None)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA A100-SXM4-40GB", "A100"),
        ("NVIDIA A100 80GB PCIe", "A100"),
        ("NVIDIA H100 NVL", "H100"),
        ("NVIDIA L4", "L4"),
        ("Tesla T4", "T4"),
        ("Tesla V100-SXM2-16GB", "V100"),
        ("NVIDIA GeForce RTX 4090", "GeForce RTX 4090"),
    ],
)
def test_cards_are_called_by_their_model(name: str, plain: str) -> None:
    assert plain_name(name) == plain
