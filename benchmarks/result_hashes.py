"""Hash what a study has found, so that two versions of the code can be compared to the bit.

    python -m benchmarks.result_hashes sqlite:///results/mlflow.db smoke

prints one line for each finished run: a hash of all its metrics, a hash of all tensors of its weights, and what the run
is. Times and keys are left out. The last line hashes all of the hashes: where it is equal, all results are.
"""

import hashlib
import os
import sys
import tempfile
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from safetensors import safe_open

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
TIMES = ("seconds",)
LABELS = ("camera", "isp", "lambda", "seed")


def metrics_hash(client: MlflowClient, run: Run) -> str:
    """Of every metric's values by step; the last one counts where a step was logged twice."""
    digest = hashlib.sha256()
    for name in sorted(run.data.metrics):
        if name not in TIMES:
            history = {entry.step: entry.value for entry in client.get_metric_history(run.info.run_id, name)}
            digest.update(repr((name, sorted(history.items()))).encode())
    return digest.hexdigest()[:16]


def tensors_hash(client: MlflowClient, run: Run) -> str:
    """Of every tensor in the run's safetensors files, by file and name."""
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory() as folder:
        for item in sorted(item.path for item in client.list_artifacts(run.info.run_id)):
            if not item.endswith(".safetensors"):
                continue
            with safe_open(client.download_artifacts(run.info.run_id, item, folder), "numpy") as file:
                for name in sorted(file.keys()):
                    tensor = file.get_tensor(name)
                    digest.update(repr((Path(item).name, name, str(tensor.dtype), tensor.shape)).encode())
                    digest.update(tensor.tobytes())
    return digest.hexdigest()[:16]


def main(tracking_uri: str, experiment: str) -> None:
    client = MlflowClient(tracking_uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        sys.exit(f"no experiment {experiment} in {tracking_uri}")
    lines = []
    for run in client.search_runs([found.experiment_id], "attributes.status = 'FINISHED'", max_results=5000):
        label = " ".join(run.data.params[name] for name in LABELS if name in run.data.params)
        hashes = f"{metrics_hash(client, run)} {tensors_hash(client, run)}"
        lines.append((f"{run.data.tags['kind']} {label}", hashes))
    for label, hashes in sorted(lines):
        print(f"{hashes}  {label}")
    together = "\n".join(sorted(hashes for _, hashes in lines))
    print(hashlib.sha256(together.encode()).hexdigest()[:16], f"{len(lines)} runs")


if __name__ == "__main__":
    main(*sys.argv[1:])
