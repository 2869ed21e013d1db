"""Knows what a tokenizer.json may say: a byte-level BPE with sound ids and merges, and no regex but the known ones."""

from itertools import chain
from pathlib import Path
from typing import Any

from midm_mini.headers.suspect import MIB, Suspect

SIZE, ADDED = 20 * MIB, 4_096  # Llama 3's has 17 MB, laid out one merge a line
TOKEN, EXTRA = 4_096, 256  # letters of a token, of an added one
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
REGEXES = {
    LLAMA3,
    LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}"),
    r"\p{N}{1,3}",
}  # the library backtracks: a foreign one hangs
PARTS = {  # where → kind of part → its fields besides `type` → values allowed; None: any truth value
    "normalizer": {"NFC": {}},
    "pre_tokenizer": {
        "Split": {"pattern": [{"Regex": regex} for regex in REGEXES], "behavior": ["Isolated"], "invert": [False]},
        "ByteLevel": {"add_prefix_space": [False], "trim_offsets": None, "use_regex": None},
        "Digits": {"individual_digits": None},
    },
    "decoder": {"ByteLevel": {"add_prefix_space": None, "trim_offsets": None, "use_regex": None}},
    "post_processor": {"ByteLevel": {"add_prefix_space": None, "trim_offsets": None, "use_regex": None}},
}
LISTS = {"normalizer": "normalizers", "pre_tokenizer": "pretokenizers", "post_processor": "processors"}
MODEL = {  # field → values allowed
    "type": ["BPE"], "dropout": [None], "unk_token": [None], "continuing_subword_prefix": [None, ""],
    "end_of_word_suffix": [None, ""], "fuse_unk": [False, True], "byte_fallback": [False],
    "ignore_merges": [False, True],
}  # fmt: skip
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
FIELDS = frozenset({"version", "truncation", "padding", "added_tokens", "model", *PARTS})
VISIBLE = [*range(33, 127), *range(161, 173), *range(174, 256)]  # bytes that stand for themselves (GPT-2)
LETTERS = frozenset(map(chr, [*VISIBLE, *range(256, 256 + 256 - len(VISIBLE))]))


def check(file: Path) -> int:
    """The number of ids in `file`; MidmError unless it is a byte-level BPE whose ids are 0 to that, each once."""
    suspect = Suspect(file)
    said = suspect.json(most=SIZE)
    suspect.only(said, "the tokenizer", FIELDS)
    for field in ("truncation", "padding"):  # would cut or fill in silence
        suspect.must(said.get(field) is None, field, said.get(field), "null")
    for field in PARTS:
        _check_part(suspect, field, said.get(field))
    model = said.get("model")
    suspect.must(isinstance(model, dict), "model", type(model).__name__, "an object")
    suspect.only(model, "model", frozenset({*MODEL, "vocab", "merges"}))
    for field, allowed in MODEL.items():
        suspect.must(model.get(field, allowed[0]) in allowed, f"model.{field}", model.get(field), str(allowed))
    ids = _vocabulary(suspect, model.get("vocab"))
    _check_merges(suspect, model.get("merges"), ids)
    added = _added(suspect, said.get("added_tokens"))
    for text, number in added.items():
        suspect.must(
            ids.get(text, number) == number, f"added_tokens' id of {text}", number, f"{ids.get(text)} as in vocab"
        )
    strange = set("".join(ids.keys() - added.keys())) - LETTERS
    suspect.must(not strange, "model.vocab's letters", "".join(sorted(strange)), "those that stand for bytes")
    both = ids | added
    whole = set(both.values()) == set(range(len(both)))
    suspect.must(whole, "the ids", "doubled or with holes", f"0 to {len(both) - 1}, each once")
    return len(both)


def _check_part(suspect: Suspect, field: str, part: Any) -> None:
    """One step of the tokenizer, or a sequence of steps one level deep."""
    if part is None:
        suspect.must(field in ("normalizer", "post_processor"), field, "missing", ", ".join(PARTS[field]))
        return
    suspect.must(isinstance(part, dict), field, type(part).__name__, "an object")
    inner = part.get(LISTS.get(field, ""))
    steps = inner if part.get("type") == "Sequence" else [part]
    suspect.must(isinstance(steps, list) and len(steps) <= 8, f"{field}'s steps", type(inner).__name__, "up to 8")
    for step in steps:
        kind = step.get("type") if isinstance(step, dict) else None
        if field == "post_processor" and kind == "TemplateProcessing":
            _check_template(suspect, step)
            continue
        allowed = PARTS[field].get(kind) if isinstance(kind, str) else None
        suspect.must(allowed is not None, f"{field}'s type", kind, ", ".join(PARTS[field]))
        suspect.only(step, f"{field} {kind}", frozenset({"type", *allowed}))
        for name, values in allowed.items():
            value = step.get(name, values[0] if values else True)
            suspect.must(
                value in values if values else type(value) is bool, f"{field}'s {name}", value, "a known value"
            )


def _check_template(suspect: Suspect, step: dict[str, Any]) -> None:
    """What is put around a text: names, texts and ids of the right types; the wheel itself never asks for it."""
    suspect.only(step, "TemplateProcessing", frozenset({"type", "single", "pair", "special_tokens"}))
    tokens = step.get("special_tokens")
    suspect.must(isinstance(tokens, dict), "special_tokens", type(tokens).__name__, "an object")
    for name, token in tokens.items():
        lists = isinstance(token, dict) and token.keys() == {"id", "ids", "tokens"} and token["id"] == name
        lists = lists and isinstance(token["ids"], list) and isinstance(token["tokens"], list)
        fits = lists and len(token["ids"]) == len(token["tokens"]) <= 8 and set(map(type, token["tokens"])) <= {str}
        suspect.must(fits, f"special_tokens[{name!r}]", token, "id, and as many ids as tokens")
        for number in token["ids"]:
            suspect.whole(number, f"special_tokens[{name!r}]'s id", 0, 1 << 20)
    names = {"Sequence": {"A", "B"}, "SpecialToken": set(tokens)}
    for side in ("single", "pair"):
        pieces = step.get(side)
        suspect.must(isinstance(pieces, list) and len(pieces) <= 16, side, type(pieces).__name__, "a short list")
        for piece in pieces:
            kind, inner = next(iter(piece.items()), ("", None)) if isinstance(piece, dict) else ("", None)
            fits = kind in names and len(piece) == 1 and isinstance(inner, dict) and inner.keys() == {"id", "type_id"}
            fits = fits and isinstance(inner["id"], str) and inner["id"] in names[kind] and inner["type_id"] in (0, 1)
            suspect.must(fits, f"{side}'s piece", piece, "a Sequence or a SpecialToken that is listed")


def _vocabulary(suspect: Suspect, vocab: Any) -> dict[str, int]:
    suspect.must(isinstance(vocab, dict), "model.vocab", type(vocab).__name__, "an object")
    for text, number in vocab.items():
        if type(number) is not int or not 0 < len(text) <= TOKEN:
            suspect.must(False, f"model.vocab[{text[:40]!r}]", number, f"a whole number, for up to {TOKEN} letters")
    return vocab


def _check_merges(suspect: Suspect, merges: Any, ids: dict[str, int]) -> None:
    """Over all at once: an index would cost more than the library's own reading."""
    suspect.must(isinstance(merges, list), "model.merges", type(merges).__name__, "a list")
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]
    twos = all(isinstance(pair, list) and len(pair) == 2 for pair in pairs)
    suspect.must(twos, "model.merges", "another kind of entry", "pairs of tokens")
    halves = list(chain.from_iterable(pairs))
    suspect.must(set(map(type, halves)) <= {str}, "model.merges", "another kind of entry", "pairs of tokens")
    unknown = {*halves, *map("".join, pairs)} - ids.keys()
    suspect.must(not unknown, "model.merges", min(unknown, default=""), "tokens of model.vocab that make a third one")


def _added(suspect: Suspect, tokens: Any) -> dict[str, int]:
    """Text → id of the added tokens."""
    suspect.must(
        isinstance(tokens, list) and len(tokens) <= ADDED, "added_tokens", type(tokens).__name__, "a short list"
    )
    found: dict[str, int] = {}
    for index, token in enumerate(tokens):
        field = f"added_tokens[{index}]"
        suspect.must(isinstance(token, dict), field, type(token).__name__, "an object")
        suspect.only(token, field, frozenset({"id", "content", *FLAGS}))
        text = token.get("content")
        fits = isinstance(text, str) and 0 < len(text) <= EXTRA and text not in found
        suspect.must(fits, f"{field}.content", text, f"up to {EXTRA} letters, once")
        for flag in FLAGS:
            suspect.must(type(token.get(flag, False)) is bool, f"{field}.{flag}", token.get(flag), "true or false")
        found[text] = suspect.whole(token.get("id"), f"{field}.id", 0, 1 << 20)
    return found
