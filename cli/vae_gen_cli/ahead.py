"""Modules imported while ONNX Runtime is at work: it releases the interpreter's lock, so that both go on at once."""

from __future__ import annotations

import importlib
import threading
from contextlib import suppress


def import_drawing_ahead() -> None:
    """Begin to import Pillow and what draws with it, 25 ms of a start; whoever imports it next waits for what is left.

    ONNX Runtime is imported first: while it is, the lock is held, and from then on opening graphs leaves it free.
    """
    importlib.import_module("onnxruntime")
    threading.Thread(target=_import_drawing, daemon=True).start()


def _import_drawing() -> None:
    with suppress(Exception):  # whoever imports it next meets the error, and says it
        importlib.import_module("vae_gen_cli.drawing")
        importlib.import_module("PIL.Image").preinit()  # the usual formats, which the first save would import
