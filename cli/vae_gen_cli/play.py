"""`vae-gen play`: the playground in a browser, its model in this process."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from . import options
from .console import printable


def play(
    port: Annotated[
        int,
        typer.Option("--port", metavar="N", parser=options.whole_number(0, 65535), help="0 takes one that is free."),
    ] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = True,
    model: options.Model = None,
    threads: options.Threads = None,
    provider: options.Provider = "cpu",
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Play with the model on a page: sliders for its latents, a wall of samples, your own pictures.

    The page is served on this machine alone (127.0.0.1), and nothing leaves it. Ctrl-C ends it.
    """
    from .play_server import open_server

    generator = options.ModelChoice(model, threads, provider).load("decoder")
    with open_server(generator, port) as server:
        address = f"http://127.0.0.1:{server.server_port}/"
        if not quiet:
            print(printable(f"{generator.manifest.name} at {address} (Ctrl-C ends it)", sys.stderr), file=sys.stderr)
        if browser:
            import webbrowser

            webbrowser.open(address)
        server.serve_forever()
