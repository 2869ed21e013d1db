"""Measures whether a vocabulary is the same everywhere: ids in three runtimes, round trips, and time on hostile input.

    python -m benchmarks.tokenizer_runtimes --data ../shared/data --tokenizer "/tmp/vocabularies/ours (131384)"

The exporters put the tokenizer, with a small random Llama, into a GGUF file and a GenAI folder; llama.cpp, GenAI and
transformers' tokenizers read theirs. Strings are drawn from the raw corpus, all languages, or made; a hostile input is
one run of letters, spaces or marks without an end, as no page has it.
"""

import argparse
import json
import random
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from midm_mini.format import CONTROL_TOKENS, PII_PLACEHOLDERS
from midm_mini.gguf_backend import GgufBackend

from benchmarks import _frame
from corpus.reading import read_folder
from export import checkpoint, facts, gguf, onnx, verify

GOAL = "0 of >= 100,000 strings with other ids; 0 of 1,000,000 changed by a round trip; growth of seconds per MB <= 2"
SAMPLED, MADE = 100_000, 1_000_000
MIB = 1 << 20
HOSTILE: dict[str, str] = {
    "one letter": "a",
    "one syllable": "가",
    "spaces": " ",
    "line ends": "\n",
    "marks": "!",
    "joined emoji": "👩\u200d",
    "broken words": "aB'",
    "special tokens": "<|eot_id|>",
    "placeholders": "#@이름@#",
}


def main() -> None:
    """Asks each runtime, prints and records."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--strings", type=int, default=SAMPLED)
    parser.add_argument("--made", type=int, default=MADE)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="openmidm-bench-") as name:
        parent, bundles = exported(flags.tokenizer, Path(name))
        texts = [*verify.HARD_TEXTS, *crafted(), *sampled(flags.data / "corpus", flags.strings)]
        right = verify.parent_ids(parent, texts)
        rows: list[dict[str, Any]] = []
        for who, bundle in bundles.items():
            ids = facts.read(bundle, texts).ids
            rows.append(
                {
                    "who": f"ids, {who}",
                    "strings": len(texts),
                    "wrong": sum(a != b for a, b in zip(ids, right, strict=True)),
                }
            )
        rows += round_trips(flags.tokenizer, bundles["llama.cpp"], flags.made)
        times = [row for who, encode in encoders(flags.tokenizer, bundles).items() for row in hostile(who, encode)]
    worst = {who: max(row["growth"] for row in times if row["who"].startswith(who)) for who in ("tokenizers", *bundles)}
    wrong = {row["who"]: float(row["wrong"]) for row in rows}
    _frame.report(
        "tokenizer_runtimes",
        goal=GOAL,
        rows=[*rows, *times],
        ratio=wrong | {f"growth, {who}": n for who, n in worst.items()},
    )


def exported(tokenizer: Path, folder: Path) -> tuple[checkpoint.Parent, dict[str, Path]]:
    """A small random model with the tokenizer, and its two exports."""
    from models import checkpoints
    from models.shapes import Shape, build, rows_for

    size = (
        len(json.loads((tokenizer / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"])
        + len(CONTROL_TOKENS[3:])
        + len(PII_PLACEHOLDERS)
    )
    shape = Shape(
        vocab_rows=rows_for(size),
        tied=True,
        context=256,
        hidden=32,
        ffn=64,
        layers=1,
        heads=2,
        kv_heads=1,
        head_dim=16,
        rope_theta=10_000.0,
    )
    checkpoints.save(build(shape, seed=1), folder / "hf", tokenizer=tokenizer)
    parent = checkpoint.read(folder / "hf")
    card = gguf.Card("midm-mini-test", "instruct", "v0.1", "mit", ("ko", "en"), "none")
    genai = partial(onnx.make, blocks=onnx.Blocks(32, symmetric=False))
    bundles = {"llama.cpp": folder / "gguf", "genai": folder / "genai"}
    for who, make, precision in (("llama.cpp", gguf.make, "F16"), ("genai", genai, "int8")):
        bundles[who].mkdir()
        make(parent, card, precision, bundles[who])
    return parent, bundles


def sampled(folder: Path, count: int) -> Iterator[str]:
    """Stretches of 1 to 400 characters of raw documents, by lot."""
    texts = [row["text"] for row in read_folder(folder, max_record_bytes=1 << 24) if isinstance(row, dict)]
    draw = random.Random(4)
    weights = np.cumsum([len(text) for text in texts])
    for place in np.searchsorted(weights, [draw.random() * weights[-1] for _ in range(count)]):
        text = texts[int(place)]
        start = draw.randrange(max(1, len(text)))
        yield text[start : start + draw.randint(1, 400)]


def crafted(count: int = 20_000) -> Iterator[str]:
    """Random Unicode, every Hangul syllable in two normal forms, mixtures of spaces, marks and special-token text."""
    draw = random.Random(5)
    yield from (unicode(draw) for _ in range(count))
    for start in range(0xAC00, 0xD7A4, 8):
        text = "".join(map(chr, range(start, min(start + 8, 0xD7A4))))
        yield from (text, unicodedata.normalize("NFD", text))
    pool = [
        *" \t\n\r",
        "\u3000",
        "\xa0",
        "'s",
        "'S",
        "'LL",
        "가",
        "각",
        "a",
        "é",
        "1",
        "２",
        "½",
        "!",
        "…",
        "👍🏽",
        "\u200d",
        *PII_PLACEHOLDERS[:3],
        *CONTROL_TOKENS,
    ]
    yield from ("".join(draw.choices(pool, k=draw.randint(1, 30))) for _ in range(count))


def unicode(draw: random.Random) -> str:
    """1 to 24 characters of any plane that may stand in a text."""
    codes = (
        draw.randrange(1, draw.choice((0x80, 0x800, 0x3000, 0x10000, 0x110000))) for _ in range(draw.randint(1, 24))
    )
    return "".join(chr(code) for code in codes if not 0xD800 <= code < 0xE000)


def round_trips(tokenizer: Path, bundle: Path, count: int) -> list[dict[str, Any]]:
    """Strings that do not come back, and control ids that content made, in the tokenizers library and llama.cpp."""
    from tokenizers import Tokenizer

    coder = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    coder.encode_special_tokens = True
    control = {coder.token_to_id(token) for token in CONTROL_TOKENS}
    draw = random.Random(6)
    hangul = [form for code in range(0xAC00, 0xD7A4) for form in (chr(code), unicodedata.normalize("NFD", chr(code)))]
    hangul += [
        chr(code)
        for block in ((0x1100, 0x1200), (0x3130, 0x3190), (0xA960, 0xA980), (0xD7B0, 0xD800))
        for code in range(*block)
    ]
    marks = [f"{unicode(draw)}{token}{unicode(draw)}" for token in CONTROL_TOKENS for _ in range(1000)]
    texts = [*hangul, *marks, *(unicode(draw) for _ in range(count))]
    rows = [{"who": "round trip, tokenizers", "strings": len(texts), "wrong": 0, "control": 0}]
    for start in range(0, len(texts), 10_000):
        part = texts[start : start + 10_000]
        ids = [coded.ids for coded in coder.encode_batch(part, add_special_tokens=False)]
        back = coder.decode_batch(ids, skip_special_tokens=False)
        rows[0]["wrong"] += sum(a != b for a, b in zip(part, back, strict=True))
        rows[0]["control"] += sum(not control.isdisjoint(own) for own in ids)
    backend = GgufBackend(bundle, threads=1, context=16)
    some = texts[: len(hangul) + len(marks)] + texts[len(hangul) + len(marks) :: 10]
    coded = [backend.encode(text, special=False) for text in some]
    back_bytes = (b"".join(map(backend.token_bytes, ids)) for ids in coded)
    wrong = sum(a.encode() != b for a, b in zip(some, back_bytes, strict=True))
    backend.close()
    return [
        *rows,
        {
            "who": "round trip, llama.cpp",
            "strings": len(some),
            "wrong": wrong,
            "control": sum(not control.isdisjoint(own) for own in coded),
        },
    ]


def encoders(tokenizer: Path, bundles: dict[str, Path]) -> dict[str, Callable[[str], Any]]:
    """How text that is content becomes ids: by the library, by our runtime on llama.cpp, and by GenAI as it is."""
    import midm_mini
    import onnxruntime_genai
    from tokenizers import Tokenizer

    coder = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    coder.encode_special_tokens = True
    model = midm_mini.load(bundles["llama.cpp"], threads=1, context=16)
    return {
        "tokenizers": lambda text: coder.encode(text, add_special_tokens=False),
        "llama.cpp": lambda text: model.tokenize(text, special=False),
        "genai": onnxruntime_genai.Tokenizer(str(bundles["genai"])).encode,
    }


def hostile(who: str, encode: Callable[[str], Any]) -> Iterator[dict[str, Any]]:
    """Processor seconds of each hostile input at 1 and 8 MB, and how the seconds per MB grow."""
    encode("warm up")
    for name, unit in HOSTILE.items():
        small = min(seconds(encode, unit, MIB) for _ in range(2))
        large = seconds(encode, unit, 8 * MIB)
        yield {"who": f"{who}, {name}", "seconds at 1 MB": small, "seconds at 8 MB": large, "growth": large / small / 8}
        print(who, name, small, large, flush=True)


def seconds(encode: Callable[[str], Any], unit: str, size: int) -> float:
    """Processor time of one encoding of `size` bytes of the unit."""
    text = unit * (size // len(unit.encode()))
    start = time.process_time()
    encode(text)
    return time.process_time() - start


if __name__ == "__main__":
    main()
