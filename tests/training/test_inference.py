import torch

from crossflare.tasks.kinds import TextTask
from crossflare.training.forms.choosing import HeadForm


def test_logits_come_in_the_order_of_the_rows_whatever_the_batches(new_model, tokenizer, split) -> None:
    model = new_model().train()
    examples = split(23).examples
    form = HeadForm(TextTask("halves", 1, ("low", "high")), tokenizer, 16, with_source=False)
    rows = form.encode(examples)
    state = torch.get_rng_state()
    together = form.read(model, examples, rows, 5, "fp32", "scoring").fused
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    model.eval()
    for i in range(23):
        batch = {k: v for k, v in form.collate([rows[i]]).items() if k != "labels"}
        assert torch.allclose(together[i], model(**batch).logits[0], atol=1e-5)
    assert together.dtype == torch.float32
    assert torch.allclose(form.read(model, examples, rows, 5, "bf16", "scoring").fused, together, atol=0.05)
