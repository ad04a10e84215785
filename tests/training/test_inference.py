import numpy as np
import torch

from crossflare.tasks.kinds import TextTask
from crossflare.training.forms.choosing import HeadForm


def test_what_a_head_says_comes_in_the_order_of_the_rows_whatever_the_batches(new_model, tokenizer, split) -> None:
    model = new_model().train()
    examples = split(23).examples
    form = HeadForm(TextTask("halves", 1, ("low", "high")), tokenizer, 16, with_source=False)
    rows = form.encode(examples)
    state = torch.get_rng_state()
    together = form.read(model, examples, rows, 5, "fp32", "scoring").log_probabilities
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    model.eval()
    for i in range(23):
        batch = {k: v for k, v in form.collate([rows[i]]).items() if k != "labels"}
        np.testing.assert_allclose(together[i], model(**batch).logits[0].detach().log_softmax(-1).numpy(), atol=1e-5)
    assert together.dtype == np.float64
    halved = form.read(model, examples, rows, 5, "bf16", "scoring").log_probabilities
    np.testing.assert_allclose(halved, together, atol=0.05)
