"""Knows how well evaluation items are found in training text: ours beside the 13-gram word rule, on planted items.

    python -m benchmarks.decontamination --data ../shared/data

The editor below shares no code with the detector: particles are swapped, dropped and added where kiwipiepy's morphemes
say that a particle stands, jamo are spelled by Unicode's own tables.
"""

import argparse
import random
import re
import time
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator
from difflib import SequenceMatcher
from functools import cache
from itertools import islice
from pathlib import Path

from benchmarks import _frame
from corpus import shards
from corpus.contamination import Contamination
from corpus.evaluations import Item, read_sets
from pipelines._stage import load_params
from pipelines.mix import Params

SEED, PER_LANGUAGE = 20, 500  # the detector's settings were chosen with another seed
PEER = "13 words"
GOAL = "recall >= 0.99 verbatim, spacing, form; >= 0.90 particles; false alarms <= 1e-4 of clean documents"
KOREAN = ("klue-nli", "klue-sts", "klue-ner", "kornli", "korsts", "nsmc", "kobbq", "kosbi", "square-question")
ENGLISH = ("mmlu", "gsm8k", "bbh", "ifeval", "humaneval", "piqa", "truthfulqa", "bbq", "crows-pairs", "advbench")
VOWEL_FORM = {"은": "는", "이": "가", "을": "를", "과": "와", "으로": "로", "이랑": "랑"}
INSTEAD = {  # particle as after a consonant → what a paraphraser writes instead; "" drops it
    "은": ["이", "", "도"], "이": ["은", "", "도"], "을": ["은", "", "도"], "의": [""],
    "에": ["에는", "에서", "에도"], "에서": ["에서는", "에", "에서도"], "으로": ["으로는", "으로도", "으로써"],
    "과": ["하고", "이랑"], "하고": ["과", "이랑"], "이랑": ["과", "하고"], "에게": ["한테", "에게는"],
    "한테": ["에게", "한테는"], "도": ["까지도", "은"], "만": ["만은", ""],
    "까지": ["까지는", "까지도"], "부터": ["부터는"], "보다": ["보다는", "보다도"], "처럼": ["같이"],
}  # fmt: skip
COMPATIBLE = dict(zip(map(chr, range(0x1100, 0x1113)), "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ", strict=True))
COMPATIBLE |= {chr(0x1161 + n): chr(0x314F + n) for n in range(21)}
COMPATIBLE |= dict(
    zip(map(chr, range(0x11A8, 0x11C3)), "ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ", strict=True)
)
FULL_WIDTH = {point: point + 0xFEE0 for point in range(0x21, 0x7F)}


def main() -> None:
    """Plants, searches, looks for false alarms in the laptop's text after dedup, prints and records."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    params = load_params("mix", Params, _frame.ROOT / "profiles/laptop.yaml")
    sets = read_sets(_frame.ROOT / "data/evaluations", [_frame.ROOT / "data/sample/safety", data])
    start = time.process_time()
    detector = Contamination(sets.items, letters=params.letters, share=params.share)
    built = time.process_time() - start
    rule, short = WordRule(sets.items, 13), {(item.set, item.id) for item in detector.too_short}
    with _frame.workspace(data / "corpus") as folder:
        for name in ("ingest", "filter", "dedup"):
            _frame.stage(name, folder)
        documents = list(shards.read(folder / "artifacts/dedup"))
    draw, rows = random.Random(SEED), []
    for lang, names, source in (("ko", KOREAN, "kowiki"), ("en", ENGLISH, "enwiki")):
        pages = [row["text"] for row in documents if row["source"] == source]
        asked = [item for item in chosen(sets.items, names, draw) if (item.set, item.id) not in short]
        table = recall(asked, pages, detector, rule)
        table = table if lang == "ko" else {ARTICLES.get(edit, edit): row for edit, row in table.items()}
        rows += [{"what": f"{lang}, {edit}", **row} for edit, row in table.items()]
    alarms = [*false_alarms(documents, sets.items, detector, rule)]
    least = {edit: min(row["ours"] for row in rows if row["what"].endswith(edit)) for edit in REQUIRED}
    about = {"what": f"{len(sets.items)} items indexed, {len(short)} too short", "seconds": round(built, 2)}
    _frame.report(
        "decontamination", goal=GOAL, rows=[*rows, *alarms, about], ratio=least | {"false": alarms[0]["false"]}
    )


def false_alarms(
    documents: list[dict], items: list[Item], detector: Contamination, rule: "WordRule"
) -> Iterator[dict[str, object]]:
    """What each rule flags in real text: false where no item stands, phrases where only items under 12 letters do."""
    texts, texts_of = [row["text"] for row in documents], {(item.set, item.id): item for item in items}
    size = sum(len(text.encode()) for text in texts) / 1e6
    searches: dict[str, Callable[[list[str]], list[set[tuple[str, str]]]]] = {
        "ours": lambda some: [{(hit.set, hit.item) for hit in hits} for hits in detector.hits(some)],
        PEER: rule.hits,
    }
    for name, search in searches.items():
        start = time.process_time()
        found = [hits for at in range(0, len(texts), 1000) for hits in search(texts[at : at + 1000])]
        rate = size / (time.process_time() - start)
        flagged = [(text, hits) for text, hits in zip(texts, found, strict=True) if hits]
        standing = [[texts_of[hit] for hit in hits if stands_in(texts_of[hit], text)] for text, hits in flagged]
        phrases = sum(bool(items) and max(len(letters(item)) for item in items) < 12 for items in standing)
        about = {"what": f"{name}: documents flagged", "n": len(texts), "flagged": len(flagged), "phrases": phrases}
        yield about | {"false": standing.count([]) / len(texts), "MB/s per core": round(rate, 1)}


def letters(item: Item) -> str:
    """Question and options without what stands between letters."""
    return "".join(re.findall(r"\w", "".join([*item.question, *item.options]).casefold()))


def stands_in(item: Item, text: str) -> bool:
    """Whether half of the item's letters stand in the text in runs of 8 or more; of a shorter item, all of them."""
    asked, page = letters(item), "".join(re.findall(r"\w", text.casefold()))
    blocks = SequenceMatcher(None, asked, page, autojunk=False).get_matching_blocks()
    return asked in page or sum(block.size for block in blocks if block.size >= 8) >= len(asked) / 2


# Edits: an item's text as a page may have rewritten it.


def verbatim(item: Item, draw: random.Random) -> str:
    return "\n".join([*item.question, *item.options])


def spacing(item: Item, draw: random.Random) -> str:
    text = verbatim(item, draw)
    styles = [
        lambda: re.sub(" ", lambda _: draw.choice(["  ", "\n", "\u00a0", "\t", " "]), text),
        lambda: text.replace(" ", "") if korean(text) else re.sub(r"(.{30,50}?) ", r"\1\n", text),
        lambda: "".join(it + (" " if "가" <= it <= "힣" and draw.random() < 0.3 else "") for it in text),
    ]
    return draw.choice(styles[: 3 if korean(text) else 2])()


def particles(item: Item, draw: random.Random) -> str:
    return "\n".join(
        map(lambda text: (reparticled if korean(text) else rearticled)(text, draw), [*item.question, *item.options])
    )


def form(item: Item, draw: random.Random) -> str:
    text = verbatim(item, draw)
    styles: list[Callable[[], str]] = [
        lambda: unicodedata.normalize("NFD", text),
        lambda: unicodedata.normalize("NFKD", text).translate(FULL_WIDTH),
        lambda: "".join(COMPATIBLE.get(it, it) for it in unicodedata.normalize("NFD", text)),
    ]
    return draw.choice(styles)()


def option_order(item: Item, draw: random.Random) -> str:
    """Options, or the sentences of a pair, in another order and labelled."""
    parts = [*(item.options or item.question)]
    parts = parts[::-1] if len(parts) < 3 else draw.sample(parts, len(parts))
    labelled = [f"{label}{part}" for label, part in zip("①②③④⑤⑥⑦⑧⑨", parts, strict=False)]
    return "\n".join([*(item.question if item.options else ()), *labelled])


LONG, ARTICLES = "long page", {"particles": "articles"}  # what changes in English, which has no particles
EDITS = {it.__name__: it for it in (verbatim, spacing, particles, form, option_order)} | {LONG: verbatim}
REQUIRED = ("verbatim", "spacing", "form", "particles")


def korean(text: str) -> bool:
    return len(re.findall("[가-힣]", text)) > 0.3 * len(re.findall(r"\w", text))


@cache
def kiwi():
    from kiwipiepy import Kiwi

    return Kiwi(num_workers=1)


def reparticled(text: str, draw: random.Random) -> str:
    """Particles swapped, dropped and, between a bare noun and its verb, added; at least one where there is any."""
    tokens = kiwi().tokenize(text)
    marks = []
    for before, token, after in zip([None, *tokens], tokens, [*tokens[1:], None], strict=False):
        said = text[token.start : token.end]
        consonant = {vowel: name for name, vowel in VOWEL_FORM.items()}.get(said, said)
        if token.tag[0] == "J" and token.tag != "JKQ" and consonant in INSTEAD and before:
            marks.append((token.start, token.end, text[token.start - 1], INSTEAD[consonant]))
        elif token.tag in ("NNG", "NNP") and after and after.tag == "VV" and text[token.end : after.start] == " ":
            marks.append((token.end, token.end, text[token.end - 1], ["을", "은"]))
    always = draw.randrange(len(marks)) if marks else None
    for place, (start, end, last, choices) in reversed([*enumerate(marks)]):
        if place == always or draw.random() < 0.3:
            text = text[:start] + agreeing(draw.choice(choices), last) + text[end:]
    return text


def agreeing(particle: str, last: str) -> str:
    """The particle's form after the letter `last`."""
    final = (ord(last) - 0xAC00) % 28 if "가" <= last <= "힣" else 0
    for name, vowel in VOWEL_FORM.items():
        if particle.startswith(name) and (not final or (name == "으로" and final == 8)):
            return vowel + particle[len(name) :]
    return particle


def rearticled(text: str, draw: random.Random) -> str:
    """English has no particles: one article in two exchanged or dropped."""
    return re.sub(r"\b(a|an|the) ", lambda _: draw.choice(["", "the ", "a "]) if draw.random() < 0.5 else _[0], text)


# The peer: n-grams of words, as GPT-3 (arXiv 2005.14165, appendix C) and lm-evaluation-harness count them.


class WordRule:
    def __init__(self, items: list[Item], words: int) -> None:
        self.words, self.owners = words, defaultdict(set)
        for item in items:
            for gram in self.grams("\n".join([*item.question, *item.options])):
                self.owners[gram].add((item.set, item.id))

    def grams(self, text: str) -> Iterator[str]:
        words = re.sub(r"[^\w\s]", "", text.lower()).split()
        return (" ".join(words[n : n + self.words]) for n in range(len(words) - self.words + 1))

    def hits(self, texts: list[str]) -> list[set[tuple[str, str]]]:
        return [set().union(*(self.owners[gram] for gram in self.grams(text) if gram in self.owners)) for text in texts]


def chosen(items: list[Item], sets: tuple[str, ...], draw: random.Random) -> list[Item]:
    """PER_LANGUAGE items, the sets in turn."""
    by_set = {name: [item for item in items if item.set == name] for name in sets}
    for rows in by_set.values():
        draw.shuffle(rows)
    turns = (row.pop() for _ in range(PER_LANGUAGE) for row in by_set.values() if row)
    return [*islice(turns, PER_LANGUAGE)]


def recall(items: list[Item], pages: list[str], detector: Contamination, rule: WordRule) -> dict[str, dict]:
    """Edit → the share of items found by each rule, each item planted in a page between two of its paragraphs."""
    table = {}
    for name, edit in EDITS.items():
        draw, texts, changed = random.Random(f"{SEED} {name}"), [], []
        for item in items:
            page = "\n\n".join(draw.sample(pages, 40)) if name == LONG else draw.choice(pages)
            cut = page.find("\n", len(page) // 2) + 1 or len(page)
            edited = edit(item, draw)
            changed.append(edit is not particles or edited != verbatim(item, draw))
            texts.append(f"{page[:cut]}\n{edited}\n{page[cut:]}")
        keys = [(item.set, item.id) for item in items]
        ours = [{(hit.set, hit.item) for hit in hits} for hits in detector.hits(texts)]
        table[name] = {"n": sum(changed)}
        for who, found in (("ours", ours), (PEER, rule.hits(texts))):
            right = [key in hits for key, hits, new in zip(keys, found, changed, strict=True) if new]
            table[name][who] = round(sum(right) / len(right), 4)
    return table


if __name__ == "__main__":
    main()
