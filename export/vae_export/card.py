"""The model card (README.md of a model folder), written from the manifest so that no number is typed by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def model_card(manifest: Mapping[str, Any]) -> str:
    """The card in Markdown."""
    model, image, latent = manifest["model"], manifest["image"], manifest["latent"]
    test, training, recipe = manifest["metrics"]["test"], manifest["training"], manifest["training"]["recipe"]
    size = f"{image['channels']} × {image['height']} × {image['width']}"
    trained_on = "all training images" if recipe["full"] else "the training split; validation images were held out"
    rows = "\n".join(
        f"| {dimension} | {latent['kl_nats'][dimension]:.3f} | {test['posterior_mean_variance'][dimension]:.3f} |"
        for dimension in latent["order"]
    )
    graphs = "\n".join(
        f"| `{graph['file']}` | {graph['bytes'] / 1024:.0f} KiB | {_signature(graph['inputs'])} | "
        f"{_signature(graph['outputs'])} |"
        for graph in manifest["graphs"].values()
    )
    worst = {
        output: max(check["max"] for check in manifest["export"]["values"] if check["output"] == output)
        for output in ("image", "mean", "log_variance", "latent")
    }
    return f"""# {model["name"]} {model["version"]}

A convolutional variational autoencoder of {manifest["data"]["name"]}: pictures of {size} from a latent of
{latent["dimensions"]} numbers. Licence: {model["licence"]}; the data set is under the {manifest["data"]["licence"]} licence.

![Fifty samples of seed 0](preview.png)

The preview is `vae-gen sample -n 50 --seed 0` with this model, which draws from {_DEFAULT[latent["default_prior"]]} by default{_and_details(manifest)}.

## Measured on the {test["images"]} test images

| figure | nats per image |
|---|---|
| −ELBO | {test["neg_elbo"]:.2f} |
| reconstruction (BCE summed over pixels) | {test["reconstruction"]:.2f} |
| KL to the prior N(0, I) | {test["kl"]:.2f} |
| floor of the reconstruction (the pixels' own entropy) | {test["floor_nats"]:.2f} |

One draw of the posterior for each image, the noise fixed by the seed contract; a single training run, seed
{recipe["seed"]}. Active units (variance of the posterior mean above 0.01): {test["active_units"]} of {latent["dimensions"]}.

| dimension | KL, nats | variance of the posterior mean |
|---|---|---|
{rows}

## Fitted prior

{_prior(manifest["fitted_prior"])}

{_detail(manifest)}## Trained

{recipe["epochs"]} epochs of Adam, {_rate(recipe)}, batch {recipe["batch_size"]}, β = {recipe["beta"]:g},
on {trained_on}. Loss: binary cross-entropy summed over pixels plus KL, in nats per image.{_extras(recipe)} torch
{training["versions"]["torch"]}. SHA-256 of the weights: `{training["weights_sha256"]}`.

## Files

| file | size | inputs | outputs |
|---|---|---|---|
{graphs}

`manifest.json` says all of this to programs; `golden.json` holds inputs and expected outputs (`vae-gen verify` replays
them). Against PyTorch, the largest differences at export were {worst["image"]:.1e} on pictures in [0, 1], {worst["mean"]:.1e} on
posterior means, {worst["log_variance"]:.1e} on log-variances and {worst["latent"]:.1e} on latents.

## What it gets wrong

![Test images over their reconstructions](worst.png)

Above, the ten of the first 1000 test images that cost most above their own floor, over what twelve numbers keep of them.

Samples from N(0, I) (`--prior normal`) fall between the classes more often than real pictures do: some are blends of two garments.
{_looks(manifest)}
It knows {image["height"]} × {image["width"]} grey pictures of garments on black, centred as in its data, and nothing else. Fine
for teaching, tests and play; not for judging real garments.
"""


def _by_default(manifest: Mapping[str, Any]) -> bool:
    return "detail" in manifest and bool(manifest["detail"]["default"])


def _and_details(manifest: Mapping[str, Any]) -> str:
    return ", with the detail stage" if _by_default(manifest) else ""


def _looks(manifest: Mapping[str, Any]) -> str:
    width = manifest["latent"]["dimensions"]
    smooth = f"{'Twelve' if width == 12 else width} numbers hold outline and shade, not prints, straps, seams or laces"
    if "detail" not in manifest:
        return f"{smooth}: pictures are smoother than photographs."
    return (
        f"{smooth}.\nWithout the detail stage (`--no-detail`) pictures are smoother than photographs; with it they are "
        "invented in what the\nlatent does not say: the same latent with other noise has another print."
    )


def _detail(manifest: Mapping[str, Any]) -> str:
    if "detail" not in manifest:
        return ""
    spec, recipe = manifest["detail"], manifest["training"]["detail"]["recipe"]
    made = "by default (`--no-detail` leaves it out)" if spec["default"] else "when asked for (`--detail`)"
    return f"""## Detail stage

`detail.onnx` is a second decoder that also takes {spec["noise"]} numbers of noise, and draws one picture that the latent could mean
where `decoder.onnx` gives their mean. It makes samples {made}. It changes nothing of the
VAE or its figures above. A picture of a class has {spec["class_shift"]:g} added to the noise at the class's number.

Trained for {recipe["epochs"]} epochs against a critic that sees latent, class, mean picture and picture (hinge loss, spectral
normalisation), with a penalty of {recipe["consistency"]:g} on the squared distance, in posterior variances, between the latent
and the posterior mean of what was drawn. The weights are a running mean with decay {recipe["average"]:g}; their SHA-256 is
`{manifest["training"]["detail"]["weights_sha256"]}`.

"""


def _rate(recipe: Mapping[str, Any]) -> str:
    falling = " falling to 0 along a cosine" if recipe["schedule"] == "cosine" else ""
    warm = f" after {recipe['warmup_steps']} steps of warm-up" if recipe["warmup_steps"] else ""
    return f"learning rate {recipe['learning_rate']:g}{warm}{falling}"


def _extras(recipe: Mapping[str, Any]) -> str:
    said = []
    if recipe["weight_decay"]:
        said.append(f"Weight decay {recipe['weight_decay']:g}.")
    if recipe.get("kl_warmup_epochs"):  # older models' recipes have neither this nor the next
        said.append(f"The KL's weight rose from 0 over the first {recipe['kl_warmup_epochs']} epochs.")
    if recipe.get("free_nats"):
        said.append(f"Each dimension had {recipe['free_nats']:g} nats of KL free of charge.")
    if recipe["average"]:
        said.append(f"The weights are a running mean with decay {recipe['average']:g}.")
    if recipe["model"]["refinement_steps"]:
        said.append(f"The encoder ends in {recipe['model']['refinement_steps']} Newton steps on the −ELBO of the image.")
    return "".join(f" {sentence}" for sentence in said)


_DEFAULT = {"normal": "N(0, I)", "fitted": "its fitted prior"}


def _prior(fitted: Mapping[str, Any]) -> str:
    components = sorted(set(fitted["components"]))
    each = str(components[0]) if len(components) == 1 else f"{components[0]} to {components[-1]}"
    mixtures = "for each class" if len(fitted["components"]) > 1 else "for all images"
    value = f"{fitted['held_out_nats_fitted_of_class']:.2f}"
    of_class = f"\n| under the fitted prior, given the class | {value} |" if len(fitted["components"]) > 1 else ""
    return f"""Mixtures of {each} Gaussians with full covariances {mixtures}, fitted to posterior samples of {fitted["images"]} training
images (`vae-gen sample --prior fitted`, `--label`, `--temperature`).

| mean log-density of posterior samples of {fitted["held_out_images"]} held-out images | nats |
|---|---|
| under N(0, I) | {fitted["held_out_nats_normal"]:.2f} |
| under the fitted prior | {fitted["held_out_nats_fitted"]:.2f} |{of_class}"""


def _signature(tensors: list[dict[str, Any]]) -> str:
    return ", ".join(f"`{tensor['name']}` {tensor['dtype']} {_axes(tensor['shape'])}" for tensor in tensors)


def _axes(shape: list[str | int]) -> str:
    return "[" + ", ".join(str(axis) for axis in shape) + "]"
