"""The training loop. docs/quality.md lists the recipes and what they reach.

The result of a run depends on its settings and its data alone. A run may be stopped anywhere, and `resume` goes on from
the last checkpoint with the same numbers: on a CPU with the same number of threads, to the last digit. A checkpoint
holds the weights, Adam's moments, both random generators, the order of the images, the place in it, and all figures so
far. All other files of an epoch are written before its checkpoint, so that whatever a kill prevented is done again.

Several processes may share the steps and the evaluations of a run (processes.py). The first one alone writes.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vae_gen import DivergedError, InputError, UsageError
from vae_gen.internal.files import write_file

from . import run_folder
from .checkpoint import TrainingState
from .config import DetailConfig, TrainConfig, with_epochs
from .data import batches
from .detail.training import train_detail
from .devices import Costs, choose_device, costs, settled_for_this_machine, typical_seconds, use_threads
from .evaluation import Evaluation, evaluate_torch
from .images.image_set import Images, ImageSet, chosen_of
from .images.settings import FEW
from .initial import InitialWeights, recorded_weights
from .objective import calibrated_nats, charged_kl
from .plots import curves, sample_grid, write_png
from .processes import ALONE, Division, Processes
from .progress import Reporter
from .run_folder import Run

LOOK_STEPS = 10
"""How many steps pass between two checks of the losses. A GPU runs ahead of the program, and a check makes it wait."""


def train(
    config: TrainConfig,
    data: ImageSet,
    path: Path,
    *,
    resume: bool = False,
    reporter: Reporter | None = None,
    extra_files: Mapping[str, bytes] | None = None,
    detail: DetailConfig | None = None,
    init: InitialWeights | None = None,
    processes: Processes = ALONE,
) -> Run:
    """Train a run to its end, from the start or from where it stopped, and return it.

    Args:
        config: the settings; with `resume` they must be those that the run was started with, except for more epochs.
        data: the data set to train on, and to test on at the end.
        path: the folder of the run; the folder above it must exist.
        resume: go on with the run that is in the folder, if there is one.
        reporter: receives the progress.
        extra_files: names and contents of further files for the folder of a new run.
        detail: the settings of a detail stage, which is then trained too, after the VAE. The run remembers them.
        init: the weights to begin with; None for random ones. A resumed run needs none, and refuses all but its own.
        processes: those that train together; each of them calls this function with the same arguments.

    Raises:
        UsageError: the folder holds a run and `resume` is false, or the settings contradict the run, the data, the
            first weights or the number of processes.
        InputError: the folder holds something else, or a damaged run.
        UnavailableError: this machine does not have the device, or --compile finds no compiler.
        DivergedError: a loss or a weight is no longer finite.
        OutputError: a file cannot be written.
        LostProcessError: another process has ended, or does not answer.
    """
    reporter = reporter or Reporter()
    _check_data(config, data)
    config = with_epochs(config)
    Division.of(config, processes)  # may refuse a new run before it has a folder

    def opened() -> tuple[TrainConfig, InitialWeights | None]:
        begun = resume and (path / run_folder.CONFIG).exists()
        if init is not None and not begun:
            init.check_network(config.model)  # before the folder is made
        wanted = config if begun else settled_for_this_machine(config)
        record = None if init is None else init.to_json()
        settled = run_folder.open_folder(
            path, wanted, data, resume=resume, extra_files=extra_files, detail=detail, init=record
        )
        first = init or recorded_weights(path)
        if first is not None:
            first.check_network(settled.model)
        return settled, first

    with run_folder.alone_in(path) if processes.is_first else contextlib.nullcontext():
        config, first = processes.from_first(opened)
        with use_threads(config.threads):
            trainer = _Trainer.start(config, data, path, reporter, processes, first)
            trainer.finish_epochs()
            run = processes.from_first(lambda: run_folder.load_run(path))
            if processes.from_first((path / run_folder.EVALUATION).exists):
                reporter.note(f"{path} has its {config.epochs} epochs; train on with more --epochs and --resume")
            else:
                evaluation = evaluate_torch(run.vae, data.test_images.numpy(), processes=processes)
                if processes.is_first:
                    _report_evaluation(trainer, run, evaluation, data)
    if detail is not None:
        train_detail(detail, run, data, resume=resume, reporter=reporter, processes=processes)
    return run


def learning_rate(config: TrainConfig, step: int, steps: int) -> float:
    """Adam's learning rate at a step of the run.

    Args:
        config: settings, of which learning_rate, schedule, warmup_steps and epochs are used.
        step: the number of steps before this one in all epochs, from 0 to epochs · steps − 1.
        steps: the number of steps in an epoch.
    """
    rate = config.learning_rate * min(1.0, (step + 1) / (config.warmup_steps + 1))
    if config.schedule == "cosine":  # Loshchilov and Hutter 2017, arXiv:1608.03983, eq. 5, without restarts
        rate *= 0.5 * (1 + math.cos(math.pi * step / (config.epochs * steps)))
    return rate


def kl_weight(config: TrainConfig, step: int, steps: int) -> float:
    """The weight of the KL at a step of the run (Bowman et al. 2016, arXiv:1511.06349, section 3.1: annealing).

    It rises from 0. While reconstructions are still poor, a dimension that helps them little would have the lowest loss
    if its posterior became the prior, and a dimension that has become the prior is hardly ever used again.

    Args:
        config: settings, of which beta and kl_warmup_epochs are used.
        step: the number of steps before this one in all epochs.
        steps: the number of steps in an epoch.
    """
    whole = config.kl_warmup_epochs * steps
    return config.beta * (min(1.0, step / whole) if whole else 1.0)


def augmented(image: Tensor, config: TrainConfig, generator: torch.Generator) -> Tensor:
    """Images [batch, channels, height, width], mirrored and moved at random as the settings ask; else unchanged.

    A moved image repeats the pixels of its edge where it left its place.

    Args:
        image: the images of a step.
        config: its `flip` and `shift`.
        generator: draws on the CPU.
    """
    count, _, height, width = image.shape
    if config.flip:
        mirrored = torch.rand(count, generator=generator) < 0.5
        image = torch.where(mirrored.to(image.device)[:, None, None, None], image.flip(3), image)
    if config.shift:
        by = torch.randint(-config.shift, config.shift + 1, (2, count, 1), generator=generator)
        rows = (torch.arange(height) + by[0]).clamp(0, height - 1).to(image.device)  # [batch, height]
        columns = (torch.arange(width) + by[1]).clamp(0, width - 1).to(image.device)  # [batch, width]
        each = torch.arange(count, device=image.device)[:, None, None]
        image = image.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return image.contiguous()


def seconds_a_step(config: TrainConfig, processes: Processes = ALONE) -> float:
    """How long a step of these settings takes on this machine, measured on made-up images in about two seconds.

    With several processes it is the time that one process takes for its share of the batch.
    """
    share = -(-config.batch_size // processes.world)
    config = replace(config, device=choose_device(config.device), batch_size=share, micro_batches=0)
    model, device = config.model, torch.device(config.device)
    with use_threads(config.threads):
        state = TrainingState.new(config, device)
        trainer = _Trainer(
            config=config,
            path=Path(),
            reporter=Reporter(),
            images=torch.zeros(0, device=device),
            training=torch.zeros(0),
            validation=None,
            costs=costs(state.vae, config),
            state=state,
            division=Division.of(config, ALONE),
        )
        image = torch.rand(config.batch_size, model.channels, model.height, model.width, device=device)
        state.sums = torch.zeros(1, 1, device=device)
        return typical_seconds(lambda: trainer._step(image).cpu())


@dataclass
class _Trainer:
    """A run in memory, with what it is trained on."""

    config: TrainConfig
    path: Path
    reporter: Reporter
    images: Images
    """uint8 [n, 1, 28, 28], all training images, on the device that trains, or read from a file for it"""
    training: Tensor
    """int64, the indices of the images to train on"""
    validation: Images | None
    """uint8 [m, 1, 28, 28], on the CPU or in a file; None with the setting `full`"""
    costs: Costs
    state: TrainingState
    division: Division

    @classmethod
    def start(
        cls,
        config: TrainConfig,
        data: ImageSet,
        path: Path,
        reporter: Reporter,
        processes: Processes,
        first: InitialWeights | None,
    ) -> _Trainer:
        division = Division.of(config, processes)
        device = torch.device(choose_device(config.device))
        state = TrainingState.new(config, device, None if first is None else first.weights)
        checkpoint = path / run_folder.CHECKPOINT
        with processes.in_turn():
            if begun := checkpoint.exists():
                state.load(checkpoint)
            if len(state.order) and int(state.order.max()) >= len(data.train_images):
                raise InputError(f"{checkpoint}: expected an order of {len(data.train_images)} images, got one of more")
        processes.check_same((state.epoch, state.step), path)
        if begun:
            reporter.note(f"going on with {path} after {_place(state.epoch, state.step)}")
            if processes.is_first:
                _note_versions(path, reporter)
        elif first is not None:
            reporter.note(f"beginning with the weights of {first.origin}")
        if config.full:
            training, validation = torch.arange(len(data.train_images)), None
        else:
            training, held_out = data.hold_out(config.validation_images)
            validation = chosen_of(data.train_images, held_out)
        return cls(
            config=config,
            path=path,
            reporter=reporter,
            images=data.train_images.to(device),
            training=training,
            validation=validation,
            costs=costs(state.vae, config, -(-config.batch_size // division.pieces)),
            state=state,
            division=division,
        )

    @property
    def _writes(self) -> bool:
        """Whether this process writes the files of the run."""
        return self.division.processes.is_first

    def finish_epochs(self) -> None:
        """Train until the last epoch of the settings is saved."""
        while self.state.epoch < self.config.epochs:
            self._finish_steps()
            self._close_epoch()

    def _finish_steps(self) -> None:
        """Do the steps of the current epoch that are not done yet."""
        config, state = self.config, self.state
        steps = config.epoch_steps or -(-len(self.training) // config.batch_size)
        if state.step == 0:
            passes = -(-config.epoch_steps * config.batch_size // len(self.training)) or 1
            orders = [torch.randperm(len(self.training), generator=state.order_generator) for _ in range(passes)]
            order = torch.cat(orders)[: config.epoch_steps * config.batch_size or None]
            state.order = self.training[order].int()
            state.sums = torch.zeros(steps, 1 + config.model.latent_dim, device=self.images.device)
        started = time.perf_counter()
        for image in batches(self.images, state.order.long(), config.batch_size, first=state.step):
            state.sums[state.step] = self._step(augmented(image, config, state.order_generator))
            state.step += 1
            save = state.step % config.checkpoint_steps == 0 and state.step < steps
            if state.step % LOOK_STEPS == 0 or state.step == steps or save:
                self._look(steps, len(image))
            if save:
                now = time.perf_counter()
                state.seconds_in_epoch += now - started
                started = now
                self._save()
        state.seconds_in_epoch += time.perf_counter() - started

    def _step(self, image: Tensor) -> Tensor:
        """Do one step of Adam; returns the batch's sums of reconstruction and KL per dimension in nats, [1 + 12]."""
        config, state, division = self.config, self.state, self.division
        noise = torch.randn(
            len(image), config.model.latent_dim, generator=state.noise_generator, device=image.device
        )  # [batch, 12]
        rows = division.own_rows(len(image))
        pieces = [self._costs_of(image[own], noise[own]) for own in rows]
        values = [division.gathered(own, len(image)).requires_grad_() for own in zip(*pieces, strict=True)]
        pixels, kl = values  # [batch], [batch, 12]
        reconstruction = calibrated_nats(pixels, image[0].numel()) if self._is_gaussian else pixels
        steps = len(state.sums)
        done = state.epoch * steps + state.step
        charged = charged_kl(kl.mean(0), config.free_nats)
        loss = reconstruction.mean() + kl_weight(config, done, steps) * charged
        gradients = torch.autograd.grad(loss, values)
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate(config, done, steps)
        division.propagate_back(state.optimizer, pieces, [[of[own] for of in gradients] for own in rows])
        state.optimizer.step()
        if state.average is not None:
            state.average.update_parameters(state.vae)
        return torch.cat([reconstruction.detach().sum()[None], kl.detach().sum(0)])

    def _costs_of(self, image: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The costs of a piece of a batch, which may be empty."""
        if not len(image):
            return image.new_zeros(0), noise
        if self.division.is_whole:
            return self.costs(image, noise)
        return self.costs(image.clone(), noise.clone())  # because where rows lie in memory may change the last digits

    @property
    def _is_gaussian(self) -> bool:
        return self.config.model.likelihood == "gaussian"

    def _look(self, steps: int, batch: int) -> None:
        """Report the last step, and raise an error for the first step whose loss was not finite."""
        state = self.state
        sums = state.sums[: state.step].cpu()  # [steps so far, 1 + 12]
        bad = (~sums.isfinite().all(1)).nonzero()
        if len(bad):
            row = sums[bad[0, 0]]
            reason = f"reconstruction {row[0].item():g}, KL {row[1:].sum().item():g} nats in its batch"
            raise self._diverged(int(bad[0, 0]) + 1, reason)
        loss = (sums[-1, 0] + self.config.beta * sums[-1, 1:].sum()).item() / batch
        self.reporter.step(state.epoch + 1, self.config.epochs, state.step, steps, loss)

    def _close_epoch(self) -> None:
        """Write the figures, weights and pictures of the epoch whose steps are done, and the checkpoint last."""
        config, state, path = self.config, self.state, self.path
        started = time.perf_counter()
        epoch, step = state.epoch + 1, state.step
        self._check_weights()
        line = {"epoch": epoch, "learning_rate": state.optimizer.param_groups[0]["lr"], "train": self._train_figures()}
        validation = self._validate()
        line["validation"] = None if validation is None else _figures(validation)
        state.history = [*state.history, line]
        if validation is not None:
            if not math.isfinite(validation.neg_elbo):
                raise self._diverged(step, f"the validation −ELBO is {validation.neg_elbo:g}")
            if state.best is None or validation.neg_elbo < state.best["neg_elbo"]:
                state.best = {"epoch": epoch, "neg_elbo": validation.neg_elbo}
        if self._writes:
            self._write_results(epoch)
        seconds = state.seconds_in_epoch + time.perf_counter() - started
        state.seconds, state.seconds_in_epoch = [*state.seconds, round(seconds, 2)], 0.0
        state.epoch, state.step = epoch, 0
        state.order, state.sums = state.order[:0], state.sums[:0]
        if self._writes:
            timing = {"seconds": state.seconds, "threads": config.threads, "processes": self.division.processes.world}
            run_folder.write_json(path / run_folder.TIMING, timing)
            state.save(path / run_folder.CHECKPOINT)
        self.reporter.epoch(config.epochs, line, seconds)

    def _validate(self) -> Evaluation | None:
        if self.validation is None:
            return None
        return evaluate_torch(self.state.result, self.validation.numpy(), processes=self.division.processes)

    def _write_results(self, epoch: int) -> None:
        """Write the weights, pictures and figures of the epoch that has just ended."""
        state, path = self.state, self.path
        if state.best is not None and state.best["epoch"] == epoch:
            run_folder.write_weights(path / run_folder.WEIGHTS["best"], state.result)
        run_folder.write_weights(path / run_folder.WEIGHTS["last"], state.result)
        write_png(path / run_folder.SAMPLES / f"epoch-{epoch:03d}.png", sample_grid(state.result))
        write_file(path / run_folder.CURVES, curves(state.history))
        run_folder.write_metrics(path / run_folder.METRICS, state.history)

    def _train_figures(self) -> dict[str, Any]:
        """The means over the epoch, in nats per image. The weights changed from step to step."""
        means = self.state.sums.cpu().double().sum(0) / len(self.state.order)  # [1 + 12]
        reconstruction, *kl_per_dimension = means.tolist()
        kl = sum(kl_per_dimension)
        return {
            "neg_elbo": reconstruction + kl,
            "reconstruction": reconstruction,
            "kl": kl,
            "kl_per_dimension": kl_per_dimension,
        }

    def memorised(self) -> str:
        """How much better images of the training are reconstructed than others, for people."""
        assert self.validation is not None
        some = self.images[self.training[: len(self.validation)].to(self.images.device)].cpu().numpy()
        training = evaluate_torch(self.state.result, some).psnr_db
        validation = evaluate_torch(self.state.result, self.validation.numpy()).psnr_db
        best = self.state.best["epoch"] if self.state.best else self.state.epoch
        return (
            f"memorising: training {training:.1f} dB, validation {validation:.1f} dB, because {len(self.training)} "
            f"images are few; vae-export takes the best epoch, {best}"
        )

    def _save(self) -> None:
        self._check_weights()
        if self._writes:
            self.state.save(self.path / run_folder.CHECKPOINT)

    def _check_weights(self) -> None:
        """Raise an error if a weight is not finite, which can happen after a finite loss, so that it is not saved."""
        for name, weight in self.state.vae.state_dict().items():
            if not weight.isfinite().all():
                raise self._diverged(self.state.step, f"{name} is no longer finite after it")

    def _diverged(self, step: int, reason: str) -> DivergedError:
        has_one = (self.path / run_folder.CHECKPOINT).exists()
        kept = "the last checkpoint is kept" if has_one else "nothing was saved yet"
        return DivergedError(
            f"expected finite losses, got one that is not at epoch {self.state.epoch + 1}, step {step}: {reason}; "
            f"{kept}; train another run with a lower --lr than {self.config.learning_rate:g}"
        )


def _check_data(config: TrainConfig, data: ImageSet) -> None:
    model, found = config.model, tuple(data.train_images.shape[1:])
    if found != (model.channels, model.height, model.width):
        raise UsageError(
            f"expected images of shape {[model.channels, model.height, model.width]}, got {list(found)} "
            f"in {data.name}; set channels, height and width to theirs"
        )
    if not config.full and data.validation is None and config.validation_images >= len(data.train_images):
        raise UsageError(
            f"expected fewer validation images than the {len(data.train_images)} training images, "
            f"got {config.validation_images}; hold out fewer, or none with --full"
        )


def _note_versions(path: Path, reporter: Reporter) -> None:
    before, now = run_folder.read_run_settings(path)[1].get("versions"), run_folder.versions()
    if before != now:
        reporter.note(f"the run began with {before}, now {now}: the last digits may differ from an unbroken run")


def _report_evaluation(trainer: _Trainer, run: Run, evaluation: Evaluation, data: ImageSet) -> None:
    _write_evaluation(run, evaluation, data)
    trainer.reporter.note(
        f"test -ELBO {evaluation.neg_elbo:.2f} nats (reconstruction {evaluation.reconstruction:.2f}, "
        f"KL {evaluation.kl:.2f}), PSNR {evaluation.psnr_db:.2f} dB, "
        f"{evaluation.active_units} of {run.config.model.latent_dim} units active"
    )
    if trainer.validation is not None and len(trainer.training) < FEW:
        trainer.reporter.note(trainer.memorised())


def _write_evaluation(run: Run, evaluation: Evaluation, data: ImageSet) -> None:
    run_folder.write_json(
        run.path / run_folder.EVALUATION,
        {
            "data": f"{data.name}, test images",
            "weights_sha256": run.weights_sha256,
            "epochs": len(run.metrics),
            **evaluation.to_json(),
        },
    )


def _figures(evaluation: Evaluation) -> dict[str, Any]:
    names = ("neg_elbo", "reconstruction", "kl", "kl_per_dimension", "psnr_db")
    return {name: getattr(evaluation, name) for name in names}


def _place(epoch: int, step: int) -> str:
    return f"epoch {epoch}" if step == 0 else f"{step} steps of epoch {epoch + 1}"
