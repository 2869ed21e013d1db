"""Measures how long, and in how much memory, 131,384 ids are learnt: ours beside the Hugging Face trainer fed plainly.

    python -m benchmarks.tokenizer_training --text artifacts/filter/kept [--copies 8] [--cores 2]

Both read the same shards on the same cores, cut the same pretokens and learn without weights: merges must be equal.
Copies are written down before: in each one word of twenty (by seed) has its letters in another order, or a copy would
only raise counts.
"""

import argparse
import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks import _frame

GOAL = "time <= 0.5 and peak memory <= 0.25 of the Hugging Face trainer's; the same merges"
SIZE, LEAST = 131_384, 2


def main() -> None:
    """Runs each in a process of its own, compares the merges, prints and records."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--copies", type=int, default=1)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--as", dest="who", choices=("ours", "theirs"))
    flags = parser.parse_args()
    if flags.who:
        print(json.dumps({"ours": ours, "theirs": theirs}[flags.who](flags.text)))
        return
    from corpus import shards

    with tempfile.TemporaryDirectory(prefix="openmidm-bench-") as folder:
        count = shards.write(Path(folder), documents(flags.text, flags.copies))
        size = sum(len(row["text"].encode()) for row in shards.read(Path(folder))) / 1e6
        command = [_frame.PYTHON, "-m", "benchmarks.tokenizer_training", "--text", folder, "--as"]
        runs = {who: _frame.measure([*command, who], cwd=_frame.ROOT, cores=flags.cores) for who in ("ours", "theirs")}
    about = {"MB": round(size), "documents": count, "cores": flags.cores}
    rows = [
        {"who": who, **about, "seconds": run.seconds, "cpu_seconds": run.cpu_seconds, "peak_mib": run.peak_mib}
        for who, run in runs.items()
    ]
    ratio = {
        "time": runs["ours"].seconds / runs["theirs"].seconds,
        "cpu": runs["ours"].cpu_seconds / runs["theirs"].cpu_seconds,
        "memory": runs["ours"].peak_mib / runs["theirs"].peak_mib,
        "merges equal": float(runs["ours"].output == runs["theirs"].output),
    }
    _frame.report("tokenizer_training", goal=GOAL, rows=rows, ratio=ratio)


def documents(folder: Path, copies: int) -> Iterator[dict]:
    """Documents, and varied copies of them."""
    from corpus import shards

    for number in range(copies):
        draw = random.Random(number)
        for row in shards.read(folder):
            yield row | {"text": varied(row["text"], draw)} if number else row


def varied(text: str, draw: random.Random) -> str:
    """One word of twenty with its letters in another order."""
    words = text.split(" ")
    for place in draw.sample(range(len(words)), len(words) // 20):
        words[place] = "".join(draw.sample(words[place], len(words[place])))
    return " ".join(words)


def ours(folder: Path) -> list[list[str]]:
    """Merges by `corpus.bpe`."""
    from corpus import bpe, pretokens, tally

    recipe = tally.Recipe(pretokens.occurrences, _alike, most=1 << 62)
    with tempfile.TemporaryDirectory() as scratch:
        words, _ = tally.of_folder(folder, recipe, scratch=Path(scratch))
        return json.loads(bpe.learn(words, vocab_size=SIZE, min_frequency=LEAST).to_str())["model"]["merges"]


def theirs(folder: Path) -> list[list[str]]:
    """Merges by the library, fed text as its examples do."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    from corpus import bpe, pretokens, shards

    tokenizer = Tokenizer(models.BPE())
    cut = pre_tokenizers.Split(Regex(pretokens.PRETOKENIZER), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, pre_tokenizers.ByteLevel(False, use_regex=False)])
    alphabet, size = sorted(pre_tokenizers.ByteLevel.alphabet()), SIZE - len(bpe.LAST)
    given = {"min_frequency": LEAST, "initial_alphabet": alphabet, "special_tokens": list(bpe.FIRST)}
    texts = (row["text"] for row in shards.read(folder))
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, show_progress=False, **given))
    return json.loads(tokenizer.to_str())["model"]["merges"]


def _alike(lang: str, domain: str) -> int:
    return 1


if __name__ == "__main__":
    main()
