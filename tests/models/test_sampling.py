"""What a model expects: nats of tokens and of choices equal those of the whole text read at once."""

import pytest
import torch

from models.sampling import choice_nats, token_nats


def test_nats_of_tokens_are_the_cross_entropy_of_the_logits(tiny):
    ids = [0, 5, 9, 17, 3]
    with torch.no_grad():
        log_TV = tiny(torch.tensor([ids[:-1]])).logits[0].log_softmax(-1)
    expected = [-float(log_TV[place, token]) for place, token in enumerate(ids[1:])]
    assert token_nats(tiny, ids) == pytest.approx(expected, abs=1e-5)


def test_a_choice_costs_what_its_tokens_cost_after_the_prefix(tiny):
    prefix, choices = [0, 5, 9, 17], [[3, 4], [8], [11, 12, 13]]
    whole = [sum(token_nats(tiny, prefix + choice)[len(prefix) - 1 :]) for choice in choices]
    assert choice_nats(tiny, prefix, choices) == pytest.approx(whole, abs=1e-4)
