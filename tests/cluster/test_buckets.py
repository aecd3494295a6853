"""A bucket as the storage: workers have nothing but what lies in it, and a second submission finds it all there."""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from machines import BIN, BUCKET, ROOT, Bucket, Cluster, Machine, TrackingServer, wait_for
from mlflow import MlflowClient

STUDY = """
name: buckets
cameras: [{{name: small-rggb, simulate: {{preset: sim-rggb, images: 7, height: 128, width: 160}}}}]
isps: [DNet]
lambdas: [0.01]
seeds: 1
split: {{train: 5, validation: 2}}
pretraining: {{patch: 16, batch: 2, max_iterations: 4, check_every: 2, validation_patch: 32}}
training: {{patch: 16, batch: 2, iterations: 4}}
validation: {{every: 2, accuracy_patches: 2, fidelity_patches: 1, textured: false}}
evaluation: {{codecs: ["jpeg:50"], windows: 3}}
prnu: {{estimation: 3, prediction: 2, evaluation: 2, window: 33, stride: 16, forgery: 64, instances: 1,
        low_light: {{scenes: 10, training: 5, iterations: 2}}}}
resources: {{checkpoint_seconds: 0, cache: {cache}}}
"""
FILES = [f"buckets/cameras/small-rggb/{name}" for name in ("bayer.u16", "index.json", "simulation.json", "target.u8")]
KINDS = ["low_light", "pretrain", "prnu", "trial"]

Submit = Callable[[], Machine]


@pytest.fixture
def submit(tmp_path: Path, cluster: Cluster, bucket: Bucket) -> Submit:
    """Start `study fingerprints` in a new folder, as `ray job submit` does."""
    cluster.start_workers(2 - len(cluster.workers))  # an earlier test may have killed some
    numbers = itertools.count(1)

    def submit() -> Machine:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        (folder / "study.yaml").write_text(STUDY.format(cache=tmp_path / "cache"))
        command = [BIN / "python", "-m", "study", "fingerprints", "study.yaml"]
        command += ["--address", cluster.address, "--storage", f"{bucket.uri}/buckets"]
        environment = {"PYTHONPATH": str(ROOT), **cluster.environment, **bucket.environment}
        return Machine("driver", command, environment, folder / "driver.log", folder)

    return submit


def uploads(bucket: Bucket) -> list[str]:
    """Every file of the cameras that was ever written, one name for each time."""
    found = bucket.client.list_object_versions(Bucket=BUCKET, Prefix="buckets/cameras/")
    return sorted(entry["Key"] for entry in found.get("Versions", ()) if not entry["Key"].endswith("/"))


def test_fingerprints_from_a_bucket_and_nothing_twice(
    submit: Submit, bucket: Bucket, tracking_server: TrackingServer, tmp_path: Path
) -> None:
    """All pictures on a disk are gone before the first job is done; the second driver has a folder without any."""
    bucket.client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    driver, results = submit(), tmp_path / "1" / "results"
    wait_for(lambda: "copy to s3://studies/buckets: done" in driver.output, driver)
    for part in ("simulated", "cameras"):
        shutil.rmtree(results / part)
    driver.finish()

    client = MlflowClient(tracking_server.uri)
    experiment = client.get_experiment_by_name("buckets")
    assert experiment is not None
    runs = {run.data.tags["kind"]: run for run in client.search_runs([experiment.experiment_id])}
    assert sorted(runs) == KINDS
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert runs["prnu"].data.params["pipelines"] == "DNet, DNet λ=0.01"
    assert (results / "reports" / "buckets" / "prnu.html").exists()
    assert uploads(bucket) == FILES

    submit().finish()
    assert uploads(bucket) == FILES
    assert {path.name for path in (tmp_path / "2" / "results").iterdir()} == {"reports"}, "nothing is simulated"
    assert len(client.search_runs([experiment.experiment_id])) == len(KINDS), "nothing is computed again"
