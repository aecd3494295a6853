"""The cameras of a study, ready to train on: simulated ones are made where they are missing."""

from pathlib import Path

from cameras.dng import simulate_folder
from cameras.importing import import_camera
from cameras.pairs import Pairs, split
from cameras.simulate import PRESETS
from study.jobs import camera_folder
from study.progress import work
from study.settings import Camera, Simulation, Study, StudyError


def prepare_cameras(study: Study) -> None:
    """Take the pictures of simulated cameras and import them, as far as they are missing.

    Raises:
        StudyError: a camera of the study is not imported; or the pictures of a simulated one cannot be taken or stored,
            or are there already, but of other settings.
    """
    for camera in study.cameras:
        if camera.simulate is None:
            open_camera(study, camera)  # before minutes are spent on the simulated ones
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
            imported = import_camera(
                name,
                files,
                pairs.parent,
                limit=simulation.images,
                orientation="any",
                on_progress=lambda done, total, path, reason: advance(simulation.images + done),
            )
        except ValueError as error:
            raise StudyError(str(error)) from None
    if len(imported) != simulation.images or imported.refused:
        reason = imported.refused[0][1] if imported.refused else f"it has {len(imported)} pictures"
        raise StudyError(
            f"{pairs} does not hold the {simulation.images} pictures that the study asks of {name} ({reason}): "
            "give the camera another name in the study file"
        )


def open_cameras(study: Study) -> dict[str, Pairs]:
    """The pairs of every camera.

    Raises:
        StudyError: a camera is not imported, its pairs are damaged, or they do not suffice for the study.
    """
    cameras = {camera.name: open_camera(study, camera) for camera in study.cameras}
    for item in study.planned():
        trial, pairs = item.trial, cameras[item.trial.camera]
        try:
            split(pairs.names, trial.split.train, trial.split.validation, trial.split.seed)
        except ValueError as error:
            raise StudyError(f"camera '{trial.camera}': {error}") from None
        largest = max(trial.training.patch, item.pretraining.patch, item.pretraining.validation_patch)
        if pairs.shortest_side < largest:
            raise StudyError(
                f"camera '{trial.camera}': a patch of {largest} Bayer cells does not fit into its smallest photograph, "
                f"which is {pairs.shortest_side} wide or high"
            )
    return cameras


def open_camera(study: Study, camera: Camera) -> Pairs:
    """The pairs of one camera.

    Raises:
        StudyError: it is not imported, or its pairs are damaged.
    """
    folder = camera_folder(study.storage, camera.name)
    if not (folder / "index.json").is_file():
        raise StudyError(
            f"study {study.name}: camera '{camera.name}' is not in {folder.parent}: "
            f"python -m study import --camera '{camera.name}' --storage {study.storage} FOLDER_WITH_RAW_FILES"
        )
    try:
        return Pairs.open(folder)
    except ValueError as error:
        raise StudyError(str(error)) from None
