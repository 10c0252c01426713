"""Videos (.mp4, .webm) of frames, with the encoders of the optional package PyAV."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from vae_gen import UnavailableError

if TYPE_CHECKING:
    from .output import Frames

CODECS: dict[str, tuple[str, dict[str, str]]] = {
    "mp4": ("libx264", {"crf": "16", "preset": "slow", "threads": "1"}),
    "webm": ("libvpx-vp9", {"crf": "20", "b:v": "0", "threads": "1", "row-mt": "0"}),
}
"""The codec of each format, and its options. H.264 plays everywhere, VP9 in all browsers. One thread gives equal bytes
for equal frames."""

ROUNDS = 2
"""How often a video goes there and back, since players do not repeat it by themselves."""


def check_encoder(format_name: str) -> Any:
    """Returns the package PyAV.

    Raises:
        UnavailableError: it is not installed, or lacks the codec of this format.
    """
    try:
        import av
    except ImportError as error:
        raise UnavailableError(
            f"expected the package av, which writes .{format_name}, got none; install the extra video: "
            'pip install "vae-gen[video]", or pip install av; or write a .webp or a .gif'
        ) from error
    codec = CODECS[format_name][0]
    if codec not in av.codec.codecs_available:
        raise UnavailableError(
            f"expected a package av with the codec {codec}, which writes .{format_name}, got one without it; "
            "install it from PyPI: pip install --force-reinstall av; or write a .webp or a .gif"
        )
    return av


def encoded_video(frames: Frames, format_name: str) -> bytes:
    """The content of a video that shows the frames twice.

    The codecs halve the resolution of colours, and need sides of even length, so the last row or column is repeated
    where a side is odd.

    Raises:
        UnavailableError: PyAV is not installed, or lacks the codec.
    """
    av = check_encoder(format_name)
    codec, options = CODECS[format_name]
    width, height = (side + side % 2 for side in frames.images[0].size)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=format_name, options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec, rate=round(1000 / frames.duration_ms), options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        for image in frames.images * ROUNDS:
            pixels = np.asarray(image.convert("RGB"))
            padding = ((0, height - pixels.shape[0]), (0, width - pixels.shape[1]), (0, 0))
            frame = av.VideoFrame.from_ndarray(np.pad(pixels, padding, mode="edge"), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()
