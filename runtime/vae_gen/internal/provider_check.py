"""Refuses an execution provider of ONNX Runtime whose results differ from the golden vectors.

Providers are other engines, and some compute with less precision, or wrongly, without an error. A graph that another
provider than the CPU's computes is therefore tried on its golden vectors when it is opened, which takes a few
milliseconds. This module is not needed on the CPU.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .._errors import ModelError, UnavailableError
from .files import Json
from .manifest import ADVICE, GOLDEN_FILE
from .model import ModelFolder, Session


def computed_levels(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """The grey levels of pictures that a graph made, whatever their range: wrong ones shall be compared, too."""
    levels: NDArray[np.float32] = np.floor(np.float32(255) * images + np.float32(0.5))
    return levels


def check_results(folder: ModelFolder, name: str, session: Session, provider: str) -> None:
    """Runs the golden vectors of the encoder, the decoder or the detail stage.

    Args:
        folder: the model folder.
        name: the name of the graph.
        session: of this graph, on the provider.
        provider: the name of the provider, for the error.

    Raises:
        UnavailableError: a result is not within the tolerance of golden.json.
        ModelError: golden.json can't be read.
    """
    content = folder.read_checked(GOLDEN_FILE, folder.manifest.other_files[GOLDEN_FILE][0])
    golden = Json.parse(content, str(folder.path / GOLDEN_FILE), ModelError, ADVICE)
    case = golden[{"encoder": "encodings", "decoder": "decodings", "detail": "details"}[name]]
    entry = case["images"]
    images = entry["base64"].decoded("uint8", entry["count"].whole(1), *folder.manifest.image.shape)
    feed: dict[str, NDArray[np.float32]]
    if name == "encoder":
        outputs = ["mean", "log_variance"]
        feed = {"image": images.astype(np.float32) / np.float32(255)}
    else:
        outputs = ["image"]
        inputs = {"latent": "latents"} | ({"noise": "noise"} if name == "detail" else {})
        feed = {key: case[place].array().astype(np.float32) for key, place in inputs.items()}
    for output, found in zip(outputs, session.run(outputs, feed), strict=True):
        wanted, values = (images, computed_levels(found)) if output == "image" else (case[output].array(), found)
        allowed = golden["tolerances"]["grey_levels" if output == "image" else output].number()
        difference = float(np.abs(values.astype(np.float64) - wanted).max()) if values.shape == wanted.shape else np.nan
        if not difference <= allowed:  # NaN, too
            kind = "grey levels of pictures" if output == "image" else f"values of {output}"
            raise UnavailableError(
                f"expected the execution provider {provider} to compute {folder.manifest.graphs[name].file} as its "
                f"golden vectors have it, got {kind} that differ by {difference:.2g} (allowed {allowed:g}); "
                "leave --provider out"
            )
