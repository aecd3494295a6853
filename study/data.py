"""The cameras of a study, ready to train on: simulated ones are made where they are missing."""

from pathlib import Path

from cameras.dng import simulate_folder
from cameras.importing import import_camera
from cameras.pairs import Pairs
from cameras.simulate import PRESETS
from study.jobs import camera_folder
from study.progress import work
from study.settings import Camera, Simulation, Study, StudyError


def prepare_cameras(study: Study) -> None:
    """Take the pictures of simulated cameras and import them, as far as they are missing.

    Raises:
        StudyError: pictures are there, but of other settings.
    """
    for camera in study.cameras:
        if camera.simulate is not None:
            _prepare(study.storage, camera.name, camera.simulate)


def _prepare(storage: Path, name: str, simulation: Simulation) -> None:
    raw, pairs = storage / "simulated" / name, camera_folder(storage, name)
    with work(f"{name}: simulated camera", 2 * simulation.images) as advance:
        try:
            files = simulate_folder(
                PRESETS[simulation.preset],
                raw,
                simulation.images,
                simulation.height,
                simulation.width,
                simulation.seed,
                scenes=simulation.scenes,
                progress=lambda done, total: advance(done),
            )
        except ValueError as error:
            raise StudyError(f"{error}, or give the camera another name in the study file") from None
        import_camera(
            name,
            files,
            pairs.parent,
            limit=simulation.images,
            on_progress=lambda done, total, path, reason: advance(simulation.images + done),
        )


def open_cameras(study: Study) -> dict[str, Pairs]:
    """The pairs of every camera.

    Raises:
        StudyError: a camera is not imported, or its pairs are damaged.
    """
    return {camera.name: open_camera(study, camera) for camera in study.cameras}


def open_camera(study: Study, camera: Camera) -> Pairs:
    folder = camera_folder(study.storage, camera.name)
    if not (folder / "index.json").is_file():
        raise StudyError(
            f"study {study.name}: camera '{camera.name}' is not in {folder.parent}: "
            f"python -m study import --camera '{camera.name}' --storage {study.storage} FOLDER_WITH_RAW_FILES"
        )
    return Pairs.open(folder)
