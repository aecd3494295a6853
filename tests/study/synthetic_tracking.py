"""A tracking database with synthetic trials, written in bulk: 1,320 runs in seconds.

Rows go straight into MLflow's own tables, because a thousand runs through its client take minutes. Metrics follow a
formula, so that every statistic can be computed by hand.
"""

import itertools
import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy
from mlflow import MlflowClient
from mlflow.store.tracking.dbmodels import models
from safetensors.numpy import save_file

CLASSES = ["native", "sharpen", "gaussian", "jpeg:80", "resample"]
LAMBDAS: tuple[float | str, ...] = (1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, "fixed")
START = 1_700_000_000_000  # ms
SETTINGS = {
    "manipulations": "('sharpen', 'gaussian', 'jpeg:80', 'resample')",
    "split.train": "120",
    "split.validation": "30",
    "split.test": "0",
    "channel.downsample": "2",
    "channel.codec": "jpeg:50",
    "channel.rounding": "sin",
    "channel.subsampling": "4:4:4",
    "training.iterations": "6000",
    "training.batch": "20",
    "training.patch": "128",
    "training.learning_rate": "0.0001",
    "training.decay": "0.85",
    "training.decay_every": "600",
    "training.textured": "False",
    "training.precision": "float32",
    "validation.textured": "True",
}
PRETRAINING = {
    "split.train": "120",
    "split.validation": "30",
    "pretraining.patch": "64",
    "pretraining.batch": "20",
    "pretraining.learning_rate": "0.0001",
    "pretraining.max_iterations": "300000",
    "pretraining.check_every": "600",
    "pretraining.window": "5",
    "pretraining.tolerance": "None",
    "pretraining.validation_patch": "256",
    "pretraining.textured": "False",
    "pretraining.precision": "float32",
    "pretraining.seed": "0",
}
# Of the test, beside validation.
TEST = {"accuracy": -0.03, "psnr": -0.5, "ssim": -0.01, "ssim_paper": -0.005, "flip": 0.01}


def behind_codecs(accuracy: float, prefix: str = "") -> dict[str, list[float]]:
    """Metrics of a later evaluation: a point less behind JPEG 50, five with 4:2:0, ten behind WebP."""
    lost = {"dJPEG": 0, "jpeg_50": 0.01, "jpeg_50_420": 0.05, "webp_50": 0.1}
    return {f"{prefix}accuracy_{codec}": [accuracy - points] for codec, points in lost.items()}


PANEL = {"jpeg:50": 0.05, "jpeg:50 4:2:0": 0.1, "webp:50": 0.2, "avif:50": 0.05}  # points lost, 0.1 on average
UNSEEN = ["webp:50", "avif:50"]
VERDICT_SECONDS = 6.0  # beside 60 s of training


def verdict(accuracy: float, prefix: str = "") -> dict[str, list[float]]:
    """Metrics of the verdict behind the panel."""
    names = {member: re.sub(r"[ :]", "_", member).replace("4_2_0", "420") for member in PANEL}
    members = {f"_{names[member]}": accuracy - lost for member, lost in PANEL.items()}
    lost = {"": accuracy - 0.1, "_worst": accuracy - 0.2, **members}
    return {f"{prefix}accuracy_real{name}": [value] for name, value in lost.items()}


def judgement(accuracy: float) -> dict[str, Any]:
    """What a run keeps of a verdict."""
    members = {
        member.replace(" ", ":"): {"accuracy": accuracy - lost, "confusion": confusion(accuracy - lost)}
        for member, lost in PANEL.items()
    }
    return {
        "accuracy": accuracy - 0.1,
        "worst": "webp:50",
        "photographs": 8,
        "windows": 800,
        "confusion": confusion(accuracy - 0.1),
        "members": members,
    }


def on_test(final: dict[str, float]) -> dict[str, float]:
    """What the test photographs give where validation gives these metrics."""
    return {f"test_{name}": value + TEST[name] for name, value in final.items()}


def confusion(accuracy: float) -> list[list[float]]:
    """Confusion matrix of five classes with equal errors."""
    matrix = np.full((5, 5), (1 - accuracy) / 4)
    np.fill_diagonal(matrix, accuracy)
    return matrix.tolist()


def fusion(accuracy: float) -> dict[str, dict[str, list[float]]]:
    """Image-level accuracy by patches: errors fall as one over their number; majority is a point worse."""
    counts = (1, 2, 5, 10, 20)
    means = {str(k): 1 - (1 - accuracy) / k for k in counts}
    return {
        "mean_log_probability": {k: [mean, mean - 0.02, min(mean + 0.02, 1)] for k, mean in means.items()},
        "majority": {k: [mean - 0.01, mean - 0.03, mean + 0.01] for k, mean in means.items()},
    }


def metrics(camera: int, isp: int, lam: float | str, seed: int) -> dict[str, float]:
    """Final metrics by formula: accuracy falls and fidelity rises with λ, seeds add a small offset."""
    strength = 1.2 if lam == "fixed" else 1 + 0.2 * math.log10(float(lam))  # 0.2 at 1e-4, 1 at 1
    offset = 0.004 * seed
    return {
        "accuracy": 0.98 - 0.5 * strength**2 * (1 - 0.1 * isp) - 0.01 * camera + offset,
        "psnr": (43 if lam == "fixed" else 26 + 17.5 * strength) + isp + offset,
        "ssim": (0.98 if lam == "fixed" else 0.84 + 0.14 * strength) + 0.1 * offset,
        "ssim_paper": (0.99 if lam == "fixed" else 0.85 + 0.14 * strength) + 0.1 * offset,
        "flip": (0.02 if lam == "fixed" else 0.2 - 0.15 * strength) + 0.1 * offset,
    }


def fill(
    folder: Path,
    experiment: str = "synthetic",
    cameras: Sequence[str] = ("Alpha", "Beta"),
    isps: Sequence[str] = ("INet", "UNet"),
    lambdas: Sequence[float | str] = LAMBDAS,
    seeds: Sequence[int] = (1, 2, 3),
    points: int = 5,
    confusions: bool = True,
    examples: bool = False,
    evaluated: bool = False,
    older_evaluation: bool = False,
    pretrained: bool = False,
    tested: bool = False,
    verdicts: bool = False,
    axes: Sequence[dict[str, str]] = ({},),
    uri: str | None = None,
    first: int = 0,
) -> str:
    """Fill ``folder/mlflow.db`` with the grid, all finished, and return its tracking URI.

    Trial keys are ``camera/isp/lambda/seed``, and the values of ``axes`` behind: one mapping of further settings for
    each variant, the second of which is ten points more accurate than the first, and so on. ``tested``: there are test
    photographs, whose metrics are :func:`on_test`. ``points`` metric values per history, 100 iterations apart.
    Runs are numbered from ``first``: a second study in the database ``uri`` needs numbers of its own.
    ``verdicts``: every trial has a verdict behind real encoders, ten points less on average (:data:`PANEL`).
    ``older_evaluation``: one artifact for all codecs, as runs once had it.
    """
    uri = uri or f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=uri)
    experiment_id = client.create_experiment(experiment, artifact_location=(folder / "artifacts").as_uri())
    rows: dict[Any, list[dict[str, Any]]] = {}
    grid = list(itertools.product(range(len(cameras)), range(len(isps)), lambdas, seeds, enumerate(axes)))
    for number, (c, i, lam, seed, (variant, further)) in enumerate(grid, first):
        final = metrics(c, i, lam, seed)
        final["accuracy"] += 0.1 * variant
        test = on_test(final) if tested else {}
        run_id = add(
            rows,
            folder,
            experiment_id,
            number,
            status="FINISHED",
            tags={
                "kind": "trial",
                "trial_key": "/".join([cameras[c], isps[i], str(lam), str(seed), *further.values()]),
                "git_revision": "0" * 40,
                "hardware": "synthetic",
                "packages": "{}",
                "data_fingerprint": f"fingerprint of {cameras[c]}",
                "nip_sha256": f"hash of {cameras[c]} {isps[i]}",
            },
            params={
                "camera": cameras[c],
                "isp": isps[i],
                "lambda": repr(lam) if lam != "fixed" else "fixed",
                "seed": str(seed),
                **SETTINGS,
                **({"split.test": "30"} if tested else {}),
                **further,
            },
            history={name: _approach(name, value, points) for name, value in final.items()}
            | {name: [math.nan] * (points - 1) + [value] for name, value in test.items()}
            | {"seconds": [60.0]}
            | ({"verdict_seconds": [VERDICT_SECONDS]} if verdicts else {})
            | (behind_codecs(final["accuracy"]) if evaluated else {})
            | (behind_codecs(test["test_accuracy"], "test_") if evaluated and tested else {})
            | (verdict(final["accuracy"]) if verdicts else {})
            | (verdict(test["test_accuracy"], "test_") if verdicts and tested else {}),
        )
        artifacts = folder / "artifacts" / run_id / "artifacts"
        if confusions or examples or evaluated or verdicts:
            artifacts.mkdir(parents=True)
        if confusions:
            content = {"classes": CLASSES, "confusion": confusion(final["accuracy"])}
            content |= {"test": confusion(test["test_accuracy"])} if tested else {}
            (artifacts / "confusion.json").write_text(json.dumps(content))
        if verdicts:
            found = {"classes": CLASSES, "unseen": UNSEEN, **judgement(final["accuracy"])}
            found |= {"test": judgement(test["test_accuracy"])} if tested else {}
            (artifacts / "verdict.json").write_text(json.dumps(found))
        if evaluated:
            document = artifacts / ("evaluation.json" if older_evaluation else "evaluation/dJPEG.json")
            document.parent.mkdir(exist_ok=True)
            judged = {"fusion": fusion(final["accuracy"]), "images": 30}
            judged |= {"test": {"fusion": fusion(test["test_accuracy"]), "images": 20}} if tested else {}
            document.write_text(json.dumps(judged))
        if examples:
            save_file(patches(seed), artifacts / "examples.safetensors")
    if pretrained:
        for number, (camera, isp) in enumerate(itertools.product(cameras, isps), first + len(grid)):
            add(
                rows,
                folder,
                experiment_id,
                number,
                status="FINISHED",
                tags={"kind": "pretrain", "trial_key": f"{camera}/{isp}", "nip_sha256": f"hash of {camera} {isp}"},
                params={"camera": camera, "isp": isp, "seed": "0", **PRETRAINING},
                history={
                    "loss": [0.1, 0.01],
                    "psnr": [30.0, 42.0],
                    "ssim": [0.9, 0.98],
                    "ssim_paper": [0.9, 0.99],
                    "seconds": [120.0],
                }
                | ({"test_psnr": [41.0], "test_ssim": [0.97], "test_ssim_paper": [0.98]} if tested else {}),
            )
    write(uri, rows)
    return uri


def add_trials(
    uri: str,
    folder: Path,
    experiment: str,
    first: int,
    trials: Iterable[tuple[str, str, dict[str, list[float]], dict[str, str]]],
) -> None:
    """Add single trials to a study: key, status, history and further tags of each."""
    found = MlflowClient(uri).get_experiment_by_name(experiment)
    rows: dict[Any, list[dict[str, Any]]] = {}
    for number, (key, status, history, tags) in enumerate(trials, first):
        camera, isp, lam, seed = key.split("/")
        add(
            rows,
            folder,
            found.experiment_id,
            number,
            status=status,
            tags={"kind": "trial", "trial_key": key, **tags},
            params={"camera": camera, "isp": isp, "lambda": lam, "seed": seed, **SETTINGS},
            history=history,
        )
    write(uri, rows)


def add(
    rows: dict[Any, list[dict[str, Any]]],
    folder: Path,
    experiment_id: str,
    number: int,
    *,
    status: str,
    tags: dict[str, str],
    params: dict[str, str],
    history: dict[str, list[float]],
) -> str:
    """Append the database rows of one run, which starts ``number`` seconds after the first one."""
    run_id = f"{number:032x}"
    start = START + 1000 * number
    rows.setdefault(models.SqlRun, []).append(
        {
            "run_uuid": run_id,
            "name": f"run-{number}",
            "status": status,
            "start_time": start,
            "end_time": None if status == "RUNNING" else start + 60_000,
            "lifecycle_stage": "active",
            "experiment_id": int(experiment_id),
            "source_type": "LOCAL",
            "user_id": "test",
            "artifact_uri": (folder / "artifacts" / run_id / "artifacts").as_uri(),
        }
    )
    for table, entries in ((models.SqlTag, tags), (models.SqlParam, params)):
        rows.setdefault(table, []).extend(
            {"run_uuid": run_id, "key": key, "value": value} for key, value in entries.items()
        )
    for key, values in history.items():
        entries = [
            {
                "run_uuid": run_id,
                "key": key,
                "value": 0.0 if math.isnan(value) else value,
                "is_nan": math.isnan(value),
                "timestamp": start + step,
                "step": 100 * step,
            }
            for step, value in enumerate(values, 1)
        ]
        rows.setdefault(models.SqlMetric, []).extend(entries)
        rows.setdefault(models.SqlLatestMetric, []).append(entries[-1])
    return run_id


def write(uri: str, rows: dict[Any, list[dict[str, Any]]]) -> None:
    engine = sqlalchemy.create_engine(uri)
    with engine.begin() as connection:
        for table, entries in rows.items():
            columns = {attribute.key: attribute.columns[0].name for attribute in sqlalchemy.inspect(table).column_attrs}
            connection.execute(
                sqlalchemy.insert(table.__table__),
                [{columns[key]: value for key, value in entry.items()} for entry in entries],
            )
    engine.dispose()


def patches(seed: int, count: int = 2, size: int = 64) -> dict[str, np.ndarray]:
    """Example patches whose developed version carries a periodic pattern, as a jointly trained NIP's does."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(60, 190, size)
    target = np.broadcast_to(ramp[None, None, :, None], (count, 3, size, size)) + rng.normal(
        0, 12, (count, 3, size, size)
    )
    native = target + rng.normal(0, 1.5, target.shape)
    developed = native + 6 * np.cos(np.pi * np.arange(size) / 2)
    return {
        name: np.clip(np.round(image), 0, 255).astype(np.uint8)
        for name, image in (("target", target), ("native", native), ("developed", developed))
    }


def _approach(name: str, value: float, points: int) -> list[float]:
    """A history that ends at ``value``."""
    start = {"accuracy": 0.2}.get(name, value * 1.02)
    return [value + (start - value) * math.exp(-5 * k / max(points - 1, 1)) for k in range(points - 1)] + [value]
