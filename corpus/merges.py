"""Knows how byte-pair merges are learnt from counted words: those of the Hugging Face trainer, sooner, in less memory.

The same order (count, then smaller ids) and the same arithmetic as `tokenizers.trainers.BpeTrainer`, so the merges are
equal; but it reads counts of words instead of text, so words can be weighted. Cost: one pass over the distinct words,
then as much as the merges change. Sennrich et al. 2016 (arXiv 1508.07909).
"""

from typing import NamedTuple

import numpy as np
from numba import njit, types
from numba.typed import Dict

from corpus.pairs import (
    BASE,
    ROOM,
    begun_lists,
    closed_up,
    count_of,
    enter,
    further,
    key_of,
    note,
    place_of,
    pop,
    push,
    room,
    slot_of,
    table,
    wait,
    wide,
    without,
)
from corpus.pretokens import Words


class Learnt(NamedTuple):
    """Merges in order: ids of left, right and result [merges, 3], and how often each was seen [merges]."""

    merges: np.ndarray
    counts: np.ndarray


def learn(
    words: Words, *, first_ids: np.ndarray, vocab_size: int, least: int, before: np.ndarray | None = None
) -> Learnt:
    """Learns merges until there are `vocab_size` ids or none is seen `least` times.

    first_ids: id of each byte [256], the highest ids so far; before: merges that the words have gone through already
    [merges, 3]; what is learnt comes after them.
    """
    kinds = zip(words.spelled.buffers()[1:], (np.int64, np.uint8), strict=True)
    offsets, letters = (np.frombuffer(buffer, kind) for buffer, kind in kinds)
    ends = offsets[words.spelled.offset : words.spelled.offset + len(words.spelled) + 1]
    sizes, hashes = np.zeros(vocab_size + 1, np.int32), np.zeros(vocab_size + 1, np.uint64)
    sizes[first_ids], hashes[first_ids] = 1, np.arange(1, 257, dtype=np.uint64)
    done = np.empty((0, 3), np.int32) if before is None else before.astype(np.int32)
    known = max(int(first_ids.max()), int(done[:, 2].max(initial=0))) + 1
    counts = words.counts.astype(np.int64, copy=False)
    return Learnt(*_learn(letters, first_ids, ends, counts, done, sizes, hashes, known, vocab_size, least))


@njit(cache=True)
def _coded(letters, ids):
    symbols = np.empty(len(letters), np.int32)
    for at in range(len(letters)):
        symbols[at] = ids[letters[at]]
    return symbols


@njit(cache=True)
def _apply(merges, symbols, starts, lengths, sizes, hashes):
    """Merges each word's symbols in place, and enters the merges' results as tokens."""
    ranks = Dict.empty(types.int64, types.int64)
    for rank in range(len(merges)):
        left, right, new = merges[rank]
        ranks[key_of(left, right)] = rank
        sizes[new], hashes[new] = sizes[left] + sizes[right], _joined(hashes[left], hashes[right], sizes[right])
    for word in range(len(starts)):
        own, size = symbols[starts[word] : starts[word] + lengths[word]], lengths[word]
        while True:
            first = len(merges)
            for at in range(size - 1):
                first = min(first, ranks.get(key_of(own[at], own[at + 1]), first))
            if first == len(merges):
                break
            left, right, new = merges[first]
            at = to = 0
            while at < size:
                pair = at + 1 < size and own[at] == left and own[at + 1] == right
                own[to] = new if pair else own[at]
                at, to = at + 1 + pair, to + 1
            size = to
        lengths[word] = size


@njit(cache=True)
def _learn(letters, first_ids, ends, counts, before, sizes, hashes, known, vocab_size, least):
    starts, lengths = ends[:-1].copy(), (ends[1:] - ends[:-1]).astype(np.int32)
    symbols = _coded(letters, first_ids)  # made here, so that the shorter ones that follow take its place
    if len(before):
        _apply(before, symbols, starts, lengths, sizes, hashes)
    # A pair waits in a heap for its turn: (count, key, begin and end of the list of words that hold it). Every merge
    # that brings a pair makes a list of its own, as there. Pairs seen too seldom are forgotten: they seldom return.
    pairs, fresh, heap, waiting, lists, listed = _begin(symbols, starts, lengths, counts, least)
    ids = Dict.empty(types.uint64, types.int64)
    for token in range(known):
        if sizes[token]:
            ids[hashes[token]] = token
    merges, found, made = np.empty((ROOM, 3), np.int32), np.empty(ROOM, np.int64), 0
    events = np.empty((ROOM, 2), np.int32)  # (list, word)
    while known < vocab_size and waiting > 0:
        count, key, begin, end = heap[0]
        waiting -= 1
        pop(heap, waiting)
        seen = count_of(pairs, key)
        if count != seen:  # other merges took some away since it was put there
            if seen >= least:
                push(heap, waiting, seen, key, begin, end)
                waiting += 1
            continue
        left, right = np.int32(key >> 32), np.int32(key & 0xFFFFFFFF)
        code = _joined(hashes[left], hashes[right], sizes[right])
        if code not in ids:
            ids[code], sizes[known], hashes[known] = known, sizes[left] + sizes[right], code
            known += 1
        new = np.int32(ids[code])
        merges, found = wide(merges, made + 1), wide(found, made + 1)
        merges[made, 0], merges[made, 1], merges[made, 2], found[made] = left, right, new, count
        made += 1
        if 8 * pairs.size[0] > 7 * len(pairs.keys):
            pairs = without(pairs, least)
        begun = happened = 0
        for word in lists[begin:end]:
            more = 2 * lengths[word]
            pairs, fresh, events = room(pairs, more), further(fresh, begun + more), wide(events, happened + more)
            own = symbols[starts[word] : starts[word] + lengths[word]]
            lengths[word], begun, happened = _merge(
                own, left, right, new, word, counts[word], pairs, fresh, begun, events, happened
            )
        if listed + happened > len(lists):
            symbols = _shorter(symbols, starts, lengths)
            lists, listed = closed_up(lists, heap[:waiting], happened, symbols, starts, lengths)
        heap, waiting, listed = wait(heap, waiting, listed, pairs, fresh, begun, least)
        for event in range(happened):
            enter(lists, fresh, events[event, 0], events[event, 1])
    return merges[:made].copy(), found[:made].copy()


@njit(cache=True)
def _begin(symbols, starts, lengths, counts, least):
    """The pairs that the words hold, each waiting with its list; read twice, for these lists are the longest."""
    pairs, fresh, begun = table(ROOM), begun_lists(ROOM), 0
    for word in range(len(starts)):
        pairs, fresh = room(pairs, lengths[word]), further(fresh, begun + lengths[word])
        for at in range(starts[word], starts[word] + lengths[word] - 1):
            slot = slot_of(pairs, key_of(symbols[at], symbols[at + 1]))
            pairs.seen[slot] += counts[word]
            begun, _ = note(pairs, fresh, begun, slot, word)
    heap, waiting, listed = wait(np.empty((ROOM, 4), np.int64), 0, 0, pairs, fresh, begun, least)
    lists = np.empty(listed + listed // 4 + ROOM, np.int32)
    fresh.words[:] = -1
    for word in range(len(starts)):
        for at in range(starts[word], starts[word] + lengths[word] - 1):
            own = pairs.lists[slot_of(pairs, key_of(symbols[at], symbols[at + 1]))]
            if fresh.words[own] != word:
                enter(lists, fresh, own, word)
    return pairs, fresh, heap, waiting, lists, listed


@njit(cache=True)
def _merge(own, left, right, new, word, count, pairs, fresh, begun, events, happened):
    """Merges a word's symbols in place and counts the pairs that go and come; how many are left, begun, happened."""
    at = to = 0
    while at < len(own):
        if at + 1 == len(own) or own[at] != left or own[at + 1] != right:
            own[to] = own[at]
            at, to = at + 1, to + 1
            continue
        for side in range(2):
            if side == 0 and to > 0:
                gone, come = key_of(own[to - 1], left), key_of(own[to - 1], new)
            elif side == 1 and at + 2 < len(own):
                gone, come = key_of(right, own[at + 2]), key_of(new, own[at + 2])
            else:
                continue
            slot = pairs.table[place_of(pairs, gone)]
            if slot >= 0:
                pairs.seen[slot] -= count
            slot = slot_of(pairs, come)
            pairs.seen[slot] += count
            begun, first = note(pairs, fresh, begun, slot, word)
            if first:
                events[happened, 0], events[happened, 1] = pairs.lists[slot], word
                happened += 1
        own[to] = new
        at, to = at + 2, to + 1
    return to, begun, happened


@njit(cache=True)
def _shorter(symbols, starts, lengths):
    """The words' symbols without what merges have freed; their places change."""
    shorter, end = np.empty(lengths.sum(), np.int32), 0
    for word in range(len(starts)):
        shorter[end : end + lengths[word]] = symbols[starts[word] : starts[word] + lengths[word]]
        starts[word], end = end, end + lengths[word]
    return shorter


@njit(cache=True)
def _joined(left, right, size):
    for _ in range(size):
        left *= BASE
    return left + right
