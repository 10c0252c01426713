"""The graphs that turn a seed into latents in any engine that has float32, without whole numbers of 64 bits.

    portable_prior_graph    index, seed, prior, label, temperature → latent, labels, noise: latents.portable.onnx
    portable_generator      index, seed → image, latent, by the model's defaults: generator.portable.onnx

Many engines have no 64-bit words, no bitwise operators, or int64 that is silently computed with 32 bits. Here
everything is float32, and the operators are those of an ordinary network. An app passes whole numbers of 64 bits as
four parts of 16 bits, the lowest part first, which float32 holds exactly.

    index        f32 [batch, 4]   the index of each picture, in any order
    seed         f32 [1, 4]       the seed
    prior        f32 [1]          0 for N(0, I), 1 for the fitted prior
    label        f32 [1]          the index of a class, or −1 for any class
    temperature  f32 [1]          the factor of the noise of the latent
    latent       f32 [batch, dimensions]
    labels       f32 [batch]      the class of each latent, −1 if the prior has no classes
    noise        f32 [batch, k]   the noise for the detail stage, if there is one

The results are those of `latent_graphs`: the words of the seed contract do not change. Philox is computed on bits, each
a number 0 or 1:

- Exclusive-or is addition modulo 2, and x modulo 2 is x − 2·⌊x/2⌋.
- The product of two words is a matrix product. It makes the five digits of the product to base 2¹¹, before they are
  carried; these are sums of three products of 11 bits, so that they are below 2²⁴ and exact in float32.
- Another matrix product of the carried digits with powers of two, and ⌊ ⌋ of it, shifts each bit of the product to
  the place of ones.

An engine that computes less exactly than float32 would make other words. One more counter, whose words are known
(Random123), is therefore computed beside the others; if its words are wrong, or a part is no whole number from 0 to
65535, all latents, noise and pictures are NaN.

This takes about 400 nodes, and more time and memory than the graphs with whole numbers (docs/engines.md).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from vae_gen import DetailSpec, FittedPrior
from vae_gen.internal.joining import joined
from vae_gen.internal.manifest import Prior
from vae_gen.internal.philox import KEY_STEPS, MULTIPLIERS, ROUNDS, WORD_MASK, philox4x32
from vae_gen.internal.portable import default_choices

from .latent_graphs import (
    DRAWN_LABELS,
    IR_VERSION,
    OPSET,
    Counter,
    Nodes,
    draw,
    draw_outputs,
    prior_counters,
)

WORD = 32
"""Bits of a word."""
PART = 16
"""Bits of each of the four parts of an index or a seed."""
DIGIT = 11
"""Bits of a digit of a product. Sums of three products of two digits are below 2²⁴."""
DIGITS = 5
"""Digits of a product. The last one has the remaining 20 bits."""

CHECKED_COUNTER, CHECKED_KEY = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0)
"""The counter and the key whose words are compared: a known answer of Random123, made of the digits of π."""

Floats = NDArray[np.float32]


def portable_prior_graph(prior: FittedPrior, detail: DetailSpec | None = None) -> onnx.ModelProto:
    """The graph latents.portable.onnx for a prior."""
    nodes = Nodes("seed_")
    counters, sizes = prior_counters(prior, detail)
    bits, guard = _philox(nodes, counters)  # [batch, counters, 128]
    *for_normals, for_choices = nodes.split_sizes(bits, sizes, axis=1)
    # w0, w2, w1, w3 of each counter: the upper 24 bits of each, and the halves of w0.
    upper = np.kron(np.eye(4), np.array([0] * 8 + [2**at for at in range(24)])[:, None])  # [128, 4]
    halves = np.zeros((4 * WORD, 2))
    halves[PART:WORD, 0] = halves[:PART, 1] = 2 ** np.arange(PART)
    numbers, pair = nodes.constant(upper, np.float32), nodes.constant(halves, np.float32)
    normals = [nodes.add("Transpose", nodes.add("MatMul", part, numbers), perm=[2, 1, 0]) for part in for_normals]
    choices = nodes.add("Transpose", nodes.add("MatMul", for_choices, pair), perm=[2, 1, 0])  # [2, 2, batch]
    flat = nodes.add("Reshape", guard, nodes.constant([-1], np.int64))
    scale = nodes.add("Add", flat, nodes.constant(2**-24, np.float32))
    draw(nodes, prior, detail, normals, choices, scale, TensorProto.FLOAT)
    nodes.add("Add", DRAWN_LABELS, flat, name="labels")

    shapes: dict[str, list[str | int]] = {
        "index": ["batch", 4], "seed": [1, 4], "prior": [1], "label": [1], "temperature": [1],
    }  # fmt: skip
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    outputs = draw_outputs(prior, detail, "batch", TensorProto.FLOAT)
    graph = helper.make_graph(nodes.nodes, "latents", inputs, outputs, nodes.constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def portable_generator(
    latents: onnx.ModelProto, last: onnx.ModelProto, default_prior: Prior = "fitted"
) -> onnx.ModelProto:
    """The graph generator.portable.onnx, from latents.portable.onnx and the decoder or the detail stage."""
    content = joined(latents.SerializeToString(), last.SerializeToString(), default_choices(default_prior))
    return onnx.load_model_from_string(content)


def _philox(nodes: Nodes, counters: list[Counter]) -> tuple[str, str]:
    """Adds an evaluation of Philox for each index and counter.

    Returns:
        the bits of the words w0, w2, w1, w3, each from its lowest bit, f32 [batch, counters, 128]; and `guard`, f32
        [batch, 1], which is 0 or NaN.
    """
    rows = len(counters) + 1  # the last one has the counter whose words are known
    own = nodes.constant([[1]] * len(counters) + [[0]], np.float32)  # [rows, 1]
    known = nodes.constant([[0]] * len(counters) + [[1]], np.float32)
    first, second = np.zeros((rows, 2), np.int64), np.zeros((rows, 2), np.int64)
    first[:-1, 1], second[:-1, 1] = np.array(counters).T
    first[-1], second[-1] = CHECKED_COUNTER[::2], CHECKED_COUNTER[1::2]

    def of_index(words: NDArray[np.int64], lowest_part: int) -> tuple[str, str]:
        # The index's word, and nothing: the bits [batch, 64] that are the same for all counters.
        places = _places([lowest_part, lowest_part + 1])
        bits = _odd(nodes, nodes.add("Floor", nodes.add("MatMul", "index", nodes.constant(places, np.float32))))
        each = nodes.add("Mul", nodes.add("Reshape", bits, nodes.constant([-1, 1, 2 * WORD], np.int64)), own)
        return bits, nodes.add("Add", each, nodes.constant(_bits(words), np.float32))  # [batch, rows, 64]

    low_bits, even = of_index(first, 0)  # c0 and c2, which a round multiplies
    high_bits, odd = of_index(second, 2)  # c1 and c3
    key_bits = _round_keys(nodes)  # [rounds, 64]
    steps = np.array([[(key + number * step) & WORD_MASK for key, step in zip(CHECKED_KEY, KEY_STEPS, strict=True)]
                      for number in range(ROUNDS)])  # fmt: skip
    own_keys = nodes.add("Mul", nodes.add("Reshape", key_bits, nodes.constant([ROUNDS, 1, 2 * WORD], np.int64)), own)
    known_keys = nodes.add("Mul", nodes.constant(_bits(steps)[:, None], np.float32), known)
    keys = nodes.split_sizes(nodes.add("Add", own_keys, known_keys), [1] * ROUNDS, axis=0)  # each [1, rows, 64]

    product, shifts = nodes.constant(_product(), np.float32), nodes.constant(_shifts(), np.float32)
    down, base = nodes.constant(2.0**-DIGIT, np.float32), [2] * DIGITS
    for key in keys:
        digits = nodes.split_sizes(nodes.add("MatMul", even, product), base, axis=2)
        for at in range(1, DIGITS):
            carry = nodes.add("Floor", nodes.add("Mul", digits[at - 1], down))
            digits[at] = nodes.add("Add", digits[at], carry)
        shifted = nodes.add("Floor", nodes.add("MatMul", nodes.add("Concat", *digits, axis=2), shifts))
        high, low = nodes.split_sizes(shifted, [2 * WORD, 2 * WORD], axis=2)
        even = _odd(nodes, nodes.add("Add", nodes.add("Add", high, odd), key))
        odd = _odd(nodes, low)
    words = nodes.add("Concat", even, odd, axis=2)
    found, checked = nodes.split_sizes(words, [len(counters), 1], axis=1)

    answer = philox4x32(np.array(CHECKED_COUNTER, np.uint64), np.array(CHECKED_KEY, np.uint64)).astype(np.int64)
    expected = nodes.constant(_bits(answer[[0, 2, 1, 3]]), np.float32)
    whole = nodes.add("Concat", low_bits, high_bits, axis=1)
    faults = [
        _distance(nodes, nodes.add("Reshape", checked, nodes.constant([-1, 4 * WORD], np.int64)), expected),
        _distance(nodes, nodes.add("MatMul", whole, nodes.constant(_parts(2 * WORD), np.float32)), "index"),
    ]
    (key, *_) = nodes.split_sizes(key_bits, [1, ROUNDS - 1], axis=0)
    faults.append(_distance(nodes, nodes.add("MatMul", key, nodes.constant(_parts(WORD), np.float32)), "seed"))
    fault = nodes.add("Add", nodes.add("Add", *faults[:2]), faults[2])  # [batch, 1]; 0 if everything is right
    return found, nodes.add("Sqrt", nodes.add("Neg", fault), name="guard")


def _round_keys(nodes: Nodes) -> str:
    """Adds the bits of the keys of all rounds, f32 [rounds, 64]: key + round · step, modulo 2³²."""
    steps = np.array([[(step * number >> shift) & (2**PART - 1) for step in KEY_STEPS for shift in (0, PART)]
                      for number in range(ROUNDS)])  # fmt: skip
    sums = nodes.add("Add", nodes.constant(steps, np.float32), "seed")  # [rounds, 4]
    carries = nodes.add("Floor", nodes.add("Mul", sums, nodes.constant(2.0**-PART, np.float32)))
    upward = np.zeros((4, 4))
    upward[0, 1] = upward[2, 3] = 1  # from the lower to the upper part of each word
    carried = nodes.add("Add", sums, nodes.add("MatMul", carries, nodes.constant(upward, np.float32)))
    return _odd(nodes, nodes.add("Floor", nodes.add("MatMul", carried, nodes.constant(_places(range(4)), np.float32))))


def _odd(nodes: Nodes, value: str) -> str:
    """Adds a whole number modulo 2."""
    half = nodes.add("Floor", nodes.add("Mul", value, nodes.constant(0.5, np.float32)))
    return nodes.add("Sub", value, nodes.add("Mul", half, nodes.constant(2, np.float32)))


def _distance(nodes: Nodes, found: str, expected: str) -> str:
    """Adds the sum of the absolute differences along the last of two axes, [n, 1]."""
    difference = nodes.add("Abs", nodes.add("Sub", found, expected))
    return nodes.add("ReduceSum", difference, nodes.constant([1], np.int64), keepdims=1)


def _bits(words: NDArray[np.int64]) -> Floats:
    """The bits of words [n, k] from the lowest one, float32 [n, 32·k] or [32·k] for words [k]."""
    bits = words[..., None] >> np.arange(WORD) & 1
    return bits.reshape(*words.shape[:-1], -1).astype(np.float32)


def _places(parts: Iterable[int]) -> Floats:
    """A matrix [4, 64] that shifts each bit of some parts to the place of ones; ⌊ ⌋ cuts off the bits below."""
    places = np.zeros((4, 2 * WORD), np.float32)
    for at, part in enumerate(parts):
        places[part, PART * at : PART * (at + 1)] = 2.0 ** -np.arange(PART)
    return places


def _parts(stride: int) -> Floats:
    """A matrix that adds the bits of two words up to four parts; the words begin at rows 0 and `stride`."""
    parts = np.zeros((2 * stride, 4), np.float32)
    for part in range(4):
        first = part // 2 * stride + part % 2 * PART
        parts[first : first + PART, part] = 2 ** np.arange(PART)
    return parts


def _product() -> Floats:
    """A matrix [64, 10] from the bits of two words to the digits of their products with `MULTIPLIERS`.

    The columns are digit 0 of both products, digit 1 of both, and on; digits are not carried yet.
    """
    product = np.zeros((2 * WORD, 2 * DIGITS), np.float32)
    for word, multiplier in enumerate(MULTIPLIERS):
        for bit in range(WORD):
            for place in range(3):
                digit = multiplier >> DIGIT * place & (2**DIGIT - 1)
                product[WORD * word + bit, 2 * (bit // DIGIT + place) + word] = 2 ** (bit % DIGIT) * digit
    return product


def _shifts() -> Floats:
    """A matrix [10, 128] from carried digits to the bits of both products, each shifted to the place of ones.

    The upper words come first. The product of the second word is the first of both, because a round swaps them.
    """
    shifts = np.zeros((2 * DIGITS, 4 * WORD), np.float32)
    for at in range(4 * WORD):
        word, bit = 1 - at // WORD % 2, at % WORD + (WORD if at < 2 * WORD else 0)
        digit = min(bit // DIGIT, DIGITS - 1)
        shifts[2 * digit + word, at] = 2.0 ** (DIGIT * digit - bit)
    return shifts
