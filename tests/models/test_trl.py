"""On one batch our losses and gradients are TRL's, asked through its own trainers and collators."""

import copy
import json
from dataclasses import replace

import pytest
import torch

from models.batches import Conversations, pad_rows
from models.chat import conversation_rows
from models.objectives import Preference, next_token, reference_likelihoods
from models.shapes import build
from tests.models.conftest import TINY
from tests.models.test_chat import TURNS, saved_tokenizer

SHAPE = replace(TINY, vocab_rows=320)
CALL = {"role": "assistant", "content": "", "tool_calls": [{"name": "add", "arguments": {"a": 1}}]}
TALKS = [TURNS, TURNS[:2], [TURNS[0], CALL, {"role": "tool", "content": "3"}, TURNS[1]]]
REPLIES = [("답은 서울입니다.", "고마워"), ("천만에요.", "수도는 어디인가? 답은"), ("서울", "고마워 고마워")]
ALIKE = [("천만에요.", "수도는 어디인가?"), ("천만에요.", "고마워")]  # chosen replies of one length


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return saved_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
def quiet(tmp_path):
    """What their trainers are told, so that they start without network, GPU or reports."""
    own = {"use_cpu": True, "report_to": "none", "bf16": False, "gradient_checkpointing": False, "max_length": None}
    return own | {"output_dir": str(tmp_path), "per_device_train_batch_size": 8}


def theirs(trainer, count):
    """Their loss and its gradients on the first `count` rows of their dataset; their collator's batch."""
    batch = trainer.data_collator([trainer.train_dataset[row] for row in range(count)])
    loss = trainer.compute_loss(trainer.model, dict(batch))
    return loss.detach(), gradients(trainer.model, loss), batch


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])


def assert_same(ours, theirs):
    torch.testing.assert_close(ours[0], theirs[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(ours[1], theirs[1], rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("filled", [0, 400])
def test_supervised_loss_and_gradients_are_those_of_trl(tokenizer, tmp_path, quiet, filled):
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    file = tmp_path / "talks.jsonl"
    file.write_text("".join(json.dumps({"messages": talk}, ensure_ascii=False) + "\n" for talk in TALKS))
    rows, _ = conversation_rows(file, tokenizer, context=400, limit=0.0)
    model = build(SHAPE, seed=0)
    data = Dataset.from_list([{"input_ids": ids, "assistant_masks": bears} for ids, bears in rows])
    coder = AutoTokenizer.from_pretrained(tokenizer)
    own = {"args": SFTConfig(**quiet), "train_dataset": data, "processing_class": coder}
    loss, slope, batch = theirs(SFTTrainer(copy.deepcopy(model), **own), len(rows))
    assert int((batch["labels"] != -100).sum()) == sum(sum(bears) for _, bears in rows) > 20
    ours, count = next_token(model, Conversations(rows, 0, "sft", filled=filled).batch(0, 1 if filled else len(rows)))
    assert_same((ours / count, gradients(model, ours / count)), (loss, slope))


@pytest.mark.slow
@pytest.mark.parametrize(
    "kinds, weights, replies, likelihood, anchor",
    [
        (["sigmoid"], [1.0], REPLIES, "summed", 0.0),
        (["sigmoid_norm"], [1.0], REPLIES, "per_token", 0.0),
        (
            ["sigmoid", "sft"],
            [1.0, 0.7],
            ALIKE,
            "summed",
            0.7,
        ),  # theirs is a mean over the batch's tokens, ours by pair
        (["sigmoid_norm", "sft"], [1.0, 0.7], REPLIES[:1], "per_token", 0.7),
    ],
)
def test_preference_loss_and_gradients_are_those_of_trl(tokenizer, quiet, kinds, weights, replies, likelihood, anchor):
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    policy, before = build(SHAPE, seed=0), build(SHAPE, seed=1)
    data = Dataset.from_list(
        [{"prompt": "수도는 어디인가? ", "chosen": good, "rejected": bad} for good, bad in replies]
    )
    own = {"processing_class": AutoTokenizer.from_pretrained(tokenizer), "train_dataset": data}
    args = DPOConfig(**quiet, beta=0.3, loss_type=kinds, loss_weights=weights)
    trainer = DPOTrainer(copy.deepcopy(policy), copy.deepcopy(before), args=args, **own)
    loss, slope, batch = theirs(trainer, len(replies))
    rows = []
    for at in range(len(replies)):
        for side in (0, len(replies)):
            length = int(batch["attention_mask"][at + side].sum())
            rows.append([batch[name][at + side, :length].tolist() for name in ("input_ids", "completion_mask")])
    reference = {"reference": reference_likelihoods(before, rows)}
    ours, count = Preference(beta=0.3, anchor=anchor, likelihood=likelihood)(policy, pad_rows(rows) | reference)
    assert int(count) == len(replies) and abs(float(loss) - 0.6931) > 1e-3  # policy and reference differ
    assert_same((ours / count, gradients(policy, ours / count)), (loss, slope))
