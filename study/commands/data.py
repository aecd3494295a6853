"""Commands for photographs: simulate, import; and what fetch shares with import."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from study.commands.app import StorageOption, app, out, print_line, table
from study.settings import NAME, StudyError, expanded, user_errors

if TYPE_CHECKING:
    from cameras.importing import Imported


@app.command()
def simulate(
    folder: Annotated[Path, typer.Argument(help="where the DNG files go")],
    camera: Annotated[str, typer.Option(help="preset of a simulated camera")] = "sim-rggb",
    count: Annotated[int, typer.Option(min=1, help="number of pictures")] = 24,
    height: Annotated[int, typer.Option(min=64)] = 512,
    width: Annotated[int, typer.Option(min=64)] = 768,
    photos: Annotated[Path | None, typer.Option(help="folder of photographs to take pictures of")] = None,
    scenes: Annotated[
        str, typer.Option(help="'dead-leaves', or 'scikit-image' for the photographs that it ships")
    ] = "dead-leaves",
    seed: int = 0,
) -> None:
    """Write a simulated camera's RAW files: real DNG, with a known PRNU pattern in them."""
    from cameras.console import work
    from cameras.dng import simulate_folder
    from cameras.simulate import PRESETS

    if camera not in PRESETS:
        raise StudyError(f"there is no simulated camera '{camera}': choose one of {', '.join(PRESETS)}")
    with work(f"{camera}: {count} pictures", count) as advance, user_errors():
        simulate_folder(
            PRESETS[camera],
            folder,
            count,
            height,
            width,
            seed,
            scenes=photos if photos is not None else scenes,
            progress=lambda done, total: advance(done),
        )
    print_line(f"{count} DNG files in {folder}")


@app.command(name="import")
def import_(
    paths: Annotated[list[Path], typer.Argument(help="RAW files, or folders of them")],
    camera: Annotated[str, typer.Option(help="name of the camera in study files")],
    model: Annotated[
        str | None, typer.Option(help="such as 'NIKON D5000': files of other cameras are refused [default: the most]")
    ] = None,
    storage: StorageOption = None,
    limit: Annotated[int, typer.Option(min=1, help="number of photographs, chosen by a seed")] = 150,
    orientation: Literal["landscape", "any"] = "landscape",
    demosaic: Literal["menon", "bilinear"] = "menon",
    seed: int = 0,
    at_least: Annotated[int, typer.Option(min=1, help="with fewer in the end, the exit code is 2")] = 1,
    workers: Annotated[int | None, typer.Option(help="processes; all CPUs where not given")] = None,
) -> None:
    """RAW files → pairs of Bayer stack and developed target. Called again, it does only what is missing."""
    imported = import_photographs(
        camera,
        paths,
        storage,
        model=model,
        limit=limit,
        orientation=orientation,
        demosaic=demosaic,
        seed=seed,
        workers=workers,
    )
    conclude_import(camera, imported, limit, at_least)


def local_folder(storage: str | None) -> Path:
    """The folder on this machine that holds pairs, of a command's --storage."""
    from study.storage import Storage

    shared = Storage(expanded(storage or "results"))
    return shared.folder if shared.is_folder else Path("results")


def import_photographs(
    camera: str, paths: Iterable[Path], storage: str | None, *, limit: int, **settings: Any
) -> "Imported":
    """Import with progress, and publish the pairs. settings: of `cameras.importing.import_camera`."""
    from cameras.console import work
    from cameras.importing import import_camera
    from study.execution.cameras import publish_pairs
    from study.storage import Storage

    if not re.fullmatch(NAME, camera):
        raise StudyError(f"camera '{camera}': use letters, digits, spaces, dots, dashes and underscores")
    here = local_folder(storage)
    with work(f"{camera}: import", limit) as advance, user_errors():
        imported = import_camera(
            camera,
            paths,
            here / "cameras",
            limit=limit,
            on_progress=lambda done, total, path, reason: advance(done, path.name),
            **settings,
        )
    if len(imported):
        publish_pairs(here, camera, Storage(expanded(storage or "results")))
    return imported


def conclude_import(camera: str, imported: "Imported", limit: int, at_least: int) -> None:
    """Say what was imported and refused. Raises StudyError with fewer photographs than at_least."""
    from cameras.errors import printable

    if imported.refused:
        rows = [(printable(path.name), printable(reason)) for path, reason in imported.refused]
        out.print(table("Refused", ("file", "reason"), rows))
    new, refused = len(imported.accepted), len(imported.refused)
    print_line(
        f"{camera}: {len(imported)} of the {limit} photographs asked for ({new} new, {refused} refused), "
        f"in {imported.folder}"
    )
    if len(imported.bodies) > 1:
        bodies = ", ".join(f"{serial}: {images} photographs" for serial, images in imported.bodies.items())
        print_line(
            f"warning: {camera} is {len(imported.bodies)} camera bodies (serial number {bodies}); each has a sensor "
            "fingerprint of its own, so one over all of them says nothing"
        )
    if len(imported) < at_least:
        raise StudyError(f"{camera}: {len(imported)} photographs are too few, --at-least {at_least} were asked for")
