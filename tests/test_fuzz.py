"""A few of the cases of `fuzzing.py` in each run of the tests, and ten thousand with the slow tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fuzzing import SHARES, damage_case, run

NAMES = [case.__name__ for case, _, _ in SHARES]


@pytest.mark.parametrize("at", range(3), ids=NAMES[:3])  # the others train something first
def test_a_few_odd_cases_end_in_results_or_short_errors(at: int) -> None:
    case, strategy, share = SHARES[at]
    run(case, strategy(), int(200 * share))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("at", range(len(SHARES)), ids=NAMES)
def test_ten_thousand_odd_cases_end_in_results_or_short_errors(at: int, part: int) -> None:
    case, strategy, share = SHARES[at]
    run(case, strategy(), int(2500 * share))


def test_graphs_that_fail_while_they_run_are_one_short_error() -> None:
    before = Path.cwd()
    try:
        for place in range(50):  # each constant of the graph in turn loses its axes
            damage_case(("latents.onnx", [("zero", place / 50, 0.0, 0)], "a.tga", True))
    finally:
        os.chdir(before)
