"""Bugs that others found late (midm-facts): each has a law that our code keeps and that fails with the bug put in."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from midm_mini.format import BOS, SPECIAL_TOKENS, Segment
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from torch.nn.functional import cross_entropy
from torch.optim.optimizer import register_optimizer_step_pre_hook

from models import batches, chat, checkpoints, kernels, objectives, shapes
from models import fit as loop
from models.batches import IGNORED, Conversations, Packed, TokenShard
from models.shapes import build
from tests.models.conftest import TINY
from tests.models.test_fit import PLAN

EOS_ID = 2


class Bug(NamedTuple):
    """law(world) asserts what our code promises; put_in(monkeypatch) breaks that code as others' was broken."""

    law: Callable
    put_in: Callable


class World(NamedTuple):
    """What laws look at: a folder of tokens, a tokenizer with its chat tokens, an empty folder."""

    tokens: object
    tokenizer: object
    out: object


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """Bytes and special tokens, no merges."""
    folder, coder = tmp_path_factory.mktemp("tokenizer"), Tokenizer(BPE())
    coder.pre_tokenizer = ByteLevel(add_prefix_space=False)
    trainer = BpeTrainer(
        special_tokens=list(SPECIAL_TOKENS), initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    coder.train_from_iterator([], trainer)
    coder.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def world(tokens, tokenizer, tmp_path):
    return World(tokens, tokenizer, tmp_path)


# Labels shifted twice: by the batch, and once more by the model.


def a_token_is_predicted_from_those_before_it(world):
    model, packed = build(TINY, seed=0), Packed(TokenShard.open(world.tokens, "phase1"), 32, seed=1)
    rows = torch.stack([torch.from_numpy(packed.window(i)) for i in (0, 1)])
    plain = cross_entropy(model(rows[:, :-1]).logits.flatten(0, 1), rows[:, 1:].flatten())
    loss, count = objectives.next_token(model, packed.batch(0, 2))
    torch.testing.assert_close(loss / count, plain)


def the_model_shifts_labels_again(monkeypatch):
    def next_token(model, batch):
        return model(batch["ids"], labels=batch["targets"]).loss, torch.tensor(1)

    monkeypatch.setattr(objectives, "next_token", next_token)


# Missing causal mask.


def a_later_token_changes_no_earlier_loss(world):
    model, ids = build(TINY, seed=0), torch.arange(16).reshape(1, 16) + 3
    targets = torch.full_like(ids, IGNORED).index_fill(1, torch.arange(8), 9)
    other = ids.clone()
    other[:, 9:] = 3
    losses = [objectives.next_token(model, {"ids": each, "targets": targets})[0] for each in (ids, other)]
    torch.testing.assert_close(*losses, rtol=1e-6, atol=0)


def attention_looks_ahead(monkeypatch):
    plain = torch.nn.functional.scaled_dot_product_attention

    def unmasked(q, k, v, attn_mask=None, is_causal=False, **options):
        return plain(q, k, v, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", unmasked)


# A shard's header read as tokens.


def only_written_tokens_are_read(world):
    written = np.fromfile(world.tokens / "phase1.bin", "<u2")
    assert (TokenShard.open(world.tokens, "phase1").ids == written).all()
    header = np.zeros(512, "<u2")  # 256 int32, as llm.c and modded-nanogpt write them
    np.concatenate([header, written]).tofile(world.out / "phase1.bin")
    (world.out / "index.json").write_bytes((world.tokens / "index.json").read_bytes())
    try:
        ids = TokenShard.open(world.out, "phase1").ids
    except ValueError:
        return
    assert len(ids) == len(written), "the header became tokens"


def a_shard_is_whatever_the_file_holds(monkeypatch):
    def opened(folder, phase):
        return TokenShard(np.memmap(folder / f"{phase}.bin", dtype="<u2", mode="r"), phase)

    monkeypatch.setattr(TokenShard, "open", opened)


# Wrong denominator of the loss under gradient accumulation.


def parts_of_a_step_weigh_by_their_targets(world):
    def ends(rows):
        model, packed = build(TINY, seed=0), Packed(TokenShard.open(world.tokens, "phase1"), 32, seed=1)
        batch = packed.batch(0, 4)
        batch["targets"] = batch["targets"].clone()
        batch["targets"][:2, 4:] = IGNORED  # the first part counts 8 targets, the second 64
        plan, calls = replace(PLAN, steps=1, optimizer="adamw"), {"on_step": lambda n, **_: None}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "MICRO_TOKENS", {"cpu": 32 * rows})
            state = world.out / f"rows{rows}"
            curve = loop.fit(
                model, lambda *given: objectives.next_token(*given), lambda *_: batch,
                plan=plan, state=state, probe=lambda *_: {}, **calls,
            )  # fmt: skip
        return curve[0]["loss"]

    assert ends(2) == pytest.approx(ends(4), rel=1e-5)


def each_part_is_averaged_by_itself(monkeypatch):
    plain = objectives.next_token

    def mean(model, batch):
        loss, count = plain(model, batch)
        return loss / count, torch.tensor(1)

    monkeypatch.setattr(objectives, "next_token", mean)


# The end of text masked, because padding is the same id.


def the_end_of_a_text_is_learnt(world):
    batch = Conversations([([3, 4, 5, EOS_ID], [0, 1, 1, 1]), ([3, EOS_ID], [0, 1])], 0, "sft").batch(0, 2)
    assert (batch["targets"] == EOS_ID).sum() == 2
    assert int(objectives.next_token(build(TINY, seed=0), batch)[1]) == 4
    shard = TokenShard(np.array([0, 5, EOS_ID] * 40, "uint16"), "phase1")
    assert (Packed(shard, 30, seed=0).batch(0, 1)["targets"] == EOS_ID).sum() == 10


def padding_is_the_end_of_text(monkeypatch):
    plain = batches.pad_rows

    def pad_rows(rows, width=0):
        batch = plain(rows, width)
        return batch | {"targets": batch["targets"].masked_fill(batch["targets"] == EOS_ID, IGNORED)}

    monkeypatch.setattr(batches, "pad_rows", pad_rows)


def every_end_of_text_is_masked(monkeypatch):
    plain = objectives.next_token

    def next_token(model, batch):
        return plain(model, batch | {"targets": batch["targets"].masked_fill(batch["targets"] == EOS_ID, IGNORED)})

    monkeypatch.setattr(objectives, "next_token", next_token)


# A fused loss that ignores ignore_index.


def ignored_targets_bear_no_loss_and_no_gradient(world):
    draw = torch.Generator().manual_seed(0)
    hidden_ND, head_VD = torch.randn(6, 8, generator=draw), torch.randn(20, 8, generator=draw)
    targets = torch.tensor([IGNORED, 3, IGNORED, 4, 5, 6])
    hidden_ND.requires_grad_()
    loss = kernels.next_token_loss(hidden_ND, head_VD, targets)
    kept = targets != IGNORED
    torch.testing.assert_close(loss, cross_entropy(hidden_ND[kept] @ head_VD.T, targets[kept], reduction="sum"))
    loss.backward()
    assert (hidden_ND.grad[~kept] == 0).all() and (hidden_ND.grad[kept] != 0).any()


def ignored_targets_count_as_the_first_token(monkeypatch):
    plain = kernels.next_token_loss

    def fused(hidden_ND, head_VD, target_N):
        return plain(hidden_ND, head_VD, target_N.clamp(min=0))

    monkeypatch.setattr(kernels, "next_token_loss", fused)


# Clipping that never acted. Adam hides it: its first steps do not depend on the gradient's size.


def what_reaches_the_optimizers_is_clipped(world):
    squares: list[float] = []
    seen: list[dict[str, float]] = []

    def measure(optimizer, args, kwargs):
        grads = [w.grad for group in optimizer.param_groups for w in group["params"] if w.grad is not None]
        squares.append(sum(float(grad.square().sum()) for grad in grads))

    packed, plan = Packed(TokenShard.open(world.tokens, "phase1"), 32, seed=1), replace(PLAN, steps=1, clip=0.01)
    hook = register_optimizer_step_pre_hook(measure)
    try:
        loop.fit(
            build(TINY, seed=0), objectives.next_token, packed.batch,
            plan=plan, state=world.out / "clipped", on_step=lambda n, **curve: seen.append(curve), probe=lambda *_: {},
        )  # fmt: skip
    finally:
        hook.remove()
    assert max(curve.get("train/grad_norm", 0) for curve in seen) > 10 * plan.clip, "nothing was to be clipped"
    assert squares and sum(squares) ** 0.5 == pytest.approx(plan.clip, rel=1e-3)


def the_norm_is_measured_and_nothing_is_scaled(monkeypatch):
    monkeypatch.setattr(loop, "clip_factor", lambda norm, clip: 1.0)


# RoPE's theta lost on the way to disk and back.


def a_saved_model_predicts_what_it_predicted(world):
    model, ids = build(replace(TINY, rope_theta=8e6), seed=0), torch.arange(24).reshape(1, 24) + 3
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(5)  # far from the first, almost uniform, predictions
        checkpoints.save(model, world.out / "saved", tokenizer=world.tokenizer)
        again = checkpoints.load(world.out / "saved")
        torch.testing.assert_close(again(ids).logits, model(ids).logits)
    assert shapes.shape_of(again.config).rope_theta == 8e6


def a_config_comes_back_without_theta(monkeypatch):
    plain = checkpoints.load

    def load(folder):
        file = folder / "config.json"
        lost = {key: value for key, value in json.loads(file.read_text()).items() if not key.startswith("rope")}
        file.write_text(json.dumps(lost))
        return plain(folder)

    monkeypatch.setattr(checkpoints, "load", load)


# Two BOS: one by the template, one by the tokenizer.


def a_chat_opens_with_one_bos(world):
    messages = [{"role": "user", "content": "수도는"}, {"role": "assistant", "content": "서울이다."}]
    file = world.out / "chat.jsonl"
    file.write_text(json.dumps({"messages": messages}, ensure_ascii=False) + "\n", encoding="utf-8")
    ((ids, bears),), _ = chat.conversation_rows(file, world.tokenizer, context=64, limit=0.0)
    assert ids[0] == 0 and ids.count(0) == 1
    assert not bears[0]


def the_template_and_the_tokenizer_write_it(monkeypatch):
    plain = chat.chat_segments
    monkeypatch.setattr(chat, "chat_segments", lambda messages, tools: [Segment(BOS, True, False), *plain(messages)])


# Generation that does not stop at the end of a turn; padding that is the end of text.


def generation(world):
    checkpoints.save(build(TINY, seed=0), world.out / "stops", tokenizer=world.tokenizer)
    return json.loads((world.out / "stops" / "generation_config.json").read_text())


def generation_stops_at_the_end_of_a_turn_and_of_a_text(world):
    rows = json.loads((world.tokenizer / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    ids = {row["content"]: row["id"] for row in rows}
    assert set(generation(world)["eos_token_id"]) == {ids["<|eot_id|>"], EOS_ID}


def only_the_end_of_text_stops(monkeypatch):
    monkeypatch.setattr(checkpoints, "stop_ids", lambda tokenizer: [EOS_ID])


def padding_ends_nothing(world):
    saved, config = generation(world), build(TINY, seed=0).config
    stops = {*saved["eos_token_id"], config.eos_token_id}
    assert saved["pad_token_id"] not in stops and config.pad_token_id not in stops
    batch = batches.pad_rows([([5, 6, 7], [0, 1, 1]), ([5, 6], [0, 1])])
    assert not stops & set(batch["ids"].flatten().tolist()), "a row is padded with a stop"


def the_config_pads_with_the_end(monkeypatch):
    plain = shapes.config_of

    def config_of(shape):
        config = plain(shape)
        config.pad_token_id = config.eos_token_id
        return config

    monkeypatch.setattr(shapes, "config_of", config_of)


BUGS = {
    "labels shifted twice": Bug(a_token_is_predicted_from_those_before_it, the_model_shifts_labels_again),
    "missing causal mask": Bug(a_later_token_changes_no_earlier_loss, attention_looks_ahead),
    "header read as tokens": Bug(only_written_tokens_are_read, a_shard_is_whatever_the_file_holds),
    "wrong denominator": Bug(parts_of_a_step_weigh_by_their_targets, each_part_is_averaged_by_itself),
    "eos masked in padding": Bug(the_end_of_a_text_is_learnt, padding_is_the_end_of_text),
    "eos masked in the loss": Bug(the_end_of_a_text_is_learnt, every_end_of_text_is_masked),
    "ignore_index ignored": Bug(ignored_targets_bear_no_loss_and_no_gradient, ignored_targets_count_as_the_first_token),
    "clipping never acts": Bug(what_reaches_the_optimizers_is_clipped, the_norm_is_measured_and_nothing_is_scaled),
    "theta lost": Bug(a_saved_model_predicts_what_it_predicted, a_config_comes_back_without_theta),
    "two bos": Bug(a_chat_opens_with_one_bos, the_template_and_the_tokenizer_write_it),
    "no stop at a turn's end": Bug(generation_stops_at_the_end_of_a_turn_and_of_a_text, only_the_end_of_text_stops),
    "pad = eos": Bug(padding_ends_nothing, the_config_pads_with_the_end),
}


@pytest.mark.parametrize("name", BUGS)
def test_our_code_keeps_the_law(name, world):
    BUGS[name].law(world)


@pytest.mark.parametrize("name", BUGS)
def test_the_law_fails_once_the_bug_is_put_in(name, world, monkeypatch):
    BUGS[name].put_in(monkeypatch)
    with pytest.raises(AssertionError):
        BUGS[name].law(world)
