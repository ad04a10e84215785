"""What a trained adapter does inside: which states it fuses, which tokens it pairs, and which blocks it needs."""
