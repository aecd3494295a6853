"""The cameras of a study, ready to train on: simulated ones are made where they are missing.

A bucket holds beside the pairs of a simulated camera the settings of its simulation (``simulation.json``).
"""

from pathlib import Path

from cameras.console import work
from cameras.dng import SETTINGS, settings_record, simulate_folder
from cameras.importing import import_camera
from cameras.pairs import INDEX_FILE, Index
from cameras.simulate import PRESETS
from study.settings import Camera, Simulation, Study, StudyError, planned, user_errors
from study.storage import Storage


def prepare_cameras(study: Study) -> None:
    """Take the pictures of simulated cameras, import them and store them, as far as they are missing.

    A bucket tells by itself what it holds: the driver may have a new folder, or be on another machine, every time.

    Raises:
        StudyError: a camera of the study is not imported; or the pictures of a simulated one cannot be taken or stored,
            or are there already, but of other settings.
    """
    storage = Storage(study.storage)
    for camera in study.cameras:
        if camera.simulate is None:
            open_camera(study, camera)  # before minutes are spent on the simulated ones
    for camera in study.cameras:
        if camera.simulate is not None:
            with user_errors():
                if not _in_bucket(storage, camera.name, camera.simulate):
                    _prepare(study.folder, camera.name, camera.simulate)
                    _publish(study.folder, camera.name, camera.simulate, storage)


def _prepare(folder: Path, name: str, simulation: Simulation) -> None:
    raw, pairs = folder / "simulated" / name, folder / "cameras" / name
    with work(f"{name}: simulated camera", 2 * simulation.images) as advance:
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
        raise _other_pictures(str(pairs), name, simulation, reason)


def _other_pictures(where: str, name: str, simulation: Simulation, reason: str) -> StudyError:
    return StudyError(
        f"{where} does not hold the {simulation.images} pictures that the study asks of {name} ({reason}): "
        "give the camera another name in the study file"
    )


def _in_bucket(storage: Storage, name: str, simulation: Simulation) -> bool:
    """Whether a bucket holds all pictures that are asked for, as the settings beside them say.

    Raises:
        StudyError: they are of other settings, or more.
    """
    if storage.is_folder or not storage.exists(f"cameras/{name}/{SETTINGS}"):
        return False
    where = storage.where(f"cameras/{name}")
    if storage.read(f"cameras/{name}/{SETTINGS}") != _settings(simulation):
        raise _other_pictures(where, name, simulation, f"those are of other settings, see {SETTINGS}")
    images = len(_stored(storage, name).images)
    if images > simulation.images:
        raise _other_pictures(where, name, simulation, f"it has {images} pictures")
    return images == simulation.images


def _publish(folder: Path, name: str, simulation: Simulation, storage: Storage) -> None:
    """Copy pictures to a bucket, and their settings with them; those that are there must be among them.

    Raises:
        StudyError: they are not.
    """
    if storage.is_folder:
        return
    mine = {image.sha256 for image in Index.read(folder / "cameras" / name).images}
    if not mine >= {image.sha256 for image in _stored(storage, name).images}:
        raise _other_pictures(storage.where(f"cameras/{name}"), name, simulation, "it has others")
    publish_pairs(folder, name, storage)
    storage.write(f"cameras/{name}/{SETTINGS}", _settings(simulation))


def _settings(simulation: Simulation) -> bytes:
    how = simulation.model_dump(include={"height", "width", "seed", "scenes"})
    return settings_record(PRESETS[simulation.preset], **how)


def publish_pairs(folder: Path, camera: str, storage: Storage) -> None:
    """Copy the pairs of a camera from a folder on this machine to a bucket, unless the same are there already.

    Where their files came from, and when, does not matter.
    """
    if storage.is_folder:
        return
    content = (folder / "cameras" / camera / INDEX_FILE).read_bytes()
    index = Index.parse(content, INDEX_FILE)
    if _stored(storage, camera).data_hash == index.data_hash:
        return
    for file in (SETTINGS, INDEX_FILE):
        storage.delete(f"cameras/{camera}/{file}")  # nothing promises what is being replaced
    files = index.sizes
    with work(f"{camera}: copy to {storage.uri}", sum(files.values())) as advance:
        done = 0
        for file, size in files.items():
            storage.upload(folder / "cameras" / camera / file, f"cameras/{camera}/{file}")
            done += size
            advance(done)
        storage.write(f"cameras/{camera}/{INDEX_FILE}", content)  # last: where it is, all is


def _stored(storage: Storage, camera: str) -> Index:
    """The index of a camera in a storage; an empty one where it is damaged, or where data are missing."""
    name = f"cameras/{camera}/{INDEX_FILE}"
    if not storage.exists(name):
        return Index()
    try:
        index = Index.parse(storage.read(name), name)
    except ValueError:
        return Index()
    whole = all((storage.size(f"cameras/{camera}/{file}") or 0) >= size for file, size in index.sizes.items())
    return index if whole else Index()


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
