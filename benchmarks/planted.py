"""Knows which near-duplicates are true, for it planted them: what ours and datatrove find of the same shards.

    python -m benchmarks.planted --data ../shared/data/corpus --peer-python /tmp/dt/bin/python

Every original is a real document that shares less than a fifth of its 8-word runs with those before it, and has one
copy with one kind of edit. Beside them stand templated pages (factbook, statutes, API reference) whose likeness nobody
planted: a pair joined across originals counts as wrong only if the texts differ by an independent measure (less than
three quarters of the words match in order, difflib); else it is a natural near-duplicate and counts neither way.
"""

import argparse
import json
import random
import re
import struct
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from difflib import SequenceMatcher
from itertools import combinations
from pathlib import Path

from benchmarks import _frame, _texts, corpus_speed

GOAL = "F1 of planted pairs >= datatrove's in its best setting"
TEMPLATED = ("factbook", "korean_law", "msdocs", "sgd_dialogue")
_SENTENCE = re.compile(r"(?<=[.!?다요])\s+")
_SWAPS = dict(zip("은는이가을를와과로", "는은가이를을과와서", strict=True))
_HEADER = "홈 > 자료실 > {0}\n조회 {0} | 추천 3 | 공유하기\n\n"
_FOOTER = "\n\n이전 글 | 다음 글 | 목록\nCopyright (c) 20{0} Example Corp. All rights reserved.\n문의: 02-000-0{0}"
Edit = Callable[[str, random.Random, float, list[str]], str]


def main() -> None:
    """Plants, lets both find, prints and records precision, recall, F1 and recall by edit."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peer-python", type=Path, default=Path("/tmp/dt/bin/python"))
    parser.add_argument("--words", nargs="*", default=["split", "spacy-xx", "proper"])
    parser.add_argument("--originals", type=int, default=3000)
    flags = parser.parse_args()
    texts, kinds = planted(flags.data, originals=flags.originals)
    with tempfile.TemporaryDirectory(prefix="openmidm-planted-") as name, _frame.workspace(Path(name)) as folder:
        found = {"ours": ours(texts, folder)}
        halves = [sorted(texts)[part::2] for part in (0, 1)]
        for part, ids in enumerate(halves):
            _texts.write(Path(name, f"{part}.jsonl.gz"), ({"id": it, "text": texts[it]} for it in ids))
        for words in flags.words:
            corpus_speed.datatrove(flags.peer_python, Path(name), folder, words, "--tasks", "2")
            found[f"datatrove {words}"] = clusters_of(folder / "datatrove/clusters", halves)
    rows = [{"who": who, **score(clusters, texts, kinds)} for who, clusters in found.items()]
    ratio = {f"F1 to {row['who']}": rows[0]["f1"] / row["f1"] for row in rows[1:]}
    _frame.report("planted", goal=GOAL, rows=rows, ratio=ratio)


def planted(data: Path, *, originals: int) -> tuple[dict[str, str], dict[str, str]]:
    """id → text of originals, copies and templated pages, and id → edit of the copies (`<original>~` is its copy)."""
    dice, edits = random.Random(7), [(edit, strength) for edit, strengths in EDITS for strength in strengths]
    pool = [
        (f"{file.stem}/{at}", _texts.text(row))
        for file in _texts.files(data)
        for at, row in enumerate(_texts.rows(file))
    ]
    dice.shuffle(pool)
    words = [word for _, text in pool[:2000] for word in text.split() if word.isalpha()]
    texts, kinds, seen = {}, {}, set[int]()
    for name, text in pool:
        runs = {hash(tuple(run)) for run in zip(*(text.split()[at:] for at in range(8)), strict=False)}
        if 300 <= len(text) <= 20_000 and len(runs & seen) < 0.2 * len(runs) and len(kinds) < originals:
            seen |= runs
            edit, strength = edits[len(kinds) % len(edits)]
            texts[name], texts[f"{name}~"] = text, edit(text, dice, strength, words)
            kinds[f"{name}~"] = f"{edit.__name__} {strength:g}"
        elif name.startswith(TEMPLATED) and len(text) <= 100_000:
            texts[name] = text
    return texts, kinds


def ours(texts: dict[str, str], folder: Path) -> list[list[str]]:
    """Clusters that the dedup stage finds among the texts."""
    from corpus import shards

    shards.write(folder / "artifacts/filter/kept", ({"id": name, "text": texts[name]} for name in sorted(texts)))
    _frame.stage("dedup", folder)
    lines = (folder / "artifacts/dedup/clusters.jsonl").read_text(encoding="utf-8").splitlines()
    return [[row["kept"], *row["copies"]] for row in map(json.loads, lines)]


def clusters_of(folder: Path, files: list[list[str]]) -> list[list[str]]:
    """Clusters that datatrove found; its files hold (row, cluster) pairs of each input file."""
    found: dict[int, list[str]] = {}
    for path in sorted(folder.glob("*.clusters")):
        for row, cluster in struct.iter_unpack("<2I", path.read_bytes()):
            found.setdefault(cluster, []).append(files[int(path.stem)][row])
    return list(found.values())


def score(clusters: Iterable[list[str]], texts: dict[str, str], kinds: dict[str, str]) -> dict[str, object]:
    """Precision, recall and F1 of joined pairs, what was joined by nature, and the recall of each edit."""
    joined = {tuple(sorted(pair)) for cluster in clusters for pair in combinations(cluster, 2)}
    true = {(name[:-1], name): kind for name, kind in kinds.items()}
    hits, others = (
        joined & true.keys(),
        [pair for pair in joined - true.keys() if pair[0].strip("~") != pair[1].strip("~")],
    )
    wrong = [pair for pair in others if not alike(*(texts[name] for name in pair))]
    precision, recall = len(hits) / max(len(hits) + len(wrong), 1), len(hits) / len(true)
    f1 = 2 * precision * recall / max(precision + recall, 1e-9)
    figures = {"precision": precision, "recall": recall, "f1": f1}
    counts, found = Counter(kinds.values()), Counter(true[pair] for pair in hits)
    return {
        **{name: round(value, 4) for name, value in figures.items()},
        **{"planted": len(true), "documents": len(texts), "wrong": len(wrong), "natural": len(others) - len(wrong)},
        "by_edit": {kind: round(found[kind] / counts[kind], 3) for kind in sorted(counts)},
    }


def alike(one: str, other: str) -> bool:
    """Whether three quarters of the words of two texts match in order."""
    match = SequenceMatcher(None, one.split(), other.split(), autojunk=False)
    return match.real_quick_ratio() >= 0.75 and match.quick_ratio() >= 0.75 and match.ratio() >= 0.75


def exact(text: str, dice: random.Random, share: float, words: list[str]) -> str:
    """The text itself, but for blank space at its end."""
    return text + "\n"


def spacing(text: str, dice: random.Random, share: float, words: list[str]) -> str:
    """A share of the spaces between words is left out."""
    return re.sub(r" +", lambda it: "" if dice.random() < share else it[0], text)


def particles(text: str, dice: random.Random, share: float, words: list[str]) -> str:
    """A share of the Korean particles is another one; English articles change instead."""
    text = re.sub(
        r"(?<=[가-힣])[은는이가을를와과로](?= )", lambda it: _SWAPS[it[0]] if dice.random() < share else it[0], text
    )
    return re.sub(r"\b(?:the|a)\b", lambda it: "this" if dice.random() < share else it[0], text)


def substitutions(text: str, dice: random.Random, share: float, words: list[str]) -> str:
    """A share of the words is another word of the corpus."""
    return re.sub(r"\S+", lambda it: dice.choice(words) if dice.random() < share else it[0], text)


def dropped(text: str, dice: random.Random, share: float, words: list[str]) -> str:
    """One sentence is missing."""
    sentences = _SENTENCE.split(text)
    del sentences[dice.randrange(len(sentences))]
    return " ".join(sentences) or text


def added(text: str, dice: random.Random, share: float, words: list[str]) -> str:
    """One sentence of a dozen words is new."""
    sentences = _SENTENCE.split(text)
    sentences.insert(dice.randrange(len(sentences) + 1), " ".join(dice.choices(words, k=12)) + ".")
    return " ".join(sentences)


def framed(text: str, dice: random.Random, share: float, words: list[str]) -> str:
    """The page's furniture stands above and below."""
    return _HEADER.format(dice.randrange(10, 99)) + text + _FOOTER.format(dice.randrange(10, 99))


EDITS: list[tuple[Edit, tuple[float, ...]]] = [
    (exact, (0,)), (spacing, (0.05, 0.3)), (particles, (0.1, 0.5)), (substitutions, (0.01, 0.03, 0.05, 0.1, 0.15)),
    (dropped, (1,)), (added, (1,)), (framed, (1,)),
]  # fmt: skip


if __name__ == "__main__":
    main()
