"""Makes a graph that makes one picture, for tools that turn graphs into C and need to know every size.

    pip install onnx onnxruntime emx-onnx-cgen
    python one_picture.py ../model/generator.onnx one.onnx
    python -m emx_onnx_cgen compile --model-name model --large-weight-threshold 0 one.onnx model.c

The function `model` of the C file takes a seed and an index, and gives the picture and its latent.
"""

import sys

import numpy as np
import onnx
import onnxruntime

source, target = sys.argv[1:]
model = onnx.load(source)
(count,) = (given for given in model.graph.input if given.name == "count")
model.graph.input.remove(count)
model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(1, np.int64), "count"))
options = onnxruntime.SessionOptions()
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC  # computes what is constant now
options.optimized_model_filepath = target
onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
