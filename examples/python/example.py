"""Pictures from a model folder with NumPy and ONNX Runtime alone: copy what stands above `main` into your app.

    python example.py [MODEL_FOLDER]

Images are float32 [n, channels, height, width] in [0, 1], latents float32 [n, dimensions].
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime


class Model:
    """A model folder: a graph is hashed when it is first used, and every input is held against the manifest."""

    def __init__(self, folder):
        self.folder, self.sessions = Path(folder), {}
        if not (self.folder / "manifest.json").is_file():
            raise ValueError(f"expected a model folder with a manifest.json, found none in {folder}")
        self.manifest = json.loads((self.folder / "manifest.json").read_bytes())
        if self.manifest.get("schema_version") != 1:
            raise ValueError(f"expected schema version 1, found {self.manifest.get('schema_version')} in {folder}")

    def sample(self, seed, start=0, count=1):
        """Images and latents start … start+count−1 of a seed, the same on every machine."""
        return self.run("generator", **checked_range(seed, start, count))

    def draw(self, seed, start=0, count=1, *, prior="fitted", label=-1, temperature=1.0):
        """Latents, classes and, where the model has a detail stage, noise for `decode`: `sample` with choices.

        prior: normal or fitted; label: with fitted, a class's index in manifest["class_names"], or −1 for any.
        """
        classes = len(self.manifest["class_names"]) if prior == "fitted" else 0
        if prior not in ("normal", "fitted") or not -1 <= label < classes or not 0 <= temperature <= 100:
            raise ValueError("expected the prior normal or fitted, the label -1 or (if fitted) of a class, and a "
                             f"temperature from 0 to 100, got {prior}, {label}, {temperature}")
        choice = {"prior": int(prior == "fitted"), "label": label, "temperature": temperature}
        return self.run("latents", **checked_range(seed, start, count), **choice)

    def decode(self, latents, noise=None):
        """The mean images of latents; with noise, those that the detail stage draws."""
        if noise is None:
            return self.run("decoder", latent=latents)[0]
        return self.run("detail", latent=latents, noise=noise)[0]

    def encode(self, images):
        """Mean and log-variance of the posterior of images, each [n, dimensions]."""
        if not ((np.asarray(images) >= 0) & (np.asarray(images) <= 1)).all():
            raise ValueError("expected images with values in [0, 1], got others; divide grey levels by 255")
        return self.run("encoder", image=images)

    def run(self, name, **values):
        """The outputs of a graph in the manifest's order, for its inputs by name."""
        graph = self.manifest["graphs"].get(name)
        if graph is None:
            raise ValueError(f"expected a model with a graph called {name}, got {', '.join(self.manifest['graphs'])}")
        feed = {spec["name"]: checked_input(spec, values[spec["name"]]) for spec in graph["inputs"]}
        if name not in self.sessions:
            content = (self.folder / graph["file"]).read_bytes()
            if hashlib.sha256(content).hexdigest() != graph["sha256"]:
                raise ValueError(f"expected the {graph['file']} of the manifest, found another SHA-256; copy it again")
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1  # a second thread gains nothing in networks this small
            self.sessions[name] = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return self.sessions[name].run([spec["name"] for spec in graph["outputs"]], feed)


def checked_range(seed, start, count):
    """A range as inputs. The graphs check nothing: numbers out of range would make pictures that mean nothing."""
    values = {"seed": str(seed), "start": str(start), "count": str(count)}  # decimal strings too, but no floats
    numbers = {name: int(text) if text.isdecimal() else -1 for name, text in values.items()}
    end = numbers["start"] + numbers["count"]
    if min(numbers.values()) < 0 or numbers["seed"] >= 2**63 or numbers["count"] < 1 or end > 2**63:
        raise ValueError(f"expected a seed and a range within 0 to 2^63-1, got seed {seed}, {count} from {start}")
    return numbers


def checked_input(spec, value):
    """The value as an array of the manifest's dtype and shape, in which a word stands for any size."""
    array = np.asarray(value, spec["dtype"])
    fits = array.ndim == len(spec["shape"]) and all(
        size == axis if isinstance(axis, int) else size >= 1
        for size, axis in zip(array.shape, spec["shape"], strict=True)
    )
    if not fits:
        raise ValueError(f"expected {spec['name']} of shape {spec['shape']}, got {list(array.shape)}")
    if not np.isfinite(array).all():
        raise ValueError(f"expected finite values in {spec['name']}, got others")
    return array


def grey_levels(images):
    """Grey levels 0 … 255, uint8: ⌊255·x + 0.5⌋ in float32, as in every language."""
    return (np.float32(255) * images + np.float32(0.5)).astype(np.uint8)  # the cast cuts, which is the floor here


def main():
    """Show what each call does: two samples, a latent decoded, images encoded."""
    model = Model(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "model")
    images, latents = model.sample(seed=7, start=0, count=2)
    for row in np.concatenate(list(grey_levels(images)[:, 0]), axis=1)[::2]:  # every second row: letters are tall
        print("".join(" .:-=+*#%@"[level // 26] for level in row))
    print("sample: two pictures of seed 7, latents", latents.shape)
    print("decode: the mean pictures of their latents", model.decode(latents).shape)
    mean, log_variance = model.encode(images)
    print("encode: posterior mean", mean.shape, "and log-variance", log_variance.shape)
    if "latents" in model.manifest["graphs"]:  # older model folders lack it
        latents, labels, *noise = model.draw(seed=7, count=2, temperature=0.8)
        print("draw: images", model.decode(latents, *noise).shape, "of the classes", labels)


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"example.py: {error}")
