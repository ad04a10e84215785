"""Trained adapters in forms that need no crossflare: an ONNX graph, a plain LoRA, or a plain transformers model."""
