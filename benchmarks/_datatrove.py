"""Knows datatrove 0.10 at its best: our rules in its own blocks, its 4-stage MinHash, its 13-gram decontamination.

Runs under the peers' interpreter (constraints/peers.txt says how to make it), never under ours, and prints one JSON
line: seconds and documents per step. Chosen in its favour: one pass for reading, filters, writing and signatures; a
text's words are cut once for all filters (its own cache); plain JSON lines in between; no files of rejects; the
cheapest language rule; C4's rule on sentences off, for we count none either. FineWeb-2's values stand where ours have
no place.
"""

import argparse
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline import decont, dedup, filters, formatters, readers
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.writers.jsonl import JsonlWriter
from datatrove.utils.text import TextNormConfig
from datatrove.utils.word_tokenizers import KiwiTokenizer, SpaCyTokenizer, WhitespaceTokenizer

WORKERS = 2
_HANGUL = re.compile("[가-힣]")
_ENGLISH = {*"the of and to in is that for it as was with be by on not he his but at are this have from or".split(" ")}  # noqa: SIM905
_STOP_WORDS = {
    "ko": [*"의다이는에을하은를고가로", "에서", "으로"],
    "en": None,
}  # FineWeb-2 kor_Hang: particles and endings
_ENDS = (*".!?…。:;\"'”’)다요까죠네라오음함임됨니",)
# Its normal form NFD would take Hangul apart into jamo before the words are cut.
_NORMAL = TextNormConfig(norm_unicode_diacritics=False)


class Proper(WhitespaceTokenizer):
    """The tokenizers that datatrove assigns: Kiwi to Korean, spaCy to English."""

    def __init__(self) -> None:
        super().__init__()
        self._korean = KiwiTokenizer("cong")  # its default model, sbg, is not in today's kiwipiepy; both load when used
        self._english = SpaCyTokenizer("en")

    def word_tokenize(self, text: str) -> list[str]:
        head = text[:2000]
        return (self._korean if 6 * len(_HANGUL.findall(head)) > len(head) else self._english).word_tokenize(text)


class Split(WhitespaceTokenizer):
    """The fastest cut there is in Python; words keep their punctuation."""

    def word_tokenize(self, text: str) -> list[str]:
        return text.split()


WORDS = {"proper": Proper, "spacy-xx": WhitespaceTokenizer, "split": Split}


class ByLanguage(BaseFilter):
    """One filter per language, chosen by what the language rule found."""

    def __init__(self, choices: dict[str, BaseFilter]) -> None:
        super().__init__()
        self.choices = choices

    def filter(self, doc):
        return self.choices[doc.metadata["language"]].filter(doc)


def language(doc) -> bool:
    """Script shares as in corpus/language.py: Korean from 15 % Hangul, English by its commonest words."""
    points = np.frombuffer(doc.text.encode("utf-32-le", "replace"), dtype=np.uint32)
    korean = bool(((points >= 0xAC00) & (points <= 0xD7A3)).sum() >= 0.15 * (points >= 0x41).sum())
    doc.metadata["language"] = "ko" if korean else "en"
    words = [] if korean else doc.text[:20_000].lower().split()
    return korean or sum(map(_ENGLISH.__contains__, words)) >= 0.08 * len(words)


def adapter(reader, row: dict, path: str, line: int | str) -> dict:
    """A row as datatrove's document; ko and en of a parallel row become one text, as in corpus/reading.py."""
    text = row.get("text") or "\n".join(row[key] for key in ("ko", "en") if isinstance(row.get(key), str))
    return {"text": text, "id": row.get("id") or f"{path}:{line}", "metadata": {"source": row.get("source", "")}}


def rules(limits: dict[str, dict], words: WhitespaceTokenizer) -> list[BaseFilter]:
    """The heuristics of the filter section in datatrove's blocks; what it has no block for is left out."""
    morphemes = isinstance(words, Proper)

    def repetition(_: str, it: dict) -> BaseFilter:
        grams = {"top_n_grams": [*it["top_n_grams"].items()], "dup_n_grams": [*it["repeated_n_grams"].items()]}
        off = {"dup_para_frac": 0, "dup_line_char_frac": 0, "dup_para_char_frac": 0}
        return filters.GopherRepetitionFilter(dup_line_frac=it["max_repeated_lines"], language=words, **grams, **off)

    def fineweb(lang: str, it: dict) -> BaseFilter:
        lines = 0.196 if morphemes and lang == "ko" else it["max_lines_per_word"]
        rest = {"short_line_thr": 999, "char_duplicates_ratio": 0.1, "stop_chars": _ENDS, "new_line_ratio": lines}
        return filters.FineWebQualityFilter(line_punct_thr=it["min_sentence_ends"], language=words, **rest)

    def gopher(lang: str, it: dict) -> BaseFilter:
        stops = {"stop_words": _STOP_WORDS[lang], "min_stop_words": 2 if morphemes or lang == "en" else None}
        lengths = {"min_avg_word_length": it["min_mean_word"], "max_avg_word_length": it["max_mean_word"]}
        rest = {"min_doc_words": 8, "max_non_alpha_words_ratio": it["min_alphabetic_words"], "language": words}
        return filters.GopherQualityFilter(**rest, **lengths, **stops)

    off = ("filter_no_terminal_punct", "filter_curly_bracket", "filter_javascript")
    lines = filters.C4QualityFilter(min_num_sentences=-1, min_words_per_line=-1, **dict.fromkeys(off, False))
    chosen = ({lang: make(lang, it) for lang, it in limits.items()} for make in (repetition, fineweb, gopher))
    return [lines, *map(ByLanguage, chosen)]


def decontamination(questions: Path, folder: Path, words: WhitespaceTokenizer) -> decont.NGramsDecontFilter:
    """Its 13-gram filter against our own questions, indexed through its hashing."""
    config = decont.n_grams.NGramsDecontConfig(n_grams=13, norm_config=_NORMAL)
    decont.NGramsDecontIndexer._requires_dependencies = []  # lighteval, which is not asked anything here
    indexer = decont.NGramsDecontIndexer(str(folder), config=config, language=words)
    rows = map(json.loads, questions.read_text(encoding="utf-8").splitlines())
    hashes = {code for row in rows for code in indexer.compute_hashes(row["question"])}
    folder.mkdir(parents=True)
    np.array(sorted(hashes), dtype=np.uint64).tofile(folder / "questions.index.hashes")
    return decont.NGramsDecontFilter(str(folder), config=config, language=words)


def main() -> None:
    """Runs the whole job, or with no questions named near-dedup alone, and prints what each step took."""
    parser = argparse.ArgumentParser()
    for name in ("data", "out", "params"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--questions", type=Path, help="questions.jsonl of synthesize; without it: only near-dedup")
    parser.add_argument("--words", choices=sorted(WORDS), required=True)
    parser.add_argument("--tasks", type=int, default=8)
    flags = parser.parse_args()
    numbers, words, out = (
        yaml.safe_load(flags.params.read_text("utf-8")),
        WORDS[flags.words](),
        str(flags.out.absolute()),
    )
    sizes = {"num_buckets": numbers["dedup"]["bands"], "hashes_per_bucket": numbers["dedup"]["rows"]}
    minhash = {"config": MinhashConfig(n_grams=numbers["dedup"]["shingle"], norm_config=_NORMAL, **sizes)}
    judges: list = []
    clean: list = []
    if flags.questions:
        heuristics = rules(numbers["filter"]["limits"], words)
        fixed = formatters.FTFYFormatter(normalization="NFC")
        judges = [filters.LambdaFilter(language), fixed, *heuristics, formatters.PIIFormatter()]
        clean = [decontamination(flags.questions, Path(out, "index"), words)]
    plain = {"output_filename": "${rank}.jsonl", "compression": None}
    read: Callable = readers.JsonlReader
    steps = {
        "filter": (flags.tasks, [
            read(str(flags.data.absolute()), glob_pattern="**/*.jsonl*", adapter=adapter), *judges,
            JsonlWriter(f"{out}/kept", **plain), dedup.MinhashDedupSignature(f"{out}/marks", language=words, **minhash),
        ]),
        "buckets": (sizes["num_buckets"], [dedup.MinhashDedupBuckets(f"{out}/marks", f"{out}/buckets", **minhash)]),
        "clusters": (1, [
            dedup.MinhashDedupCluster(f"{out}/buckets", f"{out}/clusters", save_cluster_id=True, **minhash)
        ]),
        "mix": (flags.tasks, [
            read(f"{out}/kept", compression=None), dedup.MinhashDedupFilter(f"{out}/clusters"), *clean,
            JsonlWriter(f"{out}/mix", **plain),
        ]),
    }  # fmt: skip
    seconds = {}
    for name, (tasks, pipeline) in steps.items():
        start, logs = time.monotonic(), f"{out}/logs/{name}"
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=min(WORKERS, tasks), logging_dir=logs).run()
        seconds[name] = round(time.monotonic() - start, 2)
    counts = {
        name: sum(sum(1 for _ in file.open("rb")) for file in Path(out, name).glob("*")) for name in ("kept", "mix")
    }
    print(json.dumps({"seconds": seconds, "kept": counts["mix"], "filtered": counts["kept"]}))


if __name__ == "__main__":
    main()
