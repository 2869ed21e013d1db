"""Knows which tokens come at which step: memory-mapped shards, an order that is a function of (seed, phase, index)."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, chain, count, islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    import torch

INDEX = "index.json"
BOS = 0
IGNORED = -100  # torch's own mark for "no loss here"
Row = tuple[list[int], list[int]]  # ids, and 1 where one bears loss


def vocabulary_of(folder: Path) -> int:
    """Ids of the tokenizer that made a tokenize folder."""
    return int(json.loads((folder / INDEX).read_text(encoding="utf-8"))["vocabulary"])


@dataclass(frozen=True)
class TokenShard:
    """A flat run of token ids on disk: documents, each opened by bos and closed by eos."""

    ids: "np.ndarray"
    phase: str
    starts: tuple[int, ...] = (0,)  # token at which each bucket of a curriculum begins, easy ones first

    @classmethod
    def open(cls, folder: Path, phase: str) -> "TokenShard":
        """Maps `<phase>.bin` of a tokenize folder; ValueError when the index does not know it or it is cut short."""
        import numpy as np

        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        if phase not in index["phases"]:
            raise ValueError(f"{folder}/{INDEX} has no phase '{phase}'; it has {', '.join(index['phases'])}")
        ids = np.memmap(folder / f"{phase}.bin", dtype=index["dtype"], mode="r")
        known = index["phases"][phase]
        if len(ids) != known["tokens"]:
            raise ValueError(f"{folder}/{phase}.bin has {len(ids)} tokens, the index says otherwise; rerun tokenize")
        return cls(ids, phase, tuple(known["starts"]))


def domains_of(folder: Path, phase: str) -> dict[str, TokenShard]:
    """The part of a held-out shard that each domain has, by name; they follow one another in this order."""
    known = json.loads((folder / INDEX).read_text(encoding="utf-8"))["phases"][phase].get("domains", {})
    whole, ends = TokenShard.open(folder, phase), list(accumulate(known.values(), initial=0))
    parts = zip(known, pairwise(ends), strict=True)
    return {name: TokenShard(whole.ids[start:end], f"{phase}_{name}") for name, (start, end) in parts}


@dataclass(frozen=True)
class Packed:
    """Windows of `context` tokens cut from a shard; each epoch shifts the cuts and draws a new order from the seed.

    The windows of a bucket come before those of the next one, so that a curriculum stays one; inside a bucket, and in
    a shard of one bucket, they come by lot.
    """

    shard: TokenShard
    context: int
    seed: int
    packing: Literal["joined", "separate"] = "joined"  # separate: no attention from a document into another

    def __post_init__(self) -> None:
        if len(self.shard.ids) < 2 * self.context + 1:
            short = f"phase '{self.shard.phase}' has {len(self.shard.ids)} tokens, under two windows of {self.context}"
            raise ValueError(f"{short}; give more text or a shorter context")

    @property
    def windows(self) -> int:
        """Windows of one epoch; one window of room is left for the epoch's shift."""
        return (len(self.shard.ids) - 1) // self.context - 1

    def window(self, index: int) -> "np.ndarray":
        """The `index`-th example of the endless order: int64 [context + 1]."""
        epoch, place = divmod(index, self.windows)
        bounds = tuple(min(start // self.context, self.windows) for start in self.shard.starts)
        order, shift = _epoch_order(self.seed, self.shard.phase, epoch, (*bounds, self.windows), self.context)
        start = int(order[place]) * self.context + shift
        return self.shard.ids[start : start + self.context + 1].astype("int64")

    def batch(self, step: int, size: int) -> dict[str, "torch.Tensor"]:
        """Examples [step·size, (step+1)·size), as `examples` gives them."""
        return self.examples(step * size, (step + 1) * size)

    def examples(self, start: int, stop: int) -> dict[str, "torch.Tensor"]:
        """{"ids": [B,T], "targets": [B,T]}; targets are shifted here, once.

        `separate` packing adds "positions" [B,T], which begin again at each document.
        """
        import numpy as np
        import torch

        rows = torch.from_numpy(np.stack([self.window(index) for index in range(start, stop)]))
        batch = {"ids": rows[:, :-1], "targets": rows[:, 1:]}
        return batch | ({"positions": positions(batch["ids"])} if self.packing == "separate" else {})


def positions(ids_BT: "torch.Tensor") -> "torch.Tensor":
    """Places [B,T] counted from each document's bos, or from the window's start for what was cut off before it."""
    import torch

    place_T = torch.arange(ids_BT.shape[1])
    firsts_BT = torch.where(ids_BT == BOS, place_T, 0)
    return place_T - firsts_BT.cummax(-1).values


def document_sizes(positions_BT: "torch.Tensor") -> "torch.Tensor":
    """How many places each document has, by their `positions`, row after row: their sum is B · T."""
    starts = (positions_BT.flatten() == 0).nonzero().flatten()
    return starts.diff(append=starts.new_tensor([positions_BT.numel()]))


_ORDERS: dict[tuple[Any, ...], tuple["np.ndarray", int]] = {}


def _epoch_order(seed: int, phase: str, epoch: int, bounds: tuple[int, ...], context: int) -> tuple["np.ndarray", int]:
    """All places from the first bound to the last, by lot between each two neighbours; and the shift of the cuts."""
    import hashlib

    import numpy as np

    key = (seed, phase, epoch, bounds, context)
    if key not in _ORDERS:
        _ORDERS.clear()  # one epoch at a time
        digest = hashlib.sha256(f"{seed}/{phase}/{epoch}".encode()).digest()
        draw = np.random.Generator(np.random.Philox(int.from_bytes(digest[:16], "little")))
        parts = [low + draw.permutation(high - low) for low, high in pairwise(bounds)]
        _ORDERS[key] = (np.concatenate(parts), int(draw.integers(context)))
    return _ORDERS[key]


@dataclass(frozen=True)
class Conversations:
    """Rows of ids with a mask of the tokens that bear loss; `group` neighbouring rows always stay together.

    Each epoch comes in an order of its own, drawn from the seed. With `filled` > 0 an example is that many positions,
    filled first-fit with whole conversations of which none attends to another and each begins at position 0.
    """

    rows: list[Row]
    seed: int
    phase: str
    group: int = 1
    filled: int = 0
    beside: "Mapping[str, torch.Tensor]" = field(default_factory=dict)  # further tensors, one value of each row

    def batch(self, step: int, size: int) -> dict[str, "torch.Tensor"]:
        """Examples [step·size, (step+1)·size), as `examples` gives them."""
        return self.examples(step * size, (step + 1) * size)

    def examples(self, start: int, stop: int) -> dict[str, "torch.Tensor"]:
        """Padded: {"ids": [B,T], "targets": [B,T]}, filled ones with "positions"; the rest carries IGNORED."""
        examples = [self.example(index) for index in range(start, stop)]
        if not self.filled:
            places = list(chain(*examples))
            return pad_rows([self.rows[row] for row in places]) | {k: v[places] for k, v in self.beside.items()}
        held = (zip(*(self.rows[row] for row in example), strict=True) for example in examples)
        joined = [([*chain(*ids)], [*chain(*bears)]) for ids, bears in held]
        batch = pad_rows(joined, self.filled)
        return batch | {"positions": positions(batch["ids"])}

    def example(self, index: int) -> list[int]:
        """The rows, by number, of the `index`-th example of the endless order."""
        self._drawn.extend(islice(self._endless, max(0, index + 1 - len(self._drawn))))
        return self._drawn[index]

    @cached_property
    def _drawn(self) -> list[list[int]]:
        return []

    @cached_property
    def _endless(self) -> Iterator[list[int]]:
        return (example for epoch in count() for example in self._epoch(epoch))

    def _epoch(self, epoch: int) -> list[list[int]]:
        order, _ = _epoch_order(self.seed, self.phase, epoch, (0, len(self.rows) // self.group), 1)
        if not self.filled:
            return [list(range(at * self.group, (at + 1) * self.group)) for at in order.tolist()]
        return first_fit({row: len(self.rows[row][0]) for row in order.tolist()}, self.filled + 1)


def first_fit(sizes: dict[int, int], room: int, opened: int = 64) -> list[list[int]]:
    """Names of sizes in their order, shared out to lists of at most `room` in sum; only the last `opened` take more."""
    filled: list[list[int]] = []
    left: list[int] = []
    for name, size in sizes.items():
        recent = range(max(0, len(left) - opened), len(left))
        place = next((at for at in recent if left[at] >= size), len(left))
        if place == len(left):
            filled.append([])
            left.append(room)
        filled[place].append(name)
        left[place] -= size
    return filled


@dataclass(frozen=True)
class Blend:
    """Batches of conversations of which `share` of the examples are windows of text (replay against forgetting).

    `first`, if given, stands in for the other conversations at the start and makes room for them evenly: none of the
    `fading`-th example on is of it. (A step that changed all at once would look like a fault to models/guard.py.)
    """

    conversations: Conversations
    text: Packed
    share: float
    first: Conversations | None = None
    fading: int = 0

    def batch(self, step: int, size: int) -> dict[str, "torch.Tensor"]:
        """`size` examples, padded to the longest: {"ids": [B,T], "targets": [B,T]}, with "positions" if filled.

        The share holds over all steps together: a batch of six has every third time one window, for 0.05.
        """
        from torch import cat
        from torch.nn.functional import pad

        start, stop = int(step * size * self.share + 1e-9), int((step + 1) * size * self.share + 1e-9)  # windows
        begin, end = step * size - start, (step + 1) * size - stop  # the rest
        early, late = self._of_first(begin), self._of_first(end)
        spans = ((self.first, early, late), (self.conversations, begin - early, end - late), (self.text, start, stop))
        parts = [source.examples(low, high) for source, low, high in spans if source and low < high]
        width = max(part["ids"].shape[1] for part in parts)

        def joined(name: str, fill: int) -> "torch.Tensor":
            return cat([pad(part[name], (0, width - part[name].shape[1]), value=fill) for part in parts])

        batch = {"ids": joined("ids", 1), "targets": joined("targets", IGNORED)}
        return batch | ({"positions": positions(batch["ids"])} if self.conversations.filled else {})

    def _of_first(self, examples: int) -> int:
        """How many of so many examples, text not counted, are `first`'s: their share falls evenly from 1 to 0."""
        faded = min(examples, self.fading)
        return int(faded - faded**2 / (2 * self.fading)) if self.fading else 0


def pad_rows(rows: list[Row], width: int = 0) -> dict[str, "torch.Tensor"]:
    """(ids, bears-loss mask) rows → tensors [B,T]: next-token targets, right padding with id 1, masks as IGNORED.

    T is the longest row's length less one, or `width` if that is more.
    """
    import torch

    width = max(width, *(len(ids) - 1 for ids, _ in rows))
    batch_ids = torch.full((len(rows), width), 1)
    targets = torch.full((len(rows), width), IGNORED)
    for i, (ids, bears) in enumerate(rows):
        ids_N = torch.tensor(ids)
        batch_ids[i, : len(ids) - 1] = ids_N[:-1]
        targets[i, : len(ids) - 1] = ids_N[1:].masked_fill(torch.tensor(bears[1:]) == 0, IGNORED)
    return {"ids": batch_ids, "targets": targets}
