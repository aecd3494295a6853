"""When a job is done: its run has ended well, and what other jobs read of it lies in the storage, whole."""

from study.execution.worker import is_done
from study.jobs.job import BaseJob
from study.storage import Storage
from study.tracking import State

FINISHED = State("FINISHED")


class StoringJob(BaseJob):
    kind = "storing"

    @property
    def stored(self) -> dict[str, str]:
        return {"nip.safetensors": "nips/a.safetensors"}


def test_a_job_is_done_where_its_stored_file_is_the_one_that_its_run_speaks_of(storage: Storage) -> None:
    job = StoringJob(key="a" * 32)
    storage.write("nips/a.safetensors", b"weights")
    tags = {"nip_sha256": storage.sha256("nips/a.safetensors")}
    assert is_done(job, FINISHED, tags, storage)  # type: ignore[arg-type]
    for state in (None, State("RUNNING"), State("FAILED", "NaN"), State("KILLED")):
        assert not is_done(job, state, tags, storage)  # type: ignore[arg-type]
    assert not is_done(job, FINISHED, {}, storage)  # type: ignore[arg-type]
    storage.write("nips/a.safetensors", b"damaged")
    assert not is_done(job, FINISHED, tags, storage)  # type: ignore[arg-type]
    storage.delete("nips/a.safetensors")
    assert not is_done(job, FINISHED, tags, storage)  # type: ignore[arg-type]
