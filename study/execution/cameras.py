"""The cameras of a study, ready to train on: simulated ones are made where they are missing."""

from pathlib import Path

from cameras.console import work
from cameras.dng import simulate_folder
from cameras.importing import import_camera
from cameras.pairs import INDEX_FILE, Index
from cameras.simulate import PRESETS
from study.settings import Camera, Simulation, Study, StudyError, planned, user_errors
from study.storage import Storage


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
            _prepare(study.folder, camera.name, camera.simulate)
            publish_pairs(study.folder, camera.name, Storage(study.storage))


def _prepare(folder: Path, name: str, simulation: Simulation) -> None:
    raw, pairs = folder / "simulated" / name, folder / "cameras" / name
    with work(f"{name}: simulated camera", 2 * simulation.images) as advance, user_errors():
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
    if len(imported) != simulation.images or imported.refused:
        reason = imported.refused[0][1] if imported.refused else f"it has {len(imported)} pictures"
        raise StudyError(
            f"{pairs} does not hold the {simulation.images} pictures that the study asks of {name} ({reason}): "
            "give the camera another name in the study file"
        )


def publish_pairs(folder: Path, camera: str, storage: Storage) -> None:
    """Copy the pairs of a camera from a folder on this machine to a bucket, unless they are there already."""
    if storage.is_folder:
        return
    name, content = f"cameras/{camera}/{INDEX_FILE}", (folder / "cameras" / camera / INDEX_FILE).read_bytes()
    if storage.exists(name) and storage.read(name) == content:
        return
    files = Index.parse(content, name).sizes
    with work(f"{camera}: copy to {storage.uri}", sum(files.values())) as advance:
        done = 0
        for file, size in files.items():
            storage.upload(folder / "cameras" / camera / file, f"cameras/{camera}/{file}")
            done += size
            advance(done)
        storage.write(name, content)  # last: where it is, all is


def open_cameras(study: Study) -> dict[str, Index]:
    """The index of every camera's pairs.

    Raises:
        StudyError: a camera is not imported, its pairs are damaged, or they do not suffice for the study.
    """
    cameras = {camera.name: open_camera(study, camera) for camera in study.cameras}
    needs = {
        (trial.camera, trial.split, trial.training.patch, item.pretraining.patch, item.pretraining.validation_patch)
        for item in planned(study)
        if (trial := item.trial)
    }
    for name, parts, *patches in needs:
        index = cameras[name]
        with user_errors(f"camera '{name}': "):
            parts.images(index.names)
        if index.shortest_side < max(patches):
            raise StudyError(
                f"camera '{name}': a patch of {max(patches)} Bayer cells does not fit into its smallest photograph, "
                f"which is {index.shortest_side} wide or high"
            )
    return cameras


def open_camera(study: Study, camera: Camera) -> Index:
    """What the storage holds of a camera.

    Raises:
        StudyError: it is not imported, or its pairs are damaged.
    """
    storage, name = Storage(study.storage), f"cameras/{camera.name}/{INDEX_FILE}"
    with user_errors():
        index = Index.parse(storage.read(name), storage.where(name)) if storage.exists(name) else Index()
    if not index.images:
        raise StudyError(
            f"study {study.name}: camera '{camera.name}' is not in {storage.where('cameras')}: "
            f"python -m study import --camera '{camera.name}' --storage {study.storage} FOLDER_WITH_RAW_FILES"
        )
    for file, needed in index.sizes.items():
        size = storage.size(f"cameras/{camera.name}/{file}") or 0
        if size < needed:
            raise StudyError(
                f"{storage.where(f'cameras/{camera.name}/{file}')} holds {size} of the {needed} bytes its index lists: "
                "remove the camera's folder and import it again"
            )
    return index
