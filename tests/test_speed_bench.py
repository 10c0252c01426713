"""bench/: what its page is made of, on tiny shares of the work; the speeds themselves are no test's business."""

from __future__ import annotations

import importlib
import itertools
import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from bench import __main__ as command
from bench import (
    bulk,
    gpu,
    growth,
    look,
    memory,
    networks,
    own_images,
    parts,
    peers,
    quantised,
    running,
    scale,
    single,
    sizes,
    start,
    training,
)
from bench.graphs import matmul_rates, multiplications
from bench.machine import machine_line
from bench.page import TITLES, page
from bench.pairs import Pair, Peer, compare, fastest, paired
from bench.parts import PARTS, Part, Table
from bench.plots import write_plots
from bench.running import peak_megabytes
from bench.training import NotebookVae, in_memory_loop, notebook_loop, plain_step
from onnx import TensorProto, helper, numpy_helper

from tiny_training import CONFIG, tiny_data
from vae_gen import VAE, InputError, find_model, to_grey_levels
from vae_train.config import TrainConfig
from vae_train.devices import use_threads
from vae_train.evaluation import cost_of_probabilities, evaluate, evaluate_torch
from vae_train.images.image_set import ImageSet
from vae_train.model import new_vae

REFERENCE, DEFAULT = "fashion-mnist-12d-reference", "fashion-mnist-12d"
LATENTS = np.random.default_rng(0).standard_normal((64, 12), np.float32)


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that moves by a second whenever somebody looks."""
    clock = itertools.count()
    monkeypatch.setattr("time.perf_counter", lambda: float(next(clock)))


@pytest.mark.usefixtures("ticking")
def test_ways_are_run_in_turn_and_ratios_are_of_one_round() -> None:
    calls: list[str] = []
    ways = [
        Peer("b", lambda: calls.append("b"), 0.9),
        Peer("c", lambda: calls.append("c"), before=lambda: calls.append("-")),
    ]
    first, second = compare("a", lambda: calls.append("a"), ways, rounds=3)
    assert "".join(calls) == "ab-c" + "ab-c" + "-cba" + "ab-c"
    assert (first.name, first.peer, first.ratio, first.low, first.high, first.met) == ("a", "b", 1.0, 1.0, 1.0, "no")
    assert (second.peer, second.met) == ("c", "")


def test_a_ratio_is_the_median_of_those_of_neighbours() -> None:
    pair = paired("a", "b", [1, 2, 30], [2, 2, 10], goal=1.0)
    assert (pair.ours, pair.theirs, pair.ratio, pair.low, pair.high, pair.met) == (2, 2, 1.0, 0.75, 2.0, "yes")


@pytest.mark.usefixtures("ticking")
def test_a_peer_is_met_in_its_fastest_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    took = {"slow": 3.0, "fast": 1.0}
    monkeypatch.setattr("bench.pairs.seconds", lambda work: took[work()])
    settings = [Peer(name, lambda name=name: name) for name in took]  # type: ignore[misc]
    assert fastest(settings).name == "fast"


def test_memory_of_a_process_is_its_own(tmp_path: Path) -> None:
    small = peak_megabytes("python", "-c", "pass", folder=tmp_path)
    large = peak_megabytes("python", "-c", "x = b'1' * 10**8", folder=tmp_path)
    assert 98 < large - small < 104


def test_products_of_a_graph_are_counted_from_shapes(tmp_path: Path) -> None:
    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(np.zeros(shape, np.float32), name)

    weights = [weight("w", 6, 2, 3, 3), weight("t", 6, 5, 4, 4), weight("g", 7, 20), weight("m", 7, 3)]
    shape = numpy_helper.from_array(np.array([-1, 20]), "shape")
    make = helper.make_node
    nodes = [
        make("Conv", ["x", "w"], ["a"], group=2, pads=[1, 1, 1, 1]),  # [n, 6, 8, 8] of [n, 4, 8, 8]
        make("ConvTranspose", ["a", "t"], ["b"], strides=[2, 2], pads=[1, 1, 1, 1]),  # [n, 5, 16, 16]
        make("Reshape", ["b", "shape"], ["c"]),  # [64 · n, 20]
        make("Gemm", ["c", "g"], ["d"], transB=1),
        make("MatMul", ["d", "m"], ["e"]),
    ]
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, 8, 8])
    end = helper.make_tensor_value_info("e", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [image], [end], [*weights, shape])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), tmp_path / "g.onnx")
    by_hand = 6 * 64 * 2 * 9 + 6 * 64 * 5 * 16 + 64 * 20 * 7 + 64 * 7 * 3
    assert multiplications(tmp_path / "g.onnx", {"x": np.zeros((3, 4, 8, 8), np.float32)}, 3) == by_hand


def test_products_of_a_picture_are_those_of_its_network_and_its_latents() -> None:
    needed, exported = bulk.products_of(REFERENCE)
    assert needed == 12 * 3136 + 64 * 32 * 16 * 49 + 32 * 16 * 196 <= exported
    blocks = 2 * (2 * 64 * 256 + 256 * 9) * 49 + (2 * 32 * 64 + 64 * 9) * 196
    detail = 44 * 160 + 160 * 3136 + blocks + 64 * 32 * 16 * 49 + 32 * 16 * 196
    needed, exported = bulk.products_of(DEFAULT)
    assert detail < needed < 1.01 * detail  # its latents take some
    assert needed <= exported


def test_rates_are_products_over_seconds_of_the_best_run_alone_and_of_all_runs_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clocks: dict[int, float] = defaultdict(float)  # one for each thread

    def session(content: bytes, threads: int) -> SimpleNamespace:
        side = onnx.load_model_from_string(content).graph.input[0].type.tensor_type.shape.dim[0].dim_value
        paces = itertools.cycle([1e-6, 3e-6])  # seconds a product

        def run(_: object, feed: dict[str, np.ndarray]) -> None:
            assert threads == 1
            assert feed["a"].shape == feed["b"].shape == (side, side)
            clocks[threading.get_ident()] += next(paces) * side**3

        return SimpleNamespace(run=run)

    monkeypatch.setattr("bench.graphs.SIDES", (5, 8))
    monkeypatch.setattr("bench.graphs.session", session)
    monkeypatch.setattr("time.perf_counter", lambda: clocks[threading.get_ident()])
    assert matmul_rates(1, 0.1) == {5: pytest.approx(1e6), 8: pytest.approx(1e6)}
    assert matmul_rates(3, 0.1) == {5: pytest.approx(3e6 / 2, rel=0.1), 8: pytest.approx(3e6 / 2, rel=0.1)}


def test_plain_sessions_make_every_picture_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[range] = []

    def run(_: object, feed: dict[str, np.ndarray]) -> None:
        made.append(range(int(feed["start"]), int(feed["start"] + feed["count"])))

    monkeypatch.setattr(running, "session", lambda *_: SimpleNamespace(run=run))
    for work in (running.one_session(Path("x"), 2500), running.side_by_side(Path("x"), 2500, threads=3)):
        made.clear()
        work()
        assert sorted(itertools.chain(*made)) == list(range(2500))


def test_commands_and_scripts_make_the_same_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start.check_pictures(tmp_path, REFERENCE)
    bulk.check_pictures(tmp_path, REFERENCE)
    monkeypatch.setattr(start, "least", lambda _: ("python", start.HERE / "minimal.py",
                                                   find_model(DEFAULT) / "generator.onnx", "m.png"))
    with pytest.raises(AssertionError, match="expected the same pictures of fashion-mnist-12d-reference from both"):
        start.check_pictures(tmp_path, REFERENCE)


def test_one_picture_is_measured_beside_its_decode(tmp_path: Path) -> None:
    names = [(pair.name, pair.peer) for pair in single.measure(tmp_path, 0.01) if isinstance(pair, Pair)]
    assert names == [
        ("one picture by seed, reference, generator.onnx", "its decoder alone, plain session"),
        ("one picture by seed, reference, VAE.sample", "its decoder alone, plain session"),
        ("latents of 64 pictures in the graph, reference", "the decode of the same"),
        ("64 pictures by seed, reference, generator.onnx", "the decode of the same"),
    ]


@pytest.mark.parametrize(("_", "name", "graph"), peers.GRAPHS)
def test_networks_of_pytorch_make_the_graphs_pictures(_: str, name: str, graph: str) -> None:
    model = VAE(name)
    inputs = peers.inputs_of(model, graph, 5)
    (setting, *_rest) = peers._torch_settings("eager", networks.network(name, graph), 5)
    expected = model.decode(inputs[0], noise=inputs[1] if graph == "detail" else None, detail=graph == "detail")
    np.testing.assert_allclose(setting.run(inputs), expected, rtol=0, atol=1e-5)


def test_a_peer_may_have_the_graph_as_torch_exports_it() -> None:
    model = VAE(REFERENCE)
    inputs = peers.inputs_of(model, "decoder", 6)
    ours, plain = peers.plain_session(REFERENCE, "decoder", 3)
    assert plain.name == "plain session, torch's own export"
    for setting in (ours, plain):
        np.testing.assert_allclose(setting.run(inputs), model.decode(inputs[0]), rtol=0, atol=1e-5)


def test_a_model_without_kept_weights_is_named() -> None:
    with pytest.raises(InputError, match="expected a run folder"):
        networks.network("no-such-model", "decoder")


def test_openvino_makes_the_graphs_pictures_in_each_of_its_modes() -> None:
    pytest.importorskip("openvino")
    model = VAE(REFERENCE)
    inputs = peers.inputs_of(model, "decoder", 128)
    settings = peers.openvino(REFERENCE, "decoder", 64)
    assert settings[-1].name.endswith("throughput mode, torch's own export")
    for setting in settings:
        np.testing.assert_allclose(setting.run(inputs), model.decode(inputs[0]), rtol=0, atol=1e-4)


def test_peers_that_are_missing_leave_their_rows_out_and_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in ("torch", "openvino") else name)
    monkeypatch.setattr(peers, "GRAPHS", peers.GRAPHS[:1])
    monkeypatch.setattr(peers, "BULK", {})
    notes, pairs = [], []
    for result in peers.measure(tmp_path, 0.01):
        (pairs if isinstance(result, Pair) else notes).append(result)
    assert notes == [
        "Not measured: pytorch, because torch is not installed.",
        "Not measured: compiled pytorch, because torch is not installed.",
        "Not measured: openvino, because openvino is not installed.",
    ]
    assert [(pair.name, pair.peer) for pair in pairs] == [("reference decoder, one picture", "plain session")]


def test_a_peer_that_makes_other_pictures_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = peers.Setting("liar", lambda arrays: np.ones((len(arrays[0]), 1, 28, 28), np.float32))
    monkeypatch.setattr(peers, "compare", lambda *_, **__: pytest.fail("it was timed"))
    (note,) = peers._rows("reference decoder", REFERENCE, "decoder", 1, 1, [lambda *_: [wrong]], 0.01)
    assert str(note).startswith("Not measured: reference decoder, liar: 1.0e+00 from our pictures")


def test_smaller_decoders_keep_each_weight_to_half_a_step_of_their_numbers(tmp_path: Path) -> None:
    """How far their pictures are off depends on the processor, and is measured in the bench."""
    source = find_model(REFERENCE) / "decoder.onnx"
    files = quantised.variants(source, tmp_path, {"latent": LATENTS})
    exact = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(source).graph.initializer}
    total = sum(values.size for values in exact.values())
    exact |= {f"{name}_Transposed": values.T for name, values in exact.items() if values.ndim == 2}
    assert list(files) == ["float16 weights", "int8 dynamic", "int8 static"]
    for name, file in files.items():
        kept = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(file).graph.initializer}
        smaller = 0
        for weight, values in exact.items():
            if name == "float16 weights" and f"{weight}.float16" in kept:
                found, step = kept[f"{weight}.float16"].astype(np.float32), np.abs(values) * 2.0**-10 + 2.0**-24
            elif f"{weight}_quantized" in kept and values.ndim > 1:
                scale, zero = (kept[f"{weight}_{what}"].astype(np.float64) for what in ("scale", "zero_point"))
                axis = [-1 if size == scale.size else 1 for size in values.shape] if scale.ndim else []
                found = (kept[f"{weight}_quantized"] - zero.reshape(axis)) * scale.reshape(axis)
                step = np.broadcast_to(scale.reshape(axis), values.shape)
            else:
                continue
            assert (np.abs(found - values) <= 0.51 * step).all()
            assert np.abs(found - values).max() > 0
            smaller += values.size
        assert smaller > 0.9 * total
        assert file.stat().st_size < 0.65 * source.stat().st_size
        pictures = quantised.run(running.session(file, 1), {"latent": LATENTS})
        assert pictures.shape == (64, 1, 28, 28)
        assert (pictures >= 0).all()
        assert (pictures <= 1).all()
    wanted = quantised.run(running.session(source, 1), {"latent": LATENTS})
    halves = quantised.run(running.session(files["float16 weights"], 1), {"latent": LATENTS})
    assert quantised.grey_errors(halves, wanted)[0] <= 1  # its arithmetic is float32's, on every processor
    onnx.checker.check_model(str(files["float16 weights"]), full_check=True)


def test_the_errors_of_pictures_are_distances_of_grey_levels() -> None:
    pictures, wanted = np.zeros((2, 1, 1, 4), np.float32), np.zeros((2, 1, 1, 4), np.float32)
    pictures[0, 0, 0, :2], wanted[1, 0, 0, 3] = (5 / 255, 0.4 / 255), 1.0
    assert quantised.grey_errors(pictures, wanted) == (255, 260 / 8)


def test_a_smaller_decoders_bound_is_that_of_the_evaluation() -> None:
    model = VAE(REFERENCE)
    images = to_grey_levels(model.sample(8, seed=3).images)

    def cost(latent: np.ndarray, image: np.ndarray) -> np.ndarray:
        return cost_of_probabilities(model.decode(latent), image)

    expected = evaluate(lambda image: tuple(model.encode(image)), model.decode, cost, images).neg_elbo
    found = quantised.neg_elbos(model, images)
    assert found(running.session(find_model(REFERENCE) / "decoder.onnx", 1)) == pytest.approx(expected, abs=1e-3)
    zero = SimpleNamespace(run=lambda _, feed: [np.full((len(feed["latent"]), 1, 28, 28), 0.5, np.float32)])
    assert found(zero) > expected + 100  # type: ignore[arg-type]


def test_a_worthwhile_variant_is_exact_and_smaller_or_faster() -> None:
    cases = [(9e-6, 0.5, 1.0), (0.0, 1.0, 0.7), (2e-5, 0.2, 0.2), (9e-6, 0.9, 0.9)]
    assert [quantised.is_worthwhile(*case) for case in cases] == [True, True, False, False]


def test_the_notebooks_network_is_the_recipes() -> None:
    def count(module: torch.nn.Module) -> int:
        return sum(weight.numel() for weight in module.parameters())

    assert count(NotebookVae()) == count(new_vae(TrainConfig().model, 0))


def test_the_loops_of_others_learn() -> None:
    images = torch.randint(0, 40, (300, 1, 28, 28), dtype=torch.uint8)
    torch.manual_seed(0)
    vae = NotebookVae()
    optimizer = torch.optim.Adam(vae.parameters(), 1e-3)
    with use_threads(1):
        losses = [float(plain_step(vae, optimizer, images[:128].float() / 255)) for _ in range(5)]
        assert losses[-1] < losses[0] - 50 < 650
        for loop in (notebook_loop(images, torch.zeros(300)), in_memory_loop(images)):
            loop(3)  # two whole batches an epoch


def test_windows_of_the_trainer_are_whole_and_peers_do_as_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"now": 0.0}
    monkeypatch.setattr("time.perf_counter", lambda: clock["now"])
    done: list[tuple[str, int]] = []

    def peer(name: str, pace: float) -> Callable[[int], None]:
        def run(count: int) -> None:
            done.append((name, count))
            clock["now"] += pace * count

        return run

    watch = training.Watch([peer("a", 2.0), peer("b", 3.0)], rounds=2, steps=20)

    def trainer() -> Iterator[None]:
        for epoch in range(1, 9):
            for at in range(5, 31, 5):
                clock["now"] += 5.0  # a second a step
                watch.step(epoch, 9, at, 30, 1.0)
                yield
            clock["now"] += 1000.0
            watch.epoch(9, {}, 1000.0)

    with pytest.raises(training.EnoughError):
        for _ in trainer():
            pass
    assert done == [("a", 10), ("b", 10), ("a", 20), ("b", 20), ("b", 20), ("a", 20)]
    assert (watch.ours, watch.theirs, watch.warm_up) == ([1.0, 1.0], [[2.0, 2.0], [3.0, 3.0]], 5.0)


def test_the_real_trainer_is_watched_until_enough_is_seen() -> None:
    counts: list[int] = []
    watch = training.watched(replace(CONFIG, epochs=50), tiny_data(), [counts.append], rounds=3, steps=4)
    assert len(watch.ours) == len(watch.theirs[0]) == 3
    assert all(took > 0 for took in watch.ours)
    assert counts[0] == 10
    assert min(counts[1:]) >= 4
    with pytest.raises(RuntimeError, match="expected 99 windows"):
        training.watched(CONFIG, tiny_data(), [counts.append], rounds=99, steps=4)


def test_variants_of_training_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "has_bf16", lambda: True)
    offered = training.variants()
    assert next(iter(offered)) == "default, float32"
    assert len(set(offered.values())) == len(offered) >= 3
    monkeypatch.setattr(training, "TrainConfig", lambda **_: replace(CONFIG, compile=True))  # were that the default
    assert list(training.variants()) == ["default, float32", "float32, not compiled", "--precision bf16 --compile"]


def test_a_gpu_that_is_not_there_is_not_invented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    ways, provider = gpu.measure(tmp_path)
    assert isinstance(ways, Table)
    assert len(ways.rows) == 6
    assert isinstance(provider, Table)
    assert {cell for row in ways.rows for cell in row[2:]} | {row[1] for row in provider.rows} == {"not measured"}


@pytest.mark.parametrize("way", gpu.WAYS[::2])
def test_the_loop_for_a_gpu_trains_the_recipe(way: str, tmp_path: Path) -> None:
    config, data = replace(CONFIG, full=True, epochs=3, learning_rate=5e-3), tiny_data()
    with use_threads(1):
        rate, seconds, neg_elbo = gpu.trained(way, config, data, tmp_path / "run")
    assert rate * seconds == pytest.approx(3 * 200)
    assert neg_elbo < evaluate_torch(new_vae(config.model, 0), data.test_images.numpy()).neg_elbo - 10


def test_growth_is_measured_and_drawn(tmp_path: Path) -> None:
    (table,) = growth.measure(tmp_path, 1e-6)
    assert [row[:2] for row in table.rows] == [[name, count] for name in (REFERENCE, DEFAULT) for count in (1, 10)]
    assert all(float(row[2]) > 0 and float(row[3]) > 10 for row in table.rows)  # type: ignore[arg-type]
    write_plots(tmp_path, {"growth": Part(tables=[table])})
    assert (tmp_path / "growth.png").read_bytes()[:4] == b"\x89PNG"
    assert not (tmp_path / "ratios.png").exists()


def test_memory_is_measured_on_both_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[str] = []

    def cost(*command: str, folder: Path) -> tuple[float, float]:
        commands.append(" ".join(command))
        if "--steps" in command:
            (folder / command[6]).mkdir()
            (folder / command[6] / "evaluation.json").touch()
        if "--resume" in command:
            assert not (folder / command[2] / "evaluation.json").exists()
        return 1.25, float(len(commands))

    monkeypatch.setattr(memory, "cost", cost)
    monkeypatch.setenv("VAE_GEN_CACHE", "unused")
    (table,) = memory.measure(tmp_path, 1e-6)
    assert commands[2:5:2] == ["vae-train --data few.npy --steps 100 --out few-run --threads 2",
                               "vae-train --out few-run --resume"]  # fmt: skip
    assert [row[2:] for row in table.rows] == [[1.2, 2 * at + 1, 1.2, 2 * at + 2] for at in range(6)]
    assert not list(tmp_path.glob("*.npy"))
    memory.write_pictures(tmp_path / "x.npy", 3)
    assert len(np.unique(np.load(tmp_path / "x.npy"), axis=0)) == 3


def test_plots_of_all_rows_stay_small(tmp_path: Path) -> None:
    pairs = [Pair("what " * 20, "against " * 20, 1, 2, 0.1 + at / 9, 0.09, 5.5, 1.0) for at in range(45)]
    write_plots(tmp_path, {"peers": Part(pairs=[*pairs, Pair("x", "y", 1, 1, 1, 1, 1)])})
    assert 10_000 < (tmp_path / "ratios.png").stat().st_size < 200_000


def test_the_page_says_goals_and_whether_they_were_met() -> None:
    pairs = [Pair("x", "y", 0.5, 1.0, 0.5, 0.4, 0.6, 0.6), Pair("z", "y", 96.04, 80, 1.2, 1.1, 1.3, unit="MB")]
    parts = {name: Part(commit="abc") for name in TITLES}
    parts["start"] = Part(pairs, [], ["A note."], "abc", 0.5)
    parts["bulk"] = Part([], [Table("T", ["a", "b"], [["n", 12345.6], [None, True]], ["How."])], [], "abc")
    written = page({"processor": "P", "cores": "2"}, parts)
    for line in (
        "| processor | P |",
        "| x | y | 500.0 ms | 1.00 s | 0.50 (0.40 to 0.60) | ≤ 0.60 | yes |",
        "| z | y | 96.0 MB | 80.0 MB | 1.20 (1.10 to 1.30) |  |  |",
        "- A note.",
        f"| n | 12,346 |\n| – | yes |\n\n{machine_line({'processor': 'P', 'cores': '2'})}\n\n- How.",
        "Commit abc.",
        "**These parts are trials, whose figures mean nothing: start.**",
        *(f"## {title}" for title in TITLES.values()),
    ):
        assert line in written
    assert list(TITLES) == list(PARTS)


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({"instructions": "avx2 avx512f avx512_bf16 amx_bf16 amx_int8", "onnxruntime": "1.32.0"},
         "Measured on P, AVX-512 with bf16 and AMX, 2 cores, ONNX Runtime 1.32.0."),
        ({"instructions": "avx2", "cores": "1"}, "Measured on P, AVX2, 1 core, ONNX Runtime not installed."),
        ({"instructions": "asimd bf16", "onnxruntime": "1"}, "Measured on P, NEON with bf16, 2 cores, ONNX Runtime 1."),
        ({}, "Measured on P, unknown vector instructions, 2 cores, ONNX Runtime not installed."),
    ],
)  # fmt: skip
def test_the_line_of_a_table_names_what_decides_about_speed(facts: dict[str, str], line: str) -> None:
    assert machine_line({"processor": "P", "cores": "2", **facts}) == line


def test_measured_processes_keep_compiled_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    words = ("python", "-c", "import sys; sys.exit(sys.dont_write_bytecode)")
    running.process(*words, folder=tmp_path)()
    running.cost(*words, folder=tmp_path)


def test_every_table_of_the_page_names_the_machine() -> None:
    facts = {"processor": "P", "cores": "2", "instructions": "avx2", "onnxruntime": "1.32.0"}
    pair, table = Pair("x", "y", 1, 2, 0.5, 0.4, 0.6), Table("T", ["a"], [[1]], ["n"])
    written = page(facts, {name: Part([pair], [table, table], ["n"]) for name in PARTS})
    assert written.count("\n| what |") + written.count("\n| a |") == 3 * len(PARTS)
    tables = [(one, after) for one, after in itertools.pairwise(written.split("\n\n")) if "\n|--" in one]
    assert tables[0][0].startswith("| | |\n|---|---|\n| processor | P |")
    assert {after for _, after in tables[1:]} == {machine_line(facts)}


def test_every_table_of_scale_names_the_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    took = itertools.count(1.0)
    monkeypatch.setattr(scale, "measured", lambda commands, folder: scale.Taken(next(took), 1e8))
    monkeypatch.setattr(scale, "bytes_of_a_picture", lambda model, count: 500.0)
    scale.main(1000, 1, "1000", True, False)
    printed = capsys.readouterr().out
    assert printed.count("--:|\n") == 4  # the lines below the heads of the tables
    assert printed.count(f"\n\n{machine_line()}\n") == 4


def test_a_look_counts_specks_and_doubles() -> None:
    pictures = np.zeros((3, 1, 28, 28), np.uint8)
    pictures[:, 0, :7] = 15  # a quarter
    pictures[0, 0, :7, :7] = 16
    assert look.specks(pictures) == pytest.approx((0.25 * 3 - 49 / 784) / 3)
    pictures[2, 0, 10:] = 255
    assert look.doubles(pictures) == pytest.approx(2 / 3)
    pictures[1, 0, 20, :20] = 128  # 20 pixels by half: a distance of 2.2
    assert look.doubles(pictures) == pytest.approx(0)


SCRIPTS = {
    "directions": ("VAE", ()), "engines": ("in_own_process", ("FOLDER", "--engine", "onnxruntime")),
    "look": ("fashion_mnist", ()), "margins": ("fashion_mnist", ()), "own_images": ("write_emoji", ("FOLDER/new",)),
    "playground": ("size", ()), "ways": ("VAE", ()),
}  # fmt: skip
"""The function that each script measures with, or makes ready with, and its arguments."""


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_that_print_figures_name_the_machine_first(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class StopError(Exception):
        pass

    def stop(*_: object) -> None:
        raise StopError

    measuring, words = SCRIPTS[name]
    script = importlib.import_module(f"bench.{name}")
    (tmp_path / "index.html").touch()
    (tmp_path / "manifest.json").write_text('{"graphs": {"decoder": {}}}')
    monkeypatch.setattr(script, measuring, stop)
    monkeypatch.setattr(script, "DIST", tmp_path, raising=False)
    monkeypatch.setattr("sys.argv", [name, *(word.replace("FOLDER", str(tmp_path)) for word in words)])
    monkeypatch.setenv("VAE_GEN_CACHE", "unused")
    with pytest.raises(StopError):
        script.main(**({"model": "none"} if name in ("directions", "margins", "ways") else {}))
    runtime = machine_line().partition(", ONNX Runtime ")
    printed = capsys.readouterr().out.strip()
    assert printed == machine_line() or (name == "playground" and printed.startswith("".join(runtime[:2]) + "Web 1."))


def test_no_script_prints_figures_without_the_machine() -> None:
    files = Path(scale.__file__).parent.glob("*.py")
    scripts = {file.stem for file in files if '__name__ == "__main__"' in file.read_text("utf-8")}
    assert scripts == {*SCRIPTS, "__main__", "parts", "scale", "endurance"}  # endurance writes what `head` returns


def test_what_a_part_gave_before_it_broke_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pair, file = Pair("x", "y", 1, 2, 0.5, 0.4, 0.6), tmp_path / "lines"

    def measure(missing: str) -> Callable[..., Iterator[Pair | Table]]:
        def run(folder: Path, share: float) -> Iterator[Pair | Table]:
            yield pair
            yield Table("T", ["a"], [[1]])
            raise ModuleNotFoundError(name=missing)

        return run

    monkeypatch.setattr(parts.importlib, "import_module", lambda _: SimpleNamespace(measure=measure("nowhere.x")))
    parts.main("start", file, 1.0)
    assert capsys.readouterr().out.startswith(f"{machine_line()}\n")
    found = parts.read(file)
    assert (found.pairs, found.tables) == ([pair], [Table("T", ["a"], [[1]])])
    assert found.notes == ["start: not measured, because nowhere.x is not installed."]
    monkeypatch.setattr(parts.importlib, "import_module", lambda _: SimpleNamespace(measure=measure("vae_gen.x")))
    with pytest.raises(ModuleNotFoundError):  # a mistake of ours is none of a peer that is missing
        parts.main("start", file, 1.0)


def test_parts_measured_before_stay_if_the_machine_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Part([Pair("x", "y", 1, 2, 0.5, 0.4, 0.6)], [Table("T", ["a"], [[1]])], ["n"], "abc", 1.0, 2.5)
    command.write(tmp_path, {"start": before})
    assert command.earlier(tmp_path) == {"start": before}
    monkeypatch.setattr(command, "run", lambda name, share: (Part(notes=[name], share=share), int(name == "bulk")))
    with pytest.raises(SystemExit, match="failed: bulk"):
        command.main("single,bulk", tmp_path, 0.5)
    kept = json.loads((tmp_path / "results.json").read_text("utf-8"))["parts"]
    assert list(kept) == ["start", "single", "bulk"]
    assert kept["start"] == before.to_json()
    monkeypatch.setattr(command, "head", lambda: {"processor": "another"})
    assert command.earlier(tmp_path) == {}


def test_unused_files_of_an_installation_are_named() -> None:
    files = {f"/v/site-packages/p/{name}": size for name, size in
             (("a/x.py", 400_000), ("b/y.py", 500_000), ("b/__init__.py", 1), ("c/z.py", 10), ("__pycache__/w", 10**6))}
    table = sizes.base_table({"p": files, "q": {"/v/site-packages/q/x.py": 2_000_000}}, {"/v/site-packages/p/b/y.py"})
    assert table.rows == [
        ["q", 2.0, False, "q/x.py 2.0"],
        ["p", pytest.approx(1.900011), True, "p/a 0.4"],
        ["in all", pytest.approx(3.900011), None, "packages never opened: 2.0 MB"],
    ]


def test_pytorch_is_counted_with_what_it_requires() -> None:
    table = sizes.torch_table()
    named = [row[0] for row in table.rows]
    assert {"torch", "torchvision", "sympy", "numpy"} <= set(named)
    assert not [name for name in named if "nvidia" in str(name) or name == "triton"]
    total = table.rows[-1]
    assert float(total[1]) >= float(total[2]) == pytest.approx(sum(float(row[2]) for row in table.rows[:-1]))  # type: ignore[arg-type]


def test_figures_of_own_images_are_those_worked_out_by_hand() -> None:
    assert own_images.psnr(np.array([0.1, -0.1])) == pytest.approx(20)
    red = np.zeros((1, 3, 1, 2))
    red[0, 0, 0, 0] = 1  # one red pixel and one black one: light 0.299, so the plane's point is (−0.1686, 0.4998)
    assert own_images.chroma(red) == pytest.approx(np.hypot(0.564 * 0.299, 0.713 * 0.701) / 2)
    levels = torch.tensor([0, 1, 2, 100, 101, 102, 103], dtype=torch.uint8)[:, None, None, None]
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 2])
    data = ImageSet(levels, labels, levels, labels, {}, "seven", ("a", "b", "c"))
    asked = np.array([1, 99, 104], np.uint8)[:, None, None, None]
    assert own_images.nearest_classes(data, asked).tolist() == [0, 1, 2]  # ties go to the nearest


def test_the_page_of_scale_gets_tables_and_ratios_without_rays_start(tmp_path: Path) -> None:
    took = {"array": 10, "shards": 11, "two shares": 12, "Ray, 1 worker": 26, "Ray, 2 workers": 16, scale.FEW: 1,
            scale.FEW_WITH_RAY: 5}  # fmt: skip
    found = {name: [scale.Taken(seconds, 100), scale.Taken(2 * seconds, 90)] for name, seconds in took.items()}
    lines = list(scale.table_of_ways(found, 1_000_000))
    assert "| shards | 16.5 | 60 600 | 1.10 of array | ≤ 1.15 | 100 |" in lines
    assert "| Ray, 2 workers | 18.0 | 55 600 | 1.09 of shards | ≤ 1.15 | 100 |" in lines
    page = tmp_path / "page.md"
    page.write_text(f"before\n{scale.BEGIN}\nold\n{scale.END}\nafter\n")
    scale.write(page, lines)
    assert page.read_text() == "\n".join(["before", scale.BEGIN, "", *lines, "", scale.END, "after", ""])
    assert scale.BEGIN in scale.PAGE.read_text("utf-8")


def test_a_billion_pictures_are_projected_from_one_core() -> None:
    words = scale.projection("model", rate=10_000, size=500).split(" | ")
    assert words == ["| `model`", "10 000", "28", "1.11", "1.3", "0.50", "3 815", "8.0 |"]
