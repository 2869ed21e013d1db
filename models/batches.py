"""Knows which tokens come at which step: memory-mapped shards, an order that is a function of (seed, phase, index)."""

import json
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    import torch

INDEX = "index.json"
BOS = 0
IGNORED = -100  # torch's own mark for "no loss here"


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
        """Examples [step·size, (step+1)·size) as {"ids": [B,T], "targets": [B,T]}; targets are shifted here, once.

        `separate` packing adds "positions" [B,T], which begin again at each document.
        """
        import numpy as np
        import torch

        rows = torch.from_numpy(np.stack([self.window(step * size + i) for i in range(size)]))
        batch = {"ids": rows[:, :-1], "targets": rows[:, 1:]}
        return batch | ({"positions": positions(batch["ids"])} if self.packing == "separate" else {})


def positions(ids_BT: "torch.Tensor") -> "torch.Tensor":
    """Places [B,T] counted from each document's bos, or from the window's start for what was cut off before it."""
    import torch

    place_T = torch.arange(ids_BT.shape[1])
    firsts_BT = torch.where(ids_BT == BOS, place_T, 0)
    return place_T - firsts_BT.cummax(-1).values


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
    """Rows of ids with a mask of the tokens that bear loss; `group` neighbouring rows always stay together."""

    rows: list[tuple[list[int], list[int]]]
    seed: int
    phase: str
    group: int = 1

    def batch(self, step: int, size: int) -> dict[str, "torch.Tensor"]:
        """`size` groups, padded: {"ids": [B,T], "targets": [B,T]}; prompts and padding carry IGNORED."""
        groups = len(self.rows) // self.group
        chosen = []
        for index in range(step * size, (step + 1) * size):
            epoch, place = divmod(index, groups)
            order, _ = _epoch_order(self.seed, self.phase, epoch, (0, groups), 1)
            start = int(order[place]) * self.group
            chosen += self.rows[start : start + self.group]
        return pad_rows(chosen)


@dataclass(frozen=True)
class Blend:
    """A batch of conversations of which the last `share` are windows of text (replay against forgetting)."""

    conversations: Conversations
    text: Packed
    share: float

    def batch(self, step: int, size: int) -> dict[str, "torch.Tensor"]:
        """`size` examples, padded to the longest: {"ids": [B,T], "targets": [B,T]}."""
        from torch import cat
        from torch.nn.functional import pad

        replayed = round(size * self.share)
        if not replayed:
            return self.conversations.batch(step, size)
        turns, windows = self.conversations.batch(step, size - replayed), self.text.batch(step, replayed)
        width = max(turns["ids"].shape[1], windows["ids"].shape[1])

        def joined(name: str, fill: int) -> "torch.Tensor":
            parts = (turns[name], windows[name])
            return cat([pad(rows, (0, width - rows.shape[1]), value=fill) for rows in parts])

        return {"ids": joined("ids", 1), "targets": joined("targets", IGNORED)}


def pad_rows(rows: list[tuple[list[int], list[int]]]) -> dict[str, "torch.Tensor"]:
    """(ids, bears-loss mask) rows → tensors [B,T]: next-token targets, right padding with id 1, masks as IGNORED."""
    import torch

    longest = max(len(ids) for ids, _ in rows) - 1
    batch_ids = torch.full((len(rows), longest), 1)
    targets = torch.full((len(rows), longest), IGNORED)
    for i, (ids, bears) in enumerate(rows):
        batch_ids[i, : len(ids) - 1] = torch.tensor(ids[:-1])
        learnt = [t if b else IGNORED for t, b in zip(ids[1:], bears[1:], strict=True)]
        targets[i, : len(ids) - 1] = torch.tensor(learnt)
    return {"ids": batch_ids, "targets": targets}
