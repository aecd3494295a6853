"""cluster-slurm.sh, held against what its neighbours promise; tests/cluster/test_slurm.py runs it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "cluster-slurm.sh"
TEXT = SCRIPT.read_text()
ASKED = dict(re.findall(r"^#SBATCH --([a-z-]+)=?(\S*)", TEXT, re.MULTILINE))


def test_it_is_sound_shell() -> None:
    subprocess.run(["bash", "-n", SCRIPT], check=True)
    if shutil.which("shellcheck") is None:
        pytest.skip("needs shellcheck for the rest")
    subprocess.run(["shellcheck", SCRIPT], check=True)


def test_what_slurm_reads_comes_before_all_commands() -> None:
    """It takes no #SBATCH line below the first command."""
    lines = TEXT.splitlines()
    first = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    assert not any(line.startswith("#SBATCH") for line in lines[first:])


def test_the_job_goes_back_into_the_queue_in_time_and_keeps_its_log() -> None:
    assert "requeue" in ASKED and "no-kill" in ASKED
    assert ASKED["open-mode"] == "append"
    kind, seconds = ASKED["signal"].split("@")
    assert kind == "B:USR1", "the script gets it, and no step"
    assert int(seconds) >= 60
    assert re.search(r"trap '.*scontrol requeue .*' USR1", TEXT)
    assert ASKED["dependency"] == "singleton", "two MLflow servers on one database would lose figures"
    assert ASKED["ntasks-per-node"] == "1"


def test_doors() -> None:
    """As in the other cluster files: a token, closed metrics ports, MLflow on a private address, no dashboard."""
    for setting in (
        "RAY_AUTH_MODE=token",
        "RAY_enable_metrics_collection=0",
        "AUTOSCALER_METRIC_PORT=-1",
        "DASHBOARD_METRIC_PORT=-1",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false",
        '--host "$ADDRESS"',
        "--include-dashboard=false",
        '.is_private)"',
        "chmod 600 ~/.ray/auth_token",
        "umask 077",
    ):
        assert setting in TEXT
    assert "0.0.0.0" not in TEXT and "disable-security" not in TEXT
    assert TEXT.index("RAY_AUTH_MODE=token") < TEXT.index("ray start")


def test_a_public_address_is_refused(tmp_path: Path) -> None:
    for name, content in {"hostname": "echo 8.8.8.8", "ray": "touch ray-was-asked"}.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{content}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path), "SLURM_SUBMIT_DIR": str(tmp_path)}
    (tmp_path / "python").symlink_to(shutil.which("python3") or "")
    environment |= {"SLURM_JOB_ID": "1"}
    done = subprocess.run(["bash", SCRIPT, "paper"], env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "8.8.8.8 is no private address" in done.stderr
    assert not (tmp_path / "ray-was-asked").exists()
