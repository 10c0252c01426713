"""Two small classifiers of Fashion-MNIST, which judge a model's pictures: their networks, and how they were trained.

A distance in the features of one network also measures what that network happens to look at. So there are two
classifiers, as different in design as their size allows. `residual` is deep, has small kernels, and averages its
features over the picture, which discards where things are. `plain` is shallow, has wide kernels and max pooling, and
ends in a dense layer, each feature of which can depend on every place in the picture. A difference that shows in the
features of both is a difference of the pictures.

`python -m vae_train.quality.classifiers --out DIR` trains both, in about five minutes each on one CPU core, on the
55 000 training images of `vae_train.data.split`. Neither classifier ever sees a VAE's pictures while it learns. The
weights are stored as float16, and the accuracies stored beside them are measured after that rounding.
"""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
import typer
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from torch import Tensor, nn

from vae_gen import InputError
from vae_gen.internal.command import run_command
from vae_gen.internal.files import write_file

from ..data import load_fashion_mnist, split
from ..devices import use_threads
from ..images.image_set import ImageSet
from ..layers import seeded
from ..options import DataDir, Debug, Threads, new_app

MEAN, DEVIATION = 0.286, 0.353
"""Mean and standard deviation of the pixels of the training images, in [0, 1]."""

CLASSES = 10


class Prediction(NamedTuple):
    """The output of a classifier for a batch of images."""

    features: Tensor
    """[batch, features], the input of the last linear layer"""
    logits: Tensor
    """[batch, classes]; [batch, 0] of a network that only has features"""


class ResidualBlock(nn.Module):
    """x + f(x) with two 3 × 3 convolutions, each after batch norm and ReLU (He et al. 2016, arXiv:1603.05027)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(2))
        self.convolutions = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2))

    def forward(self, image: Tensor) -> Tensor:
        """Features of the same shape as `image`, [batch, channels, height, width]."""
        features = image
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            features = convolution(F.relu(norm(features)))
        return image + features


class ResidualClassifier(nn.Module):
    """A residual network with 96 features, which takes 5.4 million multiplications per image of Fashion-MNIST.

    It takes images of any size; the defaults are those of Fashion-MNIST.

    Args:
        channels: 1 for grey images, 3 for colour.
        classes: how many classes there are.
        mean: the mean of the pixels of the training images, in [0, 1].
        deviation: their standard deviation.
    """

    features = 96

    def __init__(
        self, channels: int = 1, classes: int = CLASSES, mean: float = MEAN, deviation: float = DEVIATION
    ) -> None:
        super().__init__()
        self.mean, self.deviation = mean, deviation
        self.body = nn.Sequential(
            nn.Conv2d(channels, 24, 5, stride=2, padding=2, bias=False),  # [batch, 24, 14, 14]
            ResidualBlock(24),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.Conv2d(24, 48, 3, stride=2, padding=1, bias=False),  # [batch, 48, 7, 7]
            ResidualBlock(48),
            nn.BatchNorm2d(48),
            nn.ReLU(),
            nn.Conv2d(48, self.features, 3, stride=2, padding=1, bias=False),  # [batch, 96, 4, 4]
            nn.BatchNorm2d(self.features),
            nn.ReLU(),
        )
        self.head = nn.Linear(self.features, classes)

    def forward(self, image: Tensor) -> Prediction:
        """Features [batch, 96] and logits [batch, classes] of images [batch, channels, height, width] in [0, 1]."""
        features = self.body((image - self.mean) / self.deviation).mean((2, 3))  # [batch, 96]
        return Prediction(features, self.head(features))


class PlainClassifier(nn.Module):
    """Two 5 × 5 convolutions and a dense layer of 96 features, after LeNet-5 (LeCun et al. 1998).

    It takes 6.3 million multiplications per image.
    """

    features = 96

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 24, 5, padding=2, bias=False),
            nn.MaxPool2d(2),  # [batch, 24, 14, 14]; pooled first, since norm and ReLU take time for each pixel
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.Conv2d(24, 48, 5, padding=2, bias=False),
            nn.MaxPool2d(2),  # [batch, 48, 7, 7]
            nn.BatchNorm2d(48),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Flatten(),  # [batch, 2352]
            nn.Linear(48 * 7 * 7, self.features),
            nn.ReLU(),
        )
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(self.features, CLASSES)

    def forward(self, image: Tensor) -> Prediction:
        """Features [batch, 96] and logits [batch, 10] of images [batch, 1, 28, 28] in [0, 1]."""
        features = self.body((image - MEAN) / DEVIATION)  # [batch, 96]
        return Prediction(features, self.head(self.dropout(features)))


Classifier = ResidualClassifier | PlainClassifier

NETWORKS: dict[str, type[Classifier]] = {"residual": ResidualClassifier, "plain": PlainClassifier}

WEIGHTS = Path(__file__).with_name("weights")
"""The folder of the shipped classifiers. NAME.json has the recipe and the accuracy of NAME.safetensors."""

VALIDATION_IMAGES = 5000
"""How many training images are held out, the same ones that `TrainConfig` holds out."""

BATCH = 500
"""How many images are classified at a time."""


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained."""

    epochs: int  # passes over the training images
    learning_rate: float  # AdamW's highest; reached after a fifth of the steps, then falls to 0 along a cosine
    shift: int  # pixels; each image is moved at random by at most this
    batch_size: int = 128  # images
    weight_decay: float = 0.05  # AdamW's, for all weights
    seed: int = 0  # of the first weights, the order, the shifts and the flips
    flip: bool = True  # mirror half of the images
    border: Literal["constant", "replicate"] = "constant"  # what moves in: black, or copies of the edge


RECIPES = {
    "residual": Recipe(epochs=16, learning_rate=6e-3, shift=2),
    "plain": Recipe(epochs=14, learning_rate=4e-3, shift=1),
}


@dataclass(frozen=True, eq=False)
class Described:
    """The features and the class probabilities of images by one classifier."""

    features: NDArray[np.float32]
    """float32 [n, features]"""
    probabilities: NDArray[np.float32]
    """float32 [n, classes]; [n, 0] by a network that only has features"""


def load_classifier(name: str, folder: Path = WEIGHTS) -> Classifier:
    """A trained classifier in evaluation mode, float32 on the CPU.

    Raises:
        InputError: its file is missing, or belongs to another network.
    """
    path = folder / f"{name}.safetensors"
    network = NETWORKS[name]()
    try:
        network.load_state_dict({key: value.float() for key, value in load_file(path).items()})
    except Exception as error:  # safetensors and torch raise errors of several kinds
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path}: expected the weights of the {name} classifier ({reason}); "
            f"train it with: python -m vae_train.quality.classifiers --out {folder}"
        ) from error
    return network.eval()


def describe(network: nn.Module, images: NDArray[np.float32] | NDArray[np.uint8]) -> Described:
    """Features and probabilities of images [n, channels, height, width], float32 in [0, 1] or uint8 grey levels.

    The network makes a `Prediction` of a batch.
    """
    features, probabilities = [], []
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            prediction: Prediction = network(as_tensor(images[start : start + BATCH]))
            features.append(prediction.features.numpy())
            probabilities.append(prediction.logits.softmax(1).numpy())
    return Described(np.concatenate(features), np.concatenate(probabilities))


def as_tensor(images: NDArray[np.float32] | NDArray[np.uint8]) -> Tensor:
    """Images as a float32 tensor in [0, 1]: uint8 grey levels are divided by 255."""
    # A copy, because the arrays of `Samples` are read-only, which tensors cannot be.
    tensor = torch.from_numpy(np.array(images))
    return tensor.float() / 255 if tensor.dtype == torch.uint8 else tensor


def accuracy(network: Classifier, images: Tensor, labels: Tensor) -> float:
    """The share of images, uint8 [n, channels, height, width], to which the network gives their label."""
    found = describe(network, images.numpy()).probabilities.argmax(1)
    return float((found == labels.numpy()).mean())


def train_classifier(network: Classifier, images: Tensor, labels: Tensor, recipe: Recipe, note: bool = False) -> None:
    """Train a network in place on uint8 images and int64 labels [n], and put it in evaluation mode.

    The loss is the cross-entropy without label smoothing, which would make the probabilities less sure.
    """
    with seeded(recipe.seed):  # for dropout
        _train(network, images, labels, recipe, note)
    network.eval()


def _train(network: Classifier, images: Tensor, labels: Tensor, recipe: Recipe, note: bool) -> None:
    generator = torch.Generator().manual_seed(recipe.seed)
    steps = recipe.epochs * math.ceil(len(images) / recipe.batch_size)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=steps, pct_start=0.2)
    network.train()
    for epoch in range(recipe.epochs):
        started, total = time.perf_counter(), 0.0
        for batch in torch.split(torch.randperm(len(images), generator=generator), recipe.batch_size):
            if len(batch) == 1:  # batch norm has no variance of a single value
                continue
            image = augmented(
                images[batch].float() / 255, recipe.shift, generator, flip=recipe.flip, border=recipe.border
            )
            loss = F.cross_entropy(network(image).logits, labels[batch])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        if note:
            seconds = time.perf_counter() - started
            line = f"epoch {epoch + 1}/{recipe.epochs}  cross-entropy {total / len(images):.4f}  {seconds:.1f} s"
            print(line, file=sys.stderr, flush=True)


def augmented(
    image: Tensor, shift: int, generator: torch.Generator, *, flip: bool = True, border: str = "constant"
) -> Tensor:
    """Images [batch, channels, height, width], each moved by up to `shift` pixels, and half of them mirrored.

    Args:
        image: the images.
        shift: the most that an image is moved, in pixels.
        generator: of the moves.
        flip: whether to mirror.
        border: what moves in: "constant" for black, or "replicate" for copies of the edge.
    """
    count, _, height, width = image.shape
    padded = F.pad(image, (shift,) * 4, mode=border)
    top, left = torch.randint(2 * shift + 1, (2, count, 1), generator=generator)
    rows, columns = top + torch.arange(height), left + torch.arange(width)  # [batch, height], [batch, width]
    if flip:
        mirrored = torch.rand(count, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    at = torch.arange(count)[:, None, None]
    moved: Tensor = padded[at, :, rows[:, :, None], columns[:, None, :]]  # [batch, height, width, channels]
    return moved.permute(0, 3, 1, 2)


def new_classifier(name: str, seed: int) -> Classifier:
    """An untrained network with the first weights of a seed. PyTorch's global generator stays as it was."""
    with seeded(seed):
        # Channels last trains the convolutions a third faster on AVX2.
        return NETWORKS[name]().to(memory_format=torch.channels_last)


def make(name: str, data: ImageSet, recipe: Recipe, out: Path) -> dict[str, Any]:
    """Train a classifier, write its weights and its facts to the folder `out`, and return the facts."""
    started = time.perf_counter()
    network = new_classifier(name, recipe.seed)
    train, validation = split(len(data.train_images), VALIDATION_IMAGES)
    train_classifier(network, data.train_images[train], data.train_labels[train], recipe, note=True)
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    halves = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    out.mkdir(parents=True, exist_ok=True)
    write_file(out / f"{name}.safetensors", save(halves))
    rounded = load_classifier(name, out)
    facts = {
        "network": name,
        "parameters": sum(parameter.numel() for parameter in rounded.parameters()),
        "features": rounded.features,
        "validation_accuracy": accuracy(rounded, data.train_images[validation], data.train_labels[validation]),
        "test_accuracy": accuracy(rounded, data.test_images[:], data.test_labels),
        "train_images": len(train),
        "recipe": asdict(recipe),
        "torch": torch.__version__.split("+")[0],
        "data_sha256": data.sha256,
    }
    write_file(out / f"{name}.json", json.dumps(facts, indent=2) + "\n")
    print(f"{name}: {facts['test_accuracy']:.4f} in {time.perf_counter() - started:.0f} s", file=sys.stderr)
    return facts


def train(
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder for the weights and their accuracies.")],
    only: Annotated[Literal["residual", "plain"] | None, typer.Option(help="Train only this classifier.")] = None,
    data_dir: DataDir = None,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Train the two classifiers that judge a model's pictures."""
    data = load_fashion_mnist(data_dir)
    with use_threads(threads):
        for name in NETWORKS if only is None else (only,):
            make(name, data, RECIPES[name], out)


if __name__ == "__main__":
    program = "python -m vae_train.quality.classifiers"
    sys.exit(run_command(new_app(train, f"{program} --out my-classifiers"), program))
