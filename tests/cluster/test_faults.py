"""The same study through every fault: real processes, real SIGKILL, and the same bits in the end."""

import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from laboratory import LAMBDAS, STEPS, TRIALS, Laboratory, Result, resumed_in
from machines import Bucket, wait_for
from mlflow.entities import Run

OUTAGE = 30.0  # seconds that the tracking server stays away


def test_training_process_killed(laboratory: Laboratory, undisturbed: dict[str, Result]) -> None:
    driver = laboratory.start()
    laboratory.wait_for_mid_trial(driver)
    for process in laboratory.cluster.training().values():
        process.kill()
    hit = laboratory.checkpoints()
    assert resumed_in(driver.finish()) & {key[:8] for key in hit}, "killed too late: no trial was in progress"
    assert laboratory.outcome() == undisturbed


def test_worker_node_killed(laboratory: Laboratory, undisturbed: dict[str, Result]) -> None:
    """The other worker takes over, until a new one joins."""
    lose_a_node(laboratory)
    assert laboratory.outcome() == undisturbed


def lose_a_node(laboratory: Laboratory) -> None:
    driver = laboratory.start()
    laboratory.wait_for_mid_trial(driver)
    laboratory.cluster.kill_worker(next(iter(laboratory.cluster.training())))
    hit = laboratory.checkpoints()
    laboratory.cluster.start_worker()
    assert resumed_in(driver.finish()) & {key[:8] for key in hit}, "killed too late: no trial was in progress there"


def test_worker_node_killed_in_an_evaluation(laboratory: Laboratory) -> None:
    """Every finished trial is scored once behind every codec, and the scores do not depend on the loss."""
    laboratory.run()
    qualities = range(40, 70)
    codecs = f"jpeg:{','.join(map(str, qualities))}"
    names = {"accuracy_dJPEG", *(f"accuracy_jpeg_{quality}" for quality in qualities)}
    driver = laboratory.start(LAMBDAS, "evaluate", "--codec", codecs)

    def scored() -> int:
        return sum(len(run.data.metrics.keys() & names) for run in laboratory.runs())

    wait_for(lambda: scored() >= 4, driver)
    laboratory.cluster.kill_worker(laboratory.cluster.workers[0])
    assert scored() < TRIALS * len(names), "killed too late: everything was scored"
    laboratory.cluster.start_worker()
    driver.finish()
    for run in laboratory.runs():
        assert run.info.status == "FINISHED"
        assert names <= run.data.metrics.keys()
        for name in names:
            history = laboratory.client.get_metric_history(run.info.run_id, name)
            assert [entry.step for entry in history] == [STEPS[-1]], f"{name} was logged {len(history)} times"
        assert run.data.metrics["accuracy_dJPEG"] == run.data.metrics["accuracy"]
        files = {item.path for item in laboratory.client.list_artifacts(run.info.run_id, "evaluation")}
        assert files == {f"evaluation/{name.removeprefix('accuracy_')}.json" for name in names}
    assert "to do" not in laboratory.start(LAMBDAS, "evaluate", "--codec", codecs).finish(), "nothing is left to score"


def test_driver_killed(laboratory: Laboratory, undisturbed: dict[str, Result]) -> None:
    driver = laboratory.start()
    laboratory.wait_for_mid_trial(driver)
    driver.kill()
    assert laboratory.checkpoints(), "killed too late: no trial was in progress"
    laboratory.run()
    assert laboratory.outcome() == undisturbed
    assert not laboratory.checkpoints()


def test_tracking_server_away(laboratory: Laboratory, undisturbed: dict[str, Result]) -> None:
    """Trials go on without it, and their results wait for its return."""
    driver = laboratory.start()
    laboratory.wait_for_mid_trial(driver)
    assert laboratory.finished() < undisturbed.keys(), "killed too late: the study is done"
    laboratory.server.kill()
    back = time.monotonic() + OUTAGE
    try:
        results = wait_for(lambda: [name for name in laboratory.names("pending") if "result.json" in name], driver)
        assert Path(results[0]).parent.name in undisturbed
        wait_for(lambda: time.monotonic() > back, driver)
    finally:
        laboratory.server.start()
    driver.finish()
    assert laboratory.outcome() == undisturbed
    assert not laboratory.names("pending")


def test_head_killed(laboratory: Laboratory, undisturbed: dict[str, Result]) -> None:
    """And the driver on it. The workers of the lost cluster live on for a while beside those of the next."""
    driver = laboratory.start()
    laboratory.wait_for_mid_trial(driver)
    cluster = laboratory.cluster
    orphans = cluster.kill_head()
    driver.kill()
    assert laboratory.checkpoints(), "killed too late: no trial was in progress"
    cluster.start_head()
    cluster.start_workers(2)
    laboratory.run()
    for orphan in orphans:
        orphan.kill()
    assert laboratory.outcome() == undisturbed


def truncate(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def flip_bits(file: Path) -> None:
    """In the middle: safetensors itself would not notice."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0b00010001
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, flip_bits])
def test_checkpoint_damaged(
    laboratory: Laboratory, damage: Callable[[Path], None], undisturbed: dict[str, Result]
) -> None:
    """The newest of two: the one before it serves."""
    driver = laboratory.start()
    laboratory.wait_for_mid_trial(driver, kept=2)
    driver.kill()
    wait_for(lambda: not laboratory.cluster.training())
    damaged = [names[-1] for names in laboratory.checkpoints().values() if len(names) == 2]
    assert damaged, "killed too late: no trial was in progress"
    for name in damaged:
        damage(laboratory.results / name)
    output = laboratory.run()
    told = [line for line in output.splitlines() if "resuming from the one before it" in line]
    assert Counter(name for name in damaged for line in told if name in line) == Counter(damaged)
    assert len(told) == len(damaged), "the ones before are sound"
    assert laboratory.outcome() == undisturbed


@contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[str], bool]]:
    """A disk of its own, on a folder; yields a function that makes it ``ro`` or ``rw`` and says whether it could.

    Where nobody may mount one, the folders below lose their permission to be written to instead.
    """
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True).returncode == 0:
        try:
            yield lambda mode: subprocess.run(["mount", "-o", f"remount,{mode}", folder]).returncode == 0
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)
        return
    if os.geteuid() == 0:
        pytest.skip("may not mount a tmpfs, and permissions mean nothing to root: storage cannot be made read-only")

    def permit(mode: str) -> bool:
        for path in (folder, *folder.rglob("*")):
            if path.is_dir():
                path.chmod({"ro": 0o555, "rw": 0o755}[mode])
        return True

    try:
        yield permit
    finally:
        permit("rw")


def test_storage_read_only_for_a_while(laboratory: Laboratory, undisturbed: dict[str, Result]) -> None:
    """Trials go on without checkpoints, and end."""
    with small_disk(laboratory.results) as make:
        driver = laboratory.start()
        laboratory.wait_for_mid_trial(driver)
        wait_for(lambda: make("ro"), driver)  # a disk with a file being written to stays as it is
        before, ended = laboratory.names("checkpoints"), laboratory.finished()
        assert laboratory.checkpoints(), "too late: no trial was in progress"
        wait_for(lambda: laboratory.finished() > ended, driver, pause=0.5)
        assert laboratory.names("checkpoints") == before
        assert make("rw")
        output = driver.finish()
        assert "no checkpoint at iteration" in output
        assert laboratory.outcome() == undisturbed


def test_poison_trial(laboratory: Laboratory, undisturbed: dict[str, Result]) -> None:
    """It fails at once and is not repeated; the good ones do not care."""
    output = laboratory.run(f"3.0e+38, {LAMBDAS}", code=1)
    assert "loss is not finite at iteration 1" in " ".join(output.split())
    by_status: dict[str, list[Run]] = {}
    for run in laboratory.runs():
        by_status.setdefault(run.info.status, []).append(run)
    assert {status: len(runs) for status, runs in by_status.items()} == {"FINISHED": TRIALS, "FAILED": 2}
    assert all("not finite at iteration 1" in run.data.tags["failure"] for run in by_status["FAILED"])
    assert {run.data.tags["trial_key"]: laboratory.result(run) for run in by_status["FINISHED"]} == undisturbed
    assert "to do" not in laboratory.run(f"3.0e+38, {LAMBDAS}", code=1), "what failed by itself is not repeated"
    assert len(laboratory.runs()) == TRIALS + 2


def test_two_drivers(laboratory: Laboratory, undisturbed: dict[str, Result]) -> None:
    """The second says so and ends, and the first goes on. (That a dead one is taken over, its killing shows.)"""
    first = laboratory.start()
    wait_for(lambda: first.output, first)  # it is at the study
    assert "is being run by" in " ".join(laboratory.run(code=2).split())
    assert first.alive, "too late: the first driver has ended"
    first.finish()
    assert laboratory.outcome() == undisturbed


def test_worker_node_killed_with_storage_on_s3(
    laboratory: Laboratory, bucket: Bucket, undisturbed: dict[str, Result]
) -> None:
    laboratory.bucket = bucket
    lose_a_node(laboratory)
    assert laboratory.outcome() == undisturbed
    assert not laboratory.checkpoints()


def test_a_password_is_in_no_log(laboratory: Laboratory, undisturbed: dict[str, Result]) -> None:
    """Of the driver's environment; workers get it as an argument, since Ray writes down what it sets for them."""
    laboratory.environment = {"MLFLOW_TRACKING_USERNAME": "somebody", "MLFLOW_TRACKING_PASSWORD": "hunter2-of-the-test"}
    laboratory.run()
    assert laboratory.outcome() == undisturbed
    cluster = laboratory.cluster
    places = (cluster.scratch, cluster.folder, laboratory.folder, laboratory.server.folder)
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    logs = [path for path in files if "runtime_env_agent" in path.name]
    assert logs, "Ray writes no such log any more: look where it writes them now"
    assert [path for path in files if b"hunter2-of-the-test" in path.read_bytes()] == []
