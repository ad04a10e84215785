"""From texts to tensors: tokens, prompts, windows of long contexts, and their batches."""
