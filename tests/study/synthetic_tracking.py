"""A tracking database with synthetic trials, written in bulk: 1,320 runs in seconds.

Rows go straight into MLflow's own tables, because a thousand runs through its client take minutes. Metrics follow a
formula, so that every statistic can be computed by hand.
"""

import itertools
import json
import math
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
    "channel.downsample": "2",
    "channel.codec": "jpeg:50",
    "training.iterations": "6000",
    "training.patch": "128",
}


def behind_codecs(accuracy: float) -> dict[str, list[float]]:
    """Metrics of a later evaluation: a point less behind JPEG 50, five with 4:2:0, ten behind WebP."""
    return {
        "accuracy_dJPEG": [accuracy],
        "accuracy_jpeg_50": [accuracy - 0.01],
        "accuracy_jpeg_50_420": [accuracy - 0.05],
        "accuracy_webp_50": [accuracy - 0.1],
    }


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
        "ssim": (0.99 if lam == "fixed" else 0.85 + 0.14 * strength) + 0.1 * offset,
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
    uri: str | None = None,
    first: int = 0,
) -> str:
    """Fill ``folder/mlflow.db`` with the grid, all finished, and return its tracking URI.

    Trial keys are ``camera/isp/lambda/seed``. ``points`` metric values per history, 100 iterations apart.
    Runs are numbered from ``first``: a second study in the database ``uri`` needs numbers of its own.
    ``older_evaluation``: one artifact for all codecs, as runs once had it.
    """
    uri = uri or f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=uri)
    experiment_id = client.create_experiment(experiment, artifact_location=(folder / "artifacts").as_uri())
    rows: dict[Any, list[dict[str, Any]]] = {}
    grid = list(itertools.product(range(len(cameras)), range(len(isps)), lambdas, seeds))
    for number, (c, i, lam, seed) in enumerate(grid, first):
        final = metrics(c, i, lam, seed)
        run_id = add(
            rows,
            folder,
            experiment_id,
            number,
            status="FINISHED",
            tags={
                "kind": "trial",
                "trial_key": f"{cameras[c]}/{isps[i]}/{lam}/{seed}",
                "git_revision": "0" * 40,
                "hardware": "synthetic",
                "packages": "{}",
                "data_fingerprint": f"fingerprint of {cameras[c]}",
            },
            params={
                "camera": cameras[c],
                "isp": isps[i],
                "lambda": repr(lam) if lam != "fixed" else "fixed",
                "seed": str(seed),
                **SETTINGS,
            },
            history={name: _approach(name, value, points) for name, value in final.items()}
            | {"seconds": [60.0]}
            | (behind_codecs(final["accuracy"]) if evaluated else {}),
        )
        artifacts = folder / "artifacts" / run_id / "artifacts"
        if confusions or examples or evaluated:
            artifacts.mkdir(parents=True)
        if confusions:
            matrix = np.full((5, 5), (1 - final["accuracy"]) / 4)
            np.fill_diagonal(matrix, final["accuracy"])
            (artifacts / "confusion.json").write_text(json.dumps({"classes": CLASSES, "confusion": matrix.tolist()}))
        if evaluated:
            document = artifacts / ("evaluation.json" if older_evaluation else "evaluation/dJPEG.json")
            document.parent.mkdir(exist_ok=True)
            document.write_text(json.dumps({"fusion": fusion(final["accuracy"])}))
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
                tags={"kind": "pretrain", "trial_key": f"{camera}/{isp}"},
                params={"camera": camera, "isp": isp, "seed": "0"},
                history={"loss": [0.1, 0.01], "psnr": [30.0, 42.0], "ssim": [0.9, 0.99], "seconds": [120.0]},
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
