"""Training a detail stage, after the VAE is frozen.

Pairs (x, z) with z ~ q(z|x) of the training images are what the critic calls real, and (G(z, ε), z) what the detail
decoder G makes of the same latents. Where neither can gain any more, G's pictures are distributed as p(x|z)
(Goodfellow et al. 2014, arXiv:1406.2661, proposition 2, for each z). The encoder keeps the decoder honest: what it
says of a picture must be the latent that the picture was made from.

A stage is a function of its settings, the run and the data. Each epoch has random generators of its own, so that a
stopped stage goes on from its last finished epoch with the same numbers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from vae_gen import DivergedError, UsageError, random_words

from ..data import FashionMnist
from ..devices import choose_device
from ..progress import Reporter, Silent
from ..run_folder import Run
from ..training import threads_for_a_while
from . import folder
from .config import DetailConfig
from .networks import critic_loss
from .pairs import Pairs
from .state import DetailState

EPOCH_STREAM = 2**32 - 9
"""The stream of the seed contract's Philox that gives PyTorch's generators their seeds; the index is the epoch."""

FARTHEST = 25.0
"""A distance counts up to this many posterior variances, so that one lost picture does not rule its batch."""

LOOK_STEPS = 20
"""Steps between two looks at the losses."""

FIGURES = ("critic", "decoder", "consistency")
"""What is said of an epoch, as means over its steps: the critic's loss, the critic's part of the decoder's, and the
squared distance between a picture's posterior mean and its latent, in posterior variances a dimension."""


def train_detail(
    config: DetailConfig, run: Run, data: FashionMnist, *, resume: bool = False, reporter: Reporter | None = None
) -> folder.Detail:
    """The finished detail stage of a run, in its folder `detail`.

    Args:
        config: the settings; with `resume` they must be the stage's own.
        run: whose latents and mean pictures it starts from. Nothing of it changes.
        data: what the run was trained on.
        resume: go on with a stage that is there; where there is none, begin it.
        reporter: who is told how it goes.

    Raises:
        UsageError: the run has a stage and `resume` is false, or the settings contradict it or the run.
        InputError: what is there is no stage, or one of other weights.
        UnavailableError: the device is not there.
        DivergedError: a loss is no longer finite.
        OutputError: a file cannot be written.
    """
    reporter = reporter or Silent()
    _check(config, run, data)
    config = replace(
        config, device=choose_device(config.device), threads=config.threads or torch.get_num_threads()
    )
    config = folder.open_folder(run, config, data, resume=resume)
    with threads_for_a_while(config.threads):
        trainer = _Trainer(config, run, data, reporter)
        while trainer.state.epoch < config.epochs:
            trainer.finish_epoch()
    return folder.load_detail(run)


class _Trainer:
    """A stage in memory."""

    def __init__(self, config: DetailConfig, run: Run, data: FashionMnist, reporter: Reporter) -> None:
        self.config, self.run, self.reporter = config, run, reporter
        self.device = torch.device(config.device)
        self.state = DetailState.new(config, run.config.model, len(data.class_names), self.device)
        if folder.checkpoint(run).exists():
            self.state.load(folder.checkpoint(run))
            reporter.note(f"going on with the detail stage of {run.path} after epoch {self.state.epoch}")
        reporter.note("encoding the training images")
        self.pairs = Pairs.of(run, data, self.device, folder.path_of(run) / folder.POSTERIOR)
        self.vae = run.vae.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def steps(self) -> int:
        """In an epoch; what is left over of the images waits for another order."""
        return max(1, len(self.pairs.images) // self.config.batch_size)

    def finish_epoch(self) -> None:
        """The steps of the next epoch, its files, and last the checkpoint."""
        config, state = self.config, self.state
        started = time.perf_counter()
        sums = torch.zeros(len(FIGURES), device=self.device)
        for step, (image, latent, deviation, label, noise) in enumerate(self._batches(state.epoch + 1)):
            self._set_rates(state.epoch * self.steps + step)
            sums += self._step(image, latent, deviation, label, noise)
            if (step + 1) % LOOK_STEPS == 0 or step + 1 == self.steps:
                self._look(sums, step + 1)
        means = (sums.cpu().double() / self.steps).tolist()
        line = {"epoch": state.epoch + 1, **dict(zip(FIGURES, means, strict=True))}
        state.epoch, state.history = state.epoch + 1, [*state.history, line]
        folder.write_epoch(self.run, state, self.pairs)
        seconds = time.perf_counter() - started
        figures = ", ".join(f"{name} {value:.3f}" for name, value in zip(FIGURES, means, strict=True))
        self.reporter.note(f"epoch {state.epoch}/{config.epochs}  {figures}  {seconds:.1f} s")

    def _batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]:
        """Images, latents, their standard deviations, labels and noise of each step of an epoch."""
        config, pairs = self.config, self.pairs
        for_order, for_noise, _, _ = random_words(config.seed, epoch, 1, 1, EPOCH_STREAM)[0, 0].tolist()
        order = torch.randperm(len(pairs.images), generator=torch.Generator().manual_seed(for_order))
        generator = torch.Generator(self.device).manual_seed(for_noise)
        for step in range(self.steps):
            at = order[step * config.batch_size : (step + 1) * config.batch_size].to(self.device)
            mean, deviation = pairs.mean[at], torch.exp(0.5 * pairs.log_variance[at])
            latent = mean + deviation * torch.randn(mean.shape, generator=generator, device=self.device)
            told = torch.rand(len(at), generator=generator, device=self.device) >= config.no_class_share
            label = torch.where(told, pairs.labels[at], -1)
            noise = torch.randn(len(at), config.noise_dim, generator=generator, device=self.device)
            noise = with_class(noise, label, config.class_shift)
            yield pairs.images[at].float() / 255, latent, deviation, label, noise

    def _set_rates(self, step: int) -> None:
        """Both learning rates: constant, then falling linearly to 0."""
        config, state = self.config, self.state
        share = step / (config.epochs * self.steps)
        factor = min(1.0, (1 - share) / max(1 - config.decay_from, 1e-9))
        for optimizer, rate in (
            (state.optimizer, config.learning_rate),
            (state.critic_optimizer, config.critic_learning_rate),
        ):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor

    def _step(self, image: Tensor, latent: Tensor, deviation: Tensor, label: Tensor, noise: Tensor) -> Tensor:
        """One step of the critic and one of the decoder; the step's `FIGURES`, [3]."""
        state, config = self.state, self.config
        image = image.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            with torch.no_grad():
                expected = self.vae.decode(latent)
            picture = torch.sigmoid(state.decoder(latent, noise))
            judged = state.critic(
                torch.cat([image, picture.detach()]), expected.repeat(2, 1, 1, 1), latent.repeat(2, 1), label.repeat(2)
            )
        real, made = judged.float().chunk(2)
        loss_of_critic = critic_loss(real, made)
        state.critic_optimizer.zero_grad()
        loss_of_critic.backward()  # type: ignore[no-untyped-call]
        state.critic_optimizer.step()

        state.critic.requires_grad_(False)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            judged = state.critic(picture, expected, latent, label)
            read, _ = self.vae.encoder(picture)
        adversarial = -judged.float().mean()
        distance = ((read.float() - latent) / deviation).square().clamp(max=FARTHEST)  # [batch, 12]
        state.optimizer.zero_grad()
        (adversarial + config.consistency * distance.sum(1).mean()).backward()
        state.optimizer.step()
        state.critic.requires_grad_(True)
        state.average.update_parameters(state.decoder)
        return torch.stack([loss_of_critic.detach(), adversarial.detach(), distance.detach().mean()])

    def _look(self, sums: Tensor, steps: int) -> None:
        """Report the losses so far, and stop where one is not finite."""
        means = (sums / steps).tolist()
        if not all(map(math.isfinite, means)):
            raise DivergedError(
                f"expected finite losses, got critic {means[0]:g} and decoder {means[1]:g} by step {steps} of epoch "
                f"{self.state.epoch + 1} of the detail stage; the last finished epoch is kept; remove "
                f"{folder.path_of(self.run)} and train it again with another --seed"
            )
        self.reporter.step(self.state.epoch + 1, self.config.epochs, steps, self.steps, means[0])


def _check(config: DetailConfig, run: Run, data: FashionMnist) -> None:
    sizes = run.config.model.feature_sizes
    if len(config.channels) != len(sizes):
        raise UsageError(
            f"expected channels for each of the run's {len(sizes)} sizes of picture, "
            f"from {sizes[0][0]} by {sizes[0][1]} to {sizes[-1][0]} by {sizes[-1][1]}, got {len(config.channels)}"
        )
    if config.noise_dim < len(data.class_names):
        raise UsageError(
            f"expected noise_dim of at least {len(data.class_names)}, a number for each class, got {config.noise_dim}"
        )


def with_class(noise: Tensor, label: Tensor, shift: float) -> Tensor:
    """Noise [batch, 32] that says its class: `shift` is added at the class's own number, and nowhere without a class.

    So all of it stays noise of variance 1, and N(0, I) itself is the noise of a picture of no class in particular.

    Args:
        noise: standard normals.
        label: int64 [batch], −1 for none.
        shift: see `DetailConfig`.
    """
    numbers = torch.arange(noise.shape[1], device=noise.device)
    return noise + shift * (numbers == label[:, None]).to(noise.dtype)
