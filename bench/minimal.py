"""The smallest script that makes fifty pictures: `python minimal.py GENERATOR.onnx OUT.png`."""

import sys

import numpy as np
import onnxruntime
from PIL import Image

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
window = {"seed": 0, "start": 0, "count": 50}
images, _ = session.run(None, {name: np.array(value, np.int64) for name, value in window.items()})
grid = (255 * images[:, 0] + 0.5).astype(np.uint8).reshape(5, 10, 28, 28).transpose(0, 2, 1, 3).reshape(140, 280)
Image.fromarray(grid).resize((1120, 560), Image.Resampling.NEAREST).save(sys.argv[2])
