"""bench/: what its table is made of; the speeds themselves are no test's business."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from bench.__main__ import table
from bench.graphs import multiplications
from bench.pairs import Pair, compare, peak_megabytes

from vae_runtime import find_model


def test_pairs_are_run_in_turn_and_ratios_are_of_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    clock = itertools.count()
    monkeypatch.setattr("bench.pairs.time.perf_counter", lambda: float(next(clock)))
    pair = compare("a", lambda: calls.append("a"), "b", lambda: calls.append("b"), rounds=4, goal=0.9)
    assert "".join(calls) == "ab" + "ab" + "ba" + "ab" + "ba"
    assert (pair.ratio, pair.low, pair.high, pair.met) == (1.0, 1.0, 1.0, "no")


def test_the_table_says_goals_and_whether_they_were_met() -> None:
    page = table([Pair("x", "y", 0.5, 1.0, 0.5, 0.4, 0.6, 0.6), Pair("z", "y", 2, 1, 2.0, 2.0, 2.0)], ["A note."])
    assert "| x | y | 500.00 ms | 1.00 s | 0.50 (0.40 to 0.60) | ≤ 0.60 | yes |" in page
    assert "| z | y | 2.00 s | 1.00 s | 2.00 (2.00 to 2.00) |  |  |" in page
    assert "- A note." in page
    assert "Not measured." in page


def test_products_are_counted_from_the_graph() -> None:
    # 12·3136 + 64·32·4²·7² + 32·1·4²·14² of the reference decoder
    path = find_model("fashion-mnist-12d-reference") / "decoder.onnx"
    assert multiplications(path) == 12 * 3136 + 64 * 32 * 16 * 49 + 32 * 16 * 196


def test_memory_of_a_process_is_its_own(tmp_path: Path) -> None:
    small = peak_megabytes("python", "-c", "pass", folder=tmp_path)
    large = peak_megabytes("python", "-c", "x = bytearray(10**8); x[:] = b'1' * 10**8", folder=tmp_path)
    assert large > small + 90
