"""``forensics serve``: the analysis of photographs for people who have no shell, in a browser on this machine."""

import socket
from contextlib import suppress
from typing import Annotated

import torch
import typer
import uvicorn

from cameras.console import say
from cameras.folders import expand
from cameras.output import line
from forensics.commands.analyse import PackageOption
from forensics.package import Package, load_package
from forensics.service.app import application

LOOPBACK = "127.0.0.1"
PATIENCE = 5  # seconds that an analysis has to finish when the service ends


def command(
    by: PackageOption,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free")] = 8000,
) -> None:
    """Serve a page on this machine that takes a photograph and says what happened to it. Ctrl-C ends it.

    Nothing leaves this machine, and nothing is stored.
    """
    package = load_package(expand(by))
    package.fan.to("cuda" if torch.cuda.is_available() else "cpu")
    server = server_of(package)
    with listening(port) as open_socket:
        line(f"http://{LOOPBACK}:{open_socket.getsockname()[1]}/ – open it in a browser; Ctrl-C ends the service")
        with suppress(KeyboardInterrupt):
            server.run(sockets=[open_socket])
    say("the service has ended")


def server_of(package: Package) -> uvicorn.Server:
    """A server for the application; what it says of errors goes to stderr."""
    config = uvicorn.Config(
        application(package),
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=PATIENCE,
    )
    return uvicorn.Server(config)


def listening(port: int) -> socket.socket:
    """A socket on the loopback that listens. Raises ValueError where the port cannot be used."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((LOOPBACK, port))
        made.listen()
    except OSError as error:
        made.close()
        raise ValueError(f"port {port} cannot be used ({error.strerror}): choose another with --port") from None
    return made
