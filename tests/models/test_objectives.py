"""Each objective equals its plain definition, in value and gradient."""

import math
from itertools import pairwise

import pytest
import torch
from torch.nn.functional import cross_entropy

from models import objectives
from models.batches import IGNORED, Conversations, pad_rows
from tests.models.conftest import heard


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


@pytest.fixture
def pairs(tiny):
    """Three pairs of a prompt of four ids and replies of 3 to 9, and a batch of them with what `tiny` says of each."""
    draw = torch.Generator().manual_seed(2)
    rows = []
    for size in (3, 9, 5, 4, 7, 7):
        rows.append((torch.randint(3, 120, (4 + size,), generator=draw).tolist(), [0] * 4 + [1] * size))
    said = objectives.reference_likelihoods(tiny, rows, at_once=4)
    return Conversations(rows, 0, "dpo", group=2, beside={"reference": said})


def test_the_reference_is_what_the_model_says_of_each_row_alone(tiny, pairs):
    alone = [-objectives.next_token(tiny, pad_rows([row]))[0] for row in pairs.rows]
    torch.testing.assert_close(pairs.beside["reference"], torch.stack(alone).detach())
    batch = pairs.batch(0, 3)
    torch.testing.assert_close(objectives.reply_log_likelihood(tiny, batch).detach(), batch["reference"])


@pytest.mark.parametrize("likelihood", ["summed", "per_token"])
def test_preference_of_an_unchanged_model_is_ln_2_per_pair(tiny, pairs, likelihood):
    loss, count = objectives.Preference(beta=0.1, anchor=0.0, likelihood=likelihood)(tiny, pairs.batch(0, 3))
    assert int(count) == 3
    assert loss.item() / 3 == pytest.approx(math.log(2), rel=1e-5)


def test_a_reply_wins_nothing_by_its_length_when_its_likelihood_is_a_mean(tiny, pairs):
    batch = pairs.batch(0, 3)
    length = (batch["targets"] != IGNORED).sum(-1)
    one_nat_a_token = batch | {"reference": batch["reference"] - length}
    mean, summed = (
        objectives.Preference(beta=1.0, anchor=0.0, likelihood=likelihood)(tiny, one_nat_a_token)[0].item()
        for likelihood in ("per_token", "summed")
    )
    assert mean == pytest.approx(3 * math.log(2), rel=1e-4)
    longer = (length[0::2] - length[1::2]).float()
    assert summed == pytest.approx(float(-torch.nn.functional.logsigmoid(longer).sum()), rel=1e-4)


@pytest.fixture
def talks():
    """Seven conversations of two turns: bos and a question without loss, a reply with it, twice."""
    draw = torch.Generator().manual_seed(1)
    rows = []
    for size in (5, 9, 12, 3, 7, 11, 6):
        turn = [0] * size + [1] * (size - 1)
        ids = torch.randint(3, 120, (2 * len(turn) - 1,), generator=draw).tolist()
        rows.append(([0, *ids], turn + turn))
    return rows


def test_packed_conversations_have_the_loss_and_the_gradients_of_each_alone(tiny, talks):
    heard(tiny)
    packed = Conversations(talks, 0, "sft", filled=64)
    rows = 0
    while sum(len(packed.example(row)) for row in range(rows)) < len(talks):
        rows += 1
    batch = packed.batch(0, rows)
    assert 1 < rows < len(talks) and int((batch["targets"] != IGNORED).sum()) == sum(sum(bears) for _, bears in talks)
    alone = [objectives.next_token(tiny, pad_rows([row])) for row in talks]
    together = objectives.next_token(tiny, batch)
    assert int(together[1]) == sum(int(count) for _, count in alone)
    loss = sum(loss for loss, _ in alone)
    torch.testing.assert_close(together[0], loss, rtol=0, atol=1e-5 * float(together[1]))
    each = gradients(tiny, loss)
    torch.testing.assert_close(gradients(tiny, together[0]), each, rtol=1e-5, atol=1e-5)
    joined = {name: batch[name] for name in ("ids", "targets")}  # without positions they see one another
    assert abs(float(objectives.next_token(tiny, joined)[0] - loss)) > 1e-2


def test_the_first_token_of_each_reply_counts_as_often_as_asked_and_text_as_before(tiny, talks):
    batch = Conversations(talks, 0, "sft", filled=64).batch(0, 2)
    logits = tiny.lm_head(objectives.hidden_states(tiny, batch))
    nats = cross_entropy(logits.flatten(0, 1), batch["targets"].flatten(), ignore_index=IGNORED, reduction="none")
    weights = [[3 if counts and not before else int(counts) for before, counts in pairwise([False, *row])]
               for row in (batch["targets"] != IGNORED).tolist()]  # fmt: skip
    loss, count = objectives.next_token(tiny, batch, opening=3)
    assert int(count) == sum(map(sum, weights)) > int(objectives.next_token(tiny, batch)[1])
    torch.testing.assert_close(loss, (nats * torch.tensor(weights).flatten()).sum())
    text = {"ids": batch["ids"], "targets": batch["ids"].roll(-1, 1)}
    torch.testing.assert_close(objectives.next_token(tiny, text, opening=3), objectives.next_token(tiny, text))


def test_gradient_comes_through_the_assistants_targets_alone(tiny, talks):
    ids, bears = talks[2]
    batch = pad_rows([(ids, bears)])
    logits = tiny(batch["ids"]).logits.detach().requires_grad_()
    plain = cross_entropy(logits.flatten(0, 1), batch["targets"].flatten(), ignore_index=IGNORED, reduction="sum")
    plain.backward()
    touched = logits.grad.abs().sum(-1)[0] > 0
    assert touched.tolist() == [bool(b) for b in bears[1:]]
    loss = objectives.next_token(tiny, batch)[0]
    torch.testing.assert_close(loss, plain)
    own = gradients(tiny, loss)
    asked = [place for place, b in enumerate(bears[1:]) if not b]
    other = batch["targets"].clone()
    other[0, asked] = torch.tensor(ids[1:])[asked] + 1  # as targets the questions' ids count for nothing ...
    masked = {"ids": batch["ids"], "targets": other.masked_fill(torch.tensor([bears[1:]]) == 0, IGNORED)}
    again = objectives.next_token(tiny, masked)[0]
    assert float(again) == float(loss) and torch.equal(gradients(tiny, again), own)
    unmasked = objectives.next_token(tiny, batch | {"targets": torch.tensor([ids[1:]])})[0]
    assert not torch.allclose(gradients(tiny, unmasked), own, atol=1e-3)  # ... which they would, were they not masked


def test_a_step_makes_the_assistants_tokens_likelier(tiny, talks):
    batch = pad_rows([talks[2]])
    before = objectives.next_token(tiny, batch)[0]
    before.backward()
    with torch.no_grad():
        for weight in tiny.parameters():
            weight -= 1e-3 * weight.grad
        assert float(objectives.next_token(tiny, batch)[0]) < float(before)
