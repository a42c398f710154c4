"""Networks, weights and arrays of other libraries: ONNX, PyTorch, Keras, DLPack."""
