"""The command that hands over what a study found: export."""

from pathlib import Path
from typing import Annotated

import typer

from study.commands.app import StorageOption, app, load, out, read, table
from study.commands.results import wanted
from study.settings import StudyError, expanded, presets, user_errors


@app.command()
def export(
    run_or_study: Annotated[
        str,
        typer.Argument(
            help="an MLflow run id, a trial key (its beginning will do), a preset or a YAML file; of a study the best "
            "setting, and its seed that is best on the validation photographs"
        ),
    ],
    to: Annotated[Path, typer.Option("--out", help="a zip file if its name ends in .zip, else a folder")],
    storage: StorageOption = None,
    tracking_uri: Annotated[
        str | None, typer.Option(help="where a run is logged, if neither there nor in the environment")
    ] = None,
    camera: Annotated[list[str] | None, typer.Option(help="of the setting; may be repeated: any of them")] = None,
    isp: Annotated[list[str] | None, typer.Option(help="of the setting; may be repeated: any of them")] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="of the setting: lambda=0.1, channel.codec=jpeg:50; as best takes it")
    ] = None,
    licence: Annotated[str | None, typer.Option(help="of the weights, in a sentence")] = None,
    onnx: Annotated[
        bool, typer.Option("--onnx/--no-onnx", help="with ONNX files of both networks, and what 8 bits cost")
    ] = True,
    photographs: Annotated[
        list[Path] | None,
        typer.Option(
            help="RAW files of the camera that the study has not seen, or folders of them: half of them calibrate, the "
            "others check; may be repeated"
        ),
    ] = None,
) -> None:
    """Hand over a finished trial: one package with its NIP, its FAN, and what is known of them.

    `python -m forensics` develops and analyses photographs with it. A page beside it, camera.html for camera.zip, says
    how far its answers can be trusted.
    """
    from cameras.importing import raw_files
    from study.commands.export import by_run, by_setting, figures
    from study.commands.export import export as write_package
    from study.report.package_page import beside
    from study.tracking import default_uri

    if run_or_study in presets() or Path(run_or_study).suffix in (".yaml", ".yml"):
        study = load(run_or_study, storage)
        if (snapshot := read(study)) is None:
            raise StudyError(f"study {study.name} has no results in {study.storage} yet")
        storage, choice = study.storage, by_setting(study, snapshot, wanted(camera, isp, where))
    elif camera or isp or where:
        raise StudyError("--camera, --isp and --where choose among the trials of a study: name a study, not a run")
    else:
        storage = expanded(storage or "results")
        storage = str(Path(storage).resolve()) if "://" not in storage else storage
        choice = by_run(run_or_study, tracking_uri or default_uri(storage))
    with user_errors():
        files = raw_files(photographs) if photographs else []
    package = write_package(choice, storage, to, licence, onnx, files)
    out.print(table(f"{to}: {package.trial.camera} {package.trial.isp}", ("what", "value"), figures(package)))
    out.print(f"how far it can be trusted: {beside(to)}", soft_wrap=True, markup=False)
