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
    host: Annotated[
        str,
        typer.Option(
            "--host", metavar="ADDRESS", rich_help_panel=options.OUTPUT,
            help="The address of this machine that the page is served at. 0.0.0.0 serves everyone who reaches this "
                 "machine through a network: see below.",
        ),
    ] = "127.0.0.1",
    lesson: Annotated[
        bool,
        typer.Option(
            "--lesson", rich_help_panel=options.OUTPUT, help="Begin with the lesson: six steps that explain the page."
        ),
    ] = False,
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

    The page has sliders for what the model can change and for the latent dimensions behind it, a wall of samples, a
    map, a place for your own pictures, and a lesson of six steps. Press Ctrl-C to stop. By default the page is served
    to this machine alone.

    For a class-room, --host 0.0.0.0 --port 8000 serves the page to the whole network. Everyone in it can then use the
    model, without a password, and keep this machine's processor busy. What they send, such as their own pictures, is
    not encrypted. They can't change anything on this machine, nor read other files than those of the page and the
    model.
    """
    from .play_server import open_server

    vae = options.load(model, None, provider, "decoder")
    with open_server(vae, port, host) as server:
        address = f"{server.address}{'?lesson' if lesson else ''}"
        if not quiet:
            print(printable(f"{vae.manifest.name} at {address} (Ctrl-C ends it)"), file=sys.stderr)
            if server.is_open:
                print("everyone in the network can use this page, without a password or encryption", file=sys.stderr)
        if browser:
            import threading
            import webbrowser

            # In a thread, because a browser in the terminal returns only when it is closed.
            threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()
        server.serve_forever()
