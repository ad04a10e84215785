import torch

from crossflare.training.collators import PairCollator, encode
from crossflare.training.inference import logits


def test_logits_come_in_the_order_of_the_rows_whatever_the_batches(new_model, tokenizer, split) -> None:
    model = new_model().train()
    examples = split(23).examples
    rows = encode(tokenizer, examples, 16, with_source=False)
    collate = PairCollator(tokenizer, 16, with_source=False)
    state = torch.get_rng_state()
    together = logits(model, rows, collate, 5, "fp32").fused
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    model.eval()
    for i in range(23):
        batch = {k: v for k, v in collate([rows[i]]).items() if k != "labels"}
        assert torch.allclose(together[i], model(**batch).logits[0], atol=1e-5)
    assert together.dtype == torch.float32
    assert torch.allclose(logits(model, rows, collate, 5, "bf16").fused, together, atol=0.05)
