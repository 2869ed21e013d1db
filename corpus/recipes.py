"""Knows recipes: which documents become requests, and what a reply must satisfy to be learned from."""

import heapq
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from corpus import pii
from corpus.answers import CHECKS, copied
from corpus.cleaning import normalise
from corpus.generators import Failure, Generator, Reply, Request
from corpus.language import identify
from corpus.ledger import KEPT

SLOT = "{text}"  # where the seed stands in a user prompt
ROWS_PER_STEP = 50
LONG_PARAGRAPH = 80  # characters from which a paragraph's own language is told


class RecipeError(ValueError):
    """A recipe that cannot be used; the message names file, key and remedy."""


class Range(BaseModel):
    """Bounds, both included."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    least: float
    most: float


class Recipe(BaseModel):
    """One file of data/recipes: what is asked about which documents, and how a reply is checked."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    name: str
    languages: list[Literal["ko", "en"]]  # of the seeds
    domains: list[str]  # of the seeds; empty for any
    language: Literal["ko", "en"]  # of the reply
    system: str
    user: str  # holds {text} once
    characters: Range  # of the reply
    times_seed: Range  # characters of the reply per character of the seed
    max_copy: float  # share of the reply's stretches of 8 units that stand in the seed
    answer: Literal["none", "supported", "recomputed"]  # by the seed; by calculating again


class Prose(BaseModel):
    """When a reply counts as Korean or English (corpus/language.py)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    min_hangul: float
    min_english_words: float


class Seed(NamedTuple):
    """A document drawn for a recipe, its text cut to size."""

    recipe: Recipe
    document: dict
    text: str

    @property
    def request(self) -> Request:
        """The recipe's question about this document."""
        name = f"synthetic/{self.recipe.name}/{self.document['id']}"
        return Request(name, self.recipe.system.strip(), self.recipe.user.strip().replace(SLOT, self.text))


class Judged(NamedTuple):
    """What became of one seed: `status` kept, dropped or failed, and why; `document` as it would be written."""

    seed: Seed
    status: str
    reason: str
    document: dict
    tokens: tuple[int, int]  # of prompt and completion
    masked: Counter[str]


def load(folder: Path, names: Sequence[str]) -> list[Recipe]:
    """The named recipes of `folder`/*.yaml, every file there being checked; raises RecipeError."""
    known = {path.stem: _read(path) for path in sorted(folder.glob("*.yaml"))}
    if unknown := sorted(set(names) - set(known)):
        raise RecipeError(f"{folder}: no recipes {unknown}; choose from {sorted(known)}")
    return [known[name] for name in sorted(set(names))]


def draw(recipes: Sequence[Recipe], documents: Iterable[dict], *, count: int, size: Range, lot: Callable) -> list[Seed]:
    """At most `count` seeds per recipe, those with the smallest lots (recipe, id): the order of documents is no matter.

    size: characters; a shorter document is no seed, a longer one is cut at the end of a sentence.
    """
    drawn: dict[str, list] = {recipe.name: [] for recipe in recipes}
    for document in documents:
        for recipe in recipes if len(document["text"]) >= size.least else ():
            if document["lang"] in recipe.languages and (not recipe.domains or document["domain"] in recipe.domains):
                heap = drawn[recipe.name]
                heapq.heappush(heap, (-lot(recipe.name, document["id"]), document["id"], document))
                if len(heap) > count:
                    heapq.heappop(heap)
    if empty := [name for name, heap in drawn.items() if not heap]:
        raise RecipeError(
            f"recipes {empty} find no document of {size.least:.0f} characters in their languages, domains"
        )
    return [
        Seed(recipe, document, _cut(document["text"], int(size.most)))
        for recipe in recipes
        for _, _, document in sorted(drawn[recipe.name], key=lambda row: row[1])
    ]


def answered(
    seeds: Sequence[Seed], generator: Generator, *, prose: Prose, max_failed: float, on_step: Callable[..., object]
) -> list[Judged]:
    """One judged row per seed, in their order; RecipeError if more than `max_failed` of the requests found no reply."""
    judged, bounds = [], prose.model_dump()
    for seed, outcome in zip(seeds, generator.complete(seed.request for seed in seeds), strict=True):
        judged.append(judge(seed, outcome, identify=lambda text: identify(text, **bounds)[0]))
        if len(judged) % ROWS_PER_STEP == 0 or len(judged) == len(seeds):
            on_step(len(judged), of=len(seeds), sent=generator.sent)
    failed = Counter(row.reason for row in judged if row.status == "failed")
    if failed.total() > max_failed * len(judged):
        said = f"{failed.total()} of {len(judged)} requests failed: {dict(sorted(failed.items()))}"
        raise RecipeError(f"{said}; run again, the answered ones are kept (or raise synthesize.generator.max_failed)")
    return judged


def judge(seed: Seed, outcome: Reply | Failure, *, identify: Callable[[str], str]) -> Judged:
    """The verdict on one reply, its text cleaned and personal data in it masked; `identify` tells ko, en or other."""
    if isinstance(outcome, Failure):
        return Judged(seed, "failed", outcome.reason, {}, (0, 0), Counter())
    [(text, masked)] = pii.mask([normalise(outcome.text)])
    tokens = (outcome.prompt_tokens, outcome.completion_tokens)
    organic = {key: seed.document[key] for key in ("license", "url", "domain")}
    written = {"id": seed.request.name, "text": text, "lang": seed.recipe.language, **organic}
    document = written | {"source": f"synthetic-{seed.recipe.name}", "seed": seed.text}
    reason = next(_objections(seed, outcome.finish, text, identify), KEPT)
    return Judged(seed, "kept" if reason == KEPT else "dropped", reason, document, tokens, masked)


def sift(judged: Sequence[Judged], objections: Callable[[list[str]], list[str]]) -> list[Judged]:
    """The same rows after a gate that sees all kept texts at once and gives each a reason to drop it, or ""."""
    reasons = iter(objections([row.document["text"] for row in judged if row.status == "kept"]))
    asked = [(row, next(reasons) if row.status == "kept" else "") for row in judged]
    return [row._replace(status="dropped", reason=reason) if reason else row for row, reason in asked]


def account(judged: Sequence[Judged], *, prices: tuple[float, float]) -> dict[str, dict]:
    """Per recipe requested = kept + dropped + failed by reason, tokens, cost (`prices` per million) and masked data."""
    table: dict[str, dict] = {}
    for name in sorted({row.seed.recipe.name for row in judged}):
        rows = [row for row in judged if row.seed.recipe.name == name]
        counts = Counter((row.status, row.reason) for row in rows)
        spent = [sum(row.tokens[side] for row in rows) for side in (0, 1)]
        masked: Counter[str] = sum((row.masked for row in rows if row.status == "kept"), Counter())
        table[name] = {
            "requested": len(rows),
            "kept": counts.pop(("kept", KEPT), 0),
            **{status: {why: n for (what, why), n in sorted(counts.items()) if what == status} for status in _LOST},
            "prompt_tokens": spent[0],
            "completion_tokens": spent[1],
            "cost": round(sum(n * price / 1e6 for n, price in zip(spent, prices, strict=True)), 6),
            "masked": dict(sorted(masked.items())),
        }
    return table


_LOST = ("dropped", "failed")
_REFUSAL = re.compile(
    r"죄송(?:하지만|합니다|해요)|도와드릴 수 없|답변(?:드릴|할) 수 없|(?:저는|나는) (?:AI|인공지능|언어 모델)|"
    r"\bI(?:'m| am) (?:sorry|unable)|\bI (?:cannot|can't|can’t)|\bas an AI\b",
    re.IGNORECASE,
)
_CHATTER = re.compile(
    r"(?:물론(?:이죠|입니다)|네[,.!]|알겠습니다|다음은|아래는|요청하신|(?:sure|certainly|of course|here(?: is|'s)|okay)"
    r"\b)[^\n]*[:!.]\s*\n",
    re.IGNORECASE,
)


def _read(path: Path) -> Recipe:
    from ruamel.yaml import YAML, YAMLError

    try:
        recipe = Recipe.model_validate(YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, row['loc']))}: {row['msg']}" for row in error.errors())
        raise RecipeError(f"{path}: {wrong}; compare with the other files there") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not valid YAML ({' '.join(str(error).split())}); mend the file") from None
    if recipe.name != path.stem:
        raise RecipeError(f"{path}: name: {recipe.name!r} is not the file's; make it {path.stem!r}")
    if recipe.user.count(SLOT) != 1:
        raise RecipeError(f"{path}: user: write {SLOT} exactly once, where the seed's text belongs")
    return recipe


def _cut(text: str, most: int) -> str:
    """The text up to its last sentence or line that ends within `most` characters, if that is past the half."""
    ends = [match.end() for match in re.finditer(r"[.!?。](?=\s)|\n", text[: most + 1]) if match.end() <= most]
    return text if len(text) <= most else text[: ends[-1] if ends and ends[-1] > most // 2 else most].rstrip()


def _objections(seed: Seed, finish: str, text: str, identify: Callable[[str], str]) -> Iterator[str]:
    """Reasons against a reply, the cheapest check first."""
    recipe, other = seed.recipe, "en" if seed.recipe.language == "ko" else "ko"
    if finish == "length":
        yield "cut_off"
    if not text:
        yield "empty"
    if finish == "content_filter" or (_REFUSAL.search(text[:100]) and not _REFUSAL.search(seed.text)):
        yield "refused"
    if _CHATTER.match(text):
        yield "chatter"
    if not recipe.characters.least <= len(text) <= recipe.characters.most:
        yield "length"
    if not recipe.times_seed.least <= len(text) / len(seed.text) <= recipe.times_seed.most:
        yield "length_against_seed"
    long = [part for part in text.split("\n") if len(part) >= LONG_PARAGRAPH]
    if identify(text) != recipe.language or other in map(identify, long):
        yield "language"
    if copied(text, seed.text) > recipe.max_copy:
        yield "copy_of_seed"
    if objection := CHECKS[recipe.answer](text, seed.text):
        yield objection
