"""Cross-pipeline experiments on cameras whose pattern is known, by pipelines whose effect is known."""

import json
import math
import weakref
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor

from channel import Channel
from prnu.experiment import (
    AS_DEVELOPED,
    DEVELOPED,
    GRID,
    PAPER,
    RECEIVED,
    Attribution,
    CameraResult,
    OtherCamera,
    Pipeline,
    Proportion,
    Settings,
    Split,
    as_file,
    central_crop,
    enrol,
    estimate,
    experiment,
    load,
    save,
    scores,
    split,
    tamper,
)
from prnu.fingerprint import fingerprint
from prnu.localise import best_f1, localise
from prnu.match import correlation, pce

HEIGHT, WIDTH = 192, 256
SETTINGS = Settings(window=33, forgery=96)
NAMES = [f"{index:03}.dng" for index in range(150)]
SPLIT = split(NAMES[:14], 8, 3, 3, seed=1)
IMAGES_OF_OTHERS = (20, 21, 22)
K_1 = 0.02 * torch.randn(HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))  # of body 1
COMMON = 0.02 * torch.randn(HEIGHT, WIDTH, generator=torch.Generator().manual_seed(99))  # a trace of the pipeline


def camera(body: int) -> Callable[[int], Tensor]:
    """Photographs of smooth scenes by a camera with a pattern of its own."""
    K = 0.02 * torch.randn(HEIGHT, WIDTH, generator=torch.Generator().manual_seed(body))

    def develop(index: int) -> Tensor:
        generator = torch.Generator().manual_seed(1000 * body + index)
        scene = F.interpolate(0.2 + 0.6 * torch.rand(1, 3, 6, 8, generator=generator), (HEIGHT, WIDTH), mode="bicubic")
        noise = 0.01 * torch.randn(1, 3, HEIGHT, WIDTH, generator=generator)
        return (scene * (1 + K) + noise).clamp(0, 1)

    return develop


PIPELINES: dict[str, Callable[[Tensor], Tensor]] = {
    "plain": lambda image: image,
    "twin": lambda image: image,
    "blurred": lambda image: F.avg_pool2d(image, 3, stride=1, padding=1, count_include_pad=False),
    "displaced": lambda image: image.roll((2, 2), (-2, -1)),  # the correction of a lens: no pixel stays where it was
    "artefact": lambda image: (image * (1 + COMMON)).clamp(0, 1),
}


def developed(body: int, name: str) -> Callable[[int], Tensor]:
    take = camera(body)
    return lambda index: PIPELINES[name](take(index))


def others(*names: str) -> list[OtherCamera]:
    return [OtherCamera(f"body {n}", {name: developed(n, name) for name in names}, IMAGES_OF_OTHERS) for n in (2, 3)]


@pytest.fixture(scope="module")
def result() -> CameraResult:
    pipelines = [Pipeline(name, developed(1, name)) for name in PIPELINES]
    channel = Channel(2, "jpeg:90", rounding="round")
    truth = {DEVELOPED: K_1, RECEIVED: F.avg_pool2d(K_1[None], 2)[0]}
    return experiment("body 1", pipelines, SPLIT, others(*PIPELINES), channel, "blurred", SETTINGS, truth=truth)


def attribution(result: CameraResult, pipeline: str, view: str) -> Attribution:
    return next(a for a in result.attributions if (a.pipeline, a.view) == (pipeline, view))


# --- Fig. 5 ---


def test_correlations_of_fingerprints_tell_what_pipelines_do(result: CameraResult) -> None:
    plain, twin, blurred, displaced, artefact = range(5)
    corr = result.correlations
    assert torch.allclose(corr, corr.T, atol=1e-6)
    assert torch.allclose(corr.diagonal(), torch.ones(5), atol=1e-5)
    assert corr[plain, twin] == pytest.approx(1, abs=1e-5)
    assert 0.1 < corr[plain, blurred] < 0.9
    assert abs(corr[plain, displaced]) < 0.05
    assert 0.4 < corr[plain, artefact] < 0.9  # half of its variance is the pipeline's
    expected = torch.tensor(
        [[float(torch.corrcoef(torch.stack((a.flatten(), b.flatten())))[0, 1]) for b in result.fingerprints]
         for a in result.fingerprints]
    )  # fmt: skip
    assert torch.allclose(corr, expected, atol=1e-4)


def test_fingerprints_are_those_of_the_developed_files(result: CameraResult) -> None:
    images = (as_file(developed(1, "blurred")(index)) for index in SPLIT.estimation)
    assert torch.allclose(result.fingerprints[2], fingerprint(images), atol=1e-6)


def test_camera_models_find_forgeries_best_in_photographs_of_their_own_pipeline(result: CameraResult) -> None:
    plain, twin, blurred, displaced, _ = range(5)
    f1 = result.mean_f1  # rows: camera models; columns: photographs
    assert result.f1.shape == (5, 5, len(SPLIT.evaluation))
    assert (f1[plain] == f1[twin]).all() and (f1[:, plain] == f1[:, twin]).all()
    assert (f1.diagonal() >= f1 - 0.02).all()  # within a column
    for other in (plain, blurred):
        assert f1[other, displaced] < 0.6 * f1[displaced, displaced]
        assert f1[displaced, other] < 0.6 * f1[other, other]
    assert f1.diagonal().min() > 0.75


def test_the_example_shows_the_flipped_square_and_the_map_of_every_model(result: CameraResult) -> None:
    example, image = result.example, as_file(developed(1, "blurred")(SPLIT.evaluation[0]))[0]
    top, left = (HEIGHT - 96) // 2, (WIDTH - 96) // 2
    assert example.truth.sum() == 96**2 and bool(example.truth[top : top + 96, left : left + 96].all())
    assert torch.equal(example.image[:, ~example.truth], (image * 255).round().byte()[:, ~example.truth])
    square = (image * 255).round().byte()[:, top : top + 96, left : left + 96]
    assert torch.equal(example.image[:, top : top + 96, left : left + 96], square.flip(-1))
    assert example.probability.shape == (5, len(example.rows), len(example.columns))
    assert torch.equal(example.f1, result.f1[:, 2, 0])
    inside = example.truth[example.rows[:, None], example.columns]
    everything = best_f1(torch.ones_like(example.probability[0]), inside)
    assert everything.item() == pytest.approx(example.chance) and example.chance <= result.f1.min()
    own, displaced = example.probability[2], example.probability[3]
    assert own[inside].mean() > 0.7 and own[~inside].mean() < 0.3
    assert displaced[~inside].mean() > 0.3  # sees its fingerprint nowhere


def test_models_share_the_residual_and_find_what_each_finds_alone() -> None:
    models = [
        enrol(Pipeline(name, developed(1, name)), SPLIT, AS_DEVELOPED, SETTINGS, "cpu", lambda: None)
        for name in ("plain", "blurred")
    ]
    photograph = as_file(developed(1, "plain")(SPLIT.evaluation[0]))
    forgery = tamper(models, photograph, SETTINGS)
    for i, model in enumerate(models):
        alone = localise(forgery.image[None] / 255, model.K[DEVELOPED], model.predictor, SETTINGS.window)
        assert torch.allclose(alone.probability[0], forgery.probability[i], atol=1e-4)
        f1 = best_f1(alone.probability[0], alone.at_centres(forgery.truth))
        assert f1.item() == pytest.approx(forgery.f1[i].item(), abs=0.01)


# --- which camera took it? ---


@pytest.mark.parametrize("view", [DEVELOPED, RECEIVED])
@pytest.mark.parametrize("pipeline", ["plain", "blurred", "displaced"])
def test_photographs_are_attributed_to_their_camera_alone(result: CameraResult, pipeline: str, view: str) -> None:
    a = attribution(result, pipeline, view)
    assert (len(a.same), len(a.other)) == (len(SPLIT.evaluation), 2 * len(IMAGES_OF_OTHERS))
    assert a.auc == 1
    assert a.mistakes() == Proportion(0, 6)
    if view == DEVELOPED:
        assert a.matches() == Proportion(3, 3)


def test_what_a_pipeline_leaves_in_every_photograph_is_mistaken_for_a_fingerprint(result: CameraResult) -> None:
    a = attribution(result, "artefact", DEVELOPED)
    assert a.mistakes() == Proportion(6, 6)
    assert a.matches() == Proportion(3, 3)


def test_the_channel_weakens_fingerprints(result: CameraResult) -> None:
    before, after = (attribution(result, "plain", view) for view in (DEVELOPED, RECEIVED))
    assert max(after.same) < min(before.same)


def test_fingerprints_are_compared_with_the_truth(result: CameraResult) -> None:
    """An artefact that others match takes from the correlation, and what was displaced has none."""
    found = {(recovery.pipeline, recovery.view): recovery for recovery in result.recoveries}
    assert set(found) == {(pipeline, view) for pipeline in PIPELINES for view in (DEVELOPED, RECEIVED)}
    plain = found["plain", DEVELOPED]
    assert plain.images == (1, 2, 4, 8)
    images = [as_file(developed(1, "plain")(index)) for index in SPLIT.estimation]
    expected = [correlation(fingerprint(images[:number]), K_1).item() for number in plain.images]
    assert plain.correlations == pytest.approx(expected, abs=1e-5)
    assert list(plain.correlations) == sorted(plain.correlations)
    assert plain.correlations[-1] > 0.7
    assert found["artefact", DEVELOPED].correlations[-1] == pytest.approx(plain.correlations[-1] / 2**0.5, abs=0.1)
    assert abs(found["displaced", DEVELOPED].correlations[-1]) < 4 * plain.chance
    assert found["plain", RECEIVED].pixels == plain.pixels / 4
    assert 0.2 < found["plain", RECEIVED].correlations[-1] < plain.correlations[-1]


def test_scores_are_pce_with_the_fingerprint_of_the_same_view() -> None:
    views: dict[str, Any] = {DEVELOPED: lambda image: image, RECEIVED: lambda image: as_file(F.avg_pool2d(image, 2))}
    estimates = estimate(camera(1), SPLIT.estimation, views, SETTINGS, "cpu", lambda: None)
    photograph = as_file(camera(1)(SPLIT.evaluation[0]))
    values = scores(photograph, estimates, views, SETTINGS)
    assert estimates[RECEIVED].shape == (HEIGHT // 2, WIDTH // 2)
    for view, see in views.items():
        K = fingerprint(see(as_file(camera(1)(index))) for index in SPLIT.estimation)
        assert values[view].pce == pytest.approx(pce(K, see(photograph)).pce.item(), rel=1e-4)
        unweighted = pce(K, see(photograph), weighted=False).pce.item()
        assert values[view].unweighted == pytest.approx(unweighted, rel=1e-4)
        assert values[view].unweighted != values[view].pce


def test_auc_is_the_statistic_of_mann_and_whitney() -> None:
    generator = torch.Generator().manual_seed(0)
    same, other = (tuple(torch.randint(0, 9, (n,), generator=generator).tolist()) for n in (7, 12))
    a = Attribution("plain", DEVELOPED, same, other)
    assert a.auc == pytest.approx(stats.mannwhitneyu(same, other).statistic / (7 * 12))
    assert replace(a, other=()).auc is None


@pytest.mark.parametrize(("count", "pairs"), [(0, 1), (0, 120), (3, 40), (40, 40)])
def test_intervals_are_those_of_wilson(count: int, pairs: int) -> None:
    expected = stats.binomtest(count, pairs).proportion_ci(0.95, method="wilson")
    assert Proportion(count, pairs).interval == pytest.approx((expected.low, expected.high), abs=1e-6)
    assert Proportion(count, pairs).share == count / pairs


def test_without_pairs_nothing_is_known() -> None:
    nothing = Proportion(0, 0)
    assert math.isnan(nothing.share) and nothing.interval == (0, 1)
    assert nothing.to_json()["share"] is None


def test_cameras_are_pooled_by_pipeline_and_view() -> None:
    a, b = Attribution("plain", DEVELOPED, (1.0,), (2.0, 3.0)), Attribution("plain", DEVELOPED, (4.0,), ())
    assert Attribution.pool([a, b]) == Attribution("plain", DEVELOPED, (1.0, 4.0), (2.0, 3.0))
    for wrong in ([a, replace(b, view=RECEIVED)], []):
        with pytest.raises(ValueError, match="one pipeline and one view"):
            Attribution.pool(wrong)


# --- how it goes about it ---


def test_it_counts_its_steps_and_holds_few_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    alive: weakref.WeakSet[Tensor] = weakref.WeakSet()
    most = 0

    def watched(image: Tensor) -> Tensor:
        nonlocal most
        photograph = as_file(image)
        alive.add(photograph)
        most = max(most, len(alive))
        return photograph

    monkeypatch.setattr("prnu.experiment.inputs.as_file", watched)
    reported: list[tuple[int, int]] = []
    experiment(
        "body 1",
        [Pipeline(name, developed(1, name)) for name in ("plain", "blurred")],
        split(NAMES[:12], 5, 2, 5),
        others("plain"),
        settings=SETTINGS,
        on_progress=lambda done, total: reported.append((done, total)),
    )
    steps = 2 * 12 + 2 * len(IMAGES_OF_OTHERS) + 2 * 2 * 5
    assert reported == [(done, steps) for done in range(1, steps + 1)]
    assert most <= 3  # a new one, the one before it, and the last one of the loop before


def test_a_result_survives_its_file(result: CameraResult, tmp_path: Path) -> None:
    save(tmp_path / "body.safetensors", result)
    again = load(tmp_path / "body.safetensors")
    assert again.to_json() == result.to_json()
    assert torch.equal(again.fingerprints, result.fingerprints)
    for name, tensor in vars(result.example).items():
        assert torch.equal(getattr(again.example, name), tensor), name
    document = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert document["mean_f1"][0][2] == pytest.approx(result.f1[0, 2].mean().item())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pipelines": []}, "names of their own"),
        ({"pipelines": [Pipeline("plain", camera(1))] * 2}, "names of their own"),
        ({"images": Split((0, 1), (), (2,))}, "no image for prediction"),
        ({"others": others("artefact")}, "no pipeline 'artefact'"),
        ({"example": "libraw"}, "no pipeline 'libraw'"),
        ({"settings": Settings(window=33)}, "256×256"),
        ({"settings": Settings(window=201, forgery=96)}, "201×201"),
        (
            {"others": [OtherCamera("small", {"plain": lambda index: camera(2)(index)[..., :128]}, (0,))]},
            "photographs of body 1 are 192×256, those of small 192×128",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_the_work(change: dict[str, Any], message: str) -> None:
    arguments = {
        "camera": "body 1",
        "pipelines": [Pipeline("plain", camera(1))],
        "images": SPLIT,
        "settings": SETTINGS,
        "on_progress": lambda done, total: pytest.fail("it has begun"),
    }
    with pytest.raises(ValueError, match=message):
        experiment(**{**arguments, **change})


# --- images and photographs ---


def test_a_split_divides_images_once_and_for_all() -> None:
    parts = asdict(split(NAMES)).values()
    assert [len(part) for part in parts] == [90, 30, 30]
    assert sorted(index for part in parts for index in part) == list(range(150))
    assert split(NAMES) == split(NAMES, seed=0) != split(NAMES, seed=1)
    assert split(NAMES[:24], 14, 0, 6).prediction == ()


def test_a_split_goes_by_names_and_not_by_the_order_of_import() -> None:
    """The same photographs, imported in another order, are used for the same things in the same order."""
    order = torch.randperm(len(NAMES), generator=torch.Generator().manual_seed(5)).tolist()
    imported = [NAMES[index] for index in order]
    for part, indices in asdict(split(NAMES, seed=3)).items():
        others = getattr(split(imported, seed=3), part)
        assert [imported[index] for index in others] == [NAMES[index] for index in indices]
    with pytest.raises(ValueError, match="two images have one name"):
        split(["a", "a", "b"], 1, 1, 1)


@pytest.mark.parametrize(("sizes", "message"), [((14, 4, 7), "only 24"), ((14, -1, 6), "negative")])
def test_a_split_of_too_few_images_is_refused(sizes: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split(NAMES[:24], *sizes)


@pytest.mark.parametrize(
    ("height", "width", "pixels", "size"),
    [
        (3000, 4000, PAPER.pixels, (1024, 1024)),
        (4000, 3001, PAPER.pixels, (1024, 1024)),
        (512, 768, PAPER.pixels, (512, 768)),
        (513, 767, PAPER.pixels, (512, 766)),
        (512, 4000, PAPER.pixels, (512, 2048)),
        (4000, 512, PAPER.pixels, (2048, 512)),
        (3000, 4000, 1_000_000, (1000, 1000)),
    ],
)
def test_crops_are_central_and_keep_the_phase(height: int, width: int, pixels: int, size: tuple[int, int]) -> None:
    position = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"))[None]
    crop = central_crop(position, pixels)
    top, left = crop[0, :, 0, 0].tolist()
    assert crop.shape[-2:] == size
    assert (top % GRID, left % GRID) == (0, 0)
    assert 0 <= (height - size[0]) / 2 - top < GRID and 0 <= (width - size[1]) / 2 - left < GRID


def test_an_empty_crop_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        central_crop(torch.zeros(1, 3, 64, 64), 3)


def test_a_file_has_256_levels() -> None:
    assert torch.equal(as_file(torch.tensor([-0.1, 0.4 / 255, 0.6 / 255, 1.2])) * 255, torch.tensor([0.0, 0, 1, 255]))
