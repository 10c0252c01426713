"""A small detail stage that imitates another one: what it computes, what it comes to, its files, and its export."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from bench.networks import products
from safetensors.torch import load
from torch import Tensor

from by_hand import Adam, RunningMean, generator
from export_once import export_once
from test_train_detail import SMALL, StopAfter
from test_train_resume import contents
from tiny_training import CONFIG, tiny_data
from vae_export.package import export_run
from vae_gen import VAE, InputError, UsageError, random_words, verify
from vae_train import detail_command
from vae_train.config import PRESETS, DetailConfig
from vae_train.detail.folder import load_detail
from vae_train.detail.networks import DetailDecoder, Inverted, feature_difference
from vae_train.detail.training import train_detail
from vae_train.recipes import imitator
from vae_train.run_folder import Run, load_run
from vae_train.training import train

DATA = tiny_data()
PUPIL = dataclasses.replace(
    SMALL, channels=(0, 4, 5), residual_blocks=(0, 1, 1), block_widths=(0, 2, 3), epochs=3, imitation_epochs=2,
    imitation_rate=0.02, learning_rate=1e-3, stretch=0.05,
)  # fmt: skip


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a detail stage, whose pictures depend on the noise."""
    path = tmp_path_factory.mktemp("runs") / "teacher"
    train(CONFIG, DATA, path)
    train_detail(dataclasses.replace(SMALL, learning_rate=1e-2), load_run(path), DATA)
    return path


@pytest.fixture
def teacher(taught: Path) -> Run:
    return load_run(taught)


@pytest.fixture
def run(taught: Path, tmp_path: Path) -> Run:
    """A copy of the run of `taught`, without its detail stage."""
    return load_run(Path(shutil.copytree(taught, tmp_path / "run", ignore=shutil.ignore_patterns("detail"))))


def checkpoint_of(run: Run) -> dict[str, dict[str, Tensor]]:
    checkpoint: dict[str, dict[str, Tensor]] = torch.load(run.path / "detail" / "checkpoint.pt", weights_only=True)
    return checkpoint


def inverted(weights: dict[str, Tensor], name: str, features: Tensor) -> Tensor:
    """x + narrow(relu(depthwise(relu(widen(x))))), a depthwise convolution as one convolution for each channel."""
    wide = F.relu(F.conv2d(features, weights[f"{name}.widen.weight"], weights[f"{name}.widen.bias"]))
    kernel, bias = weights[f"{name}.depthwise.weight"], weights[f"{name}.depthwise.bias"]
    each = [
        F.conv2d(wide[:, at : at + 1], kernel[at : at + 1], bias[at : at + 1], padding=1) for at in range(len(kernel))
    ]
    mixed = F.relu(torch.cat(each, dim=1))
    return features + F.conv2d(mixed, weights[f"{name}.narrow.weight"], weights[f"{name}.narrow.bias"])


def draw(weights: dict[str, Tensor], latent: Tensor, noise: Tensor) -> Tensor:
    """The picture of a decoder with the sizes of `PUPIL`, [batch, 1, 12, 10]."""
    features = F.relu(F.linear(torch.cat([latent, noise], 1), weights["layers.0.weight"], weights["layers.0.bias"]))
    features = F.linear(features, weights["layers.2.weight"], weights["layers.2.bias"]).view(-1, 5, 3, 2)
    features = F.relu(inverted(weights, "layers.4", features))
    features = F.conv_transpose2d(
        features, weights["layers.6.weight"], weights["layers.6.bias"], stride=2, padding=1, output_padding=(0, 1)
    )
    features = F.relu(inverted(weights, "layers.7", features))
    logits = F.conv_transpose2d(features, weights["layers.9.weight"], weights["layers.9.bias"], stride=2, padding=1)
    return (1.1 * torch.sigmoid(logits) - 0.05).clamp(0, 1)


def test_imitation_comes_to_the_weights_that_plain_lines_come_to(run: Run, teacher: Run) -> None:
    config = dataclasses.replace(PUPIL, epochs=2, imitation_epochs=2, no_class_share=0.3, average=0.5)
    metrics = train_detail(config, run, DATA, teacher=teacher).metrics

    encoded = load((run.path / "detail" / "posterior.safetensors").read_bytes())
    shown = load_detail(teacher).decoder
    (seed, *_) = random_words(config.seed, 0, 1, 1, 2**32 - 10)[0, 0].tolist()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first = DetailDecoder(run.config.model, config).state_dict()
    weights = {name: value.clone().requires_grad_() for name, value in first.items()}
    adam, average, history = Adam(weights, (0.9, 0.99)), RunningMean(config.average), []
    count = len(encoded["mean"])
    steps, done = count // config.batch_size, 0
    for epoch in (1, 2):
        for_order, for_noise, _, _ = random_words(config.seed, epoch, 1, 1, 2**32 - 9)[0, 0].tolist()
        order, noises, errors = torch.randperm(count, generator=generator(for_order)), generator(for_noise), []
        for step in range(steps):
            at = order[step * config.batch_size : (step + 1) * config.batch_size]
            deviation = torch.exp(encoded["log_variance"][at] / 2)
            latent = encoded["mean"][at] + deviation * torch.randn(len(at), 3, generator=noises)
            told = torch.rand(len(at), generator=noises) >= config.no_class_share
            noise = torch.randn(len(at), config.noise_dim, generator=noises)
            noise[:, 0] += config.class_shift * told  # the set has one class
            with torch.no_grad():
                wanted = shown(latent, noise)
            error = ((draw(weights, latent, noise) - wanted) ** 2).mean()
            fall = (1 + math.cos(math.pi * done / (2 * steps))) / 2
            adam.step(error, config.learning_rate + (config.imitation_rate - config.learning_rate) * fall)
            average.update(weights)
            errors.append(error.item())
            done += 1
        history.append(np.mean(errors))
    assert [set(line) for line in metrics] == [{"epoch", "imitation"}] * 2
    np.testing.assert_allclose([line["imitation"] for line in metrics], history, rtol=1e-4)
    state = checkpoint_of(run)
    for name, value in weights.items():
        assert (state["decoder"][name] - value).abs().max().item() < 1e-4, name
        assert (load_detail(run).decoder.state_dict()[name] - average.mean[name]).abs().max().item() < 1e-4, name


def test_it_comes_nearer_to_the_teachers_pictures_and_then_faces_the_critic(run: Run, teacher: Run) -> None:
    metrics = train_detail(
        dataclasses.replace(PUPIL, epochs=12, imitation_epochs=10), run, DATA, teacher=teacher
    ).metrics
    assert metrics[9]["imitation"] < 0.5 * metrics[0]["imitation"]
    assert [set(line) - {"epoch"} for line in metrics[10:]] == [{"critic", "decoder", "consistency"}] * 2
    record = json.loads((run.path / "detail" / "config.json").read_text())
    assert record["teacher_weights_sha256"] == load_detail(teacher).weights_sha256


def test_after_imitation_the_decoder_waits_for_the_critic(run: Run, teacher: Run) -> None:
    config = dataclasses.replace(PUPIL, epochs=2, imitation_epochs=1, learning_rate=1e-3, imitation_rate=1e-3)
    train_detail(dataclasses.replace(config, epochs=1), run, DATA, teacher=teacher)
    before = checkpoint_of(run)
    shutil.rmtree(run.path / "detail")
    train_detail(config, run, DATA, teacher=teacher)
    after = checkpoint_of(run)
    moved = max((after["decoder"][name] - value).abs().max().item() for name, value in before["decoder"].items())
    steps = len(DATA.train_images[CONFIG.validation_images :]) // config.batch_size
    assert 0 < moved < steps**2 / 500 * config.learning_rate * 4  # a step of Adam moves a weight by about its rate
    assert any((after["critic"][name] - value).abs().max() > 1e-3 for name, value in before["critic"].items())


def test_feature_matching_pulls_pictures_to_the_teachers_beside_the_critic(run: Run, teacher: Run) -> None:
    config = dataclasses.replace(PUPIL, epochs=8, imitation_epochs=0, consistency=0.0, learning_rate=0.01)
    differences = []
    for weight in (1e-9, 100.0):
        shutil.rmtree(run.path / "detail", ignore_errors=True)
        metrics = train_detail(dataclasses.replace(config, feature_matching=weight), run, DATA, teacher=teacher).metrics
        assert [set(line) - {"epoch"} for line in metrics] == [{"critic", "decoder", "consistency", "features"}] * 8
        differences.append(metrics[-1]["features"])
    assert differences[1] < 0.9 * differences[0]


@pytest.mark.parametrize(("looks", "feature_matching"), [(1, 0.0), (3, 0.0), (3, 0.5)])
def test_a_stopped_one_goes_on_with_the_same_numbers(
    run: Run, teacher: Run, tmp_path: Path, looks: int, feature_matching: float
) -> None:
    pupil = dataclasses.replace(PUPIL, feature_matching=feature_matching)
    other = load_run(Path(shutil.copytree(run.path, tmp_path / "other")))
    train_detail(pupil, run, DATA, teacher=teacher)
    with pytest.raises(KeyboardInterrupt):
        train_detail(pupil, other, DATA, teacher=teacher, reporter=StopAfter(looks))
    if feature_matching:
        with pytest.raises(UsageError, match="expected a teacher for all 3 epochs, got none"):
            train_detail(pupil, other, DATA, resume=True)
    needed = looks == 1 or feature_matching
    train_detail(pupil, other, DATA, teacher=teacher if needed else None, resume=True)
    assert contents(other.path / "detail") == contents(run.path / "detail")


def test_pieces_of_a_batch_change_nothing_but_the_last_digits(run: Run, teacher: Run) -> None:
    config = dataclasses.replace(PUPIL, epochs=2, imitation_epochs=1, feature_matching=0.5)
    plain = train_detail(config, run, DATA, teacher=teacher)
    shutil.rmtree(run.path / "detail")
    cut = train_detail(dataclasses.replace(config, micro_batches=4), run, DATA, teacher=teacher)
    for name, value in plain.decoder.state_dict().items():
        torch.testing.assert_close(cut.decoder.state_dict()[name], value, atol=1e-4, rtol=0)


def test_wrong_teachers_are_refused_before_a_folder_is_made(run: Run, teacher: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected a teacher for the first 2 epochs, got none; add --teacher"):
        train_detail(PUPIL, run, DATA)
    assert not (run.path / "detail").exists()
    matching = dataclasses.replace(PUPIL, imitation_epochs=0, feature_matching=0.5)
    with pytest.raises(UsageError, match=r"expected a teacher for all 3 epochs, got none; add --teacher"):
        train_detail(matching, run, DATA)
    assert not (run.path / "detail").exists()
    with pytest.raises(UsageError, match="expected noise_dim 4, as the teacher has, got 5"):
        train_detail(dataclasses.replace(PUPIL, noise_dim=5), run, DATA, teacher=teacher)
    with pytest.raises(UsageError, match="whose VAE has other weights"):
        train_detail(PUPIL, dataclasses.replace(run, weights_sha256="0" * 64), DATA, teacher=teacher)
    with pytest.raises(InputError, match="expected a detail stage"):
        train_detail(PUPIL, run, DATA, teacher=run)
    assert not (run.path / "detail").exists()
    with pytest.raises(KeyboardInterrupt):
        train_detail(PUPIL, run, DATA, teacher=teacher, reporter=StopAfter(1))
    shutil.copytree(run.path, tmp_path / "other", ignore=shutil.ignore_patterns("detail"))
    other = load_run(tmp_path / "other")
    train_detail(dataclasses.replace(SMALL, epochs=1, seed=1), other, DATA)
    with pytest.raises(InputError, match="expected the teacher that the detail stage was started with"):
        train_detail(PUPIL, run, DATA, teacher=other, resume=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"channels": (3, 0, 5)}, "expected channels of 0 only at the size of the picture"),
        ({"residual_blocks": (1, 1, 1)}, "and no residual_blocks there"),
        ({"block_widths": (2, 2)}, "expected block_widths for each of 3 channels or none, got 2"),
        ({"block_widths": (0, 2, 17)}, "expected block_widths of at most 16, got 17"),
        ({"imitation_epochs": 4}, "expected at least the 4 epochs that imitate a teacher, got 3"),
        ({"stretch": 0.2}, "expected a stretch from 0 to 0.1, got 0.2"),
        ({"feature_matching": -0.1}, "expected feature_matching of 0 or more, got -0.1"),
        ({"imitation_rate": 0.0}, "expected a imitation_rate above 0, got 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        dataclasses.replace(PUPIL, **change)  # type: ignore[arg-type]
    assert said in str(caught.value)


def test_the_recipe_has_27_percent_of_the_multiplications() -> None:
    model, base = PRESETS["flagship"].model, DetailConfig()
    inputs = torch.zeros(1, 12), torch.zeros(1, 32)
    small = DetailDecoder(model, imitator(base, base))
    assert small(*inputs).shape == (1, 1, 28, 28)
    assert products(small, *inputs) < 0.275 * products(DetailDecoder(model, base), *inputs)
    assert sum(weight.numel() for weight in small.parameters()) < 630_000


@pytest.mark.parametrize("sizes", [2, 3, 4, 5])
def test_the_recipe_suits_networks_of_any_depth(sizes: int) -> None:
    base = dataclasses.replace(
        DetailConfig(), channels=(4,) * sizes, residual_blocks=(1,) * sizes, critic_channels=(4,) * sizes
    )
    assert len(imitator(base, base).channels) == sizes


def test_an_inverted_block_begins_as_the_identity() -> None:
    features = torch.randn(2, 4, 5, 6)
    assert torch.equal(Inverted(4, 3)(features), features)


def test_feature_differences_are_shares_of_the_wanted_features() -> None:
    made, wanted = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [3.0, 4.0]])
    found = feature_difference([made, made[:, :, None]], [wanted, 2 * wanted[:, :, None]])
    assert found.tolist() == pytest.approx([4 / 1 + (1 + 4) / 4, 25 / 25 + 100 / 100])


def test_its_export_verifies_and_draws_what_pytorch_draws(run: Run, teacher: Run, tmp_path: Path) -> None:
    detail = train_detail(dataclasses.replace(PUPIL, feature_matching=0.5), run, DATA, teacher=teacher)
    with export_once():
        report, _ = export_run(run, DATA, tmp_path / "model", name="m", version="1", detail=detail, class_shift=6.5)
    assert report.misses() == []
    assert [check.name for check in verify(tmp_path / "model") if not check.passed] == []
    model = VAE(tmp_path / "model")
    samples = model.sample(5, seed=2)
    noise = model.detail_noise(5, 2, labels=samples.labels)
    with torch.no_grad():
        expected = detail.decoder(torch.tensor(samples.latents), torch.tensor(noise)).numpy()
    np.testing.assert_allclose(samples.images, expected, atol=1e-5)
    assert (expected == 0).any()
    assert samples.labels is not None
    shifts = noise - model.detail_noise(5, 2)
    np.testing.assert_allclose(shifts, 6.5 * (samples.labels[:, None] == np.arange(noise.shape[1])), atol=1e-5)
    onnx.checker.check_model(onnx.load(tmp_path / "model" / "detail.onnx"))
    card = (tmp_path / "model" / "README.md").read_text("utf-8")
    assert f"In the first {PUPIL.imitation_epochs} of {PUPIL.epochs} epochs of its training, it learned" in card
    assert "epochs, another one is 0.5 times the difference between the critic's features of this picture" in card
    assert "6.5 is added to the number of the noise whose index is the class (in its training, 4)" in card


@pytest.mark.parametrize("shift", [-1.0, float("inf"), float("nan")])
def test_a_class_shift_that_makes_no_sense_is_refused(run: Run, teacher: Run, tmp_path: Path, shift: float) -> None:
    with pytest.raises(UsageError, match="expected --class-shift of at least 0"):
        export_run(run, DATA, tmp_path / "model", name="m", version="1", detail=load_detail(teacher), class_shift=shift)
    untold = "expected a detail stage that was trained with classes, got a run without one; leave out --class-shift"
    with pytest.raises(UsageError, match=untold):
        export_run(run, DATA, tmp_path / "model", name="m", version="1", class_shift=5.0)
    assert not (tmp_path / "model").exists()


def test_the_command_takes_a_teacher(
    run: Run, teacher: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vae_train.data.load_fashion_mnist", lambda *_: DATA)
    monkeypatch.setattr(detail_command, "DEFAULT", dataclasses.replace(SMALL, batch_size=32))

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["vae-detail", str(run.path), *arguments])
        return detail_command.main(), capsys.readouterr().err

    code, said = call("--teacher", str(run.path))
    assert (code, "expected a detail stage" in said) == (5, True)
    code, said = call("--teacher", str(teacher.path), "--epochs", "15")
    assert (code, said.splitlines()[-1].split("  ")[0]) == (0, "epoch 15/15")
    settings = json.loads((run.path / "detail" / "config.json").read_text())["settings"]
    assert (settings["channels"], settings["imitation_epochs"]) == ([0, 32, 64], 14)
    assert settings["feature_matching"] == 0.5
    assert call("--resume")[0] == 0  # it is finished, so it needs no teacher
