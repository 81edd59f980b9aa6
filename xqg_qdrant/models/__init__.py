"""The run time of models: manifests and encoders on onnxruntime, tokenizers and numpy alone."""
