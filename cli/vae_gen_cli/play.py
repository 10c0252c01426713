"""`vae-gen play`: opens the playground in the browser, and runs its model in this process."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from . import options
from .output import printable


def play(
    port: Annotated[
        int,
        typer.Option(
            "--port", metavar="N", min=0, max=65535, rich_help_panel=options.OUTPUT, show_default="a free one",
            help="The port of the page.",
        ),
    ] = 0,
    browser: Annotated[
        bool,
        typer.Option("--browser/--no-browser", rich_help_panel=options.OUTPUT, help="Open the page in the browser."),
    ] = True,
    model: options.Model = None,
    provider: options.Provider = "cpu",
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Open the playground in the browser.

    The page has sliders for the latent dimensions, a wall of samples, and a place for your own pictures. It is served
    to this machine alone (127.0.0.1). Press Ctrl-C to stop.
    """
    from .play_server import open_server

    vae = options.load(model, None, provider, "decoder")
    with open_server(vae, port) as server:
        address = f"http://127.0.0.1:{server.server_port}/"
        if not quiet:
            print(printable(f"{vae.manifest.name} at {address} (Ctrl-C ends it)"), file=sys.stderr)
        if browser:
            import threading
            import webbrowser

            # In a thread, because a browser in the terminal returns only when it is closed.
            threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()
        server.serve_forever()
