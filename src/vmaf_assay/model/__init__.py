"""The ensembles: inputs, sidecar, ONNX and inference."""
