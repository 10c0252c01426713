"""From a trained run to a model folder: the three ONNX graphs, the proof that they agree with PyTorch, the papers."""
