"""The paper's numbers are transcribed without a slip, and every claim gets the verdict that the data allow."""

import math
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import synthetic_tracking

from forensics import Trial
from models.registry import NIPS
from study import results
from study.jobs import keys
from study.results import claims
from study.results.claims import protocol, trade_offs
from study.results.claims import published as paper
from study.results.claims.verdict import ANSWERS
from study.settings import load_study, planned

HASH = "of the NIP that the paper's protocol gives"


def as_trials(table: pd.DataFrame, seeds: tuple[int, ...] = (0, 1)) -> pd.DataFrame:
    """A table of metrics as if trials of ours, under the paper's protocol, had brought them, alike with every seed."""
    parts = [table.assign(seed=seed) for seed in seeds]
    trials = pd.concat(parts, ignore_index=True)
    ids = [f"{number}" for number in range(len(trials))]
    tests = dict.fromkeys(results.TEST_METRICS, math.nan)
    return trials.assign(
        status="FINISHED",
        failure="",
        run_id=ids,
        trial_key=ids,
        artifact_uri="",
        ssim_paper=trials["ssim"],
        flip=math.nan,
        nip_sha256=HASH,
        **tests,
        **synthetic_tracking.SETTINGS,
    )


def pretrained_as_published(ssim: float | None = None) -> pd.DataFrame:
    """Table 1 as if our pre-trainings had brought it, of SSIM as the authors compute it; ours may differ."""
    table = paper.table_1().reset_index()
    tests = dict.fromkeys(results.TEST_METRICS[1:], math.nan)
    known = {"camera": "Nikon D90", "seed": 0, "seconds": 60.0, "nip_sha256": HASH, "ssim_paper": table["ssim"]}
    table = table.assign(**known, **tests, **synthetic_tracking.PRETRAINING)
    return table if ssim is None else table.assign(ssim=ssim)


CAMERAS = set(paper.supplement_table_1()["camera"])
REAL = dict.fromkeys(CAMERAS, False)
NOTHING = claims.Findings(as_trials(paper.supplement_table_1().head(0)), pretrained_as_published().head(0))


@pytest.fixture(scope="module")
def published() -> pd.DataFrame:
    return paper.supplement_table_1()


def verdicts(findings: claims.Findings) -> pd.DataFrame:
    return claims.verdicts(findings).set_index("id")


def test_the_table_is_whole(published: pd.DataFrame) -> None:
    assert len(published) == 4 * 2 * 11
    assert not published.drop(columns="lam").isna().any().any()
    assert set(published.groupby(["camera", "isp"])["lam"].nunique()) == {10}
    assert published["lam"].isna().sum() == 8
    # Sums over all of a column, taken from the supplement.
    sums = published.groupby("isp")[["psnr", "ssim", "accuracy"]].sum()
    np.testing.assert_allclose(sums.loc["DNet"], [1693.5, 42.155, 31.231])
    np.testing.assert_allclose(sums.loc["UNet"], [1750.3, 42.764, 34.633])


def test_the_table_says_what_the_text_says(published: pd.DataFrame) -> None:
    unet = published[published["isp"] == "UNet"]
    at = unet[unet["lam"] == 0.1]
    assert at["accuracy"].mean() == pytest.approx(0.90, abs=0.01)  # "classification accuracy ≈ 90 % …
    assert at["psnr"].mean() == pytest.approx(42.5, abs=0.05)  # … fidelity of ≈ 42.5 dB (λ = 0.1)"
    d90 = unet[unet["camera"] == "Nikon D90"].set_index("lam")["accuracy"]
    assert (round(100 * d90[0.1]), round(100 * d90[0.01])) == (92, 98)  # "saturates at 92 % and 98 %"
    fixed = published[published["mode"] == results.FIXED]["accuracy"]
    assert fixed.max() == 0.45  # "approx. 45 %"
    for _, group in published[published["mode"] != results.FIXED].groupby(["camera", "isp"]):
        assert group.sort_values("lam")["psnr"].is_monotonic_increasing
        assert group.sort_values("lam")["ssim"].is_monotonic_increasing


@pytest.mark.parametrize(("lam", "stated"), [("fixed", 44.6), (0.25, 87.0), (0.1, 92.6), (0.05, 95.8)])
def test_diagonals_of_table_4_have_the_accuracy_stated_above_them(lam: float | str, stated: float) -> None:
    table = paper.table_4()
    row = table[table.index.isna()] if lam == "fixed" else table.loc[[lam]]
    assert row.to_numpy().mean() == pytest.approx(stated)


def test_tolerances_stand_around_the_numbers_of_the_tables() -> None:
    listed = paper.claims().set_index("id")
    stated = {f"table-4-{'fixed' if math.isnan(lam) else lam}": row.mean() for lam, row in paper.table_4().iterrows()}
    margins = dict.fromkeys(stated, 5.0) | {"table-4-0.25": 10.0}
    for metric, margin in (("psnr", 1.0), ("ssim", 0.005)):
        for isp, number in paper.table_1()[metric].items():
            stated[f"pretrained-{isp}-{metric}"], margins[f"pretrained-{isp}-{metric}"] = number, margin
    for claim, number in stated.items():
        row, margin = listed.loc[claim], margins[claim]
        assert float(row["number"].removesuffix(" %")) == pytest.approx(number), claim
        assert (row["low"], row["high"]) == pytest.approx((number - margin, min(number + margin, 100))), claim
    assert {name for name in listed.index if name.startswith(("table-4", "pretrained"))} == set(stated)


def test_every_claim_has_its_answer_and_names_nips_of_the_registry() -> None:
    assert sorted(ANSWERS) == sorted(paper.claims()["id"])
    asked = [getattr(answer, "keywords", {}) for answer in ANSWERS.values()]
    named = {keywords[name] for keywords in asked for name in ("isp", "better", "worse") if name in keywords}
    assert named == set(paper.table_1().index) == {"INet", "UNet", "DNet"}
    assert named | set(paper.supplement_table_1()["isp"]) <= set(NIPS)


def test_the_paper_reproduces_itself(published: pd.DataFrame) -> None:
    found = verdicts(claims.Findings(as_trials(published), pretrained_as_published(), REAL))
    elsewhere = {"fan-without-channel", "inet-front", "prnu-correlation", "prnu-localisation", "prnu-low-light"}
    assert set(found.index[found["verdict"] == claims.NOT_RUN]) == elsewhere
    assert set(found.loc[~found.index.isin(elsewhere), "verdict"]) == {claims.REPRODUCED}
    assert found.loc["fixed-accuracy", "ours"] == pytest.approx(42.775)
    assert found.loc["table-4-0.1", "ours"] == pytest.approx(92.0)
    assert found.loc["minor-distortion", "ours"] == pytest.approx(90.0)  # 40D: (93.1 − 38.2) / (99.2 − 38.2)
    assert found.loc["fixed-accuracy", "data"].startswith(
        "Canon EOS 40D, Canon EOS 5D, Nikon D7000, Nikon D90 · 2 seeds"
    )


def test_simulated_data_never_reproduce_an_absolute_number(published: pd.DataFrame) -> None:
    trials, pretrained = as_trials(published), pretrained_as_published()
    for simulated in (dict.fromkeys(REAL, True), {}):  # said to be simulated, and not said to be real
        found = verdicts(claims.Findings(trials, pretrained, simulated))
        assert set(found.loc[found["absolute"], "verdict"]) == {claims.SIMULATED_DATA, claims.NOT_RUN}
        assert set(found.loc[~found["absolute"]].drop("prnu-localisation")["verdict"]) == {claims.REPRODUCED}
        assert found.loc["joint-beats-fixed", "data"].count("(simulated)") == 4


def test_real_cameras_answer_where_there_are_both(published: pd.DataFrame) -> None:
    better = published.assign(camera=published["camera"].map("sim {}".format), accuracy=0.99)
    trials = pd.concat([as_trials(published), as_trials(better)])
    simulated = REAL | dict.fromkeys(better["camera"], True)
    found = verdicts(claims.Findings(trials, pretrained_as_published(), simulated))
    assert found.loc["fixed-accuracy", "ours"] == pytest.approx(42.775)
    assert "sim" not in found.loc["fixed-accuracy", "data"]
    assert found.loc["fixed-stable", "verdict"] == claims.NOT_REPRODUCED  # relative: of all cameras


def test_fingerprints_are_judged_where_the_experiment_was_run() -> None:
    """A camera has a run for Fig. 5, one for Table 3, or both; a simulated one answers no absolute number."""
    nan = math.nan
    rows = [("Nikon D90", 0.8, 0.45, 0.40, nan), ("Nikon D90", nan, nan, nan, 13.0), ("sim", 0.1, 0.50, 0.47, nan)]
    settings = {"prnu.pixels": "1048576", "prnu.estimation": "90"}
    fingerprints = pd.DataFrame(rows, columns=["camera", *results.PRNU_METRICS]).assign(seed=0, **settings)
    ids = ["prnu-correlation", "prnu-localisation", "prnu-low-light"]

    def judged(simulated: dict[str, bool]) -> pd.DataFrame:
        return verdicts(claims.Findings(NOTHING.trials, NOTHING.pretrained, simulated, fingerprints)).loc[ids]

    found = judged({"Nikon D90": False, "sim": True})
    assert found["ours"].tolist() == pytest.approx([0.8, 0.04, 13.0])
    assert set(found["verdict"]) == {claims.REPRODUCED}
    assert found.loc["prnu-localisation", "data"] == "Nikon D90, sim (simulated) · 1 seed"
    found = judged({"Nikon D90": True, "sim": True})
    assert found["ours"].tolist() == pytest.approx([0.45, 0.04, 13.0])
    assert found["verdict"].tolist() == [claims.SIMULATED_DATA, claims.REPRODUCED, claims.SIMULATED_DATA]


def test_what_contradicts_is_not_reproduced(published: pd.DataFrame) -> None:
    useless = published.assign(accuracy=0.2)
    found = verdicts(claims.Findings(as_trials(useless), pretrained_as_published(), REAL))
    for claim in ("fixed-accuracy", "joint-beats-fixed", "unet-front", "nearly-perfect", "supplement-table-1"):
        assert found.loc[claim, "verdict"] == claims.NOT_REPRODUCED, claim
    assert found.loc["psnr-falls", "verdict"] == claims.REPRODUCED
    reversed_order = published.assign(psnr=-published["psnr"])
    assert (
        verdicts(claims.Findings(as_trials(reversed_order), pretrained_as_published(), REAL)).loc[
            "psnr-falls", "verdict"
        ]
        == claims.NOT_REPRODUCED
    )


def test_another_order_of_nips_is_not_reproduced() -> None:
    pretrained = pretrained_as_published()
    pretrained.loc[pretrained["isp"] == "INet", "psnr"] = 45.0
    found = verdicts(claims.Findings(NOTHING.trials, pretrained, REAL)).loc["order-of-isps"]
    assert (found["verdict"], found["ours"]) == (claims.NOT_REPRODUCED, pytest.approx(44.3 - 45.0))


def test_a_front_that_does_not_reach_is_not_reproduced(published: pd.DataFrame) -> None:
    low = published.assign(psnr=published["psnr"] - 10)
    found = verdicts(claims.Findings(as_trials(low), pretrained_as_published(), REAL))
    assert math.isnan(found.loc["unet-front", "ours"])
    assert found.loc["unet-front", "verdict"] == claims.NOT_REPRODUCED


def test_only_trials_under_the_claims_channel_answer_it(published: pd.DataFrame) -> None:
    fixed = published[(published["mode"] == results.FIXED) & (published["isp"] == "UNet")].assign(accuracy=0.991)
    undistributed = as_trials(fixed).assign(**claims.UNDISTRIBUTED, **{"training.patch": "64"})
    found = verdicts(claims.Findings(undistributed, pretrained_as_published().tail(0), REAL))
    assert found.loc["fan-without-channel", "verdict"] == claims.OTHER_PROTOCOL  # of unknown pre-training
    found = verdicts(claims.Findings(undistributed, pretrained_as_published(), REAL))
    assert found.loc["fan-without-channel", "verdict"] == claims.REPRODUCED
    assert found.loc["fan-without-channel", "ours"] == pytest.approx(99.1)
    others = [claim for claim in found.index if not claim.startswith(("fan", "pretrained", "order"))]
    assert set(found.loc[others, "verdict"]) == {claims.NOT_RUN}


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("channel.codec", "jpeg:80"),
        ("channel.rounding", "soft"),
        ("channel.subsampling", "4:2:0"),
        ("channel.downsample", "1"),
        ("channel.storage", "8-bit"),  # not logged by earlier versions, and the paper's where it is missing
        ("manipulations", "('sharpen', 'gaussian', 'jpeg:80')"),
    ],
)
def test_another_channel_answers_no_claim(published: pd.DataFrame, setting: str, value: str) -> None:
    """And where a study has both, the paper's alone answers."""
    other = as_trials(published).assign(**{setting: value, "accuracy": 0.2})
    found = verdicts(claims.Findings(other, pretrained_as_published(), REAL))
    of_trials = list(trade_offs.ANSWERS)
    assert set(found.loc[of_trials, "verdict"]) == {claims.NOT_RUN}
    both = pd.concat([as_trials(published), other])
    found = verdicts(claims.Findings(both, pretrained_as_published(), REAL))
    assert found.loc["fixed-accuracy", "ours"] == pytest.approx(42.775)
    assert found.loc["joint-beats-fixed", "verdict"] == claims.REPRODUCED


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("training.iterations", "600"),
        ("training.patch", "64"),
        ("split.train", "60"),
        ("pretraining.patch", "32"),
        ("training.nip_learning_rate", "1e-05"),
        ("pretraining.start", "standard"),
    ],
)
def test_absolute_numbers_under_another_training_decide_nothing(
    published: pd.DataFrame, setting: str, value: str
) -> None:
    trials, pretrained = as_trials(published), pretrained_as_published()
    if setting in pretrained or setting.startswith("pretraining."):
        pretrained = pretrained.assign(**{setting: value})
    if setting in trials or setting.startswith("training."):
        trials = trials.assign(**{setting: value})
    found = verdicts(claims.Findings(trials, pretrained, REAL))
    assert found.loc["fixed-accuracy", "verdict"] == claims.OTHER_PROTOCOL
    assert found.loc["fixed-accuracy", "ours"] == pytest.approx(42.775)
    assert found.loc["joint-beats-fixed", "verdict"] == claims.REPRODUCED  # only compares


@pytest.mark.parametrize("axis", ["training.learning_rate", "validation.every", "split.seed", "pretraining.seed"])
def test_nothing_is_averaged_over_an_axis(published: pd.DataFrame, axis: str) -> None:
    variants = [as_trials(published).assign(**{axis: value}) for value in ("0.0001", "1")]
    found = verdicts(claims.Findings(pd.concat(variants), pretrained_as_published(), {}))
    for claim in trade_offs.ANSWERS.keys() - {"fan-without-channel", "inet-front"}:  # no such trials
        assert found.loc[claim, "verdict"] == claims.UNDECIDED, claim
        assert found.loc[claim, "data"] == f"the study varies {axis}"
        assert math.isnan(found.loc[claim, "ours"])


def test_pretrainings_that_differ_are_not_averaged() -> None:
    table = pretrained_as_published()
    several = pd.concat([table, table.assign(psnr=30.0, **{"pretraining.seed": "1"})])
    found = verdicts(claims.Findings(NOTHING.trials, several, REAL))
    assert found.loc["pretrained-UNet-psnr", ["verdict", "data"]].tolist() == [
        claims.UNDECIDED,
        "the study varies pretraining.seed",
    ]
    assert found.loc["order-of-isps", "verdict"] == claims.UNDECIDED


def test_ssim_is_compared_with_that_of_the_authors_kind() -> None:
    findings = claims.Findings(NOTHING.trials, pretrained_as_published(ssim=0.5), REAL)
    assert verdicts(findings).loc["pretrained-UNet-ssim", "verdict"] == claims.REPRODUCED
    older = findings.pretrained.assign(ssim=0.99, ssim_paper=math.nan)
    found = verdicts(claims.Findings(NOTHING.trials, older, REAL))
    assert found.loc["pretrained-UNet-ssim", "verdict"] == claims.NOT_RUN
    assert found.loc["pretrained-UNet-psnr", "verdict"] == claims.REPRODUCED


def test_a_mean_over_cameras_gives_each_camera_one_voice(published: pd.DataFrame) -> None:
    """40D has one ISP, D90 two; 5D has two pre-trainings of equal settings."""
    fixed = published[published["mode"] == results.FIXED]
    chosen = fixed[(fixed["camera"] == "Nikon D90") | ((fixed["camera"] == "Canon EOS 40D") & (fixed["isp"] == "UNet"))]
    found = verdicts(claims.Findings(as_trials(chosen), pretrained_as_published(), REAL))
    assert found.loc["fixed-accuracy", "ours"] == pytest.approx((38.2 + (45.0 + 44.8) / 2) / 2)
    unet = pretrained_as_published().query("isp == 'UNet'")
    several = pd.concat([unet, *(unet.assign(camera="Canon EOS 5D", seed=seed, psnr=40.0) for seed in (1, 2, 3))])
    found = verdicts(claims.Findings(NOTHING.trials, several, REAL))
    assert found.loc["pretrained-UNet-psnr", "ours"] == pytest.approx((44.3 + 40.0) / 2)


def test_one_seed_has_no_interval_to_answer_with(published: pd.DataFrame) -> None:
    found = verdicts(claims.Findings(as_trials(published, seeds=(0,)), pretrained_as_published(), REAL))
    assert found.loc["joint-beats-fixed", ["verdict", "data"]].tolist() == [
        claims.UNDECIDED,
        "one seed has no interval",
    ]
    assert found.loc["unet-front", "verdict"] == claims.REPRODUCED


def test_the_test_photographs_answer_and_validation_chooses(published: pd.DataFrame) -> None:
    """On the test every accuracy is ten points lower, but for one λ that validation would never choose."""
    trials = as_trials(published)
    trials = trials.assign(test_psnr=trials["psnr"], test_ssim=trials["ssim"], test_accuracy=trials["accuracy"] - 0.1)
    trials.loc[trials["lam"] == 0.5, "test_accuracy"] = 1.0
    found = verdicts(claims.Findings(trials, pretrained_as_published(), REAL))
    row = found.loc["fixed-accuracy"]
    assert (row["ours"], row["on_validation"], row["photographs"]) == (
        pytest.approx(32.775),
        pytest.approx(42.775),
        "test",
    )
    row = found.loc["nearly-perfect"]
    assert row["on_validation"] - row["ours"] == pytest.approx(10)
    row = found.loc["minor-distortion"]
    assert row["ours"] == row["on_validation"] == pytest.approx(90.0)  # a share of gains
    row = found.loc["pretrained-UNet-psnr"]
    assert (row["photographs"], row["ours"]) == ("validation", row["on_validation"])


def test_the_share_of_a_gain_with_a_camera_that_gains_nothing(published: pd.DataFrame) -> None:
    """Such a camera has no share, one without a cheap setting has none of its gain, and labels are no obstacle."""
    unet = published[published["isp"] == "UNet"]
    useless = (unet["camera"] == "Nikon D90") & (unet["mode"] != results.FIXED)
    trials = as_trials(unet.assign(accuracy=unet["accuracy"].mask(useless, 0.1)))
    found = verdicts(claims.Findings(trials, pretrained_as_published(), REAL))
    assert found.loc["minor-distortion", "ours"] == pytest.approx(90.0)
    dear = (unet["camera"] == "Canon EOS 40D") & (unet["mode"] != results.FIXED)
    trials = as_trials(unet.assign(psnr=unet["psnr"].mask(dear, 20.0)))
    found = verdicts(claims.Findings(trials, pretrained_as_published(), REAL))
    assert found.loc["minor-distortion", "ours"] == 0


def test_nothing_run_is_nothing_said() -> None:
    found = verdicts(NOTHING)
    assert set(found["verdict"]) == {claims.NOT_RUN}
    assert found["ours"].isna().all()
    assert found.index.is_unique


def test_fan_only_is_the_setting_of_section_5_1() -> None:
    study, grid = load_study("fan-only"), load_study("paper")
    trials = [item.trial for item in planned(study)]
    assert {(trial.isp, trial.lam, trial.training.patch) for trial in trials} == {("UNet", "fixed", 64)}
    assert {trial.camera for trial in trials} == set(CAMERAS)
    trial = trials[0]
    assert 2 * trial.training.patch // trial.channel.downsample == 128  # px that the FAN receives, as in the grid
    assert logged(trial).items() >= claims.UNDISTRIBUTED.items()
    assert planned(study)[0].pretraining == planned(grid)[0].pretraining  # the same NIPs


@pytest.mark.parametrize("preset", ["paper", "fan-only"])
def test_the_papers_protocol_is_that_of_its_presets(preset: str) -> None:
    item = planned(load_study(preset))[0]
    table = pd.DataFrame([logged(item.trial)])
    assert len(protocol.trained_alike(table)) == 1
    settings = {"split": asdict(item.trial.split), "pretraining": asdict(item.pretraining)}
    pretraining = {name: str(value) for name, value in keys.flat(settings).items()}
    assert pretraining.items() >= protocol.PRETRAINING.items()
    if preset == "paper":
        assert logged(item.trial).items() >= claims.DISTRIBUTED.items()
        prnu = {f"prnu.{name}": str(value) for name, value in load_study(preset).prnu}
        assert prnu.items() >= protocol.FINGERPRINTS.items()


def logged(trial: Trial) -> dict[str, str]:
    """The settings of a trial as its run has them."""
    return {name: str(value) for name, value in keys.flat(asdict(trial)).items()}


def test_deviations_are_said_in_full() -> None:
    found = paper.deviations()
    assert not found.isna().any(axis=None)
    for subject in ("Cross-entropy", "Fidelity", "Starting weights", "End of pre-training", "Training images", "SSIM"):
        assert found["subject"].str.startswith(subject).sum() == 1
