"""Knows how a teacher's distributions lie on disk: a few draws per token, drawn once and read by many students.

Random sampling KD (Anshumann et al. 2025, arXiv 2503.16870) keeps draws, not the top k, which would be biased: the
share of draws that fall on an id has the teacher's probability as its expectation. Ours are systematic (one uniform
number per position, then even steps through the cumulative distribution): as unbiased, and 32 of them err less than 50
independent ones in fewer bytes (docs/log.md). An id lies there as its rank, by how often the text has it.

    00000.bin …      SHARD windows in the order of training, as COLUMNS, each packed by LZMA behind its length (uint32):
                     how many ids each position has; draws − 1 of each id; the three bytes of its distance to the rank
                     before, lowest first, a column each; then a seal, the sha256 of provenance, number and all that
    provenance.json  {"provenance": {...}, "windows": n}, written last
"""

import hashlib
import json
import lzma
import os
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models import kernels, parallel
from models.batches import INDEX, Packed
from models.objectives import head_of

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import LlamaForCausalLM

SHARD = 64  # windows
MOST_IDS, MOST_DRAWS = 1 << 24, 1 << 8  # what three bytes and one hold
COLUMNS = 5
PACKING = [{"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 0, "lp": 0, "pb": 0}]  # bytes that say little of the next one
COUNTED = 1 << 20  # tokens of the text, by which ids are ranked
POSITIONS = 512  # whose cumulative distributions (float64, as many as the vocabulary) stand in memory at once
MANIFEST = "provenance.json"
SEAL = 32  # bytes of a sha256
TOGETHER = 8  # windows per forward of the teacher; fixed, as a batch's size may change a logit's last bit


def provenance(teacher: Path, tokens: Path, packed: Packed, *, draws: int, temperature: float) -> dict[str, Any]:
    """What the bytes of a cache are a function of: teacher, tokenizer, tokens, order, and how is drawn."""
    phase, weights = packed.shard.phase, sorted(teacher.glob("*.safetensors"))
    return {
        "teacher": _sha256(teacher / "config.json", *weights),
        "rows": json.loads((teacher / "config.json").read_text(encoding="utf-8"))["vocab_size"],
        "tokenizer": _sha256(teacher / "tokenizer.json"),
        "tokens": _sha256(tokens / INDEX, tokens / f"{phase}.bin"),
        "order": f"phase {phase}, context {packed.context}, seed {packed.seed}",
        "draws": draws,
        "temperature": temperature,
        "form": "columns of ranks, LZMA",
    }


def place(root: Path, origin: dict[str, Any]) -> Path:
    """The folder under `root` of a cache with this provenance; students that ask for the same share it."""
    return root / hashlib.sha256(_words(origin)).hexdigest()[:16]


def write(folder: Path, origin: dict[str, Any], teacher: "LlamaForCausalLM", packed: Packed, *, windows: int) -> int:
    """Draws for the first `windows` windows, those that are missing only; returns how many windows it drew.

    Ranks draw in turns. A killed writing goes on at its last whole shard, and its bytes are those of an unbroken one
    (on a CPU with the same number of threads; elsewhere a draw at the very edge between two ids may fall to the other).
    Raises ValueError before any work for a cache of other provenance, too many draws or too large a vocabulary.
    """
    if not 0 < origin["draws"] <= MOST_DRAWS or teacher.config.vocab_size > MOST_IDS:
        asked = f"{origin['draws']} draws of {teacher.config.vocab_size} ids"
        raise ValueError(f"{asked}; a cache holds at most {MOST_DRAWS} of {MOST_IDS}: lower distill.draws")
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / MANIFEST).exists() and _windows(folder, origin) >= windows:
        return 0
    teacher, wanted = teacher.eval().to(kernels.device()), -(-windows // SHARD)
    kernels.accelerate(teacher)
    ranks = parallel.ranks()
    own = map(partial(_file, folder), range(ranks.process_index, wanted, ranks.num_processes))
    missing = [file for file in own if not _stands(file, origin)]
    for file in missing:
        content = _shard(teacher, packed, int(file.stem), origin)
        _replace(file, content + _seal(_words(origin), file.name, content))
    ranks.wait_for_everyone()
    if ranks.is_main_process:
        manifest = {"provenance": origin, "windows": wanted * SHARD}
        _replace(folder / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
    ranks.wait_for_everyone()
    return len(missing) * SHARD


@dataclass(frozen=True)
class TeacherCache:
    """Batches of `packed` with the teacher's draws beside them."""

    folder: Path
    origin: dict[str, Any]
    packed: Packed

    @classmethod
    def open(cls, folder: Path, origin: dict[str, Any], packed: Packed, *, windows: int) -> "TeacherCache":
        """Raises ValueError, before any work, when the cache is of other provenance or shorter than `windows`."""
        if (found := _windows(folder, origin)) < windows:
            raise ValueError(f"{folder} holds {found} of {windows} windows; write the rest first")
        return cls(folder, origin, packed)

    @property
    def bytes_per_token(self) -> float:
        """Bytes on disk per position."""
        files = [*self.folder.glob("*.bin")]
        return sum(file.stat().st_size for file in files) / (len(files) * SHARD * self.packed.context)

    def batch(self, step: int, size: int) -> dict[str, "torch.Tensor"]:
        """Packed.batch and, K = most ids of any position, {"drawn": int64 [B,T,K], "shares": float32 [B,T,K]}.

        The shares of a position sum to one; unused places have share 0. ValueError when a shard's bytes have changed.
        """
        import numpy as np
        import torch

        found = zip(*(self._window(step * size + place) for place in range(size)), strict=True)
        counts_N, ranks, draws = map(np.concatenate, found)
        used_NK = np.arange(counts_N.max()) < counts_N[:, None]
        drawn_NK, shares_NK = np.zeros(used_NK.shape, "<i8"), np.zeros(used_NK.shape, "<f4")
        drawn_NK[used_NK] = self._order_V[ranks]
        shares_NK[used_NK] = draws / self.origin["draws"]
        taught = {"drawn": torch.from_numpy(drawn_NK), "shares": torch.from_numpy(shares_NK)}
        shape = (size, self.packed.context, -1)
        return self.packed.batch(step, size) | {name: rows.view(shape) for name, rows in taught.items()}

    @cached_property
    def _order_V(self) -> "np.ndarray":
        return _ranked(self.packed, self.origin["rows"])

    def _window(self, index: int) -> "tuple[np.ndarray, ...]":
        number, row = divmod(index, SHARD)
        return _read(_file(self.folder, number), _words(self.origin), self.packed.context)[row]


def _windows(folder: Path, origin: dict[str, Any]) -> int:
    """Windows that a cache's manifest vouches for; ValueError when it is not of this provenance."""
    if not (folder / MANIFEST).exists():
        raise ValueError(f"{folder} holds no {MANIFEST}; write the teacher's cache first")
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    theirs = manifest["provenance"]
    if differing := [key for key in origin if theirs.get(key) != origin[key]]:
        found = "; ".join(f"{key}: cached {theirs.get(key)}, asked {origin[key]}" for key in differing)
        raise ValueError(f"{folder} was drawn from something else ({found}); write a cache in another folder")
    return manifest["windows"]


def _shard(teacher: "LlamaForCausalLM", packed: Packed, number: int, origin: dict[str, Any]) -> bytes:
    import numpy as np
    import torch

    parts, order_V = [], torch.from_numpy(_ranked(packed, origin["rows"]))
    for step in range(number * SHARD // TOGETHER, (number + 1) * SHARD // TOGETHER):
        ids_BT = packed.batch(step, TOGETHER)["ids"].to(teacher.device)
        with torch.no_grad():
            hidden_ND = teacher.model(input_ids=ids_BT, use_cache=False).last_hidden_state.flatten(0, 1)
        windows = range(step * TOGETHER, (step + 1) * TOGETHER)
        starts_N = np.concatenate([_chance(packed.seed, index, packed.context) for index in windows])
        for at in range(0, len(hidden_ND), POSITIONS):
            part = slice(at, at + POSITIONS)
            logits_NV = (hidden_ND[part] @ head_of(teacher, hidden_ND).T).float() / origin["temperature"]
            parts.append(_runs(draw(logits_NV[:, order_V], starts_N[part], origin["draws"])))
    return _packed(*map(np.concatenate, zip(*parts, strict=True)))


def _ranked(packed: Packed, rows: int) -> "np.ndarray":
    """The ids [V], the commonest of the text first."""
    import numpy as np

    return np.argsort(-np.bincount(packed.shard.ids[:COUNTED], minlength=rows), kind="stable")


def draw(logits_NV: "torch.Tensor", starts_N: "np.ndarray", draws: int) -> "np.ndarray":
    """Systematic draws from softmax(logits), in rising order of column: int64 [N, draws]; starts_N in [0, 1)."""
    import torch

    chances_NV = logits_NV.double().softmax(-1).cumsum(-1)
    steps_NK = torch.from_numpy(starts_N).to(logits_NV.device)[:, None] + torch.arange(draws, device=logits_NV.device)
    places_NK = steps_NK / draws * chances_NV[:, -1:]
    return torch.searchsorted(chances_NV, places_NK, right=True).clamp(max=logits_NV.shape[1] - 1).cpu().numpy()


def _runs(drawn_NK: "np.ndarray") -> "tuple[np.ndarray, ...]":
    """Rows of rising ids → how many different ids each has, all of these, and the draws of each."""
    import numpy as np

    fresh_NK = np.diff(drawn_NK, axis=1, prepend=-1) != 0
    begins = np.flatnonzero(fresh_NK)
    return fresh_NK.sum(1), drawn_NK.ravel()[begins], np.diff(begins, append=drawn_NK.size)


def _packed(counts_N: "np.ndarray", ranks: "np.ndarray", draws: "np.ndarray") -> bytes:
    """A shard's columns: distances are small and draws mostly one, so that both need about nine bits."""
    import numpy as np

    steps = np.diff(ranks, prepend=0)
    firsts = counts_N.cumsum() - counts_N
    steps[firsts] = ranks[firsts]
    columns = [counts_N, draws - 1, *(steps >> shift & 255 for shift in (0, 8, 16))]
    packed = [lzma.compress(column.astype("u1").tobytes(), lzma.FORMAT_RAW, filters=PACKING) for column in columns]
    return b"".join(len(column).to_bytes(4, "little") + column for column in packed)


def _unpacked(content: bytes) -> "tuple[np.ndarray, ...]":
    """What was packed: counts [N], ids, draws."""
    import numpy as np

    columns, at = [], 0
    for _ in range(COLUMNS):
        end = at + 4 + int.from_bytes(content[at : at + 4], "little")
        column = lzma.decompress(content[at + 4 : end], lzma.FORMAT_RAW, filters=PACKING)
        columns.append(np.frombuffer(column, "u1").astype("i8"))
        at = end
    counts_N, draws, *planes = columns
    steps = sum(plane << 8 * n for n, plane in enumerate(planes))
    whole, firsts = np.cumsum(steps), counts_N.cumsum() - counts_N
    return counts_N, whole - np.repeat((whole - steps)[firsts], counts_N), draws + 1


def _chance(seed: int, window: int, positions: int) -> "np.ndarray":
    """The uniform number of each position of a window."""
    import numpy as np

    digest = hashlib.sha256(f"{seed}/teacher/{window}".encode()).digest()
    return np.random.Generator(np.random.Philox(int.from_bytes(digest[:16], "little"))).random(positions)


@lru_cache(maxsize=2)  # windows come in order, and a step may reach over an edge
def _read(file: Path, words: bytes, context: int) -> "list[tuple[np.ndarray, ...]]":
    """(ids per position, ids, draws of each) of each window of a shard."""
    import numpy as np

    whole = file.read_bytes()
    if whole[-SEAL:] != _seal(words, file.name, whole[:-SEAL]):
        raise ValueError(f"{file} is not what was written; delete {file.parent} and write it again")
    counts_N, ids, draws = _unpacked(whole[:-SEAL])
    counts = counts_N.reshape(SHARD, context)
    ends = counts.sum(1).cumsum()[:-1]
    return list(zip(counts, np.split(ids, ends), np.split(draws, ends), strict=True))


def _words(origin: dict[str, Any]) -> bytes:
    return json.dumps(origin, sort_keys=True).encode()


def _seal(words: bytes, name: str, content: bytes) -> bytes:
    return hashlib.sha256(b"\0".join((words, name.encode(), content))).digest()


def _stands(file: Path, origin: dict[str, Any]) -> bool:
    whole = file.read_bytes() if file.exists() else b""
    return whole[-SEAL:] == _seal(_words(origin), file.name, whole[:-SEAL])


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.bin"


def _replace(file: Path, content: bytes) -> None:
    """Whole or absent: written beside, synced, renamed."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    with draft.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    draft.rename(file)


def _sha256(*files: Path) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
