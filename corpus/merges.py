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
_EVER = 1 << 62
_ROOM = 1 << 16  # elements of a growing array at first


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
    """A hash table: of each pair of ids how often it is seen, and which list it has among those that a merge begins."""

    index: np.ndarray  # open addressing: number of the pair, or -1
    size: np.ndarray  # [1]
    keys: np.ndarray
    seen: np.ndarray
    lists: np.ndarray  # a number that counts only if that list says the same pair


class _Fresh(NamedTuple):
    """The lists that a merge begins: their pairs, their last words, and their sizes, then where the next word goes."""

    pairs: np.ndarray
    words: np.ndarray
    spots: np.ndarray


@njit(cache=True)
def _learn(letters, first_ids, ends, counts, before, sizes, hashes, known, vocab_size, least):
    starts, lengths = ends[:-1].copy(), (ends[1:] - ends[:-1]).astype(np.int32)
    symbols = _coded(letters, first_ids)  # made here, so that the shorter ones that follow take its place
    if len(before):
        _apply(before, symbols, starts, lengths, sizes, hashes)
    # A pair waits in a heap for its turn: (count, key, begin and end of the list of words that hold it). Every merge
    # that brings a pair makes a list of its own, as there. Pairs seen too seldom are forgotten: they seldom return.
    pairs, made, fresh, begun = _table(_ROOM), 0, _begun(_ROOM), 0
    events, happened = np.empty((_ROOM, 2), np.int32), 0  # (list, word)
    for word in range(len(starts)):
        pairs, fresh = _room(pairs, lengths[word]), _further(fresh, begun + lengths[word])
        for at in range(starts[word], starts[word] + lengths[word] - 1):
            slot = _slot(pairs, _key(symbols[at], symbols[at + 1]))
            pairs.seen[slot] += counts[word]
            begun, _ = _note(pairs, fresh, begun, slot, word)
    heap, waiting, listed = _wait(np.empty((_ROOM, 4), np.int64), 0, 0, pairs, fresh, begun, least)
    lists = np.empty(listed + listed // 4 + _ROOM, np.int32)
    fresh.words[:] = -1
    for word in range(len(starts)):
        for at in range(starts[word], starts[word] + lengths[word] - 1):
            own = pairs.lists[_slot(pairs, _key(symbols[at], symbols[at + 1]))]
            if fresh.words[own] != word:
                _enter(lists, fresh, own, word)
    ids = Dict.empty(types.uint64, types.int64)
    for token in range(known):
        if sizes[token]:
            ids[hashes[token]] = token
    merges, found = np.empty((_ROOM, 3), np.int32), np.empty(_ROOM, np.int64)
    while known < vocab_size and waiting > 0:
        count, key, begin, end = heap[0]
        waiting -= 1
        _pop(heap, waiting)
        seen = _seen(pairs, key)
        if count != seen:  # other merges took some away since it was put there
            if seen >= least:
                _push(heap, waiting, seen, key, begin, end)
                waiting += 1
            continue
        left, right = np.int32(key >> 32), np.int32(key & 0xFFFFFFFF)
        code = _joined(hashes[left], hashes[right], sizes[right])
        if code not in ids:
            ids[code], sizes[known], hashes[known] = known, sizes[left] + sizes[right], code
            known += 1
        new = np.int32(ids[code])
        merges, found = _wide(merges, made + 1), _wide(found, made + 1)
        merges[made, 0], merges[made, 1], merges[made, 2], found[made] = left, right, new, count
        made, begun, happened = made + 1, 0, 0
        if 8 * pairs.size[0] > 7 * len(pairs.keys):
            pairs = _without(pairs, least)
        for word in lists[begin:end]:
            more = 2 * lengths[word]
            pairs, fresh, events = _room(pairs, more), _further(fresh, begun + more), _wide(events, happened + more)
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
                    slot = pairs.index[_place(pairs, gone)]
                    if slot >= 0:
                        pairs.seen[slot] -= counts[word]
                    slot = _slot(pairs, come)
                    pairs.seen[slot] += counts[word]
                    begun, first = _note(pairs, fresh, begun, slot, word)
                    if first:
                        events[happened, 0], events[happened, 1] = pairs.lists[slot], word
                        happened += 1
                own[to] = new
                at, to = at + 2, to + 1
            lengths[word] = to
        if listed + happened > len(lists):
            symbols = _shorter(symbols, starts, lengths)
            lists, listed = _closed_up(lists, heap[:waiting], happened, symbols, starts, lengths)
        heap, waiting, listed = _wait(heap, waiting, listed, pairs, fresh, begun, least)
        for event in range(happened):
            _enter(lists, fresh, events[event, 0], events[event, 1])
    return merges[:made].copy(), found[:made].copy()


@njit(cache=True)
def _note(pairs, fresh, begun, slot, word):
    """Counts a word into the pair's new list; says how many lists are begun and whether the word is new to this one."""
    own = pairs.lists[slot]
    if own >= begun or fresh.pairs[own] != slot:
        own = pairs.lists[slot] = begun
        fresh.pairs[own], fresh.words[own], fresh.spots[own] = slot, -1, 0
        begun += 1
    if fresh.words[own] == word:
        return begun, False
    fresh.words[own] = word
    fresh.spots[own] += 1
    return begun, True


@njit(cache=True)
def _wait(heap, waiting, listed, pairs, fresh, begun, least):
    """Gives each new list its room, and its pair a place in the heap, if it is seen often enough."""
    heap = _wide(heap, waiting + begun)
    for own in range(begun):
        slot, begin, end = fresh.pairs[own], listed, listed + fresh.spots[own]
        fresh.spots[own] = -1
        if pairs.seen[slot] >= least:
            _push(heap, waiting, pairs.seen[slot], pairs.keys[slot], begin, end)
            fresh.spots[own], waiting, listed = begin, waiting + 1, end
    return heap, waiting, listed


@njit(cache=True)
def _enter(lists, fresh, own, word):
    if fresh.spots[own] >= 0:
        lists[fresh.spots[own]] = word
        fresh.spots[own] += 1
        fresh.words[own] = word


@njit(cache=True)
def _closed_up(lists, heap, more, symbols, starts, lengths):
    """The lists without gaps and without words that have lost the pair, where they end, and room for `more` words."""
    end = 0
    for row in np.argsort(heap[:, 2]):
        begin, left, right = end, heap[row, 1] >> 32, heap[row, 1] & 0xFFFFFFFF
        for word in lists[heap[row, 2] : heap[row, 3]]:
            own = symbols[starts[word] : starts[word] + lengths[word]]
            for at in range(len(own) - 1):
                if own[at] == left and own[at + 1] == right:
                    lists[end] = word
                    end += 1
                    break
        heap[row, 2], heap[row, 3] = begin, end
    closed = np.empty(end + end // 2 + more, np.int32)
    closed[:end] = lists[:end]
    return closed, end


@njit(cache=True)
def _shorter(symbols, starts, lengths):
    """The words' symbols without what merges have freed; their places change."""
    shorter, end = np.empty(lengths.sum(), np.int32), 0
    for word in range(len(starts)):
        shorter[end : end + lengths[word]] = symbols[starts[word] : starts[word] + lengths[word]]
        starts[word], end = end, end + lengths[word]
    return shorter


@njit(cache=True)
def _key(left, right):
    return np.int64(left) << 32 | np.int64(right)


@njit(cache=True)
def _table(room):
    size = 1
    while size < 2 * room:
        size *= 2
    keys, seen, lists = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int32)
    return _Pairs(np.full(size, -1, np.int32), np.zeros(1, np.int64), keys, seen, lists)


@njit(cache=True)
def _place(pairs, key):
    """Where in the index the pair is, or would be."""
    mixed, mask = np.uint64(key) * _BASE, np.uint64(len(pairs.index) - 1)
    at = (mixed ^ mixed >> np.uint64(32)) & mask
    while pairs.index[at] >= 0 and pairs.keys[pairs.index[at]] != key:
        at = (at + np.uint64(1)) & mask
    return at


@njit(cache=True)
def _seen(pairs, key):
    slot = pairs.index[_place(pairs, key)]
    return pairs.seen[slot] if slot >= 0 else 0


@njit(cache=True)
def _slot(pairs, key):
    """The pair's number, a new one if it has none."""
    place = _place(pairs, key)
    slot = pairs.index[place]
    if slot < 0:
        slot = np.int32(pairs.size[0])
        pairs.size[0] += 1
        pairs.index[place], pairs.keys[slot], pairs.seen[slot], pairs.lists[slot] = slot, key, 0, 0
    return slot


@njit(cache=True)
def _room(pairs, more):
    """The table, or a copy with room for `more` pairs."""
    if pairs.size[0] + more <= len(pairs.keys):
        return pairs
    return _moved(pairs, _table(max(pairs.size[0] + more, len(pairs.keys) * 3 // 2)), -_EVER)


@njit(cache=True)
def _without(pairs, least):
    """The table without the pairs that are seen less than `least` times; their numbers change."""
    kept = (pairs.seen[: pairs.size[0]] >= least).sum()
    return _moved(pairs, _table(max(_ROOM, kept * 3 // 2)), least)


@njit(cache=True)
def _moved(pairs, table, least):
    for old in range(pairs.size[0]):
        if pairs.seen[old] >= least:
            slot = _slot(table, pairs.keys[old])
            table.seen[slot], table.lists[slot] = pairs.seen[old], pairs.lists[old]
    return table


@njit(cache=True)
def _begun(room):
    return _Fresh(np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.int64))


@njit(cache=True)
def _further(fresh, least):
    if least <= len(fresh.pairs):
        return fresh
    return _Fresh(_wide(fresh.pairs, least), _wide(fresh.words, least), _wide(fresh.spots, least))


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
