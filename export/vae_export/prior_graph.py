"""latents.onnx: (seed, start, count, prior, label, temperature) → latents and their classes.

    seed, start, count  i64 []    as everywhere (docs/seed-contract.md)
    prior               i64 []    0 the standard normal, 1 the fitted prior
    label               i64 []    −1 any class, else its index; with prior 0 it must be −1
    temperature         f32 []    what the noise is multiplied with
    latent              f32 [count, dimensions]
    labels              i64 [count]   the class drawn or given, −1 where the prior has none
    noise               f32 [count, k]   for the detail stage, where the model has one (`vae_gen.internal.noise`)

The output is `labels`, not `label`: within an ONNX graph a name stands for one value.

What it computes is stated in `prior`, whose tables it holds. One Philox evaluation makes the words of all
three streams, counters being rows of one tensor: 116 nodes, 42 µs for one latent and 92 µs for 64 on one Zen 3 core,
where an evaluation of its own for the two choices takes 189 nodes, 62 and 124 µs. Words run along the last axis and
thresholds along the first, so that counting those that a word has reached needs no transposition. `prior` multiplies
the component's index: 0 leads to component 0, which is N(0, I) with an exact identity for a factor.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from vae_gen import DetailSpec, FittedPrior
from vae_gen.internal.manifest import Prior
from vae_gen.internal.philox import CLASS_STREAM, COMPONENT_STREAM, DETAIL_STREAM

from .seed_graph import IR_VERSION, OPSET, Nodes, box_muller, latent_counters, philox

DEFAULTS: dict[str, NDArray[Any]] = {
    "prior": np.array(1, np.int64),
    "label": np.array(-1, np.int64),
    "temperature": np.array(1, np.float32),
}
"""What a generator fixes whose default is the fitted prior."""


def prior_graph(prior: FittedPrior, detail: DetailSpec | None = None) -> onnx.ModelProto:
    """The graph over the tables of a prior, at opset 18 and IR version 8; with noise for a detail stage."""
    nodes = Nodes()
    normal = latent_counters(prior.dimensions)
    of_detail = [] if detail is None else latent_counters(detail.noise, DETAIL_STREAM)
    words = philox(nodes, [*normal, *of_detail, (0, COMPONENT_STREAM), (0, CLASS_STREAM)])
    sizes = [len(normal), *([len(of_detail)] if of_detail else []), 2]
    for_normals, *for_detail, for_choices = nodes.split_sizes(words, sizes, axis=1)  # [4, blocks, count], [4, 2, count]
    noise = box_muller(nodes, for_normals, prior.dimensions)
    component = _component(nodes, for_choices, prior)
    nodes.add("Gather", nodes.constant(prior.labels, np.int64), component, name="labels")
    if detail is not None:
        # A row for each component: `class_shift` at the number of its class.
        shifts = np.float32(detail.class_shift) * (prior.labels[:, None] == np.arange(detail.noise))
        shift = nodes.add("Gather", nodes.constant(shifts, np.float32), component)  # [count, k]
        nodes.add("Add", box_muller(nodes, for_detail[0], detail.noise), shift, name="noise")

    column = nodes.add("Unsqueeze", nodes.add("Mul", noise, "temperature"), nodes.constant([2], np.int64))
    factors = nodes.add("Gather", nodes.constant(prior.factors, np.float32), component)  # [count, width, width]
    spread = nodes.add("Squeeze", nodes.add("MatMul", factors, column), nodes.constant([2], np.int64))
    nodes.add("Add", nodes.add("Gather", nodes.constant(prior.means, np.float32), component), spread, name="latent")

    whole = ("seed", "start", "count", "prior", "label")
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, []) for name in whole]
    outputs = [
        helper.make_tensor_value_info("latent", TensorProto.FLOAT, ["count", prior.dimensions]),
        helper.make_tensor_value_info("labels", TensorProto.INT64, ["count"]),
    ]
    if detail is not None:
        outputs.append(helper.make_tensor_value_info("noise", TensorProto.FLOAT, ["count", detail.noise]))
    inputs.append(helper.make_tensor_value_info("temperature", TensorProto.FLOAT, []))
    graph = helper.make_graph(nodes.nodes, "latents", inputs, outputs, nodes.constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def default_latent_graph(
    prior: FittedPrior, default_prior: Prior = "fitted", detail: DetailSpec | None = None
) -> onnx.ModelProto:
    """The same with its choices fixed: seed, start and count in, the latent out, and the noise with a detail stage.

    Any label, temperature 1; prior 1 for the fitted one, else 0.
    """
    model = prior_graph(prior, detail)
    graph = model.graph
    chosen = DEFAULTS | {"prior": np.array(default_prior == "fitted", np.int64)}
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in chosen.items())
    for values, dropped in ((graph.input, tuple(DEFAULTS)), (graph.output, ("labels",))):
        kept = [value for value in values if value.name not in dropped]
        del values[:]
        values.extend(kept)
    nodes = [node for node in graph.node if "labels" not in node.output]
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in graph.node for name in node.input}
    constants = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(constants)
    return model


def _component(nodes: Nodes, words: str, prior: FittedPrior) -> str:
    """The row of the tables for each index, int64 [count], from the words of the two choices, uint64 [4, 2, count]."""
    zero = nodes.constant(0, np.int64)
    first_words = nodes.add("Cast", nodes.add("Gather", words, zero, axis=0), to=TensorProto.INT64)  # w0, [2, count]
    for_component, for_class = nodes.split(first_words, 2)  # each [1, count]
    drawn = _reached(nodes, for_class, nodes.constant(prior.class_thresholds[:, None], np.int64))
    given = nodes.add("GreaterOrEqual", "label", zero)
    chosen = nodes.add("Where", given, "label", drawn)  # [count]
    table = nodes.constant(prior.component_thresholds.T, np.int64)  # [most components, mixtures]
    within = _reached(nodes, for_component, nodes.add("Gather", table, chosen, axis=1))
    component = nodes.add("Add", nodes.add("Gather", nodes.constant(prior.first, np.int64), chosen), within)
    return nodes.add("Mul", component, "prior")


def _reached(nodes: Nodes, word: str, thresholds: str) -> str:
    """How many thresholds [n, count] or [n, 1] are at most the word [1, count]: int64 [count]."""
    ones = nodes.add("Cast", nodes.add("GreaterOrEqual", word, thresholds), to=TensorProto.INT64)
    return nodes.add("ReduceSum", ones, nodes.constant([0], np.int64), keepdims=0)
