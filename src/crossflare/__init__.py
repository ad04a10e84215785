"""crossflare: task models for languages with little data, by fusing a text with its translation inside LoRA."""
