"""Makes, decodes and encodes pictures in Python with NumPy and ONNX Runtime alone; copy the class `VAE` into your app.

    python example.py [MODEL_FOLDER]

Images are float32 [n, channels, height, width] with values in [0, 1], and latents are float32 [n, dimensions].
"""

import hashlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import onnxruntime

LARGEST = 1e6  # beyond it a network's sums overflow, and its pictures hold NaN
ROUNDING = 1e-3  # pixels may lie so far outside of [0, 1]


class VAE:
    """A model folder. Each graph is hashed when it is first used, and its inputs are checked against the manifest."""

    def __init__(self, folder):
        self.folder, self.sessions = Path(folder), {}
        file = self.folder / "manifest.json"
        if not file.is_file():
            raise ValueError(f"expected the file {file}, got none; check the address of the model folder")
        self.manifest = json.loads(file.read_bytes())
        if self.manifest.get("schema_version") != 1:
            found = self.manifest.get("schema_version")
            raise ValueError(f"expected a manifest.json of schema version 1 in {folder}, got {found}")
        self.detail = self.manifest.get("detail", {}).get("default", False)  # whether pictures have details by default

    def sample(self, n, seed, start=0, *, prior=None, label=-1, temperature=1.0, detail=None):
        """Makes the pictures start … start+n−1 of a seed, the same ones on every machine.

        Args:
            n: the number of pictures.
            seed: 0 … 2⁶³−1, as a number or as decimal digits.
            start: the index of the first picture.
            prior: "normal" or "fitted", the density that latents are drawn from; None is the model's default.
            label: the index of a class in manifest["class_names"], or −1 for any class.
            temperature: the factor of the latents' noise, 0 … 100.
            detail: True draws with the detail stage, False gives the decoder's mean pictures; None is the default.

        Returns:
            A dictionary with "images", "latents", "labels" and "noise", the input of the detail stage.
        """
        drawn = self.draw(n, seed, start, prior=prior, label=label, temperature=temperature)
        detail = self.detail if detail is None else detail
        return {"images": self.decode(drawn["latents"], drawn["noise"], detail), **drawn}

    def draw(self, n, seed, start=0, *, prior=None, label=-1, temperature=1.0):
        """Draws latents without decoding them: a dictionary with "latents", "labels" and "noise"."""
        values = {"seed": str(seed), "start": str(start), "count": str(n)}
        numbers = {name: int(text) if text.isdecimal() else -1 for name, text in values.items()}
        last = numbers["start"] + numbers["count"] - 1
        if min(numbers.values()) < 0 or max(numbers["seed"], last) >= 2**63 or numbers["count"] < 1:
            raise ValueError(f"expected a seed and indices from 0 to 2^63-1, got seed {seed} and {n} from {start} on")
        if not isinstance(label, int | np.integer) or not isinstance(temperature, int | float | np.number):
            raise ValueError("expected a label as the index of a class, and a temperature as a number, "
                             f"got {label!r} and {temperature!r}")
        if prior is None:
            prior = "fitted" if label >= 0 else self.manifest["latent"].get("default_prior", "normal")
        classes = len(self.manifest["class_names"]) if prior == "fitted" else 0
        if prior not in ("normal", "fitted") or not -1 <= label < classes or not 0 <= temperature <= 100:
            raise ValueError("expected the prior normal or fitted, the label -1 or (if fitted) of a class, and a "
                             f"temperature from 0 to 100, got {prior}, {label}, {temperature}")
        if "latents" not in self.manifest["graphs"] and (prior, temperature) == ("normal", 1):  # an older model folder
            latents = self.run("generator", **numbers)["latent"]
            return {"latents": latents, "labels": np.full(len(latents), -1), "noise": None}
        choice = {"prior": int(prior == "fitted"), "label": label, "temperature": temperature}
        outputs = self.run("latents", **numbers, **choice)
        return {"latents": outputs["latent"], "labels": outputs["labels"], "noise": outputs.get("noise")}

    def decode(self, latents, noise=None, detail=None):
        """Makes the pictures of latents.

        `detail` is as in `sample`, and by default True if there is noise, which is one row for each latent or a single
        row for all. The detail stage takes the noise of picture 0 of seed 0 if none is given.
        """
        detail = noise is not None or self.detail if detail is None else detail
        if not detail:
            return self.run("decoder", latent=latents)["image"]
        if "detail" not in self.manifest["graphs"]:
            raise ValueError("expected a model with a detail stage, got one without; leave detail and noise out")
        noise = self.draw(1, 0, prior="normal")["noise"] if noise is None else numbers("noise", noise)
        latents = numbers("latents", latents)
        noise = np.broadcast_to(noise, (len(latents), noise.shape[-1]))
        return self.run("detail", latent=latents, noise=noise)["image"]

    def encode(self, images):
        """The "mean" and "log_variance" of the posterior, the normal distribution of latents that fit an image."""
        images = numbers("images", images)
        low, high = images.min(initial=0), images.max(initial=1)  # both are NaN if any value is
        if not (low >= -ROUNDING and high <= 1 + ROUNDING):
            advice = "clip them" if low >= -0.5 and high <= 1.5 else "divide grey levels by 255"
            raise ValueError(f"expected images with values in [0, 1], got values from {low} to {high}; {advice}")
        return self.run("encoder", image=np.clip(images, 0, 1))

    def run(self, name, **values):
        """Runs one graph: takes its inputs by name, and returns a dictionary of its outputs."""
        graph = self.manifest["graphs"].get(name)
        if graph is None:
            raise ValueError(f"expected a model with a graph called {name}, got {', '.join(self.manifest['graphs'])}")
        feed = {spec["name"]: checked_input(spec, values[spec["name"]]) for spec in graph["inputs"]}
        if name not in self.sessions:
            content = (self.folder / graph["file"]).read_bytes()
            if hashlib.sha256(content).hexdigest() != graph["sha256"]:
                what = f"the {graph['file']} that manifest.json describes"
                raise ValueError(f"expected {what}, got another SHA-256; copy it again")
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1  # networks this small gain nothing from a second thread
            self.sessions[name] = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        names = [spec["name"] for spec in graph["outputs"]]
        return dict(zip(names, self.sessions[name].run(names, feed), strict=True))


def checked_input(spec, value):
    """The value as an array of the manifest's dtype and shape, in which a word stands for any size."""
    array = numbers(spec["name"], value, spec["dtype"])
    fits = array.ndim == len(spec["shape"]) and all(
        size == axis if isinstance(axis, int) else size >= 1
        for size, axis in zip(array.shape, spec["shape"], strict=True)
    )
    if not fits:
        raise ValueError(f"expected {spec['name']} of shape {spec['shape']}, got {list(array.shape)}")
    if not np.isfinite(array).all():
        raise ValueError(f"expected finite values in {spec['name']}, got others")
    if array.dtype == np.float32 and np.abs(array).max() > LARGEST:
        raise ValueError(f"expected {spec['name']} from -1e6 to 1e6, got {np.abs(array).max()}")
    return array


def numbers(name, value, dtype=None):
    """The value as an array of numbers; an error calls it by its name."""
    try:
        array = np.asarray(value, dtype)
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError is PyTorch's
        raise ValueError(f"expected {name} as an array of numbers, got {type(value).__name__} ({error})") from error
    if array.dtype.kind not in "biuf":
        raise ValueError(f"expected {name} as an array of numbers, got {type(value).__name__}")
    return array


def grey_levels(images):
    """Grey levels 0 … 255, uint8: ⌊255·x + 0.5⌋ in float32, as in every language."""
    return (np.float32(255) * images + np.float32(0.5)).astype(np.uint8)  # the cast cuts, which is the floor here


def main():
    """Shows what each call does."""
    sys.stdout.reconfigure(errors="replace")  # a console may lack letters of the classes' names
    vae = VAE(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "model")
    samples = vae.sample(2, seed=7)
    step = max(1, samples["images"].shape[3] // 28)  # of pixels, because a terminal is narrow
    grey = grey_levels(samples["images"].mean(axis=1))
    for row in np.concatenate(list(grey), axis=1)[:: 2 * step, ::step]:  # letters are twice as tall as wide
        print("".join(" .:-=+*#%@"[level // 26] for level in row))
    names = [*vae.manifest["class_names"], "a picture without a class"]  # whose label is -1
    print("sample: the first two pictures of seed 7:", ", ".join(names[label] for label in samples["labels"]))
    print("decode: their latents once more:", vae.decode(samples["latents"], samples["noise"]).shape)
    posterior = vae.encode(samples["images"])
    print("encode:", posterior["mean"].shape, "posterior means and log-variances")


if __name__ == "__main__":
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has stopped, as `head` does
        os._exit(0)
    except (OSError, ValueError) as error:
        sys.exit(f"example.py: {error}")
