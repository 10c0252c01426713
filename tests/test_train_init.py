"""`vae-train --init`: which weights it begins with, what it keeps of them, what it refuses, and how it resumes."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cli_runner import call
from odd_pictures import discs, write_folder
from test_train_processes import IN_PIECES, train_many
from test_train_resume import StopAt, contents
from tiny_training import CONFIG, MODEL, tiny_data
from vae_export.weight_format import rounded_run
from vae_gen import VAE, InputError, UsageError
from vae_train import train_command
from vae_train.detail.folder import load_detail
from vae_train.evaluation import evaluate_torch
from vae_train.initial import read_initial_weights, shipped_weights
from vae_train.progress import Reporter
from vae_train.run_folder import load_run, read_run_settings
from vae_train.training import train

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "artifacts" / "weights"
SHIPPED = ("fashion-mnist-12d", "fashion-mnist-12d-reference")
DATA = tiny_data()
GARMENTS = tiny_data(28, 28, train=60, test=30)  # in place of Fashion-MNIST
OPTIONS = ("--steps", "4", "--batch-size", "8", "--threads", "1", "--device", "cpu", "--few")


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder and a cache of its own; one process, because the folders are small."""
    monkeypatch.setenv("VAE_GEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    monkeypatch.setattr("vae_train.data.load_fashion_mnist", lambda *_: GARMENTS)
    monkeypatch.setattr("vae_train.training.curves", lambda history: repr(history).encode())  # takes no time to draw
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, from whose weights others begin: 12 by 10 pixels, grey, with 3 latents."""
    path = tmp_path_factory.mktemp("earlier") / "run"
    train(CONFIG, DATA, path)
    return path


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, earlier: Path) -> dict[str, bytes]:
    """The files of a run that began with these weights and was never stopped."""
    path = tmp_path_factory.mktemp("unbroken") / "run"
    train(CONFIG, DATA, path, init=read_initial_weights(str(earlier)))
    return {**contents(path), "curves.png": b""}


class Notes(Reporter):
    """The lines of a training."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


# The weights in the repository.


@pytest.mark.parametrize("name", SHIPPED)
def test_the_kept_weights_are_those_of_the_shipped_graphs(name: str) -> None:
    run, model = load_run(KEPT / name), VAE(name)
    recorded = model.manifest.document["training"]
    assert run.weights_sha256 == recorded["weights_sha256"]
    assert run.config.to_json() == {**run.config.to_json(), **recorded["recipe"], "model": run.config.model.to_json()}
    if (KEPT / name / "detail").exists():
        assert load_detail(run).weights_sha256 == recorded["detail"]["weights_sha256"]
    run, _, _ = rounded_run(run, None, model.manifest.document.get("weight_format", "float32"))
    images = model.sample(4, seed=3, detail=False).images
    posterior = model.encode(images)
    mean, log_variance = (values.numpy() for values in run.vae.encode(torch.from_numpy(images)))
    assert np.abs(mean - posterior.mean).max() < 1e-4
    assert np.abs(log_variance - posterior.log_variance).max() < 1e-4
    decoded = run.vae.decode(torch.from_numpy(posterior.mean)).numpy()
    assert np.abs(decoded - model.decode(posterior.mean, detail=False)).max() < 1e-4


def test_the_weights_of_version_3_0_2_are_kept_with_its_detail_stage() -> None:
    run = load_run(KEPT / "fashion-mnist-12d-3.0.2")
    assert run.weights_sha256 == "1813927df6781e18d893f974b813657f04fe6d4592d46ecd51daa3c57135e05b"
    stage = load_detail(run).weights_sha256
    assert stage == "1d64c2c89fbb3cdba018db341c9370dd3aba5e5b58e68c16aa28514930610be2"


def test_a_new_name_needs_files_alone(monkeypatch: pytest.MonkeyPatch, earlier: Path) -> None:
    assert set(SHIPPED) <= set(shipped_weights())
    monkeypatch.setattr("vae_train.weights.__path__", [str(earlier.parent)])
    assert read_initial_weights("run").sha256 == load_run(earlier).weights_sha256


# What a run begins with.


def test_training_begins_at_the_weights_and_so_does_their_running_mean(tmp_path: Path, earlier: Path) -> None:
    first, notes = read_initial_weights(str(earlier)), Notes()
    config = dataclasses.replace(CONFIG, epochs=1, seed=5, learning_rate=1e-9, average=0.9)
    run = train(config, DATA, tmp_path / "run", init=first, reporter=notes)
    for name, values in run.vae.state_dict().items():
        assert torch.allclose(values, first.weights[name], atol=1e-6), name
    assert run.metrics[0]["validation"]["neg_elbo"] == pytest.approx(
        load_run(earlier).metrics[-1]["validation"]["neg_elbo"], abs=0.01
    )
    assert run.record["init"] == {"from": str(earlier.resolve()), "weights_sha256": first.sha256}
    assert notes.lines[0] == f"beginning with the weights of {earlier.resolve()}"


def test_a_shipped_model_is_trained_on_from_where_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    brief = ("--full", "--epochs", "1", "--batch-size", "60", "--threads", "1", "--device", "cpu", "--lr", "1e-9")
    assert call(train_command, "--init", "fashion-mnist-12d-reference", "--out", "run", *brief) == 0
    assert "beginning with the weights of fashion-mnist-12d-reference\n" in capsys.readouterr().err
    run, kept = load_run(Path("run")), load_run(KEPT / "fashion-mnist-12d-reference")
    assert run.record["init"] == {"from": "fashion-mnist-12d-reference", "weights_sha256": kept.weights_sha256}
    assert run.config.model == kept.config.model
    figures = json.loads(Path("run", "evaluation.json").read_text())
    shipped = evaluate_torch(kept.vae, GARMENTS.test_images.numpy())
    assert figures["neg_elbo"] == pytest.approx(shipped.neg_elbo, abs=0.1)
    assert call(train_command, "--out", "random", *brief) == 0
    assert json.loads(Path("random", "evaluation.json").read_text())["neg_elbo"] > figures["neg_elbo"] + 50


def test_the_network_is_that_of_the_weights_and_the_recipe_that_of_the_options(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("vae_train.training.train", lambda config, *_, **options: seen.append((config, options)))
    assert call(train_command, "--init", "fashion-mnist-12d", "--preset", "quick", "--lr", "0.002") == 0
    ((config, options),) = seen
    assert config.model == load_run(KEPT / "fashion-mnist-12d").config.model
    assert config.model.refinement_steps == 4
    assert (config.steps, config.average, config.learning_rate) == (1500, 0.99, 0.002)
    assert options["init"].origin == "fashion-mnist-12d"


def test_other_images_are_learned_faster_than_from_random_weights(tmp_path: Path, earlier: Path) -> None:
    other = dataclasses.replace(DATA, train_images=DATA.train_images.flip(3), test_images=DATA.test_images.flip(3))
    config = dataclasses.replace(CONFIG, epochs=2, seed=7)
    losses = {
        name: [line["train"]["neg_elbo"] for line in train(config, other, tmp_path / name, init=first).metrics]
        for name, first in (("begun", read_initial_weights(str(earlier))), ("random", None))
    }
    assert losses["begun"][0] < losses["random"][1]  # one epoch is worth more than two


# Own images.


def test_own_images_take_the_size_and_the_channels_of_the_weights(
    earlier: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(Path("data"), discs(30, (20, 16), colour=True))
    start = ("--data", "data", "--init", str(earlier), *OPTIONS)
    assert call(train_command, *start, "--dry-run") == 0
    printed = capsys.readouterr().err
    for line in ("image size: 12x10", "channels: 1", "latents: 3", "network: 2 convolutions of 4 and 6 channels",
                 "likelihood: Bernoulli"):  # fmt: skip
        assert f"  {line} (as in the weights of {earlier.resolve()}, which training begins with)\n" in printed
    assert not Path("run").exists()
    assert call(train_command, *start, "--image-size", "12x10", "--channels", "1", "--out", "run") == 0
    config, _ = read_run_settings(Path("run"))
    assert (config.model, config.steps) == (MODEL, 4)
    capsys.readouterr()

    longer = ("--data", "data", "--preset", "reference", *OPTIONS)
    assert call(train_command, *longer, "--out", "run", "--resume") == 0  # keeps the network without --init
    assert "image size: 12x10 (as in the weights of " in capsys.readouterr().err


# What is refused.


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--init", "fashion-mnist"], 5,
         f"expected --init with {', '.join(shipped_weights())}, or with the folder of a run, got fashion-mnist"),
        (["--init", "empty"], 5,
         "empty: expected a run folder, found no readable config.json in it (No such file or directory); "
         "give the --out of a vae-train"),
        (["--init", "fashion-mnist-12d", "--image-size", "32"], 2,
         "expected --image-size 28x28, as in the weights of fashion-mnist-12d, got 32x32; "
         "leave it out, or train without --init"),
        (["--init", "fashion-mnist-12d", "--channels", "3"], 2,
         "expected --channels 1, as in the weights of fashion-mnist-12d, got 3; "
         "leave it out, or train without --init"),
        (["--init", "fashion-mnist-12d", "--latent-dim", "3"], 2,
         "expected --latent-dim 12, as in the weights of fashion-mnist-12d, got 3; "
         "leave it out, or train without --init"),
        (["--init", "fashion-mnist-12d-reference", "--preset", "flagship"], 2,
         "expected --preset reference or quick, because the weights of fashion-mnist-12d-reference are those of "
         "another network, got flagship; choose another preset, or train without --init"),
    ],
)  # fmt: skip
def test_what_contradicts_the_weights_is_refused_in_one_line_before_any_work(
    arguments: list[str], code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(*_: object, **__: object) -> None:
        raise AssertionError("images were read")

    monkeypatch.setattr("vae_train.data.load_fashion_mnist", load)
    monkeypatch.setattr("vae_train.images.loading.load_images", load)
    Path("empty").mkdir()
    assert call(train_command, *arguments, "--out", "run") == code
    assert capsys.readouterr().err == f"vae-train: {message}\n"
    assert not Path("run").exists()


def test_the_flagships_recipe_takes_the_flagships_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("vae_train.training.train", lambda config, *_, **__: seen.append(config))
    assert call(train_command, "--init", "fashion-mnist-12d", "--preset", "flagship") == 0
    assert (seen[0].free_nats, seen[0].model.refinement_steps) == (0.25, 4)


def test_another_network_than_that_of_the_weights_is_refused_before_a_folder_is_made(
    tmp_path: Path, earlier: Path
) -> None:
    config = dataclasses.replace(CONFIG, model=dataclasses.replace(MODEL, latent_dim=4))
    with pytest.raises(UsageError, match="expected --latent-dim 3, as in the weights of .*, got 4; leave it out"):
        train(config, DATA, tmp_path / "run", init=read_initial_weights(str(earlier)))
    assert not (tmp_path / "run").exists()


def test_damaged_weights_are_refused(tmp_path: Path, earlier: Path) -> None:
    damaged = Path(shutil.copytree(earlier, tmp_path / "damaged"))
    (damaged / "weights.safetensors").write_bytes((earlier / "weights.safetensors").read_bytes()[:-4])
    with pytest.raises(InputError, match="expected the weights of the model in config.json"):
        read_initial_weights(str(damaged))
    (damaged / "weights.safetensors").unlink()
    with pytest.raises(InputError, match="expected the weights of a finished epoch, found none"):
        read_initial_weights(str(damaged))


# Going on.


@pytest.mark.parametrize("stop", [(1, 3), (2, 3)])  # before the first checkpoint, and after it
@pytest.mark.parametrize("again", [True, False])
def test_a_resumed_run_is_the_unbroken_one_with_and_without_its_init(
    stop: tuple[int, int], again: bool, tmp_path: Path, earlier: Path, unbroken: dict[str, bytes]
) -> None:
    first = read_initial_weights(str(earlier))
    with pytest.raises(KeyboardInterrupt):
        train(CONFIG, DATA, tmp_path / "run", init=first, reporter=StopAt(*stop))
    train(CONFIG, DATA, tmp_path / "run", resume=True, init=first if again else None)
    assert {**contents(tmp_path / "run"), "curves.png": b""} == unbroken


def test_a_run_goes_on_with_no_other_weights_than_it_began_with(tmp_path: Path, earlier: Path) -> None:
    first = read_initial_weights(str(earlier))
    other = dataclasses.replace(first, origin="other", sha256="0123456789abcdef")
    train(CONFIG, DATA, tmp_path / "run", init=first)
    began = f"{earlier.resolve()} ({first.sha256[:12]}…)"
    with pytest.raises(UsageError) as caught:
        train(CONFIG, DATA, tmp_path / "run", resume=True, init=other)
    assert str(caught.value) == (
        f"expected --init {began}, as the run was started, got --init other (0123456789ab…); "
        "leave it out, or start another run with another --out"
    )
    with pytest.raises(UsageError) as caught:
        train(CONFIG, DATA, earlier, resume=True, init=first)
    assert str(caught.value).startswith(f"expected no --init, as the run was started, got --init {began}; leave it out")
    with pytest.raises(UsageError, match="expected no --init, as the run was started, got --init fashion-mnist-12d "):
        train(CONFIG, DATA, earlier, resume=True, init=read_initial_weights("fashion-mnist-12d"))


def test_a_run_without_a_checkpoint_needs_the_weights_that_it_began_with(tmp_path: Path, earlier: Path) -> None:
    origin = Path(shutil.copytree(earlier, tmp_path / "origin"))
    with pytest.raises(KeyboardInterrupt):
        train(CONFIG, DATA, tmp_path / "run", init=read_initial_weights(str(origin)), reporter=StopAt(1, 3))
    train(dataclasses.replace(CONFIG, epochs=3), DATA, origin, resume=True)
    with pytest.raises(InputError, match="expected the weights that the run was started with, SHA-256 .*, found .* in"):
        train(CONFIG, DATA, tmp_path / "run", resume=True)
    shutil.rmtree(origin)
    with pytest.raises(InputError, match="expected --init with .*, or with the folder of a run, got "):
        train(CONFIG, DATA, tmp_path / "run", resume=True)


@pytest.mark.parametrize("record", [{}, {"from": 3, "weights_sha256": "0"}, {"from": "x"}, []])
def test_a_damaged_record_of_the_weights_is_refused(record: object, tmp_path: Path, earlier: Path) -> None:
    damaged = Path(shutil.copytree(earlier, tmp_path / "damaged"))
    document = json.loads((damaged / "config.json").read_text())
    (damaged / "config.json").write_text(json.dumps({**document, "init": record}))
    with pytest.raises(InputError, match="config.json: init"):
        load_run(damaged)


@pytest.mark.slow
def test_two_processes_begin_with_the_same_weights_as_one(tmp_path: Path, earlier: Path) -> None:
    settings = {**IN_PIECES, "init": str(earlier)}
    assert train_many(tmp_path / "one", 1, settings) == (0, "")
    assert train_many(tmp_path / "two", 2, settings) == (0, "")
    one, two = ({**contents(tmp_path / name), "config.json": b""} for name in ("one", "two"))
    assert one == two
    assert json.loads((tmp_path / "two/config.json").read_text())["init"]["from"] == str(earlier.resolve())
