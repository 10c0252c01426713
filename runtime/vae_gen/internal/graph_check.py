"""Checks an ONNX file before ONNX Runtime sees it, because the file may come from a stranger.

A graph is a program, and its format has many features that no model folder needs. Some read other files (external
data), some never end (Loop), and some ask for more memory than there is. So a file is read here first, by a small
reader of Protocol Buffers, which accepts only the fields in `FIELDS`, and a walk along the nodes, which accepts only
the operators in `OPERATORS` and computes the shape of every tensor for 61 pictures. From the shapes follow the memory
and the arithmetic that a run takes, which have limits, and whether the outputs have the shapes that the file declares.

Nothing is computed but shapes: a shape that depends on values of the inputs is refused, except for `count`. The numbers
of fields and operators are those of onnx.proto and of ONNX's operator specifications, opset 18 and later.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._errors import ModelError

Shape = tuple[int, ...]

MOST_NODES = 10_000
"""The most nodes, and the most constants, of a graph. The largest shipped graph has 877 nodes. ONNX Runtime's time for
opening a graph grows faster than its nodes."""
MOST_FIELDS = 500_000
"""The most fields of a file, which bounds the time of this check to a second."""
MOST_NUMBERS = 100_000
"""The most numbers in one list of whole numbers. Weights are in `raw_data`, which is skipped as a whole."""
MOST_VALUES = 1024
"""The longest list of constant whole numbers that may decide a shape."""
MOST_AXES = 8
"""The most axes of a tensor."""
BATCH = 61
"""The number of pictures that shapes are computed for: no length of another axis, and nearly the 63 of a batch."""
SMALLEST_LIMIT, LARGEST_LIMIT = 1 << 20, 1 << 23
"""The bounds of the limit that `_tensor_limit` returns, in numbers for each picture."""
LIVE = 4
"""The tensors that are in memory at the same time may have this many times the limit of one tensor."""
WORK = 4000
"""The arithmetic of a picture may have this many times the limit of one tensor, in multiplications."""

INT, FLOAT, TEXT, BYTES, INTS, FLOATS, DOUBLES = "int", "float", "text", "bytes", "ints", "floats", "doubles"

FIELDS: dict[str, dict[int, tuple[str, str]]] = {
    "model": {
        1: ("ir_version", INT), 2: ("producer_name", TEXT), 3: ("producer_version", TEXT), 4: ("domain", TEXT),
        5: ("model_version", INT), 6: ("doc_string", TEXT), 7: ("graph", "graph"), 8: ("opset_import", "opset"),
        14: ("metadata_props", "entry"),
    },
    "opset": {1: ("domain", TEXT), 2: ("version", INT)},
    "entry": {1: ("key", TEXT), 2: ("value", TEXT)},
    "graph": {
        1: ("node", "node"), 2: ("name", TEXT), 5: ("initializer", "tensor"), 10: ("doc_string", TEXT),
        11: ("input", "value"), 12: ("output", "value"), 13: ("value_info", "value"), 16: ("metadata_props", "entry"),
    },
    "node": {
        1: ("input", TEXT), 2: ("output", TEXT), 3: ("name", TEXT), 4: ("op_type", TEXT), 5: ("attribute", "attribute"),
        6: ("doc_string", TEXT), 7: ("domain", TEXT), 9: ("metadata_props", "entry"),
    },
    "attribute": {
        1: ("name", TEXT), 2: ("f", FLOAT), 3: ("i", INT), 4: ("s", TEXT), 5: ("t", "tensor"), 7: ("floats", FLOATS),
        8: ("ints", INTS), 13: ("doc_string", TEXT), 20: ("type", INT),
    },
    "tensor": {
        1: ("dims", INTS), 2: ("data_type", INT), 4: ("float_data", FLOATS), 5: ("int32_data", INTS),
        7: ("int64_data", INTS), 8: ("name", TEXT), 9: ("raw_data", BYTES), 10: ("double_data", DOUBLES),
        11: ("uint64_data", INTS), 12: ("doc_string", TEXT), 14: ("data_location", INT),
        16: ("metadata_props", "entry"),
    },
    "value": {1: ("name", TEXT), 2: ("type", "type"), 3: ("doc_string", TEXT), 4: ("metadata_props", "entry")},
    "type": {1: ("tensor_type", "tensor_type"), 6: ("denotation", TEXT)},
    "tensor_type": {1: ("elem_type", INT), 2: ("shape", "shape")},
    "shape": {1: ("dim", "dim")},
    "dim": {1: ("dim_value", INT), 2: ("dim_param", TEXT), 3: ("denotation", TEXT)},
}  # fmt: skip
"""The messages that are read: the number of each field, its name, and the kind of its value."""
LISTS = {"node", "initializer", "input", "output", "value_info", "opset_import", "metadata_props", "attribute", "dim"}
"""The fields that may occur more than once, besides lists of numbers."""
FORBIDDEN = {
    ("model", 20): "training information", ("model", 25): "functions", ("graph", 15): "sparse tensors",
    ("attribute", 6): "graphs inside of nodes", ("attribute", 11): "graphs inside of nodes",
    ("attribute", 22): "sparse tensors", ("attribute", 23): "sparse tensors", ("tensor", 6): "texts",
    ("tensor", 3): "segments", ("tensor", 13): "external data", ("type", 4): "sequences", ("type", 5): "maps",
    ("type", 8): "sparse tensors", ("type", 9): "optional values",
}  # fmt: skip
"""Names of fields that are refused, for the error. Fields without a name are refused, too."""

WIRES = {INT: (0,), FLOAT: (5,), DOUBLES: (1, 2), FLOATS: (5, 2), INTS: (0, 2)}
"""How values may be encoded: 0 varint, 1 eight bytes, 2 a length and so many bytes, 5 four bytes. All others are 2."""
MANY, NUMBERS, ONCE = "many", "numbers", "once"


def _how(kind: str, name: str, value: str) -> str:
    """Whether a field may occur once or many times, or holds numbers of a list."""
    if value in (INTS, FLOATS, DOUBLES):
        return NUMBERS
    return MANY if name in LISTS or (kind == "node" and name in ("input", "output")) else ONCE


TAGS = {
    kind: {
        number << 3 | wire: (name, value, _how(kind, name, value))
        for number, (name, value) in fields.items() for wire in WIRES.get(value, (2,))
    }
    for kind, fields in FIELDS.items()
}  # fmt: skip
"""The fields by their tags, which are how the file has them: the number of the field and how its value is encoded."""
SIZES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}
"""Bytes of an element by the number of its type: float32, uint8, int8, uint16, int16, int32, int64, bool, float16,
float64, uint32, uint64, bfloat16. There are no texts among them."""
INT64 = 7


class _RefusedError(Exception):
    """The file is not a graph that a model folder may have; the text is what was found."""


def check_graph(content: bytes, where: str) -> None:
    """Checks the bytes of an ONNX file.

    Args:
        content: the whole file.
        where: the name of the file, for the error.

    Raises:
        ModelError: the file is damaged, uses a feature or an operator that is not allowed, would take too much memory
            or arithmetic, or has outputs of other shapes than it declares.
    """
    try:
        model = _Reader(content).message("model", 0, len(content))
        graph = _one(model, "graph")
        for opset in model.get("opset_import", []):
            if opset.get("domain", "") not in ("", "ai.onnx"):
                raise _RefusedError(f"operators of {opset['domain']!r}")
        _Walk(graph, BATCH).run()
    except Exception as error:  # _RefusedError; and what Python raises where a damaged file breaks a rule's expectation
        found = str(error) if isinstance(error, _RefusedError) else f"a damaged file ({type(error).__name__})"
        raise ModelError(
            f"{where}: expected a graph as vae-export writes it, found {found}; export the model folder again"
        ) from error


class _Reader:
    """Reads messages as dictionaries of the fields that are there; lists for fields in `LISTS` and lists of numbers."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.fields = 0

    def message(self, kind: str, at: int, end: int) -> dict[str, Any]:
        """Reads the message of a kind in content[at:end]."""
        content, tags = self.content, TAGS[kind]
        found: dict[str, Any] = {}
        while at < end:
            tag, at = (content[at], at + 1) if content[at] < 128 else self.varint(at, end)
            if tag not in tags:
                raise _RefusedError(FORBIDDEN.get((kind, tag >> 3), f"the field {tag} of a {kind}"))
            name, type_name, how = tags[tag]
            wire = tag & 7
            value: Any
            if wire == 0:
                value, at = (content[at], at + 1) if content[at] < 128 else self.varint(at, end)
                value = value if value < 2**63 else value - 2**64
            else:
                length = 4 if wire == 5 else 8
                if wire == 2:
                    length, at = (content[at], at + 1) if content[at] < 128 else self.varint(at, end)
                begin, at = at, at + length
                if at > end:
                    raise _RefusedError("a damaged file")
                if type_name == TEXT:
                    value = content[begin:at].decode("utf-8", "replace")
                elif type_name in FIELDS:
                    value = self.message(type_name, begin, at)
                else:
                    value = (begin, at) if type_name == BYTES else self.numbers(type_name, begin, at)
            if how == MANY:
                found.setdefault(name, []).append(value)
            elif how == NUMBERS:
                found.setdefault(name, []).extend(value if isinstance(value, list) else [value])
            elif name in found:
                raise _RefusedError(f"the field {name} of a {kind} twice")
            else:
                found[name] = value[0] if type_name == FLOAT else value
            self.fields += 1
        if at != end or self.fields > MOST_FIELDS:
            raise _RefusedError("a damaged file" if at != end else f"more than {MOST_FIELDS} fields")
        if kind == "tensor" and found.get("data_type") == INT64 and "raw_data" in found:
            begin, stop = found["raw_data"]
            if stop - begin <= 8 * MOST_VALUES and (stop - begin) % 8 == 0:
                found["values"] = struct.unpack_from(f"<{(stop - begin) // 8}q", content, begin)
        return found

    def numbers(self, kind: str, at: int, end: int) -> list[Any]:
        """The numbers in content[at:end]."""
        if end - at > 8 * MOST_NUMBERS:
            raise _RefusedError(f"a list of more than {MOST_NUMBERS} numbers")
        if kind == INTS:
            numbers = []
            while at < end:
                number, at = self.varint(at, end)
                numbers.append(number if number < 2**63 else number - 2**64)
            return numbers
        letter, size = ("d", 8) if kind == DOUBLES else ("f", 4)
        if (end - at) % size:
            raise _RefusedError("a damaged file")
        return list(struct.unpack_from(f"<{(end - at) // size}{letter}", self.content, at))

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """A whole number of 64 bits, seven in each byte, and the place after it."""
        result = 0
        for place in range(10):
            if at >= end:
                break
            byte = self.content[at]
            at += 1
            result |= (byte & 127) << (7 * place)
            if byte < 128:
                return result & 0xFFFFFFFFFFFFFFFF, at
        raise _RefusedError("a damaged file")


def _one(message: dict[str, Any], name: str) -> Any:
    if name not in message:
        raise _RefusedError(f"no {name}")
    return message[name]


@dataclass(slots=True)
class _Node:
    """A node with what its rule needs: the shapes of its inputs, the values of those that are constant."""

    operator: str
    attributes: dict[str, Any]
    shapes: list[Shape | None]
    """None for an optional input that is left out"""
    values: list[tuple[int, ...] | None]
    outputs: int
    work: int = 0
    known: tuple[int, ...] | None = None
    """the values of the output, if they are known whole numbers"""

    def shape(self, at: int) -> Shape:
        """The shape of an input."""
        if at >= len(self.shapes) or self.shapes[at] is None:
            raise _RefusedError(f"{self.operator} without its input {at}")
        return self.shapes[at] or ()

    def numbers(self, at: int) -> tuple[int, ...]:
        """The values of an input that decides a shape."""
        found = self.values[at] if at < len(self.values) else None
        if found is None:
            raise _RefusedError(f"a shape of {self.operator} that is computed")
        return found

    def has(self, at: int) -> bool:
        """Whether an optional input is there."""
        return at < len(self.shapes) and self.shapes[at] is not None

    def axis(self, value: int, rank: int) -> int:
        """An axis that may be counted from the end."""
        if not -rank <= value < rank:
            raise _RefusedError(f"an axis {value} of {self.operator}")
        return value % rank

    def number(self, name: str, default: int) -> int:
        """The value of an attribute that is a whole number."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            raise _RefusedError(f"another type of {name} of {self.operator}")
        return value

    def list(self, name: str, default: Sequence[int]) -> list[int]:
        """The value of an attribute that is a list of whole numbers."""
        value = self.attributes.get(name, list(default))
        if not isinstance(value, list) or len(value) != len(default) or not all(isinstance(one, int) for one in value):
            raise _RefusedError(f"another type of {name} of {self.operator}")
        return value


Rule = Callable[[_Node], list[Shape]]


@dataclass
class _Walk:
    """Computes the shapes of all tensors of a graph for a number of pictures."""

    graph: dict[str, Any]
    batch: int
    shapes: dict[str, Shape] = field(default_factory=dict)
    values: dict[str, tuple[int, ...]] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)
    """the tensors that nodes made and that a later node still needs"""

    def run(self) -> None:
        """Walks along all nodes, and compares the outputs with their declared shapes."""
        nodes, constants = self.graph.get("node", []), self.graph.get("initializer", [])
        if max(len(nodes), len(constants)) > MOST_NODES:
            raise _RefusedError(f"more than {MOST_NODES} nodes or constants")
        inputs, outputs = (self.graph.get(name, []) for name in ("input", "output"))
        declared = [self.declared(value) for value in (*inputs, *outputs)]
        for name, shape in declared[: len(inputs)]:
            self.define(name, shape, (self.batch,) if name == "count" and shape == () else None)
        for tensor in constants:
            self.define(_one(tensor, "name"), *_constant(tensor))
        limit = _tensor_limit(math.prod(shape) // self.batch for _, shape in declared) * self.batch
        last_use = {name: at for at, node in enumerate(nodes) for name in node.get("input", [])}
        live, work = 0, 0
        for at, node in enumerate(nodes):
            made, own_work = self.step(node)
            if max(made, default=0) > limit:
                raise _RefusedError(f"a tensor of {max(made)} numbers for {self.batch} pictures")
            live, work = live + sum(made), work + own_work + sum(made)
            if live > LIVE * limit:
                raise _RefusedError(f"tensors of {live} numbers at the same time for {self.batch} pictures")
            if work > WORK * limit:
                raise _RefusedError(f"more than {WORK * limit} multiplications for {self.batch} pictures")
            for name in (*node.get("input", []), *node.get("output", [])):
                if name in self.made and last_use.get(name, at) <= at:
                    live -= math.prod(self.shapes[name])
                    self.made.remove(name)
        for name, shape in declared[len(inputs) :]:
            if self.shapes.get(name) != shape:
                found = list(self.shapes[name]) if name in self.shapes else "nothing"
                raise _RefusedError(f"{name} of shape {found} for {self.batch} pictures, declared as {list(shape)}")

    def declared(self, value: dict[str, Any]) -> tuple[str, Shape]:
        """The name and the shape of an input or an output; a word for an axis is the number of pictures."""
        dims = _one(_one(_one(value, "type"), "tensor_type"), "shape").get("dim", [])
        shape = tuple(self.batch if "dim_param" in dim else _one(dim, "dim_value") for dim in dims)
        if len(shape) > MOST_AXES or any(length < 1 for length in shape):
            raise _RefusedError(f"{value.get('name', '')} of shape {list(shape)}")
        return _one(value, "name"), shape

    def define(self, name: str, shape: Shape, values: tuple[int, ...] | None) -> None:
        """Notes a tensor's shape, and its values if they are known."""
        if name in self.shapes or not name:
            raise _RefusedError(f"two tensors called {name!r}")
        self.shapes[name] = shape
        if values is not None:
            self.values[name] = values

    def step(self, node: dict[str, Any]) -> tuple[list[int], int]:
        """Notes the shapes of a node's outputs; returns how many numbers each has, and the multiplications."""
        operator = node.get("op_type", "")
        if node.get("domain", "") not in ("", "ai.onnx") or operator not in OPERATORS:
            domain = node.get("domain", "")
            raise _RefusedError(f"the operator {f'{domain}.' if domain else ''}{operator}")
        rule, known = OPERATORS[operator]
        attributes: dict[str, Any] = {}
        for attribute in node.get("attribute", []):
            name = attribute.get("name", "")
            kinds = [(kind, key) for kind, key in ATTRIBUTES.items() if key in attribute]
            if name not in known or name in attributes or len(kinds) > 1:
                raise _RefusedError(f"the attribute {name} of {operator}")
            kind, key = kinds[0] if kinds else (0, "")
            if attribute.get("type", kind) != kind and kinds:
                raise _RefusedError(f"another type of {name} of {operator}")
            empty = {1: 0.0, 2: 0, 3: "", 6: [], 7: []}  # a value of zero may be left out of the file
            attributes[name] = attribute[key] if kinds else empty.get(attribute.get("type", 0))
        inputs, outputs = node.get("input", []), node.get("output", [])
        for name in inputs:
            if name and name not in self.shapes:
                raise _RefusedError(f"a node that needs {name!r} before it is there")
        seen = _Node(
            operator, attributes, [self.shapes[name] if name else None for name in inputs],
            [self.values.get(name) for name in inputs], len(outputs),
        )  # fmt: skip
        shapes = rule(seen)
        if len(shapes) != len(outputs):
            raise _RefusedError(f"{operator} with {len(outputs)} outputs")
        sizes = []
        for name, shape in zip(outputs, shapes, strict=True):
            if len(shape) > MOST_AXES or any(length < 0 for length in shape):
                raise _RefusedError(f"a tensor of shape {list(shape)}")
            self.define(name, shape, seen.known)
            self.made.add(name)
            sizes.append(math.prod(shape))
        return sizes, seen.work


ATTRIBUTES = {1: "f", 2: "i", 3: "s", 4: "t", 6: "floats", 7: "ints"}
"""The field of an attribute's value by the number of its type."""


def _tensor_limit(sizes: Iterable[int]) -> int:
    """How many numbers for each picture a tensor may have, from the sizes of one picture's inputs and outputs."""
    return min(max(512 * max(sizes, default=0), SMALLEST_LIMIT), LARGEST_LIMIT)


def _constant(tensor: dict[str, Any]) -> tuple[Shape, tuple[int, ...] | None]:
    """The shape of a constant, and its values if it is a short list of int64."""
    if tensor.get("data_location", 0):
        raise _RefusedError("external data")
    shape, kind = tuple(tensor.get("dims", [])), tensor.get("data_type", 0)
    if kind not in SIZES or len(shape) > MOST_AXES or any(length < 0 for length in shape):
        raise _RefusedError(f"a constant of type {kind} and shape {list(shape)[:MOST_AXES]}")
    count = math.prod(shape)
    begin, end = tensor.get("raw_data", (0, 0))
    lists = [tensor[name] for name in ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")
             if name in tensor]  # fmt: skip
    if len(lists) > 1 or (lists and end > begin) or (len(lists[0]) if lists else (end - begin) / SIZES[kind]) != count:
        raise _RefusedError(f"a constant of shape {list(shape)} with another number of values")
    if kind != INT64 or count > MOST_VALUES:
        return shape, None
    return shape, tuple(lists[0]) if lists else tensor["values"]


# Rules: the shapes of an operator's outputs.


def _same(node: _Node) -> list[Shape]:
    return [node.shape(0)]


def _cast(node: _Node) -> list[Shape]:
    if node.number("to", 0) not in SIZES:
        raise _RefusedError(f"a cast to the type {node.number('to', 0)}")
    return [node.shape(0)]


def _broadcast(node: _Node) -> list[Shape]:
    shapes = [node.shape(at) for at in range(len(node.shapes))]
    if not shapes:
        raise _RefusedError(f"{node.operator} without inputs")
    return [_joined(node, shapes)]


def _joined(node: _Node, shapes: Sequence[Shape]) -> Shape:
    rank = max(map(len, shapes))
    result = []
    for lengths in zip(*((1,) * (rank - len(shape)) + shape for shape in shapes), strict=True):
        longest = {length for length in lengths if length != 1} or {1}
        if len(longest) > 1:
            raise _RefusedError(f"{node.operator} of shapes {[list(shape) for shape in shapes]}")
        result.append(longest.pop())
    return tuple(result)


def _reshape(node: _Node) -> list[Shape]:
    old, wanted = node.shape(0), list(node.numbers(1))
    if not node.number("allowzero", 0):
        for at, length in enumerate(wanted):
            if length == 0:
                if at >= len(old):
                    raise _RefusedError("a Reshape of an axis that is not there")
                wanted[at] = old[at]
    if wanted.count(-1) == 1 and 0 not in wanted:
        at = wanted.index(-1)
        wanted[at] = math.prod(old) // -math.prod(wanted)
    if math.prod(wanted) != math.prod(old) or any(length < 0 for length in wanted):
        raise _RefusedError(f"a Reshape from {list(old)} to {wanted}")
    return [tuple(wanted)]


def _flatten(node: _Node) -> list[Shape]:
    shape = node.shape(0)
    axis = node.number("axis", 1)
    if not -len(shape) <= axis <= len(shape):
        raise _RefusedError(f"an axis {axis} of Flatten")
    axis += len(shape) if axis < 0 else 0
    return [(math.prod(shape[:axis]), math.prod(shape[axis:]))]


def _transpose(node: _Node) -> list[Shape]:
    shape = node.shape(0)
    order = node.list("perm", range(len(shape))[::-1])
    if sorted(order) != list(range(len(shape))):
        raise _RefusedError(f"a Transpose by {order}")
    return [tuple(shape[at] for at in order)]


def _concat(node: _Node) -> list[Shape]:
    shapes = [node.shape(at) for at in range(len(node.shapes))]
    axis = node.axis(node.number("axis", 0), len(shapes[0])) if shapes else 0
    if not shapes or any(len(one) != len(shapes[0]) for one in shapes):
        raise _RefusedError("a Concat of different shapes")
    if len({(*one[:axis], *one[axis + 1 :]) for one in shapes}) > 1:
        raise _RefusedError("a Concat of different shapes")
    return [(*shapes[0][:axis], sum(one[axis] for one in shapes), *shapes[0][axis + 1 :])]


def _split(node: _Node) -> list[Shape]:
    shape = node.shape(0)
    axis = node.axis(node.number("axis", 0), len(shape))
    if node.has(1):
        parts = list(node.numbers(1))
    else:
        largest = -(-shape[axis] // max(node.outputs, 1))
        parts = [min(largest, shape[axis] - largest * at) for at in range(node.outputs)]
    wrong = any(part < 0 for part in parts) or node.number("num_outputs", len(parts)) != len(parts)
    if sum(parts) != shape[axis] or wrong:
        raise _RefusedError(f"a Split of {shape[axis]} into {parts}")
    return [(*shape[:axis], part, *shape[axis + 1 :]) for part in parts]


def _gather(node: _Node) -> list[Shape]:
    shape = node.shape(0)
    axis = node.axis(node.number("axis", 0), len(shape))
    return [(*shape[:axis], *node.shape(1), *shape[axis + 1 :])]


def _gather_elements(node: _Node) -> list[Shape]:
    return [node.shape(1)]


def _squeeze(node: _Node) -> list[Shape]:
    shape = node.shape(0)
    given = node.numbers(1) if node.has(1) else [at for at, length in enumerate(shape) if length == 1]
    axes = {node.axis(axis, len(shape)) for axis in given}
    if any(shape[axis] != 1 for axis in axes):
        raise _RefusedError(f"a Squeeze of shape {list(shape)}")
    return [tuple(length for at, length in enumerate(shape) if at not in axes)]


def _unsqueeze(node: _Node) -> list[Shape]:
    shape, given = node.shape(0), node.numbers(1)
    rank = len(shape) + len(given)
    axes = {node.axis(axis, rank) for axis in given}
    if len(axes) != len(given) or rank > MOST_AXES:
        raise _RefusedError("an Unsqueeze of the same axis twice")
    rest = iter(shape)
    return [tuple(1 if at in axes else next(rest) for at in range(rank))]


def _slice(node: _Node) -> list[Shape]:
    shape = list(node.shape(0))
    starts, ends = node.numbers(1), node.numbers(2)
    axes = node.numbers(3) if node.has(3) else tuple(range(len(starts)))
    steps = node.numbers(4) if node.has(4) else (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise _RefusedError("a damaged Slice")
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        at = node.axis(axis, len(shape))
        shape[at] = len(range(*slice(start, end, step).indices(node.shape(0)[at])))
    return [tuple(shape)]


def _expand(node: _Node) -> list[Shape]:
    return [_joined(node, [node.shape(0), node.numbers(1)])]


def _tile(node: _Node) -> list[Shape]:
    shape, times = node.shape(0), node.numbers(1)
    if len(shape) != len(times):
        raise _RefusedError("a damaged Tile")
    return [tuple(length * number for length, number in zip(shape, times, strict=True))]


def _range(node: _Node) -> list[Shape]:
    start, end, step = (node.numbers(at)[0] if len(node.numbers(at)) == 1 else 0 for at in range(3))
    if step == 0:
        raise _RefusedError("a damaged Range")
    return [(len(range(start, end, step)),)] if abs(end - start) < 2**62 else [(2**62,)]


def _reduce(node: _Node) -> list[Shape]:
    shape = node.shape(0)
    given = node.numbers(1) if node.has(1) else ()
    if not given and node.number("noop_with_empty_axes", 0):
        return [shape]
    axes = {node.axis(axis, len(shape)) for axis in given} or set(range(len(shape)))
    node.work = math.prod(shape)
    return [_without(node, shape, axes)]


def _arg(node: _Node) -> list[Shape]:
    shape = node.shape(0)
    return [_without(node, shape, {node.axis(node.number("axis", 0), len(shape))})]


def _without(node: _Node, shape: Shape, axes: set[int]) -> Shape:
    kept = node.number("keepdims", 1)
    return tuple(1 if at in axes else length for at, length in enumerate(shape) if kept or at not in axes)


def _matmul(node: _Node) -> list[Shape]:
    a, b = node.shape(0), node.shape(1)
    if not a or not b:
        raise _RefusedError("a MatMul of a single number")
    left, right = (1, *a) if len(a) == 1 else a, (*b, 1) if len(b) == 1 else b
    if left[-1] != right[-2]:
        raise _RefusedError(f"a MatMul of {list(a)} and {list(b)}")
    front = _joined(node, [left[:-2], right[:-2]])
    node.work = math.prod(front) * left[-2] * left[-1] * right[-1]
    return [(*front, *(() if len(a) == 1 else left[-2:-1]), *(() if len(b) == 1 else right[-1:]))]


def _gemm(node: _Node) -> list[Shape]:
    a, b = node.shape(0), node.shape(1)
    if len(a) != 2 or len(b) != 2:
        raise _RefusedError(f"a Gemm of {list(a)} and {list(b)}")
    a, b = a[::-1] if node.number("transA", 0) else a, b[::-1] if node.number("transB", 0) else b
    if a[1] != b[0] or (node.has(2) and _joined(node, [node.shape(2), (a[0], b[1])]) != (a[0], b[1])):
        raise _RefusedError(f"a Gemm of {list(a)} and {list(b)}")
    node.work = a[0] * a[1] * b[1]
    return [(a[0], b[1])]


def _windows(node: _Node, kernel: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
    """The strides, the extent of the kernel with its dilations, and the pads of both sides of each axis together."""
    axes = len(kernel)
    automatic = node.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "")
    if automatic or node.list("kernel_shape", kernel) != [*kernel]:
        raise _RefusedError(f"the padding or the kernel of {node.operator}")
    strides, dilations = node.list("strides", [1] * axes), node.list("dilations", [1] * axes)
    pads = node.list("pads", [0] * (2 * axes))
    if min([*strides, *dilations, *kernel], default=1) < 1 or min(pads, default=0) < 0:
        raise _RefusedError(f"the strides or the pads of {node.operator}")
    extents = [dilation * (size - 1) + 1 for dilation, size in zip(dilations, kernel, strict=True)]
    return strides, extents, [pads[at] + pads[at + axes] for at in range(axes)]


def _conv(node: _Node) -> list[Shape]:
    image, weights = node.shape(0), node.shape(1)
    group = node.number("group", 1)
    if len(image) != len(weights) or len(image) < 3 or group < 1 or image[1] != weights[1] * group:
        raise _RefusedError(f"a Conv of {list(image)} with {list(weights)}")
    strides, extents, pads = _windows(node, weights[2:])
    sides = [(length + pad - extent) // stride + 1
             for length, pad, extent, stride in zip(image[2:], pads, extents, strides, strict=True)]  # fmt: skip
    node.work = image[0] * math.prod(sides) * math.prod(weights)
    return [(image[0], weights[0], *sides)]


def _conv_transpose(node: _Node) -> list[Shape]:
    image, weights = node.shape(0), node.shape(1)
    group = node.number("group", 1)
    if len(image) != len(weights) or len(image) < 3 or group < 1 or image[1] != weights[0]:
        raise _RefusedError(f"a ConvTranspose of {list(image)} with {list(weights)}")
    strides, extents, pads = _windows(node, weights[2:])
    more = node.list("output_padding", [0] * len(strides))
    sides = [stride * (length - 1) + add + extent - pad for stride, length, add, extent, pad in
             zip(strides, image[2:], more, extents, pads, strict=True)]  # fmt: skip
    node.work = image[0] * math.prod(image[2:]) * math.prod(weights)
    return [(image[0], weights[1] * group, *sides)]


def _pool(node: _Node) -> list[Shape]:
    image = node.shape(0)
    kernel = node.attributes.get("kernel_shape")
    if not isinstance(kernel, list) or len(kernel) != len(image) - 2 or node.number("ceil_mode", 0):
        raise _RefusedError(f"a damaged {node.operator}")
    strides, extents, pads = _windows(node, kernel)
    sides = [(length + pad - extent) // stride + 1
             for length, pad, extent, stride in zip(image[2:], pads, extents, strides, strict=True)]  # fmt: skip
    node.work = math.prod(image[:2]) * math.prod(sides) * math.prod(kernel)
    return [(*image[:2], *sides)]


def _global_pool(node: _Node) -> list[Shape]:
    image = node.shape(0)
    node.work = math.prod(image)
    return [(*image[:2], *(1 for _ in image[2:]))]


def _pad(node: _Node) -> list[Shape]:
    shape, pads = node.shape(0), node.numbers(1)
    if len(pads) != 2 * len(shape) or node.has(3):
        raise _RefusedError("a damaged Pad")
    return [tuple(length + pads[at] + pads[at + len(shape)] for at, length in enumerate(shape))]


def _depth_to_space(node: _Node) -> list[Shape]:
    image, size = node.shape(0), node.number("blocksize", 0)
    if len(image) != 4 or size < 1 or image[1] % size**2:
        raise _RefusedError("a damaged DepthToSpace")
    return [(image[0], image[1] // size**2, image[2] * size, image[3] * size)]


def _constant_node(node: _Node) -> list[Shape]:
    if len(node.attributes) != 1:
        raise _RefusedError("a damaged Constant")
    ((name, value),) = node.attributes.items()
    if name == "value":
        shape, node.known = _constant(value)
        return [shape]
    if name == "value_ints":
        node.known = tuple(value)
    elif name == "value_int":
        node.known = (value,)
    return [(len(value),)] if name.endswith("s") else [()]


def _filled(node: _Node) -> list[Shape]:
    if "value" in node.attributes:
        _constant(node.attributes["value"])
    return [node.numbers(0)]


def _rules(rule: Rule, operators: str, *attributes: str) -> dict[str, tuple[Rule, frozenset[str]]]:
    return {operator: (rule, frozenset(attributes)) for operator in operators.split()}


OPERATORS: dict[str, tuple[Rule, frozenset[str]]] = {
    **_rules(_same, "Relu Sigmoid Exp Log Sqrt Cos Sin Tan Tanh Neg Abs Floor Ceil Round Sign Not BitwiseNot Softplus"),
    **_rules(_same, "Erf Reciprocal Identity HardSwish Mish Softsign Clip"),
    **_rules(_same, "LeakyRelu Elu Selu HardSigmoid", "alpha", "beta", "gamma"),
    **_rules(_same, "Gelu", "approximate"),
    **_rules(_same, "Softmax LogSoftmax", "axis"),
    **_rules(_same, "CumSum", "exclusive", "reverse"),
    **_rules(_same, "LayerNormalization InstanceNormalization BatchNormalization", "axis", "epsilon", "stash_type"),
    **_rules(_cast, "Cast", "to", "saturate"),
    **_rules(_broadcast, "Add Sub Mul Div Pow Max Min Sum Mean And Or Xor Equal Less LessOrEqual Greater Where PRelu"),
    **_rules(_broadcast, "GreaterOrEqual BitwiseAnd BitwiseOr BitwiseXor"),
    **_rules(_broadcast, "Mod", "fmod"),
    **_rules(_broadcast, "BitShift", "direction"),
    **_rules(_reshape, "Reshape", "allowzero"),
    **_rules(_flatten, "Flatten", "axis"),
    **_rules(_transpose, "Transpose", "perm"),
    **_rules(_concat, "Concat", "axis"),
    **_rules(_split, "Split", "axis", "num_outputs"),
    **_rules(_gather, "Gather", "axis"),
    **_rules(_gather_elements, "GatherElements", "axis"),
    **_rules(_squeeze, "Squeeze"),
    **_rules(_unsqueeze, "Unsqueeze"),
    **_rules(_slice, "Slice"),
    **_rules(_expand, "Expand"),
    **_rules(_tile, "Tile"),
    **_rules(_range, "Range"),
    **_rules(_reduce, "ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd", "keepdims", "noop_with_empty_axes"),
    **_rules(_arg, "ArgMax ArgMin", "axis", "keepdims", "select_last_index"),
    **_rules(_matmul, "MatMul"),
    **_rules(_gemm, "Gemm", "alpha", "beta", "transA", "transB"),
    **_rules(_conv, "Conv", "auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"),
    **_rules(
        _conv_transpose, "ConvTranspose", "auto_pad", "dilations", "group", "kernel_shape", "output_padding", "pads",
        "strides",
    ),
    **_rules(_pool, "AveragePool MaxPool", "auto_pad", "ceil_mode", "count_include_pad", "dilations", "kernel_shape",
             "pads", "strides"),
    **_rules(_global_pool, "GlobalAveragePool GlobalMaxPool"),
    **_rules(_pad, "Pad", "mode"),
    **_rules(_depth_to_space, "DepthToSpace", "blocksize", "mode"),
    **_rules(_constant_node, "Constant", "value", "value_int", "value_ints", "value_float", "value_floats"),
    **_rules(_filled, "ConstantOfShape", "value"),
}  # fmt: skip
"""The operators that a graph may use: the rule for the shapes of their outputs, and their attributes."""
