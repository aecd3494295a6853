"""Simulated cameras in a bucket: taken and uploaded once, whichever folder or machine the driver starts on."""

import itertools
import secrets
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest

from cameras.dng import simulate_folder
from cameras.importing import import_camera
from cameras.pairs import Index
from cameras.simulate import PRESETS
from study.execution import cameras
from study.execution.cameras import open_camera, prepare_cameras, publish_pairs
from study.settings import Study, StudyError
from study.storage import Storage

SIMULATION = {"preset": "sim-rggb", "images": 3, "height": 64, "width": 64}
FILES = [f"cameras/small/{name}" for name in ("bayer.u16", "index.json", "simulation.json", "target.u8")]
SETTINGS = FILES[2]


def study_in(storage: Storage, **changes: Any) -> Study:
    return Study.model_validate(
        {
            "name": "bucket",
            "storage": storage.uri,
            "cameras": [{"name": "small", "simulate": SIMULATION | changes}],
            "isps": ["INet"],
            "lambdas": ["fixed"],
            "seeds": 1,
        }
    )


class Versions:
    """A bucket that remembers every upload."""

    def __init__(self, endpoint: str) -> None:
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "us-east-1"}
        self.client = boto3.client("s3", endpoint_url=endpoint, **keys)
        self.name = f"versions-{secrets.token_hex(4)}"
        self.client.create_bucket(Bucket=self.name)
        self.client.put_bucket_versioning(Bucket=self.name, VersioningConfiguration={"Status": "Enabled"})

    def uploads(self) -> list[str]:
        """Names of all files ever written, one for each time, without folders."""
        found = self.client.list_object_versions(Bucket=self.name).get("Versions", ())
        return sorted(entry["Key"] for entry in found if not entry["Key"].endswith("/"))


@pytest.fixture
def versions(s3_server: str, bucket: Storage) -> Versions:
    """The fixture ``bucket`` sets the credentials."""
    return Versions(s3_server)


@pytest.fixture
def storage(versions: Versions) -> Storage:
    return Storage(f"s3://{versions.name}")


@pytest.fixture
def prepare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Study], tuple[Index, bool]]:
    """What the bucket holds of a camera after a driver began in a new folder, and whether it simulated anything."""
    folders = itertools.count()
    monkeypatch.setattr(cameras, "import_camera", partial(import_camera, workers=0))  # processes take seconds to start

    def prepare(study: Study) -> tuple[Index, bool]:
        folder = tmp_path / str(next(folders))
        folder.mkdir()
        monkeypatch.chdir(folder)
        try:
            prepare_cameras(study)
        finally:
            made = any(folder.iterdir())
        return open_camera(study, study.cameras[0]), made

    return prepare


def test_a_second_driver_simulates_and_uploads_nothing(versions: Versions, storage: Storage, prepare: Any) -> None:
    first, made = prepare(study_in(storage))
    assert made and len(first.images) == 3
    assert versions.uploads() == FILES
    second, made = prepare(study_in(storage))
    assert second == first and not made
    assert versions.uploads() == FILES


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"seed": 1}, "those are of other settings"),
        ({"width": 96}, "those are of other settings"),
        ({"scenes": "scikit-image"}, "those are of other settings"),
        ({"preset": "sim-gbrg"}, "those are of other settings"),
        ({"images": 2}, "it has 3 pictures"),
    ],
    ids=str,
)
def test_other_settings_are_refused_before_anything_is_made(
    change: dict[str, Any],
    reason: str,
    versions: Versions,
    storage: Storage,
    prepare: Any,
    tmp_path: Path,
) -> None:
    prepare(study_in(storage))
    with pytest.raises(StudyError, match=rf"versions-\w+/cameras/small does not hold .*{reason}.*another name"):
        prepare(study_in(storage, **change))
    assert list((tmp_path / "1").iterdir()) == []
    assert versions.uploads() == FILES


def test_more_pictures_join_those_that_are_there(versions: Versions, storage: Storage, prepare: Any) -> None:
    first, _ = prepare(study_in(storage))
    second, made = prepare(study_in(storage, images=4))
    assert made and len(second.images) == 4
    assert {image.sha256 for image in first.images} < {image.sha256 for image in second.images}
    assert versions.uploads() == sorted(2 * FILES)


def test_a_bucket_of_an_earlier_version_gets_the_settings_alone(
    versions: Versions, storage: Storage, prepare: Any
) -> None:
    """They are simulated once more, and found to be the same."""
    prepare(study_in(storage))
    storage.delete(SETTINGS)
    _, made = prepare(study_in(storage))
    assert made
    assert versions.uploads() == sorted([*FILES, SETTINGS])
    assert not prepare(study_in(storage))[1]


def test_a_bucket_of_an_earlier_version_keeps_its_pictures(versions: Versions, storage: Storage, prepare: Any) -> None:
    prepare(study_in(storage))
    storage.delete(SETTINGS)
    with pytest.raises(StudyError, match="it has others"):
        prepare(study_in(storage, seed=1))
    assert versions.uploads() == FILES


@pytest.mark.parametrize("name", ["bayer.u16", "index.json"])
def test_what_is_damaged_is_made_anew(name: str, storage: Storage, prepare: Any) -> None:
    first, _ = prepare(study_in(storage))
    storage.write(f"cameras/small/{name}", b"half")
    second, made = prepare(study_in(storage))
    assert made and second.data_hash == first.data_hash
    assert storage.size("cameras/small/bayer.u16") == first.sizes["bayer.u16"]


def test_an_upload_that_was_stopped_is_no_camera(
    storage: Storage, prepare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data of the new pictures beside an index of the old ones would pass for the old ones."""
    prepare(study_in(storage))
    with monkeypatch.context() as patch:
        patch.setattr(Storage, "write", lambda self, name, content: (_ for _ in ()).throw(OSError("away")))
        with pytest.raises(OSError, match="away"):
            prepare(study_in(storage, images=4))
    assert not storage.exists("cameras/small/index.json") and not storage.exists(SETTINGS)
    assert len(prepare(study_in(storage, images=4))[0].images) == 4


def test_imported_pairs_count_by_their_content(
    versions: Versions, storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("one", "another"):
        files = simulate_folder(PRESETS["sim-rggb"], tmp_path / place / "raw", 2, 64, 64, seed=0)
        import_camera("imported", files, tmp_path / place / "cameras", limit=2, orientation="any", workers=0)
        publish_pairs(tmp_path / place, "imported", storage)
    assert len(versions.uploads()) == 3
    more = simulate_folder(PRESETS["sim-rggb"], tmp_path / "one" / "raw", 3, 64, 64, seed=0)
    import_camera("imported", more, tmp_path / "one" / "cameras", limit=3, orientation="any", workers=0)
    publish_pairs(tmp_path / "one", "imported", storage)
    assert len(versions.uploads()) == 6
