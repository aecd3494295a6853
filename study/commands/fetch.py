"""The command fetch: one camera's photographs of a public set, downloaded and imported."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from study.commands.app import StorageOption, app, out, print_line, table
from study.commands.data import conclude_import, import_photographs, local_folder
from study.settings import StudyError, user_errors

if TYPE_CHECKING:
    from cameras.downloads import Downloaded, Remote
    from cameras.public_sets import PublicSet


@app.command()
def fetch(
    public_set: Annotated[Literal["mit5k", "raise"], typer.Argument(help="MIT-Adobe FiveK, or RAISE")],
    camera: Annotated[str, typer.Option(help="model, such as 'D90' or 'Nikon D90'; also its name in study files")],
    limit: Annotated[int, typer.Option(min=1, help="number of photographs, chosen by a seed")] = 150,
    lists: Annotated[
        list[Path] | None, typer.Option("--list", help="the set's list, where you have it; needed for raise")
    ] = None,
    storage: StorageOption = None,
    orientation: Literal["landscape", "any"] = "landscape",
    demosaic: Literal["menon", "bilinear"] = "menon",
    seed: int = 0,
    at_least: Annotated[int, typer.Option(min=1, help="with fewer in the end, the exit code is 2")] = 1,
    workers: Annotated[int | None, typer.Option(help="processes of the import; all CPUs where not given")] = None,
) -> None:
    """Download one camera's RAW files of a public set, and import them. The same call continues where it stopped."""
    from cameras.public_sets import SETS, of_camera

    chosen, raw = SETS[public_set], local_folder(storage) / "raw" / public_set
    print_line(f"{chosen.title}, {chosen.home}: {chosen.terms}")
    with user_errors():
        waiting = of_camera(chosen.photographs(_lists(chosen, lists or (), raw)), camera, seed)
        left_out: dict[str, str] = {}
        paths: list[Path] = []
        imported = None
        while waiting and (missing := limit - len(imported or ())) > 0:
            batch, waiting = waiting[:missing], waiting[missing:]
            folder = raw / batch[0].camera
            downloaded = _download(chosen, [photograph.file for photograph in batch], folder, camera)
            paths += downloaded.paths
            left_out |= downloaded.left_out
            if paths:
                imported = import_photographs(
                    camera,
                    paths,
                    storage,
                    limit=limit,
                    orientation=orientation,
                    demosaic=demosaic,
                    workers=workers,
                )
    if left_out:
        out.print(table("Not downloaded", ("file", "reason"), left_out.items()))
    if imported is None:
        raise StudyError(f"{camera}: none of the {len(left_out)} files could be downloaded, such as {_first(left_out)}")
    conclude_import(camera, imported, limit, at_least)


def _lists(chosen: "PublicSet", given: Sequence[Path], raw: Path) -> Sequence[Path]:
    """The files that list a set's photographs: those given, or else downloaded."""
    from cameras.downloads import download

    if given:
        return given
    if not chosen.lists:
        raise StudyError(f"name the list of {chosen.title} by --list FILE: {chosen.where_lists_are}")
    downloaded = download(chosen.lists, raw / "lists", check=chosen.read)
    if downloaded.left_out:
        raise StudyError(
            f"a list of {chosen.title}: {_first(downloaded.left_out)}; name it by --list FILE: {chosen.where_lists_are}"
        )
    return downloaded.paths


def _download(chosen: "PublicSet", files: Sequence["Remote"], folder: Path, camera: str) -> "Downloaded":
    """Download files with progress, after a look at the room on the disk."""
    from cameras.console import work
    from cameras.disk import require_space
    from cameras.downloads import download

    missing = sum(not (folder / file.name).exists() for file in files)
    print_line(f"{folder}: {missing} files to download, {require_space(folder, missing * chosen.bytes_each)}")
    with work(f"{camera}: download", len(files)) as advance:
        return download(files, folder, _check, on_progress=advance)


def _check(path: Path) -> None:
    """Raises ValueError for a file that is no complete RAW file."""
    from cameras.raw import open_raw

    with open_raw(path):
        pass


def _first(left_out: dict[str, str]) -> str:
    return ": ".join(next(iter(left_out.items())))
