"""A detail stage in the run of one's own images: any size, colour, any number of classes, and --resume through both."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import cli_runner
from odd_pictures import discs, write_folder
from tiny_training import CONFIG, MODEL, tiny_data
from vae_export.package import export_run
from vae_gen import VAE, verify
from vae_train import progress, train_command, training
from vae_train.config import PRESETS, DetailConfig, ModelConfig, TrainConfig
from vae_train.detail import training as detail_training
from vae_train.detail.folder import load_detail
from vae_train.detail.networks import DetailDecoder
from vae_train.detail.training import Pairs, train_detail
from vae_train.images.choices import network_for
from vae_train.recipes import detail_recipe
from vae_train.training import train

pytestmark = pytest.mark.slow  # trains: about half a minute

BRIEF = ("--steps", "4", "--batch-size", "8", "--latent-dim", "3", "--threads", "1", "--device", "cpu")
SMALL = DetailConfig(
    noise_dim=40, hidden=6, channels=(3, 4, 5, 6), residual_blocks=(0, 1, 0, 1), critic_channels=(4, 5, 6, 7),
    critic_hidden=8, steps=3, batch_size=16, device="cpu", threads=1,
)  # fmt: skip


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAE_GEN_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    monkeypatch.setattr("vae_train.training.curves", lambda _: b"")  # drawing them takes longer than training
    monkeypatch.chdir(tmp_path)


call = functools.partial(cli_runner.call, train_command)


def test_one_run_trains_both_and_resume_goes_through_both(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """2000 pictures in colour that are not square and have no classes; --resume needs no --detail."""
    np.save("data.npy", np.random.default_rng(0).integers(0, 256, (2000, 8, 12, 3), np.uint8))
    assert call("--data", "data.npy", "--dry-run", "--detail", *BRIEF) == 0
    printed = capsys.readouterr().err
    assert "  detail stage: 4 steps of 64 images, about " in printed
    assert call("--data", "data.npy", "--out", "whole", "--detail", *BRIEF) == 0
    assert "epoch 1/1  critic " in capsys.readouterr().err

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "train_detail", interrupted)
        assert call("--data", "data.npy", "--out", "parts", "--detail", *BRIEF) == 130
    assert not Path("parts", "detail").exists()
    assert call("--out", "parts", "--resume") == 0
    for file in ("weights.safetensors", "detail/detail.safetensors", "detail/config.json"):
        assert Path("parts", file).read_bytes() == Path("whole", file).read_bytes()
    settings = json.loads(Path("parts", "detail", "config.json").read_text())["settings"]
    assert (settings["steps"], settings["epochs"], settings["epoch_steps"]) == (4, 1, 4)


def test_few_images_get_no_detail_stage_and_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(Path("data"), discs(30, (8, 8)))
    assert call("--data", "data", "--out", "run", "--few", "--detail", *BRIEF) == 0
    printed = capsys.readouterr().err
    assert (
        "  detail stage: left out, because it would learn 30 pictures by heart; it needs 2000, and vae-detail run "
        "trains it all the same\n"
    ) in printed
    assert not Path("run", "detail").exists()


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (64, 48), (8, 128), (127, 97), (128, 128)])
def test_a_stage_fits_every_size_of_picture(size: tuple[int, int]) -> None:
    height, width = size
    model = ModelConfig(channels=3, height=height, width=width, latent_dim=3, encoder_channels=network_for(*size))
    config = detail_recipe(TrainConfig(model=model, steps=1500), 0, DetailConfig())
    assert (config.steps, config.channels[-1], config.critic_channels[-1]) == (1500, 64, 128)
    decoder = DetailDecoder(model, config)
    assert decoder(torch.zeros(2, 3), torch.zeros(2, config.noise_dim)).shape == (2, 3, height, width)
    assert sum(weight.numel() for weight in decoder.parameters()) * 4 <= 5e6


@pytest.mark.parametrize(
    ("classes", "noise", "shift"), [(0, 32, 4.0), (32, 32, 4.0), (33, 36, 4.0), (200, 200, 4.0), (257, 32, 0.0)]
)
def test_the_noise_has_room_for_every_class_up_to_256(classes: int, noise: int, shift: float) -> None:
    config = detail_recipe(PRESETS["flagship"], classes, DetailConfig())
    assert config == replace(DetailConfig(), noise_dim=noise, class_shift=shift)


def test_a_stage_in_colour_with_four_sizes_and_forty_classes_is_exported_with_a_proof() -> None:
    grey = tiny_data(height=16, width=20, train=120, test=20)
    labels = torch.arange(120) % 40
    data = replace(
        grey, train_images=grey.train_images.repeat(1, 3, 1, 1), test_images=grey.test_images.repeat(1, 3, 1, 1),
        train_labels=labels, test_labels=labels[:20], class_names=tuple(f"class {number}" for number in range(40)),
    )  # fmt: skip
    model = replace(
        MODEL, channels=3, height=16, width=20, encoder_channels=(4, 5, 6), likelihood="gaussian"
    )
    run = train(replace(CONFIG, model=model, epochs=1), data, Path("run"), detail=SMALL)
    report, _ = export_run(run, data, Path("model"), name="m", version="1", detail=load_detail(run))
    assert report.misses() == []
    assert [check.name for check in verify(Path("model")) if not check.passed] == []
    card = Path("model", "README.md").read_text()
    assert "It was trained for 3 steps against a critic, whose input is the latent, the class, the mean" in card
    assert "For a picture of a class, 4 is added to the number of the noise" in card
    vae = VAE("model")
    samples = vae.sample(2, seed=1, label="class 39")
    assert samples.shape == (2, 3, 16, 20)
    assert samples.noise is not None
    np.testing.assert_allclose(samples.noise[:, 39] - vae.detail_noise(2, seed=1)[:, 39], 4, atol=1e-5)


def test_a_stage_is_not_trained_on_the_images_of_a_validation_folder() -> None:
    data = replace(tiny_data(), validation=30)
    run = train(replace(CONFIG, epochs=1), data, Path("run"))
    pairs = Pairs.of(run, data, torch.device("cpu"), Path("posterior"))
    assert torch.equal(pairs.images, data.train_images[:170])


def test_steps_see_every_image_equally_often() -> None:
    data = tiny_data(train=50)
    seen = torch.zeros(40)
    run = train(replace(CONFIG, epochs=1, validation_images=10), data, Path("run"))
    shape = {"channels": (3, 4, 5), "residual_blocks": (0, 0, 1), "critic_channels": (4, 5, 6)}
    config = detail_training.with_epochs(replace(SMALL, steps=8, **shape))  # type: ignore[arg-type]
    train_detail(config, run, data)
    trainer = detail_training._Trainer.start(config, run, data, progress.Reporter())
    for image, *_ in trainer._batches(1):
        same = (image[:, None] * 255).round() == trainer.pairs.images[None]
        seen += same.flatten(2).all(2).sum(0)
    assert trainer.steps == 8
    assert set(seen.tolist()) <= {3, 4}


def test_a_pulse_beats_until_its_block_ends(capsys: pytest.CaptureFixture[str]) -> None:
    beats: list[int] = []
    with progress.Pulse(lambda: beats.append(1), seconds=0.001):
        while len(beats) < 3:
            pass
    count = len(beats)
    assert not [thread for thread in progress.threading.enumerate() if "_run" in thread.name]
    assert len(beats) == count


def test_logs_show_life_while_nothing_else_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    lines, files = progress.PlainLines(), progress.DecodingProgress()
    lines.note("encoding")
    for _ in range(6):
        now += 12
        lines.beat()
    files.beat()
    files(512, 2000, 3)
    now += 19
    files.beat()
    now += 1
    files.beat()
    assert capsys.readouterr().err.splitlines() == [
        "encoding", "still working, 36 s after the line above", "still working, 72 s after the line above",
        "looking for pictures", "reading pictures, 3 skipped: 512 of 2000",
    ]  # fmt: skip
