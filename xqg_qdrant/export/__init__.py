"""Hub and local checkpoints to model folders; needs the ``export`` extra where it works.

Importing it needs nothing but the base package: torch, transformers and onnx are imported by the
functions that use them.
"""
