"""The training of a detail stage, after the VAE is frozen.

The critic compares two kinds of pairs. The real ones are (x, z): a training image x and a latent z from its posterior
q(z|x). The made ones are (G(z, ε), z): what the detail decoder G makes of the same latent and of noise ε. If the critic
can no longer distinguish them, the pictures of G for a latent z are distributed as the training images that have this
latent: each training image x counts in proportion to q(z|x) (Goodfellow et al. 2014, arXiv:1406.2661, proposition 2,
applied for each z). A further loss keeps the decoder from ignoring z: the encoder's posterior mean of a made picture
must be close to the latent that the picture was made from.

A small decoder may first imitate the decoder of another stage, its teacher, which has learned from the same VAE: for
the same latent and noise it learns to make the same picture (Hinton et al. 2015, arXiv:1503.02531, for pictures instead
of classes). It begins near the end of a long training that way, and the critic then gives back the sharpness that a
mean of squares loses. Beside the critic's judgement, the decoder may go on learning from the teacher: what the critic
sees in a picture must be like what it sees in the teacher's (`feature_difference`). The teacher's picture says what to
draw for this latent and noise, and the judgement only how real it looks.

On one machine, the result depends on the settings, the run, the teacher and the data alone. Each epoch has random
generators of its own, so that a stopped training goes on from its last finished epoch with the same numbers. Several
processes may share the steps, as in the training of a VAE (processes.py).
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import parametrize

from vae_gen import DivergedError, UsageError, picture_grid, random_words, standard_normals, to_grey_levels
from vae_gen.internal.files import write_file

from ..checkpoint import DETAIL_BETAS, IMITATION_BETAS, DetailState
from ..config import DetailConfig, ModelConfig, with_epochs
from ..devices import choose_device, settled_for_this_machine, typical_seconds, use_threads
from ..images.image_set import Images, ImageSet, chosen_of
from ..images.settings import FEW
from ..model import VAE, new_vae
from ..plots import write_png
from ..processes import ALONE, Division, Processes
from ..progress import Reporter
from ..run_folder import CHECKPOINT, METRICS, SAMPLES, Run, alone_in, write_metrics, write_weights
from . import folder
from .networks import Critic, DetailDecoder, critic_loss, feature_difference

EPOCH_STREAM = 2**32 - 9
"""The stream of the seed contract's Philox from which PyTorch's generators get their seeds; the index is the epoch."""

FARTHEST = 25.0
"""The limit of the squared distance of one dimension, in posterior variances, in the consistency loss. Without it, one
picture that is far off would dominate its batch."""

LOOK_STEPS = 20
"""How many steps pass between two looks at the losses, which check and report them."""

ENCODED_AT_ONCE = 500
"""How many training images are encoded at a time."""

SHOWN_IMAGES, SHOWN_PICTURES = 16, 6
"""How many training images the picture of samples shows, and how many pictures of the detail stage beside each."""

FIGURES = ("critic", "decoder", "consistency")
"""The figures of an epoch, each a mean over its steps: the critic's loss; the part of the decoder's loss that comes
from the critic; and the squared distance between a picture's posterior mean and its latent, in posterior variances, per
dimension. With `feature_matching`, `features` follows: the `feature_difference` from the teacher's picture."""

IMITATION = ("imitation",)
"""The figure of an epoch of imitation: the mean squared difference of a pixel from the teacher's picture."""

WARMUP_STEPS = 500
"""The steps after an imitation in which the decoder's learning rate rises to its value, while the critic, which is
new, learns its first distinctions."""


@dataclass(frozen=True)
class Pairs:
    """The training images with their posteriors and classes, on the device that trains; many images stay in a file."""

    images: Images
    """uint8 [n, 1, 28, 28]"""
    mean: Tensor
    """[n, 12]"""
    log_variance: Tensor
    """[n, 12]"""
    labels: Tensor
    """int64 [n]"""

    @classmethod
    def of(cls, run: Run, data: ImageSet, device: torch.device, cache: Path, processes: Processes = ALONE) -> Pairs:
        """The images that the run was trained on, encoded in float32 as `encoder.onnx` will encode them.

        Args:
            run: the trained VAE.
            data: the data set that it was trained on.
            device: the device of the result.
            cache: a file that keeps the posteriors, since computing them takes minutes if the encoder refines them.
                It must belong to the weights of this run, as every file in the stage's folder does.
            processes: those that share the work.

        Raises:
            OutputError: the file cannot be written.
        """
        chosen = torch.arange(len(data.train_images))
        if not run.config.full:
            chosen, _ = data.hold_out(run.config.validation_images)
        images = chosen_of(data.train_images, chosen).to(device)
        posterior = processes.from_first(lambda: _read_posteriors(cache, len(images)))
        if posterior is None:
            mean, log_variance = torch.zeros(2, len(images), run.config.model.latent_dim)
            vae = run.vae.to(device)
            with torch.no_grad():
                for at in range(0, len(images), ENCODED_AT_ONCE)[processes.rank :: processes.world]:
                    block = slice(at, at + ENCODED_AT_ONCE)
                    mean[block], log_variance[block] = vae.encode(images[block].float() / 255)
            posterior = {"mean": processes.add(mean).clone(), "log_variance": processes.add(log_variance).clone()}
            if processes.is_first:
                write_file(cache, safetensors.torch.save(posterior))
        labels = data.train_labels[chosen].to(device)
        return cls(images, posterior["mean"].to(device), posterior["log_variance"].to(device), labels)


def _read_posteriors(cache: Path, count: int) -> dict[str, Tensor] | None:
    """The posteriors of `count` images from a file; None if it has no such posteriors."""
    try:
        posterior = safetensors.torch.load(cache.read_bytes())
    except (OSError, safetensors.SafetensorError):
        return None
    return posterior if len(posterior.get("mean", ())) == len(posterior.get("log_variance", ())) == count else None


def train_detail(
    config: DetailConfig,
    run: Run,
    data: ImageSet,
    *,
    teacher: Run | None = None,
    resume: bool = False,
    reporter: Reporter | None = None,
    processes: Processes = ALONE,
) -> folder.Detail:
    """Train the detail stage of a run in the folder `detail` of the run, and return it.

    Args:
        config: the settings; with `resume` they must be those that the stage was started with.
        run: the run whose latents and mean pictures the stage uses. None of its files is changed.
        data: the data set that the run was trained on.
        teacher: another run of the same VAE's weights, whose stage is imitated in the first `imitation_epochs`, and
            whose pictures are compared in the critic's features if `feature_matching` is above 0. Without epochs that
            need it, it may be left out.
        resume: go on with the stage that is in the folder, if there is one.
        reporter: receives the progress.
        processes: those that train together; each of them calls this function with the same arguments.

    Raises:
        UsageError: the run has a stage and `resume` is false, or the settings contradict the stage, the run or the
            number of processes.
        InputError: the run was trained on other data; or `resume` is true, and the folder has no readable stage, or
            one that was trained for other weights of the VAE.
        UnavailableError: this machine does not have the device.
        DivergedError: a loss is no longer finite.
        OutputError: a file cannot be written.
        LostProcessError: another process has ended, or does not answer.
    """
    imitated = None if teacher is None else processes.from_first(lambda: folder.load_detail(teacher))
    _check(config, run, data)
    config = with_epochs(config)
    if teacher is not None and imitated is not None:
        _check_teacher(config, run, teacher, imitated)
    elif not folder.path_of(run).exists():
        _check_untaught(config, 0)
    Division.of(config, processes)  # may refuse a new stage before it has a folder
    with alone_in(run.path) if processes.is_first else contextlib.nullcontext():
        config = processes.from_first(
            lambda: folder.open_folder(run, settled_for_this_machine(config), data, resume=resume, teacher=imitated)
        )
        with use_threads(config.threads):
            decoder = None if imitated is None else imitated.decoder
            trainer = _Trainer.start(config, run, data, reporter or Reporter(), processes, decoder)
            while trainer.state.epoch < config.epochs:
                trainer.finish_epoch()
        return processes.from_first(lambda: folder.load_detail(run))


def seconds_a_step(config: DetailConfig, model: ModelConfig, classes: int, processes: Processes = ALONE) -> float:
    """How long a step of a detail stage takes on this machine, measured on made-up images in about two seconds.

    With several processes it is the time that one process takes for its share of the batch.

    Args:
        config: the settings of the stage.
        model: the network of the VAE.
        classes: the number of classes of the data set.
        processes: those that share each batch.
    """
    share = -(-config.batch_size // processes.world)
    config = replace(config, device=choose_device(config.device), batch_size=share, micro_batches=0)
    device, count = torch.device(config.device), config.batch_size
    made_up = Pairs(
        images=torch.randint(0, 256, (count, model.channels, model.height, model.width), dtype=torch.uint8).to(device),
        mean=torch.zeros(count, model.latent_dim, device=device),
        log_variance=torch.zeros(count, model.latent_dim, device=device),
        labels=torch.zeros(count, dtype=torch.int64, device=device),
    )
    vae = new_vae(model, 0).eval().requires_grad_(False)
    with use_threads(config.threads):
        state = DetailState.new(config, model, classes, device)
        division = Division.of(config, ALONE)
        trainer = _Trainer(config, Path(), made_up, _on(device, vae), state, Reporter(), division)
        batch = next(trainer._batches(1))
        return typical_seconds(lambda: trainer._step(*batch).cpu())


def _on(device: torch.device, vae: VAE) -> VAE:
    moved: VAE = vae.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved


@dataclass
class _Trainer:
    """A training of a detail stage: its networks and optimisers in memory, and the pictures that it is trained on."""

    config: DetailConfig
    path: Path
    """the folder of the stage"""
    pairs: Pairs
    vae: VAE
    """the frozen VAE, on the device that trains"""
    state: DetailState
    reporter: Reporter
    division: Division
    teacher: DetailDecoder | None = None

    @classmethod
    def start(
        cls,
        config: DetailConfig,
        run: Run,
        data: ImageSet,
        reporter: Reporter,
        processes: Processes = ALONE,
        teacher: DetailDecoder | None = None,
    ) -> _Trainer:
        division = Division.of(config, processes)
        path, device = folder.path_of(run), torch.device(config.device)
        state = DetailState.new(config, run.config.model, len(data.class_names), device)
        with processes.in_turn():
            if begun := (path / CHECKPOINT).exists():
                state.load(path / CHECKPOINT)
        processes.check_same(state.epoch, path)
        if teacher is None:
            _check_untaught(config, state.epoch)
        if begun:
            reporter.note(f"going on with the detail stage of {run.path} after epoch {state.epoch}")
        reporter.note("encoding the training images for the detail stage")
        pairs = Pairs.of(run, data, device, path / folder.POSTERIOR, processes)
        if (count := len(data.train_images) + len(data.test_images)) < FEW:
            reporter.note(f"{count} pictures are few for a detail stage, which may learn them by heart")
        if teacher is not None:
            teacher.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(config, path, pairs, _on(device, run.vae), state, reporter, division, teacher)

    @property
    def device(self) -> torch.device:
        """The device that trains."""
        return torch.device(self.config.device)

    @property
    def steps(self) -> int:
        """The number of steps in an epoch. Images that do not fill a last batch are left out of the epoch."""
        return self.config.epoch_steps or max(1, len(self.pairs.images) // self.config.batch_size)

    def finish_epoch(self) -> None:
        """Do the steps of the next epoch, and write the files of the stage, the checkpoint last."""
        config, state = self.config, self.state
        started = time.perf_counter()
        imitates = state.epoch < config.imitation_epochs
        names = IMITATION if imitates else (*FIGURES, "features") if config.feature_matching else FIGURES
        sums = torch.zeros(len(names), device=self.device)
        for step, (image, latent, deviation, label, noise) in enumerate(self._batches(state.epoch + 1)):
            self._set_rates(state.epoch * self.steps + step)
            sums += self._imitate(latent, noise) if imitates else self._step(image, latent, deviation, label, noise)
            if (step + 1) % LOOK_STEPS == 0 or step + 1 == self.steps:
                self._look(dict(zip(names, (sums / (step + 1)).tolist(), strict=True)), step + 1)
        means = dict(zip(names, (sums.cpu().double() / self.steps).tolist(), strict=True))
        line = {"epoch": state.epoch + 1, **means}
        state.epoch, state.history = state.epoch + 1, [*state.history, line]
        if self.division.processes.is_first:
            write_weights(self.path / folder.WEIGHTS, state.result)
            write_png(self.path / SAMPLES / f"epoch-{state.epoch:03d}.png", self._samples())
            write_metrics(self.path / METRICS, state.history)
            state.save(self.path / CHECKPOINT)
        seconds = time.perf_counter() - started
        figures = ", ".join(f"{name} {value:.{5 if imitates else 3}f}" for name, value in means.items())
        self.reporter.note(f"epoch {state.epoch}/{config.epochs}  {figures}  {seconds:.1f} s")

    def _batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]:
        """Yields images, latents, their standard deviations, labels and noise for each step of an epoch."""
        config, pairs = self.config, self.pairs
        for_order, for_noise, _, _ = random_words(config.seed, epoch, 1, 1, EPOCH_STREAM)[0, 0].tolist()
        ordering = torch.Generator().manual_seed(for_order)
        passes = -(-config.epoch_steps * config.batch_size // len(pairs.images)) or 1
        order = torch.cat([torch.randperm(len(pairs.images), generator=ordering) for _ in range(passes)])
        generator = torch.Generator(self.device).manual_seed(for_noise)
        for step in range(self.steps):
            at = order[step * config.batch_size : (step + 1) * config.batch_size].to(self.device)
            mean, deviation = pairs.mean[at], torch.exp(0.5 * pairs.log_variance[at])
            latent = mean + deviation * torch.randn(mean.shape, generator=generator, device=self.device)
            with_label = torch.rand(len(at), generator=generator, device=self.device) >= config.no_class_share
            label = torch.where(with_label, pairs.labels[at], -1)
            noise = torch.randn(len(at), config.noise_dim, generator=generator, device=self.device)
            noise = with_class(noise, label, config.class_shift)
            yield pairs.images[at].float() / 255, latent, deviation, label, noise

    def _set_rates(self, step: int) -> None:
        """Set both learning rates for a step of the training: constant at first, then falling linearly to 0.

        While the decoder imitates, its rate falls along a cosine from `imitation_rate` to `learning_rate`; then it
        rises once more from 0, for the critic to learn first.
        """
        config, state = self.config, self.state
        imitation = config.imitation_epochs * self.steps
        share = max(0, step - imitation) / max(1, config.epochs * self.steps - imitation)
        factor = min(1.0, (1 - share) / max(1 - config.decay_from, 1e-9))
        warm, betas = 1.0, DETAIL_BETAS
        if step < imitation:
            fall = 0.5 * (1 + math.cos(math.pi * step / imitation))
            warm, betas = 1 + (config.imitation_rate / config.learning_rate - 1) * fall, IMITATION_BETAS
        elif imitation:
            warm = min(1.0, (step - imitation + 1) / WARMUP_STEPS)
        for group in state.optimizer.param_groups:
            group["lr"], group["betas"] = config.learning_rate * factor * warm, betas
        for group in state.critic_optimizer.param_groups:
            group["lr"] = config.critic_learning_rate * factor

    def _imitate(self, latent: Tensor, noise: Tensor) -> Tensor:
        """Do one step of the decoder towards the teacher's pictures; returns the mean squared difference, [1]."""
        state, division, count = self.state, self.division, len(latent)
        rows = division.own_rows(count)
        with self._autocast():
            pieces = [(self._differences(latent[own], noise[own]),) for own in rows]
        (values,) = [division.gathered(own, count).requires_grad_() for own in zip(*pieces, strict=True)]
        loss = values.mean()
        (gradient,) = torch.autograd.grad(loss, values)
        division.propagate_back(state.optimizer, pieces, [[gradient[own]] for own in rows])
        state.optimizer.step()
        state.average.update_parameters(state.decoder)
        return loss.detach().reshape(1)

    def _differences(self, latent: Tensor, noise: Tensor) -> Tensor:
        """The mean squared difference of each picture from the teacher's, [batch]."""
        if self.teacher is None or not len(latent):
            return latent.new_zeros(0)
        with torch.no_grad():
            wanted = self.teacher(latent, noise)
        squares: Tensor = (self.state.decoder(latent, noise) - wanted).float().square()
        return squares.mean(dim=(1, 2, 3))

    def _step(self, image: Tensor, latent: Tensor, deviation: Tensor, label: Tensor, noise: Tensor) -> Tensor:
        """Do one step of the critic and one of the decoder; returns the figures of the step, [3] or [4]."""
        state, config, division, count = self.state, self.config, self.division, len(image)
        teacher = self.teacher if config.feature_matching else None
        rows = division.own_rows(count)
        whole = (image.contiguous(memory_format=torch.channels_last), latent, deviation, label, noise)
        parts = [_Part(*(values if division.is_whole else values[own].clone() for values in whole)) for own in rows]

        with self._same_critic():
            for part in parts:
                part.make_picture(self.vae, state.decoder)
            pieces = [part.compared(state.critic) for part in parts]
        values = [division.gathered(own, count).requires_grad_() for own in zip(*pieces, strict=True)]
        loss_of_critic = critic_loss(*values)
        gradients = torch.autograd.grad(loss_of_critic, values)
        division.propagate_back(state.critic_optimizer, pieces, [[of[own] for of in gradients] for own in rows])
        state.critic_optimizer.step()

        state.critic.requires_grad_(False)
        with self._same_critic():
            judged = [part.judged(state.critic, self.vae, teacher) for part in parts]
        values = [division.gathered(own, count).requires_grad_() for own in zip(*judged, strict=True)]
        adversarial, distance = -values[0].mean(), values[1]  # [batch, 12]
        loss = adversarial + config.consistency * distance.sum(1).mean()
        if teacher is not None:
            loss = loss + config.feature_matching * values[2].mean()
        gradients = torch.autograd.grad(loss, values)
        division.propagate_back(state.optimizer, judged, [[of[own] for of in gradients] for own in rows])
        state.optimizer.step()
        state.critic.requires_grad_(True)
        state.average.update_parameters(state.decoder)
        figures = [loss_of_critic, adversarial, distance.mean(), *(different.mean() for different in values[2:])]
        return torch.stack(figures).detach()

    @contextlib.contextmanager
    def _same_critic(self) -> Iterator[None]:
        """Keeps the critic's weights in the block, in the settings' precision, however many pieces it judges.

        Each time that PyTorch makes a weight with spectral normalisation, it improves its estimate of the largest
        singular value. Outside of such a block, the estimates would depend on the number of pieces of a process.
        """
        with self._autocast(), parametrize.cached():
            yield

    def _autocast(self) -> torch.autocast:
        """A block in the precision of the settings."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

    def _look(self, means: dict[str, float], steps: int) -> None:
        """Report the first figure of the epoch so far.

        Raises:
            DivergedError: one of the figures is not finite.
        """
        if not all(map(math.isfinite, means.values())):
            *first, last = (f"{name} {value:g}" for name, value in means.items())
            found = " and ".join([", ".join(first), last] if first else [last])
            raise DivergedError(
                f"expected finite losses, got {found} "
                f"by step {steps} of epoch {self.state.epoch + 1} of the detail stage; remove the folder {self.path}, "
                "which holds the finished epochs, and train the stage again with another --seed"
            )
        self.reporter.step(self.state.epoch + 1, self.config.epochs, steps, self.steps, next(iter(means.values())))

    def _samples(self) -> NDArray[np.uint8]:
        """The picture of samples: training images, and beside each its mean picture and pictures of the stage."""
        decoder: DetailDecoder = self.state.result
        image, latent = self.pairs.images[:SHOWN_IMAGES], self.pairs.mean[:SHOWN_IMAGES]
        columns = [image.cpu().numpy()]
        with torch.no_grad():
            columns.append(to_grey_levels(self.vae.decode(latent).cpu().numpy()))
            for seed in range(SHOWN_PICTURES):
                noise = torch.from_numpy(standard_normals(seed, 0, len(latent), decoder.noise_dim)).to(self.device)
                columns.append(to_grey_levels(decoder(latent, noise).cpu().numpy()))
        pictures = np.stack(columns, axis=1).reshape(-1, *image.shape[1:])  # image by image
        return picture_grid(pictures, 2 * len(columns))


@dataclass
class _Part:
    """A piece of a batch, which may be empty, in a step."""

    image: Tensor
    latent: Tensor
    deviation: Tensor
    label: Tensor
    noise: Tensor
    expected: Tensor = field(default_factory=lambda: torch.zeros(0))
    """the mean pictures of the latents"""
    picture: Tensor = field(default_factory=lambda: torch.zeros(0))
    """the detail decoder's pictures of them"""

    def make_picture(self, vae: VAE, decoder: DetailDecoder) -> None:
        if len(self.image):
            with torch.no_grad():
                self.expected = vae.decode(self.latent)
            self.picture = decoder(self.latent, self.noise)

    def compared(self, critic: Critic) -> tuple[Tensor, Tensor]:
        """The critic's judgements of the images, and of the pictures, each [batch]."""
        if not len(self.image):
            return self.latent.new_zeros(0), self.latent.new_zeros(0)
        both = torch.cat([self.image, self.picture.detach()])
        judged = critic(both, self.expected.repeat(2, 1, 1, 1), self.latent.repeat(2, 1), self.label.repeat(2))
        real, made = judged.float().chunk(2)
        return real, made

    def judged(self, critic: Critic, vae: VAE, teacher: DetailDecoder | None) -> tuple[Tensor, ...]:
        """The values that the decoder's loss consists of.

        They are the critic's judgements of the pictures, [batch], the squared distances of their latents, [batch, 12],
        and with a teacher the differences from its pictures, [batch].
        """
        if not len(self.image):
            none = self.latent.new_zeros(0)
            return (none, self.latent) if teacher is None else (none, self.latent, none)
        features = critic.features(self.picture, self.expected)
        judged = critic.judgement(features[-1], self.latent, self.label)
        read, _ = vae.encoder(self.picture)
        distances = ((read.float() - self.latent) / self.deviation).square().clamp(max=FARTHEST)
        if teacher is None:
            return judged.float(), distances
        with torch.no_grad():
            wanted = critic.features(teacher(self.latent, self.noise), self.expected)
        return judged.float(), distances, feature_difference(features, wanted)


def _check(config: DetailConfig, run: Run, data: ImageSet) -> None:
    sizes = run.config.model.feature_sizes
    if len(config.channels) != len(sizes):
        raise UsageError(
            f"expected {len(sizes)} numbers of channels, one for each size of feature map "
            f"({sizes[0][0]} × {sizes[0][1]} to {sizes[-1][0]} × {sizes[-1][1]}), got {len(config.channels)}"
        )
    if config.class_shift and config.noise_dim < len(data.class_names):
        raise UsageError(
            f"expected noise_dim of at least {len(data.class_names)}, one noise component for each class, "
            f"got {config.noise_dim}"
        )


def _check_untaught(config: DetailConfig, epoch: int) -> None:
    """Refuse a stage without a teacher after `epoch` epochs, if the next one needs it."""
    if config.feature_matching and epoch < config.epochs:
        raise UsageError(f"expected a teacher for all {config.epochs} epochs, got none; add --teacher RUN")
    if epoch < config.imitation_epochs:
        raise UsageError(
            f"expected a teacher for the first {config.imitation_epochs} epochs, got none; add --teacher RUN"
        )


def _check_teacher(config: DetailConfig, run: Run, teacher: Run, imitated: folder.Detail) -> None:
    if teacher.weights_sha256 != run.weights_sha256:
        raise UsageError(
            f"expected a teacher that was trained for the VAE of {run.path}, got {teacher.path}, whose VAE has other "
            "weights; its latents mean other pictures"
        )
    for name in ("noise_dim", "class_shift"):
        if (have := getattr(imitated.config, name)) != (want := getattr(config, name)):
            raise UsageError(f"expected {name} {have}, as the teacher has, got {want}")


def with_class(noise: Tensor, label: Tensor, shift: float) -> Tensor:
    """Noise [batch, noise_dim] with `shift` added to component `label[i]` of row i.

    Within a class each component keeps variance 1; noise without a shift means no particular class.

    Args:
        noise: standard normals.
        label: int64 [batch], −1 for a picture without a class, whose noise stays as it is.
        shift: what is added, see `DetailConfig.class_shift`.
    """
    components = torch.arange(noise.shape[1], device=noise.device)
    return noise + shift * (components == label[:, None]).to(noise.dtype)
