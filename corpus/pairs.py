"""Knows pairs of ids while merges are learnt: how often each is seen, which words hold it, and whose turn it is.

A hash table, lists of words side by side in one array, and a heap, all bare arrays for numba: of 4.5M distinct words
they take less than a quarter of the memory of the library's trainer (benchmarks/tokenizer_training.py).
"""

from typing import NamedTuple

import numpy as np
from numba import njit

BASE = np.uint64(0x9E3779B97F4A7C15)  # of multiplicative hashes
ROOM = 1 << 16  # elements of a growing array at first
_ALL = -(1 << 62)  # a least count that leaves no pair out


class Pairs(NamedTuple):
    """A hash table: of each pair of ids how often it is seen, and which list it has among those that a merge begins."""

    table: np.ndarray  # open addressing: number of the pair, or -1
    size: np.ndarray  # [1]
    keys: np.ndarray
    seen: np.ndarray
    lists: np.ndarray  # a number that counts only if that list says the same pair


class Fresh(NamedTuple):
    """The lists that a merge begins: their pairs, their last words, and their sizes, then where the next word goes."""

    pairs: np.ndarray
    words: np.ndarray
    spots: np.ndarray


@njit(cache=True)
def note(pairs, fresh, begun, slot, word):
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
def wait(heap, waiting, listed, pairs, fresh, begun, least):
    """Gives each new list its room, and its pair a place in the heap, if it is seen often enough."""
    heap = wide(heap, waiting + begun)
    for own in range(begun):
        slot, begin, end = fresh.pairs[own], listed, listed + fresh.spots[own]
        fresh.spots[own] = -1
        if pairs.seen[slot] >= least:
            push(heap, waiting, pairs.seen[slot], pairs.keys[slot], begin, end)
            fresh.spots[own], waiting, listed = begin, waiting + 1, end
    return heap, waiting, listed


@njit(cache=True)
def enter(lists, fresh, own, word):
    if fresh.spots[own] >= 0:
        lists[fresh.spots[own]] = word
        fresh.spots[own] += 1
        fresh.words[own] = word


@njit(cache=True)
def closed_up(lists, heap, more, symbols, starts, lengths):
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
def key_of(left, right):
    return np.int64(left) << 32 | np.int64(right)


@njit(cache=True)
def table(room):
    size = 1
    while size < 2 * room:
        size *= 2
    keys, seen, lists = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int32)
    return Pairs(np.full(size, -1, np.int32), np.zeros(1, np.int64), keys, seen, lists)


@njit(cache=True)
def place_of(pairs, key):
    """Where in the table the pair is, or would be."""
    mixed, mask = np.uint64(key) * BASE, np.uint64(len(pairs.table) - 1)
    at = (mixed ^ mixed >> np.uint64(32)) & mask
    while pairs.table[at] >= 0 and pairs.keys[pairs.table[at]] != key:
        at = (at + np.uint64(1)) & mask
    return at


@njit(cache=True)
def count_of(pairs, key):
    slot = pairs.table[place_of(pairs, key)]
    return pairs.seen[slot] if slot >= 0 else 0


@njit(cache=True)
def slot_of(pairs, key):
    """The pair's number, a new one if it has none."""
    place = place_of(pairs, key)
    slot = pairs.table[place]
    if slot < 0:
        slot = np.int32(pairs.size[0])
        pairs.size[0] += 1
        pairs.table[place], pairs.keys[slot], pairs.seen[slot], pairs.lists[slot] = slot, key, 0, 0
    return slot


@njit(cache=True)
def room(pairs, more):
    """The table, or a copy with room for `more` pairs."""
    if pairs.size[0] + more <= len(pairs.keys):
        return pairs
    return _moved(pairs, table(max(pairs.size[0] + more, len(pairs.keys) * 3 // 2)), _ALL)


@njit(cache=True)
def without(pairs, least):
    """The table without the pairs that are seen less than `least` times; their numbers change."""
    kept = (pairs.seen[: pairs.size[0]] >= least).sum()
    return _moved(pairs, table(max(ROOM, kept * 3 // 2)), least)


@njit(cache=True)
def _moved(pairs, wider, least):
    for old in range(pairs.size[0]):
        if pairs.seen[old] >= least:
            slot = slot_of(wider, pairs.keys[old])
            wider.seen[slot], wider.lists[slot] = pairs.seen[old], pairs.lists[old]
    return wider


@njit(cache=True)
def begun_lists(room):
    return Fresh(np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.int64))


@njit(cache=True)
def further(fresh, least):
    if least <= len(fresh.pairs):
        return fresh
    return Fresh(wide(fresh.pairs, least), wide(fresh.words, least), wide(fresh.spots, least))


@njit(cache=True)
def wide(rows, least):
    """The array, or a copy with room for `least` rows and more."""
    if least <= len(rows):
        return rows
    wider = np.empty((max(least, 2 * len(rows)),) + rows.shape[1:], rows.dtype)  # noqa: RUF005 (numba)
    wider[: len(rows)] = rows
    return wider


@njit(cache=True)
def _before(count, key, row):
    return count > row[0] or (count == row[0] and key < row[1])


@njit(cache=True)
def push(heap, size, count, key, begin, end):
    at = size
    while at > 0 and _before(count, key, heap[(at - 1) // 2]):
        heap[at] = heap[(at - 1) // 2]
        at = (at - 1) // 2
    heap[at, 0], heap[at, 1], heap[at, 2], heap[at, 3] = count, key, begin, end


@njit(cache=True)
def pop(heap, size):
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
