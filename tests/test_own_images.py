"""From a folder of one's own pictures to a model folder, through the commands, and each option on the way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cli_runner import call
from odd_pictures import discs, write_bad_files, write_folder
from vae_export import command as export_command
from vae_gen import VAE, UsageError, verify
from vae_train import eval_command, progress, train_command
from vae_train.config import DetailConfig, ModelConfig, TrainConfig, with_epochs
from vae_train.images.loading import load_images
from vae_train.images.settings import ImageSettings
from vae_train.recipes import imitator, minutes_of, recipe_for, steps_in
from vae_train.run_folder import read_run_settings
from vae_train.training import augmented

BRIEF = ("--steps", "6", "--batch-size", "8", "--threads", "1", "--device", "cpu", "--few")


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder and a cache of its own; one process, because the folders are small."""
    monkeypatch.setenv("VAE_GEN_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    monkeypatch.chdir(tmp_path)


def test_colour_pictures_go_from_a_folder_to_a_model_that_verifies(capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_folder(Path("my pictures", "ä"), discs(30, (24, 16), colour=True))
    write_folder(Path("my pictures", "b"), discs(10, (24, 16), colour=True, seed=1))
    write_bad_files(folder)
    assert call(train_command, "--data", "my pictures", "--out", "run", *BRIEF) == 0
    printed = capsys.readouterr().err
    for line in ("40 pictures in 44 picture files", "skipped: 4 files", "image size: 16x24 (the size of every picture;",
                 "channels: 3", "likelihood: Gaussian", "memorising: training", "PSNR"):  # fmt: skip
        assert line in printed
    assert len(Path("run", "data-report.jsonl").read_text().splitlines()) == 4
    assert Path("run", "contact-sheet.png").exists()
    config, written = read_run_settings(Path("run"))
    assert (config.steps, config.epochs, config.epoch_steps) == (6, 1, 6)
    assert (config.model.channels, config.model.likelihood) == (3, "gaussian")
    assert written["data"]["source"] == str(Path("my pictures").resolve())

    assert call(train_command, "--out", "run", "--resume") == 0  # finds its data by itself
    assert call(eval_command, "run", "--json") == 0
    of_run = json.loads(capsys.readouterr().out)
    assert (of_run["images"], of_run["data"], of_run["floor_nats"]) == (4, "my pictures", None)

    assert call(export_command, "run", "--out", "model", "--licence", "CC0-1.0", "--data-licence", "Apache-2.0") == 0
    assert [check for check in verify(Path("model")) if not check.passed] == []
    manifest = json.loads(Path("model", "manifest.json").read_text())
    assert manifest["model"]["licence"] == "CC0-1.0"
    assert manifest["data"]["licence"] == "Apache-2.0"
    assert manifest["likelihood"] == "gaussian"
    assert manifest["preparation"] == {"fit": "pad", "background": "black", "invert_bright": False, "fill": None}
    assert manifest["class_names"] == ["b", "ä"]
    text = "".join(path.read_text() for path in (Path("model", "README.md"), Path("model", "manifest.json")))
    for foreign in ("garment", "Fashion", "MIT", str(Path.cwd())):
        assert foreign not in text
    vae = VAE("model")
    assert vae.sample(2, seed=1, label="b").shape == (2, 3, 16, 24)
    assert call(eval_command, "model", "--data", "my pictures", "--json") == 0
    of_model = json.loads(capsys.readouterr().out)
    assert of_model["neg_elbo"] == pytest.approx(of_run["neg_elbo"], abs=0.01)
    assert of_model["psnr_db"] == pytest.approx(of_run["psnr_db"], abs=1e-3)
    assert call(eval_command, "model") == 2
    assert "expected --data with the images that this model was trained on (my pictures)" in capsys.readouterr().err
    assert call(eval_command, "model", "--quality") == 2
    assert "expected --data with the images" in capsys.readouterr().err


def test_an_exported_model_sees_a_picture_as_its_training_did(capsys: pytest.CaptureFixture[str]) -> None:
    """Transparent pictures of another shape, on white: what `encode` feeds is the pixels of the training."""
    random = np.random.default_rng(0)
    pictures = []
    for picture in discs(24, (20, 12), colour=True):
        clear = picture.convert("RGBA")
        clear.putalpha(Image.fromarray(random.integers(0, 256, (12, 20), np.uint8)))
        pictures.append(clear)
    write_folder(Path("data"), pictures)
    options = ("--image-size", "16", "--background", "#fedcba", "--fit", "crop")
    assert call(train_command, "--data", "data", "--out", "run", *options, *BRIEF) == 0
    assert call(export_command, "run", "--out", "model", "--quiet") == 0
    vae = VAE("model")
    assert vae.manifest.image.preparation.background == "#fedcba"
    settings = ImageSettings.of(image_size="16", background="#fedcba", fit="crop", few=True)
    images = load_images("data", settings).images
    first = images.test_images[0].numpy()
    files = [Path("data", f"{at:04d}.png") for at in range(24)]
    means = vae.encode(files).mean
    expected = vae.encode(first[None].astype(np.float32) / np.float32(255)).mean
    assert np.abs(means - expected).max(1).min() < 1e-5


def test_a_dry_run_writes_a_sheet_and_trains_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(Path("data"), discs(30, (8, 8)))
    assert call(train_command, "--data", "data", "--dry-run", "--preset", "quick", "--threads", "1") == 0
    printed = capsys.readouterr().err
    assert "steps: 1500 of 64 images, about" in printed
    assert "training would be refused: data: expected at least 200 pictures" in printed
    assert sorted(path.name for path in Path().iterdir()) == ["contact-sheet.png", "data", "data-report.jsonl"]


@pytest.mark.parametrize(("arguments", "message"), [
    (("--steps", "5", "--epochs", "2"), "expected one of --steps, --minutes and --epochs, got several"),
    (("--dry-run", "--resume"), "expected one of --dry-run and --resume, got both"),
    (("--minutes", "0"), "expected --minutes above 0, got 0"),
    (("--steps", "0"), "expected a whole number of at least 1 for --steps, got 0"),
    (("--log", "wandb"), "expected one of tensorboard for --log, got wandb"),
    (("--shift", "-1"), "expected shift of at least 0, got -1"),
    (("--image-size", "200"), "expected --image-size from 8 to 128 pixels"),
])  # fmt: skip
def test_options_that_cannot_be_are_refused_in_one_line(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(train_command, *arguments) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


def test_resuming_on_other_pictures_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(Path("data"), discs(24, (8, 8)))
    assert call(train_command, "--data", "data", "--out", "run", *BRIEF) == 0
    Image.new("L", (8, 8), 200).save(Path("data", "0000.png"))
    assert call(train_command, "--out", "run", "--resume") == 5
    assert "expected the data that the run began with" in capsys.readouterr().err


def test_the_recipe_follows_the_set() -> None:
    loaded = load_images(str(write_folder(Path("data"), discs(30, (40, 36), colour=True))), ImageSettings(few=True))
    config = recipe_for("flagship", loaded)
    assert config.model == replace(
        config.model, channels=3, height=36, width=40, latent_dim=loaded.latent_dim, encoder_channels=(16, 32, 64),
        residual_blocks=(1, 1, 3), last_kernel=3, refinement_steps=0, likelihood="gaussian",
    )  # fmt: skip
    assert (config.steps, config.batch_size, config.validation_images) == (20_000, 64, 2)
    assert recipe_for("quick", loaded).steps == 1500
    with pytest.raises(UsageError, match="expected refinement_steps of 0 with the gaussian likelihood"):
        ModelConfig(likelihood="gaussian", refinement_steps=1)


def test_steps_become_epochs_of_equal_length() -> None:
    assert with_epochs(TrainConfig(epochs=7)) == TrainConfig(epochs=7)
    for steps, epochs, each in ((100, 1, 100), (1500, 6, 250), (1501, 6, 251), (10_000, 20, 500)):
        config = with_epochs(TrainConfig(steps=steps))
        assert (config.epochs, config.epoch_steps) == (epochs, each)
        assert with_epochs(config) == config
    for steps, epochs, imitated in ((100, 1, 1), (1500, 6, 1), (10_000, 20, 3)):
        stage = with_epochs(imitator(DetailConfig(steps=steps), DetailConfig()))
        assert (stage.epochs, stage.imitation_epochs) == (epochs, imitated)  # 14 of 86 without steps
        assert with_epochs(stage) == stage
    assert minutes_of(steps_in(10, 0.05), 0.05) == pytest.approx(10, abs=0.01)
    assert steps_in(0.001, 1.0) == 100


def test_augmented_images_are_mirrored_and_moved_as_wholes() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.zeros(200, 1, 9, 9)
    image[:, 0, 4, 2] = 1
    assert augmented(image, TrainConfig(), generator) is image
    flipped = augmented(image, TrainConfig(flip=True), generator)
    columns = flipped[:, 0, 4].argmax(1)
    assert set(columns.tolist()) == {2, 6}
    assert 60 < int((columns == 6).sum()) < 140
    moved = augmented(image, TrainConfig(shift=2), generator)
    assert (moved.sum((1, 2, 3)) == 1).all()
    places = {(row, column) for row, column in moved[:, 0].nonzero()[:, 1:].tolist()}
    assert places == {(row, column) for row in range(2, 7) for column in range(5)}
    edge = torch.zeros(50, 1, 9, 9)
    edge[..., 0] = 1  # a bright left edge goes on where the image has moved away from it
    assert augmented(edge, TrainConfig(shift=2), generator)[..., 8].sum() == 0
    assert augmented(edge, TrainConfig(shift=2), generator)[..., :3].sum((1, 2, 3)).max() == 27


def test_a_log_shows_life_in_a_long_epoch(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    lines = progress.PlainLines()
    for step in range(1, 7):
        now += 8
        lines.step(1, 2, step, 6, 3.5)
    assert capsys.readouterr().err == "epoch 1/2  step 3/6  loss 3.50\nepoch 1/2  step 6/6  loss 3.50\n"


def test_figures_go_to_tensorboard_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    write_folder(Path("data"), discs(24, (8, 8)))
    assert call(train_command, "--data", "data", "--out", "run", "--log", "tensorboard", *BRIEF) == 0
    events = accumulator.EventAccumulator(str(Path("run", "tensorboard")))
    events.Reload()
    (line,) = [json.loads(line) for line in Path("run", "metrics.jsonl").read_text().splitlines()]
    (event,) = events.Scalars("validation/psnr_db")
    assert event.value == pytest.approx(line["validation"]["psnr_db"], rel=1e-5)
