"""The split of a camera's images: test images choose nothing, and results are reported on them."""

import copy

import pytest
import torch
from small_trials import small_trial, validation_patches

import models
from cameras.feed import Photographs
from cameras.pairs import Pairs
from forensics import Trial, train
from forensics.evaluation import DIFFERENTIABLE, evaluate
from forensics.trial import Split
from forensics.validation import validate, validation_set
from models.pretrain import Pretraining, fidelity, pretrain

NAMES = [f"image {number}" for number in (5, 3, 8, 1, 9, 2, 7, 4, 6, 0)]


def test_parts_share_no_image_and_do_not_depend_on_the_order_of_import() -> None:
    train_images, validation, test = Split(4, 3, 2, seed=1).images(NAMES)
    assert [len(part) for part in (train_images, validation, test)] == [4, 3, 2]
    assert len({*train_images.tolist(), *validation.tolist(), *test.tolist()}) == 9
    backwards = Split(4, 3, 2, seed=1).images(NAMES[::-1])
    for part, other in zip((train_images, validation, test), backwards, strict=True):
        assert [NAMES[i] for i in part] == [NAMES[::-1][i] for i in other]


def test_a_test_leaves_the_draws_of_training_and_validation_as_they_are() -> None:
    for test in range(4):
        with_test = Split(4, 3, test, seed=7).images(NAMES)
        without = Split(4, 3, seed=7).images(NAMES)
        assert with_test[0].equal(without[0])
        assert with_test[1].equal(without[1])
    fewer = Split(2, 3, 3, seed=7).images(NAMES)
    assert fewer[2].equal(with_test[2]), "with fewer training images the test stays the same"


def test_too_few_images_are_one_line() -> None:
    with pytest.raises(ValueError, match=r"asks for 4 \+ 3 \+ 4 images, but there are only 10"):
        Split(4, 3, 4).images(NAMES)
    with pytest.raises(ValueError, match=r"split\.test = -1"):
        Split(4, 3, -1)


@pytest.mark.parametrize("lam", ["0.1", "free", "", None, True, -0.1, float("nan"), float("inf")])
def test_what_is_neither_a_number_nor_fixed_is_no_lambda(lam: object) -> None:
    with pytest.raises(ValueError, match=r"lambda = .* use a number ≥ 0 or 'fixed'"):
        Trial("camera", "UNet", lam)  # type: ignore[arg-type]


@pytest.mark.parametrize("lam", ["fixed", 0.1])
def test_a_trial_is_scored_on_test_images_and_they_change_nothing_else(
    pairs: Pairs, nip: models.NIP, lam: float | str
) -> None:
    reported: dict[str, float] = {}
    trial = small_trial(lam, split=Split(2, 1, 1))
    outcome = train(trial, pairs, nip, on_metrics=lambda step, metrics: reported.update(metrics))
    without = train(small_trial(lam, split=Split(2, 1)), pairs, nip)
    assert without.test_scores is None
    assert outcome.history == without.history
    for name, value in outcome.nip.state_dict().items():
        assert value.equal(without.nip.state_dict()[name])

    # The test images, given as the validation of another trial, are scored alike.
    _, validation, test = trial.split.images(pairs.names)
    assert set(validation.tolist()).isdisjoint(test.tolist())
    from forensics.training import build_model

    model = build_model(trial, outcome.nip)
    model.fan.load_state_dict(outcome.fan.state_dict())
    photographs = Photographs(pairs, torch.device("cpu"))
    scores = validate(model, photographs, validation_set(trial, pairs, test), trial.training.batch)
    assert outcome.test_scores is not None
    assert scores.metrics("test_") == outcome.test_scores.metrics("test_")
    assert scores.metrics("test_").items() <= reported.items()
    assert scores.psnr != outcome.scores.psnr


@pytest.mark.parametrize("test", [0, 1])
def test_further_measures_are_taken_at_the_end_of_all_fidelity_patches(
    pairs: Pairs, nip: models.NIP, test: int
) -> None:
    """Of targets and photographs, in this order, by the networks that are kept; and they change nothing else."""
    trial = small_trial(0.1, split=Split(2, 1, test))
    reported: list[tuple[int, dict[str, float]]] = []

    def brighter(target: torch.Tensor, developed: torch.Tensor) -> torch.Tensor:
        return (developed - target).flatten(1).mean(dim=1)

    outcome = train(
        trial,
        pairs,
        nip,
        at_end={"brighter": brighter},
        on_metrics=lambda *found: reported.append((found[0], dict(found[1]))),
    )
    assert outcome.history == train(trial, pairs, nip).history
    _, validation, tested = trial.split.images(pairs.names)
    expected = {}
    for name, images in {"brighter": validation, "test_brighter": tested}.items():
        if len(images):
            _, fidelity = validation_patches(trial, pairs, images)
            with torch.no_grad():
                expected[name] = (outcome.nip(fidelity.bayer) - fidelity.target).double().mean().item()
    *before, (step, last) = reported
    assert step == trial.training.iterations
    assert {name: last[name] for name in expected} == pytest.approx(expected, rel=1e-4)
    assert set(last) - set(expected) == ({f"test_{name}" for name in outcome.scores.metrics()} if test else set())
    assert all("brighter" not in metrics for _, metrics in before)


def test_an_evaluation_on_test_images_repeats_the_test_of_the_trial(pairs: Pairs, nip: models.NIP) -> None:
    trial = small_trial(0.1, split=Split(2, 1, 1))
    outcome = train(trial, pairs, nip)
    judged = evaluate(trial, pairs, copy.deepcopy(outcome.nip), outcome.fan, [DIFFERENTIABLE], on_test=True)
    assert outcome.test_scores is not None
    assert judged.confusion(DIFFERENTIABLE).equal(outcome.test_scores.confusion)


def test_a_pre_trained_nip_is_measured_on_test_images(pairs: Pairs) -> None:
    settings = Pretraining(patch=8, batch=2, max_iterations=4, check_every=2, validation_patch=16)
    nip = models.build("INet", cfa=pairs.cfa)
    train_images, validation, test = Split(2, 1, 1).images(pairs.names)
    trained = pretrain(nip, pairs, train_images, validation, settings)
    assert fidelity(trained.nip, pairs, validation, settings)["psnr"] == pytest.approx(trained.psnr, rel=1e-6)
    assert fidelity(trained.nip, pairs, test, settings)["psnr"] != pytest.approx(trained.psnr, rel=1e-6)


def test_ssim_of_the_authors_is_that_of_scikit_image_without_a_range() -> None:
    from skimage.metrics import structural_similarity

    from models.fidelity import ssim, ssim_paper

    generator = torch.Generator().manual_seed(0)
    a = torch.rand(3, 3, 40, 33, generator=generator)
    b = (a + 0.1 * torch.randn(a.shape, generator=generator)).clamp(0, 1)
    expected = [
        structural_similarity(x.numpy(), y.numpy(), channel_axis=0, data_range=2.0) for x, y in zip(a, b, strict=True)
    ]
    assert ssim_paper(a, b).tolist() == pytest.approx(expected, abs=1e-5)
    assert (ssim_paper(a, b) > ssim(a, b)).all()
    with pytest.raises(ValueError, match="7×7"):
        ssim_paper(a[..., :6], b[..., :6])
