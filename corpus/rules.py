"""Knows which documents are worth learning from: eight stages clean a text and judge it; the first refusal counts."""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from corpus import language, lexicons, lines, pii
from corpus.cleaning import fenced, normalise, strip_markup
from corpus.ledger import KEPT
from corpus.scoring import Judges
from corpus.words import Prose, parts, repeats

# reason → the stage that refuses for it. The stages in the order of work: normalise, lines, pii change a text, the rest
# judge it.
STAGE_OF = {
    "markup": "normalise", "short": "normalise", "boilerplate": "lines", "language": "language",
    "gibberish": "heuristics", "repetition": "heuristics", "spam": "heuristics", "not_prose": "heuristics",
    "improbable": "perplexity", "poor": "quality", "toxic": "toxicity",
}  # fmt: skip
STAGES = ("normalise", "lines", "pii", "language", "heuristics", "perplexity", "quality", "toxicity")
_FEW_WORDS, _FEW_LINES = 50, 5  # below, shares of n-grams or lines say nothing (Gopher measured pages of 50 words up)
_GRAMMAR = 0.2  # a smaller share of grammatical words makes a line furniture: prose has 0.37-0.85, menus 0.0-0.2


class Limits(BaseModel):
    """What a text of one language must satisfy (where the values come from: params.yaml)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    min_characters: int  # of cleaned text
    min_mean_word: float  # characters per space-separated word
    max_mean_word: float  # characters per space-separated word
    min_function_words: float  # share of words that grammar marks as running text
    min_alphabetic_words: float  # share of words holding a letter
    min_sentence_ends: float  # share of lines that end a sentence
    max_lines_per_word: float  # line breaks per word: lists and menus are all breaks
    max_repeated_lines: float  # share of lines seen before in the document
    top_n_grams: dict[int, float]  # n → largest share of characters in one n-gram of words (used three times or more)
    repeated_n_grams: dict[int, float]  # n → largest share of characters in n-grams seen before
    max_perplexity: float  # per character, under the n-gram model


class Policy(BaseModel):
    """The rules' settings that do not depend on language, and the limits of each language."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    stages: list[str]  # those of STAGES that are on; an ablation leaves one out
    min_hangul: float  # share of letters from which a text is Korean
    min_english_words: float  # share of function words from which a text in Latin script is English
    min_code_signs: float  # share of braces and their like from which a text may be code
    min_code: float  # and the probability from which it is
    max_markup: float  # share of characters that were markup, in a text of which too little is left
    max_boilerplate: float  # share of characters in boilerplate and repeated lines
    repeated_line_documents: int  # documents of a source that hold a line from which the line is furniture
    repeated_line_share: float  # and at least this share of the source's documents
    line_cells: int  # 2^this many cells count the lines: 22 for some 20 million distinct ones
    max_furniture: float  # share of characters in lines without grammar: menus, tables, option lists
    max_odd_characters: float  # share of syllables nobody writes, and of replacement characters
    max_spam: float  # advertising terms per word
    repetition_words: int  # repetition is measured in parts of this many words: it grows with length
    min_quality: float  # probability that the text is of a good register
    max_toxicity: float  # probability that the text is abuse, mean over its sentences
    max_abuse: float  # terms of abuse per word
    limits: dict[str, Limits]  # language → its limits; a text in any other language is dropped


class Cleaned(NamedTuple):
    """A text after the stages that change texts."""

    text: str
    boilerplate: float  # share of its characters that stood in boilerplate or repeated lines
    masked: Counter[str]  # personal data by type


class Verdict(NamedTuple):
    """`reason` is "kept" or one of STAGE_OF; `rule` and `value` say what was measured; `scores` are the judges'."""

    reason: str
    rule: str
    value: float
    lang: str
    scores: dict[str, float | str]  # of corpus/scoring.py; empty for a text refused before


class Measured(NamedTuple):
    """One rule's measurement of one text, and the range in which the text passes."""

    reason: str
    rule: str
    value: float
    least: float
    largest: float

    def refuses(self) -> bool:
        """Whether the value lies outside the range."""
        return not self.least <= self.value <= self.largest


def plain(raw: list[str], policy: Policy) -> list[str]:
    """Stage normalise: raw texts without markup, in NFC."""
    return [normalise(strip_markup(text)) for text in raw] if "normalise" in policy.stages else raw


def clean(
    texts: list[str], sources: list[str], policy: Policy, *, seen: lines.Sketch, sizes: Counter[str]
) -> list[Cleaned]:
    """Stages lines and pii of plain texts; `seen` counts lines, `sizes` documents, by source over the whole corpus."""
    shared = [(text, 0.0) for text in texts]
    if "lines" in policy.stages:
        every, owners, keys = lines.keys(texts, sources)
        enough = [max(policy.repeated_line_documents, policy.repeated_line_share * sizes[name]) for name in sources]
        shared = lines.drop(texts, every, owners, seen.counts(keys) >= np.array(enough)[owners])
    masked = [(text, Counter[str]()) for text, _ in shared]
    if "pii" in policy.stages:
        masked = pii.mask([text for text, _ in shared])
    return [Cleaned(text, share, counts) for (text, counts), (_, share) in zip(masked, shared, strict=True)]


def languages(texts: list[str], policy: Policy, *, judges: Judges) -> list[tuple[str, float]]:
    """Stage language: ko, en, code or other for each text or paragraph, and the share or probability that decided."""
    limits = policy.model_dump(include={"min_hangul", "min_english_words"})
    said = [language.identify(text, **limits) for text in texts]
    doubtful = [place for place, text in enumerate(texts) if language.code_signs(text) >= policy.min_code_signs]
    for place, chance in zip(doubtful, judges.code([texts[place] for place in doubtful]).tolist(), strict=True):
        said[place] = ("code", chance) if chance >= policy.min_code else said[place]
    return said


def judge(cleaned: list[Cleaned], raw_characters: list[int], policy: Policy, *, judges: Judges) -> list[Verdict]:
    """Verdicts on cleaned texts, in their order; each is a function of its own text and the policy alone."""
    shortest = min(limits.min_characters for limits in policy.limits.values())
    prose = ["".join(fenced(text)[::2]) for text, *_ in cleaned]  # rules about words spare the code beside prose
    prose = [part if len(part) >= shortest else whole.text for part, whole in zip(prose, cleaned, strict=True)]
    said = languages(prose, policy, judges=judges)
    verdicts = [Verdict(KEPT, "", 0.0, lang, {}) for lang, _ in said]

    def refuse(places: Iterator[tuple[int, Measured]]) -> None:
        for place, found in places:
            if verdicts[place].reason == KEPT and STAGE_OF[found.reason] in policy.stages and found.refuses():
                value = round(float(found.value), 4)
                verdicts[place] = verdicts[place]._replace(reason=found.reason, rule=found.rule, value=value)

    refuse(_form(cleaned, raw_characters, said, shortest, policy))
    left = [place for place, verdict in enumerate(verdicts) if verdict.reason == KEPT and verdict.lang in policy.limits]
    measured = _heuristics([prose[place] for place in left], [verdicts[place].lang for place in left], policy)
    refuse((left[index], found) for index, found in measured)
    left = [place for place in left if verdicts[place].reason == KEPT]
    scores = judges.scores([prose[place] for place in left])
    abuse = lexicons.per_word(lexicons.ABUSE, [prose[place] for place in left])
    for index, place in enumerate(left):
        limits, found = (
            policy.limits[verdicts[place].lang],
            {name: column[index] for name, column in scores._asdict().items()},
        )
        verdicts[place] = verdicts[place]._replace(scores=found)
        told = (
            Measured("improbable", "perplexity", found["perplexity"], 0, limits.max_perplexity),
            Measured("poor", "quality", found["quality"], policy.min_quality, 1),
            Measured("toxic", "toxicity", found["toxicity"], 0, policy.max_toxicity),
            Measured("toxic", "abuse_terms", abuse[index], 0, policy.max_abuse),
        )
        refuse((place, one) for one in told)
    return verdicts


def _form(
    cleaned: list[Cleaned], raw_characters: list[int], said: list[tuple[str, float]], shortest: int, policy: Policy
) -> Iterator[tuple[int, Measured]]:
    for place, (one, raw, (lang, share)) in enumerate(zip(cleaned, raw_characters, said, strict=True)):
        size = len(one.text)
        yield place, Measured("boilerplate", "boilerplate_share", one.boilerplate, 0, policy.max_boilerplate)
        if size < shortest:
            yield place, Measured("markup", "markup_share", 1 - size / max(raw, 1), 0, policy.max_markup)
            yield place, Measured("short", "characters", size, shortest, float("inf"))
        if lang not in policy.limits:
            yield place, Measured("language", "language_share", share, 2, 2)  # a share of anything else is refused


def _heuristics(texts: list[str], langs: list[str], policy: Policy) -> Iterator[tuple[int, Measured]]:
    """Every measurement of texts that hold at least one word."""
    if not texts:
        return
    prose, most = Prose.of(texts), float("inf")
    words_in_line, grammar = prose.words_in_lines(), prose.per_line(prose.grammatical)
    bare = (grammar < _GRAMMAR * words_in_line) & ~prose.ended
    words, lines_in_text = prose.per_text(words_in_line), prose.per_text(np.ones_like(words_in_line))
    letters = prose.per_text(prose.per_line(prose.word_characters))
    columns = {
        "mean_word": letters / words,
        "function_words": prose.per_text(grammar) / words,
        "alphabetic_words": prose.per_text(prose.per_line(prose.lettered)) / words,
        "repeated_lines": prose.repeated_lines() / lines_in_text,
        "furniture": prose.per_text(prose.line_characters * bare) / prose.per_text(prose.line_characters),
        "sentence_ends": prose.per_text(prose.ended) / lines_in_text,
        "lines_per_word": (lines_in_text - 1) / words,
    }
    repetition = _repetition(prose, [policy.limits[langs[place]] for place in prose.texts], policy.repetition_words)
    spam = lexicons.per_word(lexicons.ADVERTISING, texts)
    for index, place in enumerate(prose.texts.tolist()):
        limits, count = policy.limits[langs[place]], int(words[index])
        value = {name: float(column[index]) for name, column in columns.items()}
        odd = language.odd_characters(texts[place])
        found = [
            Measured("short", "characters", len(texts[place]), limits.min_characters, most),
            Measured("gibberish", "odd_characters", odd, 0, policy.max_odd_characters),
            Measured("gibberish", "mean_word", value["mean_word"], limits.min_mean_word, limits.max_mean_word),
            Measured("gibberish", "function_words", value["function_words"], limits.min_function_words, most),
            Measured("spam", "spam_terms", float(spam[place]), 0, policy.max_spam),
            Measured("not_prose", "alphabetic_words", value["alphabetic_words"], limits.min_alphabetic_words, most),
        ]
        found += repetition[index] if count >= _FEW_WORDS else []
        if lines_in_text[index] >= _FEW_LINES:
            found += [
                Measured("repetition", "repeated_lines", value["repeated_lines"], 0, limits.max_repeated_lines),
                Measured("boilerplate", "furniture_lines", value["furniture"], 0, policy.max_furniture),
                Measured("not_prose", "sentence_ends", value["sentence_ends"], limits.min_sentence_ends, most),
                Measured("not_prose", "lines_per_word", value["lines_per_word"], 0, limits.max_lines_per_word),
            ]
        yield from ((place, one) for one in found)


def _repetition(prose: Prose, limits: list[Limits], size: int) -> list[list[Measured]]:
    """For each text every n-gram rule, as a mean over its parts weighted by their characters; none for a clear text.

    What repeats as a longer n-gram repeats as pairs too, so a text with few repeated pairs is clear.
    """
    owners, texts = parts(prose, size)
    weights = np.bincount(owners, weights=prose.word_characters)

    def means(shares: np.ndarray, texts: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.bincount(texts, weights=shares * weights) / np.bincount(texts, weights=weights)

    _, pair = next(repeats(prose.word_ids, prose.word_characters, owners, 2))
    pairs = means(pair.again, texts, weights)
    least = [min(*one.repeated_n_grams.values(), min(one.top_n_grams.values()) / 2) for one in limits]
    doubtful = np.flatnonzero(pairs > np.array(least))
    found: list[list[Measured]] = [[] for _ in limits]
    if not len(doubtful):
        return found
    chosen_parts = np.isin(texts, doubtful)
    words = chosen_parts[owners]
    ids, lengths = prose.word_ids[words], prose.word_characters[words]
    owners, texts = (np.cumsum(chosen_parts) - 1)[owners[words]], np.searchsorted(doubtful, texts[chosen_parts])
    longest = max(n for one in limits for n in (*one.top_n_grams, *one.repeated_n_grams))
    for n, shares in repeats(ids, lengths, owners, longest):
        top, again = (means(share, texts, weights[chosen_parts]) for share in shares[:2])
        for index, place in enumerate(doubtful):
            one = limits[place]
            if n in one.top_n_grams:
                found[place].append(Measured("repetition", f"top_{n}_gram", top[index], 0, one.top_n_grams[n]))
            if n in one.repeated_n_grams:
                rule = Measured("repetition", f"repeated_{n}_grams", again[index], 0, one.repeated_n_grams[n])
                found[place].append(rule)
    return found
