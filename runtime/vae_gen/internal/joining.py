"""Joins latents.portable.onnx and a decoder to generator.portable.onnx, without the package onnx.

An ONNX file is a message of Protocol Buffers: a list of fields, each with a number and a value. The nodes and weights
of both graphs are fields that are copied as they are, so that nothing here depends on what they mean. The numbers are
those of onnx.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

GRAPH = 7
"""The field of a model that holds its graph."""
NODE, NAME, INITIALIZER, INPUT, OUTPUT = 1, 2, 5, 11, 12
"""The fields of a graph."""
FLOAT, INT64 = 1, 7
"""Types of the elements of tensors."""


def joined(front: bytes, last: bytes, fixed: Mapping[str, float]) -> bytes:
    """Makes one model of a graph of latents and of a graph that makes pictures of them.

    The number `guard` of the first graph, [batch, 1], is added to the pictures, because some engines make 0 of a NaN
    in a Relu.

    Args:
        front: a model with the output `latent` and the values that are inputs of `last`, such as `noise`. The names of
            its other values begin with seed_, so that no value of `last` has the same.
        last: a model with the output `image`.
        fixed: inputs of `front` that become constants, float32 [1].
    """
    head = b"".join(raw for number, _, raw in _fields(front) if number != GRAPH)
    of_front, of_last = (_graph(model) for model in (front, last))
    parts = {number: [raw for found, _, raw in of_front if found == number] for number in (NODE, INITIALIZER)}
    for number, value, raw in of_last:
        if number == NODE:
            parts[NODE].append(_field(NODE, _with_output_renamed(value, b"image", b"seed_unguarded_image")))
        elif number == INITIALIZER:
            parts[INITIALIZER].append(raw)
    parts[NODE] += [
        _node(b"Reshape", [b"guard", b"seed_one_for_each"], b"seed_guard_of_images"),
        _node(b"Add", [b"seed_unguarded_image", b"seed_guard_of_images"], b"image"),
    ]
    parts[INITIALIZER] += [_tensor(name.encode(), FLOAT, struct.pack("<f", value)) for name, value in fixed.items()]
    parts[INITIALIZER].append(_tensor(b"seed_one_for_each", INT64, struct.pack("<4q", -1, 1, 1, 1)))
    inputs = [raw for number, value, raw in of_front if number == INPUT and _name(value) not in fixed]
    images = [raw for number, value, raw in of_last if number == OUTPUT and _name(value) == "image"]
    latents = [raw for number, value, raw in of_front if number == OUTPUT and _name(value) == "latent"]
    graph = [*parts[NODE], _field(NAME, b"generator"), *parts[INITIALIZER], *inputs, *images, *latents]
    return head + _field(GRAPH, b"".join(graph))


def _graph(model: bytes) -> list[tuple[int, bytes, bytes]]:
    (graph,) = (value for number, value, _ in _fields(model) if number == GRAPH)
    return list(_fields(graph))


def _name(value_info: bytes) -> str:
    return next(value.decode() for number, value, _ in _fields(value_info) if number == 1)


def _with_output_renamed(node: bytes, old: bytes, new: bytes) -> bytes:
    return b"".join(_field(2, new) if (number, value) == (2, old) else raw for number, value, raw in _fields(node))


def _fields(message: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yields the number of each field, its value (empty if it is no text or message), and its bytes in the file."""
    at = 0
    while at < len(message):
        begin = at
        tag, at = _varint(message, at)
        value = b""
        if tag & 7 == 2:
            length, at = _varint(message, at)
            value, at = message[at : at + length], at + length
        elif tag & 7 == 0:
            _, at = _varint(message, at)
        else:
            at += 4 if tag & 7 == 5 else 8
        yield tag >> 3, value, message[begin:at]


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A whole number, seven bits in each byte, and the place after it."""
    number, shift = 0, 0
    while True:
        byte = message[at]
        number, at, shift = number | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return number, at


def _field(number: int, value: bytes) -> bytes:
    """A field with a text or a message."""
    return _number(number << 3 | 2) + _number(len(value)) + value


def _number(value: int) -> bytes:
    low, rest = value & 127, value >> 7
    return bytes([low | 128]) + _number(rest) if rest else bytes([low])


def _node(operator: bytes, inputs: list[bytes], output: bytes) -> bytes:
    names = b"".join(_field(1, name) for name in inputs)
    return _field(NODE, names + _field(2, output) + _field(3, output) + _field(4, operator))


def _tensor(name: bytes, kind: int, values: bytes) -> bytes:
    size = len(values) // (4 if kind == FLOAT else 8)
    return _field(INITIALIZER, _number(1 << 3) + _number(size) + _number(2 << 3) + _number(kind)
                  + _field(8, name) + _field(9, values))  # fmt: skip
