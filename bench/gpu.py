"""Training and sampling on a GPU: in eager mode, compiled, and with each training step as one CUDA graph.

This module was written without a GPU. The tests run its loop on a CPU, without CUDA graphs; nothing else of it was ever
run. Whatever it cannot measure is "not measured" on the page.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import onnxruntime
import torch

from vae_train.config import Precision, TrainConfig
from vae_train.data import load_fashion_mnist
from vae_train.evaluation import evaluate_torch
from vae_train.images.image_set import ImageSet
from vae_train.model import VAE, new_vae
from vae_train.objective import kl_nats, reconstruction_nats
from vae_train.training import train

from .machine import DEFAULT, REFERENCE
from .pairs import Pair, Peer, compare, scaled
from .parts import Cell, Table
from .running import process

NOT_MEASURED = "not measured"
WAYS = ("eager", "compiled", "CUDA graph")
PRECISIONS: tuple[Precision, ...] = ("32", "bf16")


def measure(folder: Path, share: float = 1.0) -> Iterator[Pair | Table | str]:
    """Measure thirty epochs in each way, and vae-gen with ONNX Runtime's CUDA provider."""
    there = torch.cuda.is_available()
    rows: list[list[Cell]] = []
    for precision in PRECISIONS:
        for way in WAYS:
            figures: list[Cell] = [NOT_MEASURED] * 3
            if there:
                config = TrainConfig(full=True, epochs=scaled(30, share, 1), device="cuda", precision=precision)
                figures = list(trained(way, config, load_fashion_mnist(), folder / f"{way} {precision}"))
            rows.append([way, "float32" if precision == "32" else precision, *figures])
    name = torch.cuda.get_device_name() if there else "no CUDA device here"
    yield Table(
        "Training the reference recipe",
        ["way", "precision", "images per second", "seconds for 30 epochs", "test −ELBO"],
        rows,
        [f"The GPU: {name}. The seconds are those of the whole run, including its start and its files. Eager and "
         "compiled are vae-train; the CUDA graph is bench/gpu.py. All should have the same −ELBO to 0.3 nats."],
    )  # fmt: skip
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        yield Table("vae-gen sample --provider cuda", ["model", "pictures per second"],
                    [[model, NOT_MEASURED] for model in (REFERENCE, DEFAULT)])
        return
    for model in (REFERENCE, DEFAULT):
        count = scaled(100_000, share, 2048)
        words = ("vae-gen", "sample", "-n", str(count), "--seed", "7", "-q", "--model", model, "-o", "x.npy")
        yield from compare(f"{count:,} pictures to .npy, {model}, --provider cuda",
                           process(*words, "--provider", "cuda", folder=folder),
                           [Peer("--provider cpu", process(*words, folder=folder))], rounds=3)


def trained(way: str, config: TrainConfig, data: ImageSet, path: Path) -> tuple[float, float, float]:
    """Train a whole run; returns images per second, seconds, and the test −ELBO in nats."""
    began = time.perf_counter()
    if way == "CUDA graph":
        vae = graph_loop(config, data)
        seconds = time.perf_counter() - began
        neg_elbo = evaluate_torch(vae, data.test_images.numpy()).neg_elbo
    else:
        train(replace(config, compile=way == "compiled"), data, path)
        seconds = sum(json.loads((path / "timing.json").read_text())["seconds"])
        neg_elbo = json.loads((path / "evaluation.json").read_text())["neg_elbo"]
    return config.epochs * len(data.train_images) / seconds, seconds, neg_elbo


def graph_loop(config: TrainConfig, data: ImageSet) -> VAE:
    """Train the recipe with each step as one CUDA graph. Images that do not fill a last batch are left out."""
    device = torch.device(config.device)
    torch.manual_seed(config.seed)
    images = data.train_images.to(device)
    vae = new_vae(config.model, config.seed).to(device)
    optimizer = torch.optim.Adam(vae.parameters(), config.learning_rate, capturable=device.type == "cuda")
    rows = torch.zeros(config.batch_size, dtype=torch.int64, device=device)  # captured steps read this memory

    def step() -> None:
        image = images[rows].float() / 255
        noise = torch.randn(len(rows), config.model.latent_dim, device=device)
        # Without the cache of cast weights, which would be filled once, outside of the graph.
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16", cache_enabled=False):
            logits, mean, log_variance = vae(image, noise)
        kl = kl_nats(mean.float(), log_variance.float()).sum(1)
        (reconstruction_nats(logits.float(), image) + kl).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    run = captured(step, optimizer) if device.type == "cuda" else uncaptured(step, optimizer)
    for _ in range(config.epochs):
        order = torch.randperm(len(images), device=device)
        for at in range(0, len(images) - len(rows) + 1, len(rows)):
            rows.copy_(order[at : at + len(rows)])
            run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return vae


def uncaptured(step: Callable[[], None], optimizer: torch.optim.Optimizer) -> Callable[[], None]:
    """A function that does the step without a CUDA graph."""

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        step()

    return run


def captured(step: Callable[[], None], optimizer: torch.optim.Optimizer) -> Callable[[], None]:
    """A function that replays the step as a CUDA graph.

    docs.pytorch.org/docs/stable/notes/cuda.html, "Whole-network capture": a few steps on another stream must come
    first. They train on image 0, which thirty epochs make up for. Gradients are None when the capture begins, so that
    each replay writes them anew.
    """
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            optimizer.zero_grad(set_to_none=True)
            step()
    torch.cuda.current_stream().wait_stream(side)
    optimizer.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay
