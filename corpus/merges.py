"""Knows how byte-pair merges are learnt from counted words: those of the Hugging Face trainer, sooner, in less memory.

The same order (count, then smaller ids) and the same arithmetic as `tokenizers.trainers.BpeTrainer`, so the merges are
equal; but it reads counts of words instead of text, so words can be weighted. Cost: one pass over the distinct words,
then as much as the merges change. Sennrich et al. 2016 (arXiv 1508.07909).
"""

from typing import NamedTuple

import numpy as np
from numba import njit, types
from numba.typed import Dict

_BASE = np.uint64(0x9E3779B97F4A7C15)  # of the hash by which two ways to spell one token are found
_ROOM = 1 << 16  # elements of a growing array at first


class Learnt(NamedTuple):
    """Merges in order: ids of left, right and result [merges, 3], and how often each was seen [merges]."""

    merges: np.ndarray
    counts: np.ndarray


def learn(words: list[bytes], counts: np.ndarray, *, first_ids: np.ndarray, vocab_size: int, least: int) -> Learnt:
    """Learns merges until there are `vocab_size` ids or none is seen `least` times.

    counts: of the words, whole numbers ≥ 0 [words]; first_ids: id of each byte [256], the highest ids so far.
    """
    lengths = np.array([len(word) for word in words], np.int32)
    symbols = first_ids.astype(np.int32)[np.frombuffer(b"".join(words), np.uint8)]
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    sizes, hashes = np.zeros(vocab_size + 1, np.int32), np.zeros(vocab_size + 1, np.uint64)
    sizes[first_ids], hashes[first_ids] = 1, np.arange(1, 257, dtype=np.uint64)
    known = int(first_ids.max()) + 1
    return Learnt(*_learn(symbols, starts, lengths, counts.astype(np.int64), sizes, hashes, known, vocab_size, least))


@njit(cache=True)
def _learn(symbols, starts, lengths, counts, sizes, hashes, known, vocab_size, least):
    # A pair has a slot: its key, how often it is seen, the newest list of words that hold it, the merge that began it.
    slots = Dict.empty(types.int64, types.int32)
    keys, seen = np.empty(_ROOM, np.int64), np.zeros(_ROOM, np.int64)
    heads, born = np.full(_ROOM, -1, np.int32), np.full(_ROOM, -1, np.int32)
    # Lists of words are chains of entries; entries of a finished list are used again.
    owners, nexts, entries, free = np.empty(_ROOM, np.int32), np.empty(_ROOM, np.int32), 0, -1
    for word in range(len(starts)):
        room = len(slots) + lengths[word]
        keys, seen, heads, born = (
            _wide(keys, room, 0),
            _wide(seen, room, 0),
            _wide(heads, room, -1),
            _wide(born, room, -1),
        )
        owners, nexts = _wide(owners, entries + lengths[word], -1), _wide(nexts, entries + lengths[word], -1)
        for place in range(starts[word], starts[word] + lengths[word] - 1):
            slot = _slot(slots, keys, symbols[place], symbols[place + 1])
            seen[slot] += counts[word]
            if heads[slot] < 0 or owners[heads[slot]] != word:
                owners[entries], nexts[entries], heads[slot] = word, heads[slot], entries
                entries += 1
    queue = np.empty((max(_ROOM, 2 * len(slots)), 3), np.int64)  # a heap of (count, key, list)
    waiting = 0
    for slot in range(len(slots)):
        if seen[slot] > 0:
            _push(queue, waiting, seen[slot], keys[slot], heads[slot])
            waiting += 1
    ids = Dict.empty(types.uint64, types.int64)
    for token in range(known):
        if sizes[token]:
            ids[hashes[token]] = token
    merges, found = np.empty(_ROOM, np.int32), np.empty(_ROOM, np.int64)
    made, visited, fresh = 0, np.full(len(starts), -1, np.int32), np.empty(_ROOM, np.int32)
    while known < vocab_size and waiting > 0:
        count, key, entry = queue[0]
        waiting -= 1
        _pop(queue, waiting)
        slot = slots[key]
        if count != seen[slot]:  # other merges took some away since it was put there
            if seen[slot] > 0:
                _push(queue, waiting, seen[slot], key, entry)
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
        merges, found = _wide(merges, 3 * made + 3, 0), _wide(found, made + 1, 0)
        merges[3 * made], merges[3 * made + 1], merges[3 * made + 2], found[made] = left, right, new, count
        begun = 0
        while entry >= 0:
            word, after = owners[entry], nexts[entry]
            nexts[entry], free = free, entry
            entry = after
            if visited[word] == made:
                continue
            visited[word] = made
            more = 2 * lengths[word]
            keys, seen = _wide(keys, len(slots) + more, 0), _wide(seen, len(slots) + more, 0)
            heads, born = _wide(heads, len(slots) + more, -1), _wide(born, len(slots) + more, -1)
            owners, nexts = _wide(owners, entries + more, -1), _wide(nexts, entries + more, -1)
            fresh = _wide(fresh, begun + more, -1)
            at, end = starts[word], starts[word] + lengths[word]
            while at < end - 1:
                if symbols[at] == left and symbols[at + 1] == right:
                    for side in range(2):
                        if side == 0 and at > starts[word]:
                            gone, come = (symbols[at - 1], left), (symbols[at - 1], new)
                        elif side == 1 and at + 2 < end:
                            gone, come = (right, symbols[at + 2]), (new, symbols[at + 2])
                        else:
                            continue
                        seen[_slot(slots, keys, gone[0], gone[1])] -= counts[word]
                        one = _slot(slots, keys, come[0], come[1])
                        seen[one] += counts[word]
                        if born[one] != made:  # a list of its own for every merge that brings the pair, as there
                            born[one], heads[one], fresh[begun] = made, -1, one
                            begun += 1
                        if heads[one] < 0 or owners[heads[one]] != word:
                            if free >= 0:
                                spot, free = free, nexts[free]
                            else:
                                spot, entries = entries, entries + 1
                            owners[spot], nexts[spot], heads[one] = word, heads[one], spot
                    symbols[at] = new
                    symbols[at + 1 : end - 1] = symbols[at + 2 : end].copy()
                    end -= 1
                at += 1
            lengths[word] = end - starts[word]
        if waiting + begun > len(queue):
            longer = np.empty((2 * (waiting + begun), 3), np.int64)
            longer[:waiting] = queue[:waiting]
            queue = longer
        for one in fresh[:begun]:
            if seen[one] > 0:
                _push(queue, waiting, seen[one], keys[one], heads[one])
                waiting += 1
        made += 1
    return merges[: 3 * made].copy().reshape(made, 3), found[:made].copy()


@njit(cache=True)
def _slot(slots, keys, left, right):
    key = np.int64(left) << 32 | np.int64(right)
    if key in slots:
        return slots[key]
    slot = np.int32(len(slots))
    slots[key], keys[slot] = slot, key
    return slot


@njit(cache=True)
def _joined(left, right, size):
    for _ in range(size):
        left *= _BASE
    return left + right


@njit(cache=True)
def _wide(column, least, rest):
    """The column, or a copy with room for `least` elements; the new ones are `rest`."""
    if least <= len(column):
        return column
    wider = np.full(max(least, 2 * len(column)), rest, column.dtype)
    wider[: len(column)] = column
    return wider


@njit(cache=True)
def _before(count, key, row):
    return count > row[0] or (count == row[0] and key < row[1])


@njit(cache=True)
def _push(queue, size, count, key, entry):
    at = size
    while at > 0 and _before(count, key, queue[(at - 1) // 2]):
        queue[at] = queue[(at - 1) // 2]
        at = (at - 1) // 2
    queue[at, 0], queue[at, 1], queue[at, 2] = count, key, entry


@njit(cache=True)
def _pop(queue, size):
    """Removes the first of size + 1 rows."""
    count, key, entry = queue[size]
    at, child = 0, 1
    while child < size:
        if child + 1 < size and _before(queue[child + 1, 0], queue[child + 1, 1], queue[child]):
            child += 1
        if _before(count, key, queue[child]):
            break
        queue[at] = queue[child]
        at, child = child, 2 * child + 1
    queue[at, 0], queue[at, 1], queue[at, 2] = count, key, entry
