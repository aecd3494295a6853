"""Import RAW files of a camera as stored pairs: in parallel, restartable, never half written.

The paper chooses 150 landscape photographs of every camera at random (section 3.2). Here, files are imported in an
order that depends only on a seed and their names, until enough images are stored. A stopped import resumes when it is
called again. It then stores the same images as an import without interruption.
"""

import hashlib
import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from cameras import folders
from cameras.container import SUFFIXES, Container, looks_raw, read_container
from cameras.develop import develop
from cameras.errors import one_line, printable
from cameras.pairs import Index, PairError, Source, append, quantise, refuse
from cameras.raw import RawError, RawFrame

PORTRAIT = "portrait, and only landscape was asked for"  # stored in index.json: never change the text


@dataclass(frozen=True)
class Imported:
    """Result of an import.

    accepted: names of the images stored by this call. already: number of images stored before it.
    refused: files that were refused, now or by an earlier call, and the reasons; sorted.
    bodies: serial numbers of the camera bodies that took the stored images, and how many each of them took; without
        images whose files are gone or name no serial number.
    """

    folder: Path
    accepted: tuple[str, ...]
    already: int
    refused: tuple[tuple[Path, str], ...]
    bodies: dict[str, int]

    def __len__(self) -> int:
        """Number of images that the camera has now."""
        return self.already + len(self.accepted)


def import_camera(
    name: str,
    paths: Iterable[Path | str],
    root: Path | str,
    *,
    model: str | None = None,
    limit: int = 150,
    orientation: Literal["landscape", "any"] = "landscape",
    demosaic: Literal["menon", "bilinear"] = "menon",
    seed: int = 0,
    workers: int | None = None,
    on_progress: Callable[[int, int, Path, str | None], None] | None = None,
) -> Imported:
    """Store RAW files and the images that `cameras.develop` makes of them as pairs in the folder `root`/`name`.

    Args:
        name: of the camera in studies; one camera model has one name.
        paths: RAW files, and folders to search for them (by suffix and by content, with all subfolders).
        root: folder of all cameras.
        model: "D5000" or "NIKON D5000"; files of other cameras are refused. By default it is the camera of the images
            stored earlier, or else the one that took most of the files.
        limit: number of images that the camera has in the end, including those stored earlier.
        orientation: "landscape" refuses photographs that are displayed upright.
        demosaic: demosaicing method of the targets.
        seed: of the random order of the files.
        workers: number of processes, by default one for each CPU; 0 works in this process. They are spawned: a script
            must call this function below ``if __name__ == "__main__"``.
        on_progress: called for every file opened, with the number of images stored, the number that can still be
            reached, the file, and the reason if it was refused.

    Raises:
        ValueError: a path does not exist; there is no RAW file; the limit is below 1; the name cannot be the name of a
            folder; the folder is damaged or its targets have another demosaicing; no file is of the model; or without
            one, two cameras took equally many files.
    """
    if limit < 1:
        raise ValueError(f"limit {limit}: at least one image must be asked for")
    if not name or Path(name).name != name or name.startswith("."):
        raise ValueError(f"camera name {name!r} cannot be the name of a folder")
    folder = Path(root) / name
    index = Index.read(folder)
    if index.development not in (None, demosaic):
        raise ValueError(f"{folder} holds {index.development} targets: import {demosaic} under another name")

    files, unnameable = _nameable(random_order(raw_files(paths), seed))
    sources = [Source.of(path) for path in files]
    cameras = {source: container.camera for source in sources if (container := _container(source))}
    chosen = _choose(cameras.values(), index.camera, model)
    stored, known = {image.source for image in index.images}, set(sources)
    remembered = {
        entry.source: entry.reason
        for entry in index.refused
        if entry.source in known and entry.holds and not (entry.reason == PORTRAIT and orientation == "any")
    }
    others = {
        source: f"camera is {camera}, but {chosen} is imported (choose with --model)"
        for source, camera in cameras.items()
        if camera != chosen and source not in stored
    }
    refused = [(path, "its path is no UTF-8 text: rename it, or its folder") for path in unnameable]
    refused += [(Path(source.path), reason) for source, reason in {**remembered, **others}.items()]
    waiting = deque(source for source in sources if source not in stored | remembered.keys() | others.keys())
    accepted: list[str] = []

    def missing() -> int:
        return limit - len(index.images) - len(accepted)

    unknown = len(waiting)
    for source, outcome in _developed(waiting, missing, workers, orientation, demosaic):
        if isinstance(outcome, _Developed):
            try:
                append(folder, **vars(outcome), source=source, development=demosaic)
                accepted.append(outcome.name)
                reason = None
            except PairError as error:
                reason = str(error).removeprefix(f"{outcome.name}: ")
        else:
            reason = outcome.reason
        if reason is not None:
            refused.append((Path(source.path), reason))
            if isinstance(outcome, _Developed) or outcome.lasting:
                refuse(folder, source, reason)
        unknown -= 1
        if on_progress:
            done = len(index.images) + len(accepted)
            on_progress(done, min(limit, done + unknown), Path(source.path), reason)
    return Imported(folder, tuple(accepted), len(index.images), tuple(sorted(refused)), _bodies(folder))


def raw_files(paths: Iterable[Path | str]) -> list[Path]:
    """The files given and the RAW files in the folders given, as `folders.find`. Raises ValueError as it does."""
    return folders.find(paths, SUFFIXES, "RAW files", also=looks_raw)


def random_order(files: list[Path], seed: int) -> list[Path]:
    """Sort by a hash of seed and file name: the order of two files depends on nothing else."""
    return sorted(files, key=lambda file: (hashlib.sha256(f"{seed}/".encode() + os.fsencode(file.name)).digest(), file))


def _nameable(files: list[Path]) -> tuple[list[Path], list[Path]]:
    """The files whose paths can be stored in an index and shown to people (UTF-8 text), and the others."""
    parts: tuple[list[Path], list[Path]] = [], []
    for file in files:
        parts[printable(file) != str(file)].append(file)
    return parts


def _container(source: Source) -> Container | None:
    """The container of a file; None where it is unfit: opening it will say why."""
    try:
        return read_container(Path(source.path))
    except (ValueError, OSError):
        return None


def _choose(cameras: Iterable[str], stored: str | None, model: str | None) -> str | None:
    """The camera to import: of the model asked for, else the stored one, else the one of most files.

    Args:
        cameras: of all files that say it.
        stored: the camera of the images stored earlier.
        model: as asked for, with or without the make.

    Raises ValueError where none of them, or more than one, is meant.
    """
    counts = Counter(cameras)
    listing = ", ".join(f"{camera} ({count})" for camera, count in counts.most_common())
    if model is not None:
        asked = " ".join(model.lower().split())
        known = [*counts, *([stored] if stored else [])]
        meant = {camera for camera in known if camera.lower() == asked or camera.lower().endswith(f" {asked}")}
        if len(meant) != 1 or stored not in (None, *meant):
            where = f"the images stored already are of {stored}" if stored else f"the files are of {listing or 'none'}"
            raise ValueError(f"model {model!r} does not name the camera: {where}")
        return meant.pop()
    if stored is not None or not counts:
        return stored
    most = counts.most_common(2)
    if len(most) > 1 and most[0][1] == most[1][1]:
        raise ValueError(f"as many files are of one camera as of another: {listing}; choose with --model")
    return most[0][0]


def _bodies(folder: Path) -> dict[str, int]:
    """The serial numbers of the bodies that took the stored images, and their numbers of images."""
    sources = (image.source for image in Index.read(folder).images)
    containers = (_container(source) for source in sources if source is not None)
    return dict(Counter(container.serial for container in containers if container and container.serial).most_common())


# --- In the workers ---


@dataclass(frozen=True)
class _Developed:
    """Arguments of `append`: bayer (h, w, 4) uint16, target (2h, 2w, 3) uint8."""

    name: str
    bayer: np.ndarray
    target: np.ndarray
    cfa: str
    cam2srgb: np.ndarray
    camera: str


@dataclass(frozen=True)
class _Refused:
    """A file that was not developed. lasting: there is no need to try it again until it changes."""

    reason: str
    lasting: bool


def _develop(path: str, orientation: str, demosaic: Literal["menon", "bilinear"]) -> _Developed | _Refused:
    try:
        frame = RawFrame.open(path)
    except RawError as error:
        # A file that could not be read may be readable the next time.
        return _Refused(str(error).removeprefix(f"{path}: "), lasting=not isinstance(error.__cause__, OSError))
    except OSError as error:
        return _Refused(f"cannot be read: {one_line(error.strerror or error)}", lasting=False)
    height, width, _ = frame.bayer.shape
    if frame.orientation >= 5:  # displayed after a quarter turn
        height, width = width, height
    if orientation == "landscape" and height > width:
        return _Refused(PORTRAIT, lasting=True)
    bayer, target = quantise(path, frame.bayer, develop(frame, demosaic))
    # Cameras count to 9999 and start again, so files may share a name: a hash of the content tells them apart.
    name = f"{Path(path).stem}-{hashlib.sha256(bayer.data).hexdigest()[:8]}"
    return _Developed(name, bayer, target, frame.cfa, frame.cam2srgb, frame.camera)


def _start_worker() -> None:
    torch.set_num_threads(1)  # files run in parallel
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    parent = multiprocessing.parent_process()
    assert parent is not None

    def leave_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()


# --- The pool ---


def _developed(
    waiting: deque[Source], missing: Callable[[], int], workers: int | None, *settings: Any
) -> Iterator[tuple[Source, _Developed | _Refused]]:
    """Yield outcomes of `_develop`, in the order of `waiting`, as long as images are `missing`.

    No more files are developed at a time than images are missing, so that none is developed for nothing; and no more
    than keep the workers busy, so that few finished images wait in memory.
    """
    workers = (os.cpu_count() or 1) if workers is None else workers
    running: deque[tuple[Source, Future[_Developed | _Refused]]] = deque()
    suspects = 0  # number of files in work when a worker died; they are tried again, one at a time
    pool = _pool(workers)
    try:
        while True:
            try:
                while waiting and len(running) < min(missing(), 1 if suspects else workers + 1):
                    running.append((waiting[0], pool.submit(_develop, waiting[0].path, *settings)))
                    waiting.popleft()
                if not running:
                    return
                outcome = running[0][1].result()
            except BrokenProcessPool:
                pool.shutdown()
                pool = _pool(workers)
                if not running:  # it broke between two files: neither is the cause
                    continue
                if not suspects:
                    suspects = len(running)
                    waiting.extendleft(source for source, _ in reversed(running))
                    running.clear()
                    continue
                outcome = _Refused("its decoder crashed, or was killed for want of memory", lasting=False)
            suspects = max(suspects - 1, 0)
            yield running.popleft()[0], outcome
    finally:
        pool.shutdown(cancel_futures=True)


def _pool(workers: int) -> Executor:
    if workers == 0:
        return _ThisProcess()
    # Spawned, not forked: forking a process in which torch has started threads can hang.
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker)


class _ThisProcess(Executor):
    """Run each function when it is submitted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future
