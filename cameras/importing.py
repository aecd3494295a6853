"""RAW files of a camera become stored pairs: developed in parallel, restartable, never half written.

The paper chooses 150 landscape photographs of every camera at random (section 3.2). Here, files are taken in
an order that depends on a seed and on their names alone, until enough are stored. An import that was stopped
goes on where it was when called again, and stores what one that was never stopped would have stored.
"""

import hashlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from cameras.develop import develop
from cameras.pairs import Index, PairError, Source, append, quantise, refuse
from cameras.raw import SUFFIXES, RawError, RawFrame

PORTRAIT = "portrait, and only landscape was asked for"


@dataclass(frozen=True)
class Imported:
    """What an import left behind.

    accepted: names of the images stored by this call. already: number of images stored before it.
    refused: files that were refused, now or by an earlier call, and why; sorted.
    """

    folder: Path
    accepted: tuple[str, ...]
    already: int
    refused: tuple[tuple[Path, str], ...]

    def __len__(self) -> int:
        """Number of images the camera has now."""
        return self.already + len(self.accepted)


def import_camera(
    name: str,
    paths: Iterable[Path | str],
    root: Path | str,
    *,
    limit: int = 150,
    orientation: Literal["landscape", "any"] = "landscape",
    demosaic: Literal["menon", "bilinear"] = "menon",
    seed: int = 0,
    workers: int | None = None,
    on_progress: Callable[[int, int, Path, str | None], None] | None = None,
) -> Imported:
    """Store pairs of RAW files and the images `cameras.develop` makes of them in the folder `root`/`name`.

    Args:
        name: of the camera, as studies will call it; one camera model each.
        paths: RAW files, and folders to be searched for them (by suffix, with all their subfolders).
        root: folder of all cameras.
        limit: number of images the camera shall have in the end, those stored earlier included.
        orientation: "landscape" refuses photographs that are displayed upright.
        demosaic: demosaicing method of the targets.
        seed: of the random order in which files are taken.
        workers: processes, one for each CPU by default; 0 works in this process. They are spawned: a script
            must call this below ``if __name__ == "__main__"``.
        on_progress: called for every file looked at, with the number of images stored, the number that can
            still be reached, the file, and the reason if it was refused.

    Raises:
        ValueError: a path that does not exist, no RAW file at all, a limit below 1, a name that is no folder
            name, a damaged folder, or one whose targets were made by another demosaicing.
    """
    if limit < 1:
        raise ValueError(f"limit {limit}: at least one image must be asked for")
    if not name or Path(name).name != name or name.startswith("."):
        raise ValueError(f"camera name {name!r} cannot be the name of a folder")
    folder = Path(root) / name
    index = Index.read(folder)
    if index.development not in (None, demosaic):
        raise ValueError(f"{folder} holds {index.development} targets: import {demosaic} under another name")

    sources = [Source.of(path) for path in _random_order(raw_files(paths), seed)]
    stored = {image.source for image in index.images}
    remembered = {
        entry.source: entry.reason for entry in index.refused if not (entry.reason == PORTRAIT and orientation == "any")
    }
    refused = [(Path(source.path), remembered[source]) for source in sources if source in remembered]
    waiting = deque(source for source in sources if source not in stored and source not in remembered)
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
    return Imported(folder, tuple(accepted), len(index.images), tuple(sorted(refused)))


def raw_files(paths: Iterable[Path | str]) -> list[Path]:
    """Files as given, and the RAW files within folders, each once, sorted; hidden ones are left out.

    Raises ValueError if a path does not exist, or if nothing is found.
    """
    places = [Path(path) for path in paths]
    found: set[Path] = set()
    for path in places:
        if path.is_dir():
            found.update(
                file.resolve()
                for file in path.rglob("*")
                if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
            )
        elif path.exists():
            found.add(path.resolve())
        else:
            raise ValueError(f"{path}: no such file or folder")
    if not found:
        raise ValueError(f"no RAW files in {', '.join(map(str, places))}: looked for {' '.join(SUFFIXES)}")
    return sorted(found)


def _random_order(files: list[Path], seed: int) -> list[Path]:
    """By a hash of seed and file name: the same wherever the folder lies, whatever else is added to it."""
    return sorted(files, key=lambda file: (hashlib.sha256(f"{seed}/{file.name}".encode()).digest(), file))


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
    """lasting: the file itself is at fault, and need not be looked at again until it changes."""

    reason: str
    lasting: bool


def _develop(path: str, orientation: str, demosaic: Literal["menon", "bilinear"]) -> _Developed | _Refused:
    try:
        frame = RawFrame.open(path)
    except RawError as error:
        return _Refused(str(error).removeprefix(f"{path}: "), lasting=True)
    except OSError as error:
        return _Refused(f"cannot be read: {error.strerror}", lasting=False)
    height, width, _ = frame.bayer.shape
    if frame.orientation >= 5:  # displayed after a quarter turn
        height, width = width, height
    if orientation == "landscape" and height > width:
        return _Refused(PORTRAIT, lasting=True)
    bayer, target = quantise(path, frame.bayer, develop(frame, demosaic))
    # Cameras count to 9999 and begin again: the contents tell files of one name apart, wherever they lie.
    name = f"{Path(path).stem}-{hashlib.sha256(bayer.data).hexdigest()[:8]}"
    return _Developed(name, bayer, target, frame.cfa, frame.cam2srgb, frame.camera)


def _start_worker() -> None:
    torch.set_num_threads(1)  # the files are what runs in parallel
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle
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
    """Outcomes of `_develop`, in the order of `waiting`, as long as images are `missing`.

    No more files are under way than are missing, so nothing is developed in vain; and no more than keep the
    workers busy, so that few finished images wait in memory.
    """
    workers = (os.cpu_count() or 1) if workers is None else workers
    running: deque[tuple[Source, Future[_Developed | _Refused]]] = deque()
    suspects = 0  # files under way when a worker died; they are taken again, one at a time
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
                if not running:  # it broke between two files: none of them is to blame
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
    """Runs what is submitted at once."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future
