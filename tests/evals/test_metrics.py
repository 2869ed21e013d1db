"""What the metrics must obey whatever the model."""

import math

import numpy as np
import pytest

from evals import metrics
from evals.subject import SubjectError


def test_windows_score_each_token_once_and_open_with_bos():
    ids = list(range(37))
    cut = list(metrics.windows(ids, bos=99, context=8))
    assert [t for _, targets in cut for t in targets] == ids
    assert all(inputs[0] == 99 and len(inputs) == len(targets) <= 8 for inputs, targets in cut)
    assert all(inputs[1:] == targets[:-1] for inputs, targets in cut)


def test_a_uniform_model_needs_log2_of_the_vocabulary_per_token(fakes):
    texts = ["안녕하세요, 긴 글입니다. 창이 여럿 필요합니다.", "short", "😀"]
    found = metrics.weighed(fakes.Subject(fakes.uniform), texts)
    size = sum(len(text.encode()) for text in texts)
    tokens = size  # one token per byte
    assert found["bpb"] == pytest.approx(math.log2(fakes.V) * tokens / size, abs=1e-9) and found["n_bytes"] == size


def test_likelihoods_are_stable_for_huge_logits_and_equal_log_softmax():
    rng = np.random.default_rng(0)
    logits = (rng.normal(size=(300, 50)) * 5 + rng.choice([-1e4, 0, 1e4], size=(300, 1))).astype(np.float32)
    targets = rng.integers(0, 50, size=300)
    wide = logits.astype(np.longdouble) - logits.max(axis=1, keepdims=True)
    want = (wide[np.arange(300), targets] - np.log(np.exp(wide).sum(axis=1))).sum()
    assert metrics.continuation(logits, list(targets)) == pytest.approx(float(want), abs=1e-2, rel=1e-6)


def test_divergence_of_a_model_from_itself_is_zero(fakes):
    result = metrics.divergence(
        fakes.Subject(fakes.noise(1)), fakes.Subject(fakes.noise(1)), ["한국어 text " * 9], max_positions=50
    )
    assert result == {"kl_parent": 0.0, "kl_parent_p999": 0.0, "top1_parent": 1.0, "n_positions": 50}


def test_divergence_equals_the_closed_form_and_runs_the_parent_once_per_window(fakes):
    def biased(ids):
        logits = np.zeros((len(ids), fakes.V), dtype=np.float32)
        logits[:, 0] = math.log(fakes.V - 1)  # token 0 has probability 1/2
        return logits

    parent, subject = fakes.Subject(biased), fakes.Subject(fakes.uniform)
    result = metrics.divergence(subject, parent, ["a" * 40], max_positions=1000)
    others = fakes.V - 1
    want = 0.5 * math.log(0.5 * fakes.V) + others * (0.5 / others) * math.log(0.5 / others * fakes.V)
    assert result["kl_parent"] == pytest.approx(want, abs=1e-6)
    assert result["n_positions"] == 40 and len(parent.calls) == 3
    assert result["top1_parent"] == 1.0  # argmax of a constant row is its first column: token 0 in both


def test_models_that_cut_text_differently_cannot_be_compared(fakes):
    other = fakes.Subject(fakes.uniform, name="other")
    other.encode = lambda text: [1]
    with pytest.raises(SubjectError, match="cut 'text' differently"):
        metrics.divergence(fakes.Subject(fakes.uniform), other, ["text"], max_positions=5)


def test_a_model_with_another_vocabulary_is_no_parent(fakes):
    narrow = fakes.Subject(lambda ids: np.zeros((len(ids), 9), np.float32))
    with pytest.raises(SubjectError, match="not its parent"):
        metrics.divergence(fakes.Subject(fakes.uniform), narrow, ["text"], max_positions=5)


def test_wilson_interval_matches_published_values_and_stays_in_bounds():
    def interval(successes, n):
        found = metrics.rate([True] * successes + [False] * (n - successes))
        return found["low"], found["high"]

    assert interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)  # Newcombe 1998, table I, method 3
    assert interval(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert interval(29, 29)[1] == 1.0
    assert interval(0, 0) == (0.0, 1.0)


def test_marks_are_paired_by_what_only_one_of_them_got_right():
    same = metrics.paired("1100" * 100, "1100" * 100)
    assert (same["value"], same["low"], same["high"], same["n"]) == (0, 0, 0, 400)
    found = metrics.paired("1" * 9 + "0" + "10" * 45, "0" * 9 + "1" + "10" * 45)
    assert found["value"] == 0.08 and found["n"] == 100
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * ((0.1 - 0.08**2) / 100) ** 0.5, rel=0.06)
    with pytest.raises(ValueError, match="not of the same items"):
        metrics.paired("1", "11")


def test_a_difference_changes_its_sign_with_the_order_and_nothing_else():
    generator = np.random.default_rng(1)
    ours, theirs, sizes = generator.gamma(2, 1, 40), generator.gamma(2, 1, 40), generator.integers(1, 9, 40)
    there, back = metrics.difference(ours, theirs, sizes), metrics.difference(theirs, ours, sizes)
    for here, mirrored in (("value", "value"), ("low", "high"), ("high", "low")):
        assert there[here] == pytest.approx(-back[mirrored], abs=1e-9)
    assert there == metrics.difference(ours, theirs, sizes)
    assert there["value"] == pytest.approx((ours.sum() - theirs.sum()) / sizes.sum())


def test_the_interval_is_that_of_scipys_paired_bootstrap():
    stats = pytest.importorskip("scipy.stats")
    generator = np.random.default_rng(2)
    ours, theirs, sizes = generator.gamma(2, 1, 60), generator.gamma(2, 1, 60), generator.integers(1, 9, 60)
    found = metrics.difference(ours, theirs, sizes, resamples=4000)
    peer = stats.bootstrap(
        (ours, theirs, sizes),
        lambda a, b, n, axis=-1: (a - b).sum(axis) / n.sum(axis),
        paired=True, method="percentile", n_resamples=4000, rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    width = peer.high - peer.low
    assert found["low"] == pytest.approx(peer.low, abs=0.05 * width)
    assert found["high"] == pytest.approx(peer.high, abs=0.05 * width)


def test_the_interval_holds_the_true_difference_about_nineteen_times_in_twenty():
    generator = np.random.default_rng(3)
    hit = 0
    for _ in range(300):
        skill = generator.random(60)  # easy and hard questions: the two are alike on each
        ours, theirs = generator.random(60) < 0.2 + 0.7 * skill, generator.random(60) < 0.1 + 0.7 * skill
        found = metrics.difference(ours, theirs, np.ones(60), resamples=500)
        hit += found["low"] <= 0.1 <= found["high"]
    assert 0.90 < hit / 300 < 0.985


def test_bits_per_byte_can_be_told_from_the_documents_it_is_made_of(fakes):
    found = metrics.weighed(fakes.Subject(fakes.noise(4)), ["한 글", "another text", "셋"])
    assert found["bpb"] == pytest.approx(sum(found["nats"]) / math.log(2) / sum(found["bytes"]), rel=1e-4)
    assert found["n_bytes"] == sum(found["bytes"]) == len("한 글another text셋".encode())
    again = metrics.difference(found["nats"], [0.0] * 3, [size * math.log(2) for size in found["bytes"]])
    assert again["value"] == pytest.approx(found["bpb"], rel=1e-4)
