"""A tiny detail stage computed again in plain lines, its networks written out, and laws that its training obeys.

The stage's weights are taken by their order in its networks, its formulas are those of docs/training.md.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.nn.utils.parametrize import is_parametrized

from by_hand import Adam, RunningMean, Weights, assert_same_figures, decode, dense, encode, generator, residual, split
from tiny_training import CONFIG, tiny_data
from vae_gen import picture_grid, random_words, standard_normals, to_grey_levels
from vae_train.config import DetailConfig, ModelConfig
from vae_train.detail.networks import Critic, DetailDecoder
from vae_train.detail.training import train_detail
from vae_train.images.image_set import ImageSet
from vae_train.progress import Reporter
from vae_train.run_folder import Run, load_run
from vae_train.training import train

CLASSES = 3
DATA = dataclasses.replace(
    tiny_data(train=190), train_labels=torch.arange(190) * 7 % 11 % CLASSES, class_names=("one", "two", "three")
)
STAGE = DetailConfig(
    noise_dim=4, class_shift=2.0, hidden=6, channels=(3, 4, 5), residual_blocks=(1, 0, 1), critic_channels=(4, 5, 6),
    critic_hidden=8, epochs=3, batch_size=32, learning_rate=0.01, critic_learning_rate=0.02, decay_from=0.6,
    average=0.5, consistency=0.5, no_class_share=0.3, seed=2**33 + 1, device="cpu", threads=1,
)  # fmt: skip


EPSILON = 0.01
"""Adam's, in these tests. Some of the critic's first gradients are 0 but for rounding: what moves a real picture's
judgement moves that of a made one as far. With its usual ε of 1e-8, Adam makes whole steps of such rounding."""


@pytest.fixture
def gentle_adam(monkeypatch: pytest.MonkeyPatch) -> None:
    class GentleAdam(torch.optim.Adam):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options | {"eps": EPSILON})

    monkeypatch.setattr(torch.optim, "Adam", GentleAdam)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """One thread is fastest for networks this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an encoder that has learnt something, so that its posteriors are narrow."""
    config = dataclasses.replace(CONFIG, learning_rate=0.02, epochs=4, beta=0.1)
    path = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vae_train.training.curves", lambda _: b"")  # drawing them takes seconds
        train(config, DATA, path)
    return path


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Run:
    """The run in a folder of its own, without a detail stage."""
    for name in ("config.json", "metrics.jsonl", "weights.safetensors"):
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / name).write_bytes((trained / name).read_bytes())
    return load_run(tmp_path / "run")


def draw(weights: Weights, latent: Tensor, noise: Tensor) -> Tensor:
    """The detail decoder's picture, [batch, 1, 12, 10], for networks with the sizes of `STAGE`."""
    features = F.relu(dense(weights, "layers.0", torch.cat([latent, noise], 1)))
    features = dense(weights, "layers.2", features).view(-1, 5, 3, 2)
    features = F.relu(residual(weights, "layers.4", features))
    transposed = [(weights[f"layers.{at}.weight"], weights[f"layers.{at}.bias"]) for at in (6, 8)]
    features = F.conv_transpose2d(features, *transposed[0], stride=2, padding=1, output_padding=(0, 1))
    features = F.conv_transpose2d(F.relu(features), *transposed[1], stride=2, padding=1)
    features = F.relu(residual(weights, "layers.9", features))
    return torch.sigmoid(F.conv2d(features, weights["layers.11.weight"], weights["layers.11.bias"], padding=1))


class CriticByHand:
    """The critic's function, on the state of a `Critic`: spectral normalisation is written out too."""

    def __init__(self, state: Weights) -> None:
        ending = ".parametrizations.weight.original"
        self.names = [name.removesuffix(ending) for name in state if name.endswith(ending)]
        learnt = {name: value for name, value in state.items() if not name.endswith(("._u", "._v"))}
        self.weights = {name: value.clone().requires_grad_() for name, value in learnt.items()}
        self.left = [state[f"{name}.parametrizations.weight.0._u"].clone() for name in self.names]
        self.right = [state[f"{name}.parametrizations.weight.0._v"].clone() for name in self.names]

    def layer(self, at: int) -> tuple[Tensor, Tensor | None]:
        """A layer's weight over its largest singular value, after one more power iteration, and its bias."""
        weight = self.weights[f"{self.names[at]}.parametrizations.weight.original"]
        matrix = weight.flatten(1)
        with torch.no_grad():
            self.left[at] = F.normalize(matrix @ self.right[at], dim=0)
            self.right[at] = F.normalize(matrix.T @ self.left[at], dim=0)
        return weight / (self.left[at] @ matrix @ self.right[at]), self.weights.get(f"{self.names[at]}.bias")

    def features(self, picture: Tensor, expected: Tensor) -> list[Tensor]:
        """The outputs of the five layers that have a leaky ReLU, after it."""
        both = torch.cat([picture - expected, expected], 1)
        found = [F.leaky_relu(F.conv2d(both, *self.layer(0), padding=1), 0.2)]
        for at in (1, 2):
            found.append(F.leaky_relu(F.conv2d(found[-1], *self.layer(at), stride=2, padding=1), 0.2))
        found.append(F.leaky_relu(F.conv2d(found[-1], *self.layer(3), padding=1), 0.2))
        return [*found, F.leaky_relu(F.linear(found[-1].flatten(1), *self.layer(4)), 0.2)]

    def judgement(self, described: Tensor, latent: Tensor, label: Tensor) -> Tensor:
        """How real each picture looks, [batch]; label −1 takes the embedding after those of the classes."""
        embedded, _ = self.layer(7)
        of_class = torch.stack([embedded[at] for at in label.tolist()])  # embedded[-1] is the last
        conditioned = F.linear(latent, *self.layer(6)) + of_class
        return F.linear(described, *self.layer(5)).squeeze(1) + (conditioned * described).sum(1)


@dataclasses.dataclass
class StageByHand:
    """What a stage must come to."""

    history: list[dict[str, Any]]
    average: dict[str, Tensor]
    decoder: dict[str, Tensor]
    critic: CriticByHand
    labels: list[int]
    """as the critic was given them, of all steps"""
    distances: Tensor
    """between encoded pictures and their latents, in posterior variances, before any limit; of all steps"""


def stage_by_hand(
    config: DetailConfig, vae: Weights, model: ModelConfig, data: ImageSet, teacher: Weights
) -> StageByHand:
    """The stage of a VAE with these weights, which held 40 images out; the teacher is another decoder of `STAGE`."""
    chosen, _ = split(len(data.train_images), 40)
    images, labels = data.train_images[chosen].float() / 255, data.train_labels[chosen]
    with torch.no_grad():
        means, log_variances = encode(vae, images)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(random_words(config.seed, 0, 1, 1, 2**32 - 10)[0, 0, 0]))
        decoder_state, critic_state = DetailDecoder(model, config).state_dict(), Critic(model, config, 3).state_dict()
    decoder = {name: weight.clone().requires_grad_() for name, weight in decoder_state.items()}
    critic = CriticByHand(critic_state)
    adam, critic_adam = (Adam(weights, (0.0, 0.99), EPSILON) for weights in (decoder, critic.weights))
    average, history, told, distances = RunningMean(config.average), [], [], []
    steps, done = len(images) // config.batch_size, 0
    for epoch in range(1, config.epochs + 1):
        for_order, for_noise, _, _ = random_words(config.seed, epoch, 1, 1, 2**32 - 9)[0, 0].tolist()
        order = torch.randperm(len(images), generator=generator(for_order))
        noises, figures = generator(for_noise), []
        for step in range(steps):
            at = order[step * config.batch_size : (step + 1) * config.batch_size]
            image, deviation = images[at], torch.exp(log_variances[at] / 2)
            latent = means[at] + deviation * torch.randn(len(at), model.latent_dim, generator=noises)
            hidden = torch.rand(len(at), generator=noises) < config.no_class_share
            label = torch.tensor([-1 if h else y for h, y in zip(hidden, labels[at].tolist(), strict=True)])
            noise = torch.randn(len(at), config.noise_dim, generator=noises)
            for row, y in enumerate(label.tolist()):
                if y >= 0:
                    noise[row, y] += config.class_shift
            told += label.tolist()
            factor = min(1, (1 - done / (config.epochs * steps)) / (1 - config.decay_from))

            with torch.no_grad():
                expected = torch.sigmoid(decode(vae, latent))
                made = draw(decoder, latent, noise)
                wanted = draw(teacher, latent, noise)
            described = critic.features(torch.cat([image, made]), expected.repeat(2, 1, 1, 1))[-1]
            judged = critic.judgement(described, latent.repeat(2, 1), label.repeat(2))
            hinge = (1 - judged[: len(at)]).clamp(min=0).mean() + (1 + judged[len(at) :]).clamp(min=0).mean()
            critic_adam.step(hinge, config.critic_learning_rate * factor)

            made = draw(decoder, latent, noise)
            features = critic.features(torch.cat([made, wanted]), expected.repeat(2, 1, 1, 1))
            favour = critic.judgement(features[-1][: len(at)], latent, label).mean()
            far = torch.zeros(len(at))
            for ours, theirs in (layer.chunk(2) for layer in features):
                far = far + ((ours - theirs) ** 2).flatten(1).sum(1) / (theirs**2).flatten(1).sum(1).detach()
            distance = ((encode(vae, made)[0] - latent) / deviation) ** 2
            distances.append(distance.detach())
            distance = distance.clamp(max=25)
            loss = -favour + config.consistency * distance.sum(1).mean() + config.feature_matching * far.mean()
            adam.step(loss, config.learning_rate * factor)
            average.update(decoder)
            figures.append([hinge.item(), -favour.item(), distance.mean().item(), far.mean().item()])
            done += 1
        means_of_epoch = np.mean(figures, 0).tolist()
        names = ("critic", "decoder", "consistency", "features")
        line = dict(zip(names, means_of_epoch, strict=True))
        history.append({"epoch": epoch, **{name: line[name] for name in names[: 4 if config.feature_matching else 3]}})
    return StageByHand(history, average.mean, decoder, critic, told, torch.stack(distances))


def weights_of(path: Path) -> dict[str, Tensor]:
    return safetensors.torch.load(path.read_bytes())


@pytest.mark.usefixtures("gentle_adam")
@pytest.mark.parametrize("feature_matching", [0.0, 0.7])
def test_a_stage_comes_to_the_weights_and_figures_that_plain_lines_come_to(
    run: Run, tmp_path: Path, feature_matching: float
) -> None:
    before = {name: value.clone() for name, value in run.vae.state_dict().items()}
    teacher = load_run(Path(shutil.copytree(run.path, tmp_path / "teacher")))
    shown = train_detail(dataclasses.replace(STAGE, epochs=1, seed=5), teacher, DATA).decoder.state_dict()
    config = dataclasses.replace(STAGE, feature_matching=feature_matching)
    detail = train_detail(config, run, DATA, teacher=teacher)
    by_hand = stage_by_hand(config, weights_of(run.path / "weights.safetensors"), run.config.model, DATA, shown)

    assert_same_figures(detail.metrics, by_hand.history)
    saved = weights_of(run.path / "detail" / "detail.safetensors")
    checkpoint = torch.load(run.path / "detail" / "checkpoint.pt", weights_only=True)
    for found, expected in (
        (saved, by_hand.average),
        (checkpoint["decoder"], by_hand.decoder),
        (checkpoint["critic"], by_hand.critic.weights),
    ):
        for name, weight in expected.items():
            assert (found[name] - weight).abs().max().item() < 2e-5, name
    for name, weight in detail.decoder.state_dict().items():
        assert torch.equal(weight, saved[name])
    for name, value in run.vae.state_dict().items():
        assert torch.equal(value, before[name])

    # Otherwise the comparison would hold without them.
    assert set(by_hand.labels) == {-1, 0, 1, 2}
    assert 0.01 < (by_hand.distances > 25).double().mean() < 0.9
    assert any((saved[name] - by_hand.decoder[name]).abs().max() > 0.001 for name in saved)


def networks_after(run: Run, config: DetailConfig, data: ImageSet = DATA) -> tuple[DetailDecoder, Critic]:
    """The decoder and the critic, neither of them averaged, of a new stage after its last epoch."""
    shutil.rmtree(run.path / "detail", ignore_errors=True)
    train_detail(config, load_run(run.path), data)
    checkpoint = torch.load(run.path / "detail" / "checkpoint.pt", weights_only=True)
    decoder, critic = DetailDecoder(run.config.model, config), Critic(run.config.model, config, CLASSES)
    decoder.load_state_dict(checkpoint["decoder"])
    critic.load_state_dict(checkpoint["critic"])
    return decoder.eval(), critic.eval()


@torch.no_grad()
def judgements(run: Run, decoder: DetailDecoder, critic: Critic) -> tuple[float, float]:
    """The critic's mean judgement of the training images, and of the decoder's pictures of their latents."""
    chosen, _ = split(len(DATA.train_images), 40)
    image, label = DATA.train_images[chosen].float() / 255, torch.full([len(chosen)], -1)
    latent, _ = run.vae.encode(image)
    made = decoder(latent, torch.from_numpy(standard_normals(9, 0, len(chosen), STAGE.noise_dim)))
    real, false = (critic(picture, run.vae.decode(latent), latent, label) for picture in (image, made))
    return real.mean().item(), false.mean().item()


def test_the_critic_comes_to_favour_real_pictures(run: Run) -> None:
    config = dataclasses.replace(STAGE, learning_rate=1e-9, critic_learning_rate=3e-3, epochs=6, decay_from=1.0)
    real, made = judgements(run, *networks_after(run, config))
    assert real > 0.2
    assert made < -0.2


def test_the_decoder_comes_to_please_the_critic(run: Run) -> None:
    config = dataclasses.replace(STAGE, critic_learning_rate=1e-9, consistency=0.0, decay_from=1.0)
    before, after = (
        judgements(run, *networks_after(run, dataclasses.replace(config, learning_rate=rate, epochs=epochs)))[1]
        for rate, epochs in ((1e-9, 1), (0.02, 6))
    )
    assert after > before + 0.05


def test_every_layer_of_the_critic_keeps_a_largest_singular_value_of_one(run: Run) -> None:
    _, critic = networks_after(run, dataclasses.replace(STAGE, epochs=6))
    kinds = (torch.nn.Conv2d, torch.nn.Linear, torch.nn.Embedding)
    layers = [layer for layer in critic.modules() if isinstance(layer, kinds)]
    assert len(layers) == 8
    for layer in layers:
        assert is_parametrized(layer, "weight")
        assert torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2).item() == pytest.approx(1, abs=0.3)


def test_classes_reach_the_stage_in_all_but_the_share_of_steps_that_hides_them(run: Run) -> None:
    other = dataclasses.replace(DATA, train_labels=(DATA.train_labels + 1) % CLASSES)
    for hidden, same in ((1.0, True), (0.0, False)):
        config = dataclasses.replace(STAGE, epochs=1, no_class_share=hidden)
        ours, others = (networks_after(run, config, data)[0].state_dict() for data in (DATA, other))
        assert all(torch.equal(ours[name], others[name]) for name in ours) == same


def test_a_stage_of_a_full_run_with_refinement_learns_from_the_refined_posteriors_of_all_images(tmp_path: Path) -> None:
    model = dataclasses.replace(CONFIG.model, refinement_steps=2)
    run = train(dataclasses.replace(CONFIG, model=model, full=True, epochs=1), DATA, tmp_path / "run")
    train_detail(dataclasses.replace(STAGE, epochs=1), run, DATA)
    posterior = weights_of(run.path / "detail" / "posterior.safetensors")
    image = DATA.train_images.float() / 255
    with torch.no_grad():
        expected, plain = run.vae.encode(image), run.vae.encoder(image)
    for found, refined, rough in zip((posterior["mean"], posterior["log_variance"]), expected, plain, strict=True):
        torch.testing.assert_close(found, refined, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(found, rough, atol=1e-3)


def test_the_pictures_of_an_epoch_are_images_their_mean_pictures_and_what_the_saved_weights_draw(run: Run) -> None:
    detail = train_detail(dataclasses.replace(STAGE, epochs=1), run, DATA)
    chosen, _ = split(len(DATA.train_images), 40)
    image = DATA.train_images[chosen[:16]]
    with torch.no_grad():
        latent, _ = run.vae.encode(image.float() / 255)
        rows = [image.numpy(), to_grey_levels(run.vae.decode(latent).numpy())]
        for seed in range(6):
            noise = torch.from_numpy(standard_normals(seed, 0, 16, STAGE.noise_dim))
            rows.append(to_grey_levels(detail.decoder(latent, noise).numpy()))
    expected = picture_grid(np.stack(rows, 1).reshape(-1, 1, 12, 10), 16).astype(int)
    found = np.asarray(Image.open(run.path / "detail" / "samples" / "epoch-001.png")).astype(int)
    assert np.abs(found - expected).max() <= 1


def test_the_settings_of_precision_and_threads_reach_the_networks(run: Run) -> None:
    used: list[int] = []

    class Threads(Reporter):
        def step(self, *_: object) -> None:
            used.append(torch.get_num_threads())

    figures, posteriors = [], []
    for precision in ("32", "bf16"):
        shutil.rmtree(run.path / "detail", ignore_errors=True)
        config = dataclasses.replace(STAGE, epochs=1, batch_size=150, precision=precision, threads=2)  # type: ignore[arg-type]
        (line,) = train_detail(config, load_run(run.path), DATA, reporter=Threads()).metrics  # of one step
        figures.append(line)
        posteriors.append((run.path / "detail" / "posterior.safetensors").read_bytes())
    assert set(used) == {2}
    assert torch.get_num_threads() == 1
    assert posteriors[0] == posteriors[1]
    for name in ("critic", "decoder", "consistency"):
        assert figures[0][name] != figures[1][name]
        assert figures[0][name] == pytest.approx(figures[1][name], rel=0.05, abs=0.05)
