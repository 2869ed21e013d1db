"""Each objective equals its plain definition, in value and gradient."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from models import objectives
from models.batches import IGNORED


@pytest.fixture
def batch():
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 120, (3, 17), generator=draw)
    targets = ids[:, 1:].clone()
    targets[0, :5] = IGNORED
    return {"ids": ids[:, :-1], "targets": targets}


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return torch.cat([w.grad.flatten() for w in model.parameters()])


def test_next_token_equals_the_models_own_loss(tiny, batch):
    loss, count = objectives.next_token(tiny, batch)
    logits = tiny(batch["ids"]).logits
    plain = cross_entropy(logits.flatten(0, 1), batch["targets"].flatten(), ignore_index=IGNORED, reduction="sum")
    assert int(count) == int((batch["targets"] != IGNORED).sum()) == 43
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(gradients(tiny, objectives.next_token(tiny, batch)[0]), gradients(tiny, plain))


def test_a_later_token_does_not_change_an_earlier_prediction(tiny, batch):
    other = batch["ids"].clone()
    other[:, 9:] = 3
    with torch.no_grad():
        before, after = tiny(batch["ids"]).logits[:, :9], tiny(other).logits[:, :9]
    torch.testing.assert_close(before, after)


def test_preference_of_an_unchanged_model_is_ln_2_per_pair(tiny, batch):
    pairs = {name: torch.cat([tensor, tensor.flip(0)])[:4] for name, tensor in batch.items()}
    loss, count = objectives.Preference(tiny, beta=0.1, anchor=0.0)(tiny, pairs)
    assert int(count) == 2
    assert float(loss / count) == pytest.approx(math.log(2), rel=1e-5)
