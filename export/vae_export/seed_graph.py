"""The seed contract as ONNX operators: (seed, start, count) → latents, with no random operator in it.

The contract itself is stated once, in `vae_runtime._philox` (Salmon et al. 2011; Box and Muller 1958), whose constants
are used here. What is particular to this form:

- Words live in uint64, so that the product of two 32-bit words is exact. ONNX Runtime adds and divides only int64
  and floats, so the little arithmetic on indices and keys is done in int64 and cast.
- The counter (c0, c1, c2, c3) is held as two tensors of shape [2, blocks, count]: `even` = (c0, c2), which the round
  multiplies, and `odd` = (c1, c3). One round then is, with rev swapping the two rows,

      product = even · (M0, M1);   even' = rev(product >> 32) ^ odd ^ (k0, k1);   odd' = rev(product) & mask

  Six nodes a round, where word by word it takes ten. The rows are the first axis, so that swapping them copies two
  long runs of memory. The mask of `odd` is left to the next use, where one `BitwiseAnd` serves both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

from vae_runtime._philox import KEY_STEPS, LATENT_STREAM, MULTIPLIERS, ROUNDS, WORD_MASK

OPSET = 18
IR_VERSION = 8


class _Nodes:
    """Collects nodes and constants, and names them in the order in which they are made."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, value: ArrayLike, dtype: type[np.generic]) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def add(self, operator: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        name = name or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=f"node_{name}", **attributes))
        return name

    def split(self, value: str, parts: int) -> list[str]:
        names = [f"{value}_part_{part}" for part in range(parts)]
        self.nodes.append(
            helper.make_node("Split", [value], names, name=f"node_{value}_split", axis=0, num_outputs=parts)
        )
        return names


def latent_graph(dimensions: int, stream: int = LATENT_STREAM) -> onnx.ModelProto:
    """A graph with inputs seed, start, count (int64 scalars) and the output latent, float32 [count, dimensions]."""
    nodes = _Nodes()
    even, odd = _philox(nodes, blocks=-(-dimensions // 4), stream=stream)
    _box_muller(nodes, even, odd, dimensions)
    graph = helper.make_graph(
        nodes.nodes,
        "latents",
        inputs=[helper.make_tensor_value_info(name, TensorProto.INT64, []) for name in ("seed", "start", "count")],
        outputs=[helper.make_tensor_value_info("latent", TensorProto.FLOAT, ["count", dimensions])],
        initializer=nodes.constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _philox(nodes: _Nodes, blocks: int, stream: int) -> tuple[str, str]:
    """Names of the words (w0, w2) and (w1, w3), uint64 [2, blocks, count], whose upper halves are not cleared yet."""
    mask = nodes.constant(WORD_MASK, np.int64)
    word_mask = nodes.constant(WORD_MASK, np.uint64)
    half = nodes.constant(32, np.uint64)
    rows = nodes.constant([1, 0], np.int64)
    multipliers = nodes.constant(_rows(MULTIPLIERS), np.uint64)

    # All round keys at once: key + round · step, modulo 2³².  [rounds · 2, 1, 1], then a part of [2, 1, 1] a round
    steps = [[step * number] for number in range(ROUNDS) for step in KEY_STEPS]
    divisors = [[1 if row % 2 == 0 else 2**32] for row in range(2 * ROUNDS)]
    words = nodes.add("BitwiseAnd", nodes.add("Div", "seed", nodes.constant(_rows(divisors), np.int64)), mask)
    keys = nodes.add("BitwiseAnd", nodes.add("Add", words, nodes.constant(_rows(steps), np.int64)), mask)
    round_keys = nodes.split(nodes.add("Cast", keys, to=TensorProto.UINT64), ROUNDS)

    zero, one = nodes.constant(0, np.int64), nodes.constant(1, np.int64)
    index = nodes.add("Add", nodes.add("Range", zero, "count", one), "start")  # [count]
    low = nodes.add("BitwiseAnd", index, nodes.constant(_rows([WORD_MASK, 0]), np.int64))  # [2, 1, count]
    block = np.stack([np.zeros(blocks), np.arange(blocks)])[:, :, None]  # [2, blocks, 1]
    even = nodes.add("Cast", nodes.add("Add", low, nodes.constant(block, np.int64)), to=TensorProto.UINT64)
    # (index >> 32, index >> 63): an index is below 2⁶³, so the second row is the 0 that `stream` goes into.
    odd = nodes.add(
        "BitShift", nodes.add("Cast", index, to=TensorProto.UINT64), nodes.constant(_rows([32, 63]), np.uint64),
        direction="RIGHT",
    )
    if stream:
        odd = nodes.add("BitwiseXor", odd, nodes.constant(_rows([0, stream]), np.uint64))

    for number, key in enumerate(round_keys):
        swapped = nodes.add("Gather", nodes.add("Mul", even, multipliers), rows, axis=0)
        high = nodes.add("BitShift", swapped, half, direction="RIGHT")
        even = nodes.add("BitwiseXor", nodes.add("BitwiseXor", high, odd), key)
        odd = swapped
        if number < ROUNDS - 1:
            even = nodes.add("BitwiseAnd", even, word_mask)
    return even, odd


def _box_muller(nodes: _Nodes, even: str, odd: str, dimensions: int) -> None:
    """The output latent, float32 [count, dimensions], from the words (w0, w2) and (w1, w3)."""
    words = nodes.add("Concat", even, odd, axis=0)  # [4, blocks, count]
    words = nodes.add("BitwiseAnd", words, nodes.constant(WORD_MASK, np.uint64))
    top = nodes.add("BitShift", words, nodes.constant(8, np.uint64), direction="RIGHT")
    counted = nodes.add("Add", nodes.add("Cast", top, to=TensorProto.FLOAT), nodes.constant(1, np.float32))
    uniform = nodes.add("Mul", counted, nodes.constant(2**-24, np.float32))
    for_radius, for_angle = nodes.split(uniform, 2)  # each [2, blocks, count]
    radius = nodes.add("Sqrt", nodes.add("Mul", nodes.add("Log", for_radius), nodes.constant(-2, np.float32)))
    angle = nodes.add("Mul", for_angle, nodes.constant(2 * np.pi, np.float32))
    cosines = nodes.add("Mul", radius, nodes.add("Cos", angle))
    sines = nodes.add("Mul", radius, nodes.add("Sin", angle))
    both = nodes.add("Concat", cosines, sines, axis=0)  # rows cos₀ cos₁ sin₀ sin₁
    ordered = nodes.add("Gather", both, nodes.constant([0, 2, 1, 3], np.int64), axis=0)  # cos₀ sin₀ cos₁ sin₁
    by_index = nodes.add("Transpose", ordered, perm=[2, 1, 0])  # [count, blocks, 4]
    width = -(-dimensions // 4) * 4
    whole = width == dimensions
    flat = nodes.add("Reshape", by_index, nodes.constant([-1, width], np.int64), name="latent" if whole else None)
    if not whole:
        bounds: Sequence[Sequence[int]] = ([0], [dimensions], [1])
        nodes.add("Slice", flat, *(nodes.constant(bound, np.int64) for bound in bounds), name="latent")


def _rows(values: ArrayLike) -> ArrayLike:
    """A constant with its values along the first of three axes."""
    return np.reshape(np.asarray(values, object), (-1, 1, 1))
