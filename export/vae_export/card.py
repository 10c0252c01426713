"""The model card, README.md of a model folder, made from the manifest so that no number in it is typed by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vae_train.evaluation import likelihood_of
from vae_train.images.settings import FEW
from vae_train.prior import NORMAL

UNSPECIFIED = "unspecified"
"""The licence of a model, or of a data set, for which none was named."""
PROOF_IMAGES = 1000
"""How many test images the proof uses, and worst.png is chosen from."""
WORST_PICTURES = 10
"""How many pictures worst.png shows."""
SHOWN_CLASSES = 20
"""How many class names the card lists."""


def model_card(manifest: Mapping[str, Any]) -> str:
    """The model card in Markdown, for the content of a manifest.json."""
    model, image, latent = manifest["model"], manifest["image"], manifest["latent"]
    test, training, recipe = manifest["metrics"]["test"], manifest["training"], manifest["training"]["recipe"]
    rows = "\n".join(
        f"| {dimension} | {latent['kl_nats'][dimension]:.3f} | {test['posterior_mean_variance'][dimension]:.3f} |"
        for dimension in latent["order"]
    )
    graphs = "\n".join(
        f"| `{graph['file']}` | {graph['bytes'] / 1024:.0f} KiB | {_signature(graph['inputs'])} | "
        f"{_signature(graph['outputs'])} |"
        for graph in manifest["graphs"].values()
    )
    likelihood = likelihood_of(manifest)
    worst = {
        output: max(check["max"] for check in manifest["export"]["values"] if check["output"] == output)
        for output in ("image", "mean", "log_variance", "latent")
    }
    return f"""# {_plain(model["name"])} {_plain(model["version"])}

This is a convolutional variational autoencoder (VAE) of the data set {_plain(manifest["data"]["name"])}, which has {_counted(_training_images(manifest), "picture")} for
training and validation. The model makes a picture of {image["height"]} × {image["width"]} pixels{_CHANNELS[image["channels"]]} from a latent of {_counted(latent["dimensions"], "number")},
and finds the latent of a picture. {_licences(manifest)}{_classes(manifest)}

![Fifty samples of seed 0](preview.png)

The picture above is the output of `vae-gen sample -n 50 --seed 0` with this model. Its samples come from {_DEFAULT[latent["default_prior"]]}
by default{_and_details(manifest)}.

## Figures on {_counted(test["images"], "test image")}

| figure | nats per image |
|---|---|
| −ELBO | {test["neg_elbo"]:.2f} |
| reconstruction ({_LOSS[likelihood]}) | {test["reconstruction"]:.2f} |
| KL to the prior N(0, I) | {test["kl"]:.2f} |
{_floor(test)}
The figures are those of one training run, with seed {recipe["seed"]}. They use one random latent of each image, which the seed
contract fixes.{_psnr(test)}

A latent dimension is active if its posterior mean varies between images.
Active units (variance of the posterior mean above 0.01): {test["active_units"]} of {latent["dimensions"]}.

| dimension | KL, nats | variance of the posterior mean |
|---|---|---|
{rows}

## Fitted prior

{_prior(manifest["fitted_prior"])}

{_detail(manifest)}## Training

The model was trained for {_length(recipe)} with Adam, {_rate(recipe)}, batches of {recipe["batch_size"]} images and β = {recipe["beta"]:g},
on {"all training images" if recipe["full"] else "the training images without the validation images"}. The loss is the {_LOSS[likelihood]} plus the KL, in nats per image.{_extras(recipe)}

Training used torch {training["versions"]["torch"]}. The SHA-256 of the weights is
`{training["weights_sha256"]}`.

## Files

| file | size | inputs | outputs |
|---|---|---|---|
{graphs}

`manifest.json` has the content of this page for programs. `golden.json` has inputs and expected outputs, which
`vae-gen verify` compares with the results on your machine. At the export, the largest differences from PyTorch were {worst["image"]:.1e} on
pictures in [0, 1], {worst["mean"]:.1e} on posterior means, {worst["log_variance"]:.1e} on log-variances and {worst["latent"]:.1e} on latents.{_stored(manifest)}

## Weaknesses

![Test images above their reconstructions](worst.png)

{_worst(test, _WORST[likelihood])}

- Some samples from N(0, I) (`--prior normal`) are blends of two pictures, because they lie between the latents
  of real pictures more often than samples from the fitted prior do.
- {_looks(manifest)}
- The model was made for pictures of {image["height"]} × {image["width"]} pixels that are like those of {_plain(manifest["data"]["name"])}. {_prepared(manifest)}{_by_heart(manifest)}
"""


_STORED = {
    "float32": "",
    "float16": "as float16",
    "int8": "as int8 with a float32 step for each output channel",
}
_CHANNELS = {1: " in grey", 3: " in colour"}
_LOSS = {
    "bernoulli": "binary cross-entropy summed over pixels",
    "gaussian": "negative log-density of a Gaussian whose variance is the mean squared error",
}
_WORST = {"bernoulli": "are furthest above the floor of the image", "gaussian": "have the largest squared error"}
_DEFAULT = {"normal": "N(0, I)", "fitted": "its fitted prior"}


def _plain(text: str) -> str:
    """A name as Markdown that shows it as it is: on one line, with a backslash before each sign that has a meaning."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&!])", r"\\\1", " ".join(text.split()))


def _stored(manifest: Mapping[str, Any]) -> str:
    stored = _STORED[manifest.get("weight_format", "float32")]  # missing in older model folders
    return stored and (
        f"\n\nThe files have the large weights {stored}. Engines turn them into float32 when they open a graph, and compute in\n"
        "float32. All figures of this page are those of the rounded weights; the SHA-256 are those before they were rounded."
    )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _training_images(manifest: Mapping[str, Any]) -> int:
    return int(manifest["fitted_prior"]["images"] + manifest["fitted_prior"]["held_out_images"])


def _licences(manifest: Mapping[str, Any]) -> str:
    named = {"model": manifest["model"]["licence"], "data set": manifest["data"]["licence"]}
    missing = [what for what, licence in named.items() if licence == UNSPECIFIED]
    sentences = [f"The licence of the {what} is {_plain(named[what])}." for what in named if what not in missing]
    if missing:
        sentences.append(f"Nobody has named a licence of the {' or of the '.join(missing)}.")
    return " ".join(sentences)


def _classes(manifest: Mapping[str, Any]) -> str:
    names = [_plain(name) for name in manifest["class_names"]]
    if not names:
        return " The pictures have no classes."
    if len(names) == 1:
        return f"\n\nAll pictures have the class {names[0]}."
    more = f", and {len(names) - SHOWN_CLASSES} more" if len(names) > SHOWN_CLASSES else ""
    return f"\n\nThe {len(names)} classes are {', '.join(names[:SHOWN_CLASSES])}{more}."


def _worst(test: Mapping[str, Any], worst: str) -> str:
    images = test["images"]
    if images <= WORST_PICTURES:
        return "The upper row shows the test images, and the lower row their reconstructions, the worst first."
    of = f"the first {PROOF_IMAGES}" if images > PROOF_IMAGES else f"all {images}"
    return (
        f"The upper row shows {WORST_PICTURES} test images, the worst of {of}: their reconstructions, in the lower row,\n{worst}."
    )


def _by_heart(manifest: Mapping[str, Any]) -> str:
    if (images := _training_images(manifest)) >= FEW:
        return ""
    return (
        f"\n- {_counted(images, 'picture')} are few. The model may have learnt some of them by heart, so compare its samples with them\n"
        "  before you call a sample new."
    )


def _floor(test: Mapping[str, Any]) -> str:
    if test["floor_nats"] is None:
        return f"\nThe variance of the Gaussian is {test['pixel_variance']:.5f}, for pixels from 0 to 1.\n"
    return f"| floor of the reconstruction (the pixels' own entropy) | {test['floor_nats']:.2f} |\n"


def _psnr(test: Mapping[str, Any]) -> str:
    if "psnr_db" not in test:  # a model from before it was measured
        return ""
    return f" The images that the posterior means are decoded to have a PSNR of {test['psnr_db']:.2f} dB."


def _length(recipe: Mapping[str, Any]) -> str:
    return _counted(recipe["steps"], "step") if recipe.get("steps") else _counted(recipe["epochs"], "epoch")


def _prepared(manifest: Mapping[str, Any]) -> str:
    preparation = manifest["preparation"]
    done = {"pad": "padded", "crop": "cropped in the middle", "stretch": "stretched"}[preparation["fit"]]
    bright = ", and pictures with a bright border are inverted" if preparation["invert_bright"] else ""
    return f"Pictures of another\n  shape are {done} on {preparation['background']}{bright}."


def _and_details(manifest: Mapping[str, Any]) -> str:
    shown = "detail" in manifest and manifest["detail"]["default"]
    return ", and its detail stage makes the pictures" if shown else ""


def _looks(manifest: Mapping[str, Any]) -> str:
    width = manifest["latent"]["dimensions"]
    smooth = (
        f"{'Twelve' if width == 12 else width} numbers describe the large shapes and shades of a picture, but not its details."
    )
    if "detail" not in manifest:
        return f"{smooth} So\n  its pictures are smoother than those it was trained on."
    return (
        f"{smooth}\n  Without the detail stage (`--no-detail`) pictures are smoother than the training images. With it such details are invented:\n"
        "  the same latent with other noise gives other details."
    )


def _detail(manifest: Mapping[str, Any]) -> str:
    if "detail" not in manifest:
        return ""
    spec, recipe = manifest["detail"], manifest["training"]["detail"]["recipe"]
    classes, told = manifest["class_names"], ""
    if classes and spec["class_shift"]:
        before = recipe.get("class_shift", spec["class_shift"])
        trained = f" (in its training, {before:g})" if before != spec["class_shift"] else ""
        told = (
            f" For a picture of a class, {spec['class_shift']:g} is added to the number of the noise whose index is the class"
            f"{trained}."
        )
    made = "by default (`--no-detail` turns it off)" if spec["default"] else "only on request (`--detail`)"
    return f"""## Detail stage

`detail.onnx` is a second decoder, which takes {spec["noise"]} numbers of noise besides the latent. It makes one of the pictures that
a latent can stand for, where `decoder.onnx` makes their mean. It is used for samples {made}. The VAE and the figures
above do not depend on it.{told}

{_taught(recipe)} against a critic, whose input is the latent,{" the class," if classes else ""} the mean picture and the picture
(hinge loss, spectral normalisation). A further loss is {recipe["consistency"]:g} times the squared distance between the latent and the
posterior mean of the picture, in posterior variances.{_matched(recipe)} The weights are a running mean with decay {recipe["average"]:g}. Their SHA-256 is
`{manifest["training"]["detail"]["weights_sha256"]}`.

"""


def _taught(recipe: Mapping[str, Any]) -> str:
    if not recipe.get("imitation_epochs"):
        return f"It was trained for {_length(recipe)}"
    return f"""In the first {recipe["imitation_epochs"]} of {_length(recipe)} of its training, it learned to make the pictures that a larger detail stage makes of the
same latents and noise (least squares). In the other epochs it was trained"""


def _matched(recipe: Mapping[str, Any]) -> str:
    if not recipe.get("feature_matching"):  # missing in the recipes of older models
        return ""
    return f""" At least in the last
epochs, another one is {recipe["feature_matching"]:g} times the difference between the critic's features of this picture and of the one that the
larger stage makes: the squared difference as a share of the square of the latter, summed over the layers."""


def _rate(recipe: Mapping[str, Any]) -> str:
    falling = ", which falls to 0 along a cosine" if recipe["schedule"] == "cosine" else ""
    warm = f" after {recipe['warmup_steps']} steps of warm-up" if recipe["warmup_steps"] else ""
    return f"a learning rate of {recipe['learning_rate']:g}{warm}{falling}"


def _extras(recipe: Mapping[str, Any]) -> str:
    found = []
    if recipe["weight_decay"]:
        found.append(f"The weight decay is {recipe['weight_decay']:g}.")
    if recipe.get("kl_warmup_epochs"):  # missing in the recipes of older models, like the next setting
        found.append(f"The weight of the KL rises from 0 in the first {recipe['kl_warmup_epochs']} epochs.")
    if recipe.get("free_nats"):
        found.append(f"Up to {recipe['free_nats']:g} nats of a dimension's KL are not charged for in the loss.")
    if recipe.get("flip"):
        found.append("Half of the images were mirrored at random.")
    if recipe.get("shift"):
        found.append(f"Images were moved at random, by up to {_counted(recipe['shift'], 'pixel')} in each direction.")
    if recipe["average"]:
        found.append(f"The weights are a running mean with decay {recipe['average']:g}.")
    if recipe["model"]["refinement_steps"]:
        steps = recipe["model"]["refinement_steps"]
        found.append(f"The encoder ends with {steps} Newton steps, which lower the −ELBO of the image.")
    return "".join(f"\n{sentence}" for sentence in found)


def _prior(fitted: Mapping[str, Any]) -> str:
    components = sorted(set(fitted["components"]))
    each = str(components[0]) if len(components) == 1 else f"{components[0]} to {components[-1]}"
    has_classes = len(fitted["components"]) > 1
    kind = "one Gaussian with a full covariance" if each == "1" else f"a mixture of {each} Gaussians with full covariances"
    mixtures = f"For each class it is {kind}" if has_classes else f"It is {kind}"
    mixtures += f",\nfitted to posterior samples of {fitted['images']} training images."
    if "trimmed" in fitted:
        share = f"{100 * fitted['trimmed']:.3g} % of the latents" + (" of each class" if has_classes else "")
        mixtures += f"\nThen it was trimmed: {share} were taken out, those whose pictures have the largest details."
    if fitted["family"] == NORMAL:
        mixtures = f"Here it is {NORMAL}."
    value = f"{fitted['held_out_nats_fitted_of_class']:.2f}"
    of_class = f"\n| under the fitted prior, given the class | {value} |" if has_classes else ""
    measured = fitted.get("measured_images", fitted["held_out_images"])  # all of them in an older model folder
    return f"""The fitted prior is a density of the latents of real images. {mixtures} The options `--prior fitted`, `--label` and `--temperature` of `vae-gen sample`
use it.

| mean log-density of posterior samples of {measured} held-out images | nats |
|---|---|
| under N(0, I) | {fitted["held_out_nats_normal"]:.2f} |
| under the fitted prior | {fitted["held_out_nats_fitted"]:.2f} |{of_class}"""


def _signature(tensors: list[dict[str, Any]]) -> str:
    """The inputs or outputs of a graph, for example "`latent` float32 [batch, 12]"."""
    return ", ".join(
        f"`{tensor['name']}` {tensor['dtype']} [{', '.join(map(str, tensor['shape']))}]" for tensor in tensors
    )
