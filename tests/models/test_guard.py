"""The guard: sound updates pass, unsound ones have a reason, and no bit changes unseen."""

import math
import random

import pytest
import torch

from models.guard import Guard, Seal, batch_fault


def seasoned(steps=128, noise=0.1):
    guard, draw = Guard(), random.Random(1)
    for _ in range(steps):
        guard.accept(3 + noise * draw.gauss(0, 1), 1 + noise * draw.gauss(0, 1))
    return guard


@pytest.mark.parametrize("loss, norm", [(math.nan, 1), (3, math.nan), (math.inf, 1), (3, math.inf)])
def test_what_is_not_a_number_is_never_applied(loss, norm):
    assert Guard().update_fault(loss, norm) and seasoned().update_fault(loss, norm)


def test_six_sigma_is_the_limit_of_loss_and_of_norm():
    guard = seasoned()
    assert not guard.update_fault(3.4, 1.4)
    assert "loss" in guard.update_fault(3.8, 1)
    assert "norm" in guard.update_fault(3, 2.7)


def test_a_fall_is_never_a_spike():
    assert not seasoned().update_fault(0.1, 0.001)


def test_nothing_is_called_a_spike_before_enough_was_seen():
    assert not seasoned(63).update_fault(30, 100)
    assert seasoned(64).update_fault(30, 100)


def test_a_model_that_knows_its_text_may_still_stumble():
    guard = seasoned(noise=0.0)
    assert not guard.update_fault(3.2, 1.0) and not guard.update_fault(3.0, 2.0)


def test_a_batch_teaches_nothing_when_no_target_counts_or_nearly_all_are_one_token():
    assert batch_fault(torch.full((2, 64), -100)) == "no target counts"
    assert not batch_fault(torch.arange(128).view(2, 64))
    mostly = torch.full((2, 64), 7)
    mostly[0, :10] = torch.arange(10)
    assert "token 7" in batch_fault(mostly)
    mostly[1, :10] = torch.arange(10)
    assert not batch_fault(mostly)


def test_a_short_reply_may_be_one_token():
    assert not batch_fault(torch.tensor([[-100] * 60 + [5, 5]]))


@pytest.mark.parametrize("bit", range(32))
def test_every_flipped_bit_breaks_the_seal(bit):
    weights = [torch.randn(8, 4), torch.randn(5)]
    seal = Seal(weights)
    assert not seal.broken()
    for weight in weights:
        words = weight.view(-1).view(torch.int32)
        words[-1] ^= -(2**31) if bit == 31 else 1 << bit
    assert seal.broken() == 2
    seal.close()
    assert not seal.broken()
