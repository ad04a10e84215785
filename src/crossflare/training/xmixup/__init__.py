"""X-Mixup (Yang et al., ICLR 2022, arXiv 2205.04182): one block of an encoder mixes the target with its source."""
