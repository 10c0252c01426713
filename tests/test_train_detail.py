"""Training a detail stage: what it learns, that a stopped one goes on, its files, and its export with a proof."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors.torch
import torch
from bench.networks import products
from hypothesis import given
from hypothesis import strategies as st

from export_once import export_once
from test_train_resume import contents
from tiny_training import CONFIG, tiny_data
from vae_export import command as export_command
from vae_export.package import export_run
from vae_gen import VAE, DetailSpec, DivergedError, InputError, UsageError, verify
from vae_gen.internal.latents import detail_noise
from vae_train import detail_command
from vae_train.config import DetailConfig
from vae_train.detail import training
from vae_train.detail.folder import load_detail, saved_settings
from vae_train.detail.networks import Critic, DetailDecoder, critic_loss
from vae_train.detail.training import train_detail, with_class
from vae_train.progress import Reporter
from vae_train.run_folder import Run, load_run
from vae_train.training import train

DATA = tiny_data()
SMALL = DetailConfig(
    noise_dim=4, hidden=6, channels=(3, 4, 5), residual_blocks=(1, 0, 1), critic_channels=(4, 5, 6), critic_hidden=8,
    epochs=3, batch_size=16, device="cpu", threads=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    train(CONFIG, DATA, path)
    return path


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Run:
    """A run of its own, without a detail stage."""
    return load_run(Path(shutil.copytree(trained, tmp_path / "run")))


class StopAfter(Reporter):
    """Stops a training after some steps, as Ctrl-C would."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def step(self, *_: object) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def test_it_writes_what_its_folder_promises_and_changes_nothing_of_the_run(run: Run) -> None:
    before = contents(run.path)
    detail = train_detail(SMALL, run, DATA)
    found = contents(run.path)
    assert {name: found[name] for name in before} == before
    assert {name for name in found if name not in before} == {
        "detail/config.json", "detail/metrics.jsonl", "detail/detail.safetensors",
        "detail/posterior.safetensors", *(f"detail/samples/epoch-00{epoch}.png" for epoch in (1, 2, 3)),
    }  # fmt: skip
    assert [line["epoch"] for line in detail.metrics] == [1, 2, 3]
    assert set(detail.metrics[0]) == {"epoch", "critic", "decoder", "consistency"}
    assert saved_settings(run) == SMALL == detail.config


@pytest.mark.parametrize("looks", [1, 2])
def test_a_stopped_stage_goes_on_with_the_same_numbers(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: int
) -> None:
    other = load_run(Path(shutil.copytree(run.path, tmp_path / "other")))
    train_detail(SMALL, run, DATA)
    with pytest.raises(KeyboardInterrupt):
        train_detail(SMALL, other, DATA, reporter=StopAfter(looks))
    train_detail(SMALL, other, DATA, resume=True)
    assert contents(other.path / "detail") == contents(run.path / "detail")


def test_one_is_begun_where_there_is_none_to_go_on_with(run: Run) -> None:
    assert train_detail(SMALL, run, DATA, resume=True).metrics


def test_consistency_brings_the_encoder_back_to_the_latent(run: Run) -> None:
    after = {}
    for weight in (0.0, 20.0):
        shutil.rmtree(run.path / "detail", ignore_errors=True)
        config = dataclasses.replace(SMALL, epochs=10, consistency=weight, learning_rate=1e-2, batch_size=40)
        after[weight] = train_detail(config, run, DATA).metrics[-1]["consistency"]
    assert after[20.0] < 0.95 * after[0.0]


def test_the_critic_learns_to_tell_pictures_apart(run: Run) -> None:
    config = dataclasses.replace(SMALL, epochs=8, learning_rate=1e-9, critic_learning_rate=3e-3)
    metrics = train_detail(config, run, DATA).metrics
    assert metrics[-1]["critic"] < metrics[0]["critic"] - 0.3


def test_the_average_is_what_is_saved(run: Run) -> None:
    train_detail(dataclasses.replace(SMALL, average=0.0), run, DATA)
    state = torch.load(run.path / "detail" / "checkpoint.pt", weights_only=True)
    saved = safetensors.torch.load((run.path / "detail" / "detail.safetensors").read_bytes())
    for name, value in saved.items():
        torch.testing.assert_close(value, state["decoder"][name])


def test_rates_fall_to_zero_from_the_share_that_was_said(run: Run) -> None:
    trainer = training._Trainer.__new__(training._Trainer)
    trainer.config = dataclasses.replace(SMALL, epochs=2, decay_from=0.5, learning_rate=0.5, critic_learning_rate=1.0)
    trainer.state = training.DetailState.new(trainer.config, run.config.model, 1, torch.device("cpu"))
    trainer.pairs = training.Pairs(torch.zeros(160), *[torch.zeros(0)] * 3)  # 10 steps of 16
    rates = []
    for step in range(20):
        trainer._set_rates(step)
        rates.append((trainer.state.optimizer.param_groups[0]["lr"],
                      trainer.state.critic_optimizer.param_groups[0]["lr"]))
    assert rates[:11] == [(0.5, 1.0)] * 11
    assert rates[15] == pytest.approx((0.25, 0.5))
    assert rates[19] == pytest.approx((0.05, 0.1))


@given(labels=st.lists(st.integers(-1, 3), min_size=1, max_size=9), seed=st.integers(0, 2**32))
def test_torch_and_numpy_say_a_class_alike(labels: list[int], seed: int) -> None:
    spec = DetailSpec(4, 2.5, True)
    plain = detail_noise(spec, seed, 0, len(labels))
    found = with_class(torch.from_numpy(plain), torch.tensor(labels), 2.5)
    np.testing.assert_array_equal(found.numpy(), detail_noise(spec, seed, 0, len(labels), np.array(labels)))


def test_the_hinge_stops_at_its_margin() -> None:
    real, made = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.0])
    assert critic_loss(real, made).item() == pytest.approx(0.25 + 0.5)


def test_the_critic_minds_picture_latent_and_class(run: Run) -> None:
    torch.manual_seed(0)
    critic = Critic(run.config.model, SMALL, classes=2).eval()
    picture, latent, label = torch.rand(2, 1, 12, 10), torch.randn(2, 3), torch.tensor([0, -1])
    expected = torch.rand_like(picture)
    judged = critic(picture, expected, latent, label)
    assert judged.shape == (2,)
    for other in (
        critic(1 - picture, expected, latent, label), critic(picture, 1 - expected, latent, label),
        critic(picture, expected, latent + 1, label), critic(picture, expected, latent, torch.tensor([1, 0])),
    ):  # fmt: skip
        assert (other != judged).all()


def test_the_shipped_stage_is_an_edge_decoder() -> None:
    from vae_train.config import PRESETS

    stage = DetailDecoder(PRESETS["flagship"].model, DetailConfig())
    inputs = torch.zeros(1, 12), torch.zeros(1, 32)
    assert stage(*inputs).shape == (1, 1, 28, 28)
    assert products(stage, *inputs) <= 30e6
    assert sum(weight.numel() for weight in stage.parameters()) * 4 <= 4e6


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"channels": (3, 4), "residual_blocks": (1, 1), "critic_channels": (2, 2)},
         "expected 3 numbers of channels, one for each size of feature map (12 × 10 to 3 × 2), got 2"),
        ({"residual_blocks": (1, 1)}, "one for each of at least two sizes of feature map, got 3, 2 and 3"),
        ({"noise_dim": 0}, "expected noise_dim of at least 1, got 0"),
        ({"learning_rate": 0.0}, "expected a learning_rate above 0, got 0"),
        ({"consistency": -1.0}, "expected consistency of 0 or more, got -1"),
        ({"no_class_share": 1.5}, "expected no_class_share from 0 to 1, got 1.5"),
        ({"average": 1.0}, "expected an average's decay from 0 to below 1, got 1"),
        ({"seed": 2**63}, "expected a seed from 0 to"),
    ],
)
def test_settings_that_make_no_sense_are_refused(run: Run, change: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        train_detail(dataclasses.replace(SMALL, **change), run, DATA)  # type: ignore[arg-type]
    assert said in str(caught.value)
    assert not (run.path / "detail").exists()


def test_a_stage_is_not_written_over_nor_mixed_with_another(run: Run) -> None:
    train_detail(SMALL, run, DATA)
    before = contents(run.path)
    with pytest.raises(UsageError, match="expected a run without a detail stage"):
        train_detail(SMALL, run, DATA)
    with pytest.raises(UsageError, match="expected --seed 0, which the detail stage was started with, got 1"):
        train_detail(dataclasses.replace(SMALL, seed=1), run, DATA, resume=True)
    with pytest.raises(InputError, match="expected a detail stage of the run's weights, got one of others"):
        train_detail(SMALL, dataclasses.replace(run, weights_sha256="0" * 64), DATA, resume=True)
    assert contents(run.path) == before


def test_a_loss_that_is_not_finite_stops_it(run: Run) -> None:
    expected = "got critic .*, decoder .* and consistency .* of epoch 1 of the detail stage; remove the folder"
    with pytest.raises(DivergedError, match=expected):
        train_detail(dataclasses.replace(SMALL, learning_rate=1e30), run, DATA)


@pytest.mark.parametrize("damage", [b"", b"{}", b"\0" * 100])
def test_a_damaged_stage_is_named(run: Run, damage: bytes) -> None:
    train_detail(dataclasses.replace(SMALL, epochs=1), run, DATA)
    for name in ("config.json", "detail.safetensors"):
        path = run.path / "detail" / name
        good = path.read_bytes()
        path.write_bytes(damage)
        with pytest.raises(InputError, match=name):
            load_detail(run)
        path.write_bytes(good)
    (run.path / "detail" / "checkpoint.pt").write_bytes(damage)
    with pytest.raises(InputError, match=r"checkpoint\.pt: expected a checkpoint of this detail stage"):
        train_detail(dataclasses.replace(SMALL, epochs=1), run, DATA, resume=True)
    (run.path / "detail" / "posterior.safetensors").write_bytes(damage)
    (run.path / "detail" / "checkpoint.pt").unlink()
    train_detail(dataclasses.replace(SMALL, epochs=1), run, DATA, resume=True)


@pytest.fixture(scope="module", autouse=True)
def exports() -> Iterator[None]:
    with export_once():
        yield


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    path = tmp_path_factory.mktemp("detail") / "run"
    run = load_run(Path(shutil.copytree(trained, path)))
    detail = train_detail(SMALL, run, DATA)
    out = path.parent / "model"
    report, _ = export_run(run, DATA, out, name="m", version="1", detail=detail)
    assert report.misses() == []
    return run, out


def test_its_export_verifies_and_draws_what_pytorch_draws(exported: tuple[Run, Path]) -> None:
    run, out = exported
    assert [check.name for check in verify(out) if not check.passed] == []
    model, detail = VAE(out), load_detail(run)
    assert model.manifest.detail == DetailSpec(4, 4.0, True)
    samples = model.sample(5, seed=2)
    noise = model.detail_noise(5, 2, labels=samples.labels)
    with torch.no_grad():
        expected = detail.decoder(torch.tensor(samples.latents), torch.tensor(noise)).numpy()
    np.testing.assert_allclose(samples.images, expected, atol=1e-5)
    card = (out / "README.md").read_text()
    assert "## Detail stage" in card
    assert detail.weights_sha256 in card


def test_the_proof_sees_a_detail_graph_with_other_weights(exported: tuple[Run, Path]) -> None:
    from vae_export.check import prove
    from vae_export.graphs import build_encoder, build_graphs
    from vae_gen import FittedPrior
    from vae_gen.internal.prior import Mixture

    run, _ = exported
    prior = FittedPrior.of([1], [Mixture(np.ones(1), np.zeros((1, 3), np.float32), np.eye(3, dtype=np.float32)[None])])
    stage, spec = load_detail(run).decoder, DetailSpec(4, 4.0, True)
    graphs = build_graphs(run.vae, build_encoder(run.vae, (1, 12, 10)), prior, "fitted", (stage, spec))
    images = DATA.test_images[:8].numpy().astype(np.float32) / 255
    assert prove(graphs, run.vae, images, stage).passed
    changed = onnx.ModelProto()
    assert graphs.detail is not None
    changed.CopyFrom(graphs.detail)
    weights = max(changed.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    values = np.frombuffer(weights.raw_data, np.float32).copy()
    values[0] += 1
    weights.raw_data = values.tobytes()
    missed = prove(dataclasses.replace(graphs, detail=changed), run.vae, images, stage).misses()
    assert missed
    assert all(name.startswith("detail") for name in missed)


def test_the_export_command_takes_it_along_or_leaves_it(
    exported: tuple[Run, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = exported
    monkeypatch.setattr("vae_train.data.load_fashion_mnist", lambda *_: DATA)
    for choice, spec in (("available", DetailSpec(4, 4.0, False)), ("none", None)):
        out = tmp_path / choice
        monkeypatch.setattr(sys, "argv", ["vae-export", str(run.path), "--out", str(out), "--detail", choice, "-q"])
        assert export_command.main() == 0
        model = VAE(out)
        assert model.manifest.detail == spec
        assert not model.sample(1, seed=0).choice.detail


def test_the_command_trains_resumes_and_says_what_is_wrong(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vae_train.data.load_fashion_mnist", lambda *_: DATA)
    monkeypatch.setattr(detail_command, "DEFAULT", SMALL)

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["vae-detail", *arguments])
        code = detail_command.main()
        return code, capsys.readouterr().err

    code, said = call(str(run.path), "--epochs", "1")
    assert (code, said.splitlines()[-1].split("  ")[0]) == (0, "epoch 1/1")
    assert call(str(run.path))[0] == 2
    assert call(str(run.path), "--resume")[0] == 0  # done already: with its own settings
    code, said = call(str(run.path), "--resume", "--seed", "3")
    assert (code, "expected --seed 0, which the detail stage was started with, got 3" in said) == (2, True)
    assert call(str(run.path / "nothing"))[0] == 5
    assert call(str(run.path), "--batch-size", "0")[0] == 2
    assert json.loads((run.path / "detail" / "config.json").read_text())["settings"]["epochs"] == 1
