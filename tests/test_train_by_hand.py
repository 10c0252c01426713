"""Whole tiny runs against by_hand.py, which computes them again in plain lines, and laws that training obeys."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from matplotlib.axes import Axes
from PIL import Image

from by_hand import assert_same_figures, figures, first_weights, split, train_by_hand
from test_train_resume import contents
from tiny_training import CONFIG, MODEL, tiny_data
from vae_gen import picture_grid, standard_normals, to_grey_levels
from vae_train.config import TrainConfig
from vae_train.plots import curves
from vae_train.progress import Reporter
from vae_train.run_folder import Run, load_run
from vae_train.training import train

DATA = tiny_data()
PLAIN = dataclasses.replace(CONFIG, batch_size=24, learning_rate=1e-2, beta=0.7, seed=2**33 + 5)
RICH = dataclasses.replace(
    PLAIN,
    model=dataclasses.replace(MODEL, residual_blocks=(1, 1), encoder_hidden=8, decoder_hidden=7),
    epochs=3,
    beta=0.5,
    schedule="cosine",
    warmup_steps=5,
    weight_decay=0.5,
    average=0.8,
    kl_warmup_epochs=2,
    free_nats=0.05,
)
FULL = dataclasses.replace(RICH, model=MODEL, full=True, schedule="constant", warmup_steps=0, seed=0)
WORSENING = dataclasses.replace(PLAIN, epochs=4, average=0.3, learning_rate=0.02, beta=0.0)  # its KL grows and grows

SLOW = dataclasses.replace(WORSENING, epochs=3, seed=1)  # from its second to its third epoch it gains less than its KL


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread, which is fastest for networks this small, and no drawn curves, which take longer than training."""
    monkeypatch.setattr("vae_train.training.curves", lambda _: b"")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Losses(Reporter):
    """The loss that was reported at the end of each epoch."""

    def __init__(self) -> None:
        self.reported: list[float] = []

    def step(self, epoch: int, epochs: int, step: int, steps: int, loss: float) -> None:
        if step == steps:
            self.reported.append(loss)


def weights_of(run: Run, name: str = "weights") -> dict[str, torch.Tensor]:
    return safetensors.torch.load((run.path / f"{name}.safetensors").read_bytes())


def assert_same_weights(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        assert (found[name] - weight).abs().max().item() < 3e-5, name


@pytest.mark.parametrize(
    "config", [PLAIN, RICH, FULL, WORSENING, SLOW], ids=["plain", "rich", "full", "worsening", "slow"]
)
def test_a_run_comes_to_the_weights_and_figures_that_plain_lines_come_to(config: TrainConfig, tmp_path: Path) -> None:
    losses = Losses()
    run = train(config, DATA, tmp_path / "run", reporter=losses)
    by_hand = train_by_hand(config, DATA)

    assert_same_figures(run.metrics, by_hand.history)
    assert_same_weights(weights_of(run), by_hand.weights[-1])
    assert losses.reported == pytest.approx(by_hand.losses, rel=1e-4)
    evaluation = json.loads((run.path / "evaluation.json").read_text())
    expected = figures(by_hand.weights[-1], DATA.test_images)
    assert_same_figures({key: evaluation[key] for key in expected}, expected)
    assert (evaluation["images"], evaluation["epochs"]) == (40, config.epochs)
    if config.full:
        assert not (run.path / "best.safetensors").exists()
    else:
        validation = [line["validation"]["neg_elbo"] for line in by_hand.history]
        assert_same_weights(weights_of(run, "best"), by_hand.weights[int(np.argmin(validation))])


def test_the_runs_above_use_every_setting() -> None:
    """Otherwise the comparison would hold without it."""
    charged = torch.stack(train_by_hand(RICH, DATA).charged)
    assert 0.1 < charged.double().mean() < 0.9
    validation = [line["validation"]["neg_elbo"] for line in train_by_hand(WORSENING, DATA).history]
    assert int(np.argmin(validation)) not in (0, len(validation) - 1)
    _, second, third = (line["validation"] for line in train_by_hand(SLOW, DATA).history)
    assert second["reconstruction"] < third["neg_elbo"] < second["neg_elbo"]
    assert 160 % PLAIN.batch_size != 0


def test_a_run_that_goes_on_remembers_which_epoch_was_best(tmp_path: Path) -> None:
    train(WORSENING, DATA, tmp_path / "unbroken")
    for epochs in (3, 4):  # the second is best
        train(dataclasses.replace(WORSENING, epochs=epochs), DATA, tmp_path / "run", resume=True)
    assert contents(tmp_path / "run") == contents(tmp_path / "unbroken")


def test_validation_and_evaluation_refine_posteriors_and_training_does_not(tmp_path: Path) -> None:
    config = dataclasses.replace(PLAIN, learning_rate=0.02, epochs=3)
    refining = dataclasses.replace(config, model=dataclasses.replace(MODEL, refinement_steps=3))
    plain, refined = (train(each, DATA, tmp_path / str(at)) for at, each in enumerate((config, refining)))
    assert weights_of(plain).keys() == weights_of(refined).keys()
    assert all(torch.equal(weight, weights_of(refined)[name]) for name, weight in weights_of(plain).items())
    for before, after in zip(plain.metrics, refined.metrics, strict=True):
        assert before["train"] == after["train"]
    assert refined.metrics[-1]["validation"]["neg_elbo"] < plain.metrics[-1]["validation"]["neg_elbo"] - 0.1
    rough, better = (json.loads((run.path / "evaluation.json").read_text())["neg_elbo"] for run in (plain, refined))
    assert better < rough - 0.1


def changed(images: torch.Tensor, at: list[int]) -> torch.Tensor:
    """The images with those at some places made negative."""
    other = images.clone()
    other[at] = 255 - other[at]
    return other


def test_the_test_images_decide_nothing_but_the_final_figures(tmp_path: Path) -> None:
    train(PLAIN, DATA, tmp_path / "run")
    train(PLAIN, dataclasses.replace(DATA, test_images=255 - DATA.test_images), tmp_path / "other")
    ours, other = contents(tmp_path / "run"), contents(tmp_path / "other")
    assert {name for name in ours if ours[name] != other[name]} == {"evaluation.json"}


def test_images_that_are_held_out_are_measured_and_never_trained_on(tmp_path: Path) -> None:
    config = dataclasses.replace(PLAIN, epochs=1)
    training, held_out = split(200, config.validation_images)
    runs = {}
    for name, images in {
        "run": DATA.train_images,
        "other validation": changed(DATA.train_images, held_out),
        "other training": changed(DATA.train_images, training[:20]),
    }.items():
        runs[name] = train(config, dataclasses.replace(DATA, train_images=images), tmp_path / name)
    line, validated = (runs[name].metrics[0] for name in ("run", "other validation"))
    assert runs["run"].weights_sha256 == runs["other validation"].weights_sha256
    assert line["train"] == validated["train"]
    assert line["validation"] != validated["validation"]
    assert runs["run"].weights_sha256 != runs["other training"].weights_sha256


def test_a_full_run_trains_on_the_images_that_others_hold_out(tmp_path: Path) -> None:
    config = dataclasses.replace(PLAIN, epochs=1, full=True)
    _, held_out = split(200, config.validation_images)
    other = dataclasses.replace(DATA, train_images=changed(DATA.train_images, held_out[:1]))
    runs = [train(config, data, tmp_path / str(at)) for at, data in enumerate((DATA, other))]
    assert runs[0].weights_sha256 != runs[1].weights_sha256
    assert runs[0].metrics[0]["validation"] is None


def test_the_weight_of_the_kl_decides_how_much_a_latent_holds(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, batch_size=40, full=True, learning_rate=0.02, epochs=8)
    kl = {
        beta: train(dataclasses.replace(config, beta=beta), DATA, tmp_path / f"{beta}").metrics[-1]["train"]["kl"]
        for beta in (0.0, 1.0, 50.0)
    }
    assert kl[0.0] > 3 * kl[1.0] > 30 * kl[50.0]
    assert kl[50.0] < 0.05


def test_a_run_learns_to_reconstruct_what_it_never_saw(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, learning_rate=0.02, epochs=12)
    run = train(config, DATA, tmp_path / "run")
    evaluation = json.loads((run.path / "evaluation.json").read_text())
    untrained = figures(first_weights(MODEL, 0), DATA.test_images)
    mean_image = (DATA.train_images.double() / 255).mean(0, keepdim=True).clamp(1e-3, 1 - 1e-3)
    image = DATA.test_images.double() / 255
    alike = -(image * mean_image.log() + (1 - image) * (1 - mean_image).log()).sum((1, 2, 3)).mean().item()
    assert evaluation["neg_elbo"] < alike - 2 < untrained["neg_elbo"] - 10  # better than one picture for all
    assert evaluation["active_units"] >= 1


def test_the_pictures_of_an_epoch_are_those_of_seed_0_made_with_the_weights_that_are_saved(tmp_path: Path) -> None:
    run = train(dataclasses.replace(PLAIN, average=0.5), DATA, tmp_path / "run")
    with torch.no_grad():
        pictures = run.vae.decode(torch.from_numpy(standard_normals(0, 0, 100, 3))).numpy()
    expected = picture_grid(to_grey_levels(pictures), 10).astype(int)
    found = np.asarray(Image.open(run.path / "samples" / "epoch-002.png")).astype(int)
    assert np.abs(found - expected).max() <= 1
    first = np.asarray(Image.open(run.path / "samples" / "epoch-001.png")).astype(int)
    assert np.abs(first - expected).max() > 10


def test_the_curves_are_the_figures_of_training_and_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[tuple[str, list[float]]] = []
    plot = Axes.plot

    def record(panel: Axes, epochs: list[int], values: list[float], **options: Any) -> Any:
        assert epochs == [1, 2]
        lines.append((options["label"], list(values)))
        return plot(panel, epochs, values, **options)

    monkeypatch.setattr(Axes, "plot", record)
    history = [
        {
            "epoch": epoch,
            **{
                part: {"neg_elbo": at + epoch, "reconstruction": at + 10 * epoch, "kl": at + 20 * epoch,
                       "kl_per_dimension": [at + 30 * epoch, at + 40 * epoch]}
                for part, at in (("train", 0.25), ("validation", 0.5))
            },
        }
        for epoch in (1, 2)
    ]  # fmt: skip
    assert curves(history).startswith(b"\x89PNG")
    assert lines == [
        ("train", [1.25, 2.25]), ("validation", [1.5, 2.5]),
        ("train", [10.25, 20.25]), ("validation", [10.5, 20.5]),
        ("train", [20.25, 40.25]), ("validation", [20.5, 40.5]),
        ("0", [30.5, 60.5]), ("1", [40.5, 80.5]),
    ]  # fmt: skip


def test_the_settings_of_precision_and_compilation_reach_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[Any] = []

    def compile_nothing(function: Any, *_: Any, **__: Any) -> Any:
        def counted(*arguments: Any) -> Any:
            compiled.append(arguments)
            return function(*arguments)

        return counted

    monkeypatch.setattr(torch, "compile", compile_nothing)
    figures_of = {}
    for name, change in {"plain": {}, "compile": {"compile": True}, "bf16": {"precision": "bf16"}}.items():
        before = len(compiled)
        run = train(dataclasses.replace(PLAIN, epochs=1, **change), DATA, tmp_path / name)  # type: ignore[arg-type]
        figures_of[name] = run.metrics[0]["train"]["reconstruction"]
        assert (len(compiled) - before >= 7) == (name == "compile")  # an epoch has 7 steps
    assert figures_of["compile"] == figures_of["plain"]
    assert figures_of["bf16"] == pytest.approx(figures_of["plain"], rel=0.02)
    assert figures_of["bf16"] != pytest.approx(figures_of["plain"], rel=1e-6)


def test_a_run_uses_its_threads_and_gives_them_back(tmp_path: Path) -> None:
    used: list[int] = []

    class Threads(Reporter):
        def step(self, *_: object) -> None:
            used.append(torch.get_num_threads())

    torch.set_num_threads(2)
    train(dataclasses.replace(PLAIN, epochs=1, threads=1), DATA, tmp_path / "run", reporter=Threads())
    assert (set(used), torch.get_num_threads()) == ({1}, 2)
    train(dataclasses.replace(PLAIN, epochs=1, threads=None), DATA, tmp_path / "other", reporter=Threads())
    assert load_run(tmp_path / "other").config.threads == 2
    assert set(used) == {1, 2}
