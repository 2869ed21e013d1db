"""Knows how byte-pair merges are learnt from counted words: those of the Hugging Face trainer, sooner, in less memory.

The same order (count, then smaller ids) and the same arithmetic as `tokenizers.trainers.BpeTrainer`, so the merges are
equal; but it reads counts of words instead of text, so words can be weighted. Cost: one pass over the distinct words,
then as much as the merges change. Sennrich et al. 2016 (arXiv 1508.07909).
"""

from typing import NamedTuple

import numpy as np
from numba import njit, types
from numba.typed import Dict

from corpus.pretokens import Words

_BASE = np.uint64(0x9E3779B97F4A7C15)  # of the hash by which two ways to spell one token are found
_ROOM = 1 << 16  # elements of a growing array at first


class Learnt(NamedTuple):
    """Merges in order: ids of left, right and result [merges, 3], and how often each was seen [merges]."""

    merges: np.ndarray
    counts: np.ndarray


def learn(words: Words, *, first_ids: np.ndarray, vocab_size: int, least: int, before: np.ndarray | None = None) -> Learnt:
    """Learns merges until there are `vocab_size` ids or none is seen `least` times.

    first_ids: id of each byte [256], the highest ids so far; before: merges that the words have gone through already
    [merges, 3]; what is learnt comes after them.
    """
    offsets, letters = (np.frombuffer(buffer, kind) for buffer, kind in zip(words.spelled.buffers()[1:], ("i8", "u1"), strict=True))
    starts = offsets[words.spelled.offset : words.spelled.offset + len(words.spelled) + 1]
    lengths, starts = np.diff(starts).astype(np.int32), starts[:-1]
    symbols = first_ids.astype(np.int32)[letters]
    sizes, hashes = np.zeros(vocab_size + 1, np.int32), np.zeros(vocab_size + 1, np.uint64)
    sizes[first_ids], hashes[first_ids] = 1, np.arange(1, 257, dtype=np.uint64)
    known = int(first_ids.max()) + 1
    if before is not None:
        known = max(known, int(before[:, 2].max(initial=0)) + 1)
        _apply(before.astype(np.int32), symbols, starts, lengths, sizes, hashes)
    counts = words.counts.astype(np.int64)
    return Learnt(*_learn(symbols, starts, lengths, counts, sizes, hashes, known, vocab_size, least))


@njit(cache=True)
def _apply(merges, symbols, starts, lengths, sizes, hashes):
    """Merges each word's symbols in place, and enters the merges' results as tokens."""
    ranks = Dict.empty(types.int64, types.int64)
    for rank in range(len(merges)):
        left, right, new = merges[rank]
        ranks[np.int64(left) << 32 | np.int64(right)] = rank
        sizes[new], hashes[new] = sizes[left] + sizes[right], _joined(hashes[left], hashes[right], sizes[right])
    for word in range(len(starts)):
        own, size = symbols[starts[word] : starts[word] + lengths[word]], lengths[word]
        while True:
            first = len(merges)
            for at in range(size - 1):
                first = min(first, ranks.get(np.int64(own[at]) << 32 | np.int64(own[at + 1]), first))
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


class _Pairs(NamedTuple):
    """Of each pair of ids its key and how often it is seen; of its newest list the merge that began it and the last word."""

    keys: np.ndarray
    seen: np.ndarray
    spots: np.ndarray  # words in the newest list; while it is written, where the next one goes
    merges: np.ndarray
    words: np.ndarray


@njit(cache=True)
def _learn(symbols, starts, lengths, counts, sizes, hashes, known, vocab_size, least):
    # A pair waits in a heap for its turn: (count, key, begin and end of the list of words that hold it). Every merge
    # that brings a pair makes a list of its own, as there.
    slots, made = Dict.empty(types.int64, types.int32), 0
    pairs = _Pairs(_empty(), _empty(), _empty(), _empty(), _empty())
    fresh, begun, events, happened = np.empty(_ROOM, np.int32), 0, np.empty((_ROOM, 2), np.int32), 0
    for word in range(len(starts)):
        pairs, fresh = _room(pairs, len(slots) + lengths[word]), _wide(fresh, begun + lengths[word])
        for at in range(starts[word], starts[word] + lengths[word] - 1):
            slot = _slot(slots, pairs, _key(symbols[at], symbols[at + 1]))
            pairs.seen[slot] += counts[word]
            begun, _ = _note(pairs, slot, word, made, fresh, begun)
    total = pairs.spots[: len(slots)].sum()
    lists, listed = np.empty(total + total // 2 + _ROOM, np.int32), 0
    heap, waiting = np.empty((_ROOM, 4), np.int64), 0
    heap, waiting, listed = _wait(heap, waiting, listed, pairs, fresh[:begun])
    pairs.words[:] = -1
    for word in range(len(starts)):
        for at in range(starts[word], starts[word] + lengths[word] - 1):
            slot = slots[_key(symbols[at], symbols[at + 1])]
            if pairs.words[slot] != word:
                _enter(lists, pairs, slot, word)
    ids = Dict.empty(types.uint64, types.int64)
    for token in range(known):
        if sizes[token]:
            ids[hashes[token]] = token
    merges, found = np.empty((_ROOM, 3), np.int32), np.empty(_ROOM, np.int64)
    while known < vocab_size and waiting > 0:
        count, key, begin, end = heap[0]
        waiting -= 1
        _pop(heap, waiting)
        seen = pairs.seen[slots[key]]
        if count != seen:  # other merges took some away since it was put there
            if seen > 0:
                _push(heap, waiting, seen, key, begin, end)
                waiting += 1
            continue
        if count < least:
            break
        left, right = np.int32(key >> 32), np.int32(key & 0xFFFFFFFF)
        code = _joined(hashes[left], hashes[right], sizes[right])
        if code not in ids:
            ids[code], sizes[known], hashes[known] = known, sizes[left] + sizes[right], code
            known += 1
        new = np.int32(ids[code])
        merges, found = _wide(merges, made + 1), _wide(found, made + 1)
        merges[made, 0], merges[made, 1], merges[made, 2], found[made] = left, right, new, count
        made, begun, happened = made + 1, 0, 0
        for word in lists[begin:end]:
            more = 2 * lengths[word]
            pairs, fresh, events = _room(pairs, len(slots) + more), _wide(fresh, begun + more), _wide(events, happened + more)
            own = symbols[starts[word] : starts[word] + lengths[word]]
            at = to = 0
            while at < len(own):
                if at + 1 == len(own) or own[at] != left or own[at + 1] != right:
                    own[to] = own[at]
                    at, to = at + 1, to + 1
                    continue
                for side in range(2):
                    if side == 0 and to > 0:
                        gone, come = _key(own[to - 1], left), _key(own[to - 1], new)
                    elif side == 1 and at + 2 < len(own):
                        gone, come = _key(right, own[at + 2]), _key(new, own[at + 2])
                    else:
                        continue
                    pairs.seen[_slot(slots, pairs, gone)] -= counts[word]
                    slot = _slot(slots, pairs, come)
                    pairs.seen[slot] += counts[word]
                    begun, first = _note(pairs, slot, word, made, fresh, begun)
                    if first:
                        events[happened, 0], events[happened, 1] = slot, word
                        happened += 1
                own[to] = new
                at, to = at + 2, to + 1
            lengths[word] = to
        if listed + happened > len(lists):
            lists, listed = _closed_up(lists, heap[:waiting], happened)
        heap, waiting, listed = _wait(heap, waiting, listed, pairs, fresh[:begun])
        for event in range(happened):
            _enter(lists, pairs, events[event, 0], events[event, 1])
    return merges[:made].copy(), found[:made].copy()


@njit(cache=True)
def _note(pairs, slot, word, made, fresh, begun):
    """Counts a word into the pair's list of this merge; says how many lists are begun and whether the word is new."""
    if pairs.merges[slot] != made:
        pairs.merges[slot], pairs.words[slot], pairs.spots[slot], fresh[begun] = made, -1, 0, slot
        begun += 1
    if pairs.words[slot] == word:
        return begun, False
    pairs.words[slot] = word
    pairs.spots[slot] += 1
    return begun, True


@njit(cache=True)
def _enter(lists, pairs, slot, word):
    lists[pairs.spots[slot]] = word
    pairs.spots[slot] += 1
    pairs.words[slot] = word


@njit(cache=True)
def _wait(heap, waiting, listed, pairs, fresh):
    """Gives each pair's new list its room, and the pair a place in the heap."""
    heap = _wide(heap, waiting + len(fresh))
    for slot in fresh:
        begin, listed = listed, listed + pairs.spots[slot]
        pairs.spots[slot] = begin
        if pairs.seen[slot] > 0:
            _push(heap, waiting, pairs.seen[slot], pairs.keys[slot], begin, listed)
            waiting += 1
    return heap, waiting, listed


@njit(cache=True)
def _closed_up(lists, heap, more):
    """The lists that are still waited for, without gaps, and where they end; wider if `more` would not fit."""
    end = 0
    for row in np.argsort(heap[:, 2]):
        size = heap[row, 3] - heap[row, 2]
        lists[end : end + size] = lists[heap[row, 2] : heap[row, 3]]
        heap[row, 2], heap[row, 3] = end, end + size
        end += size
    return (_wide(lists, end + more) if end + more > len(lists) * 3 // 4 else lists), end


@njit(cache=True)
def _key(left, right):
    return np.int64(left) << 32 | np.int64(right)


@njit(cache=True)
def _slot(slots, pairs, key):
    if key in slots:
        return slots[key]
    slot = np.int32(len(slots))
    slots[key], pairs.keys[slot], pairs.seen[slot], pairs.merges[slot] = slot, key, 0, -1
    return slot


@njit(cache=True)
def _empty():
    return np.empty(_ROOM, np.int64)


@njit(cache=True)
def _room(pairs, least):
    if least <= len(pairs.keys):
        return pairs
    keys, seen, spots = _wide(pairs.keys, least), _wide(pairs.seen, least), _wide(pairs.spots, least)
    return _Pairs(keys, seen, spots, _wide(pairs.merges, least), _wide(pairs.words, least))


@njit(cache=True)
def _wide(rows, least):
    """The array, or a copy with room for `least` rows and more."""
    if least <= len(rows):
        return rows
    wider = np.empty((max(least, 2 * len(rows)),) + rows.shape[1:], rows.dtype)  # noqa: RUF005 (numba)
    wider[: len(rows)] = rows
    return wider


@njit(cache=True)
def _joined(left, right, size):
    for _ in range(size):
        left *= _BASE
    return left + right


@njit(cache=True)
def _before(count, key, row):
    return count > row[0] or (count == row[0] and key < row[1])


@njit(cache=True)
def _push(heap, size, count, key, begin, end):
    at = size
    while at > 0 and _before(count, key, heap[(at - 1) // 2]):
        heap[at] = heap[(at - 1) // 2]
        at = (at - 1) // 2
    heap[at, 0], heap[at, 1], heap[at, 2], heap[at, 3] = count, key, begin, end


@njit(cache=True)
def _pop(heap, size):
    """Removes the first of size + 1 rows."""
    count, key, begin, end = heap[size]
    at, child = 0, 1
    while child < size:
        if child + 1 < size and _before(heap[child + 1, 0], heap[child + 1, 1], heap[child]):
            child += 1
        if _before(count, key, heap[child]):
            break
        heap[at] = heap[child]
        at, child = child, 2 * child + 1
    heap[at, 0], heap[at, 1], heap[at, 2], heap[at, 3] = count, key, begin, end
