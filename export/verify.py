"""Knows when an artifact is the parent in another format: same ids, stops, template and facts, logits close enough."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midm_mini.format import BOS, CHAT_TEMPLATE, EOT, PII_PLACEHOLDERS, artifact_format, render_chat

from export import facts, weights
from export.checkpoint import Parent
from export.gguf import PRE_TYPES, Card
from export.texts import CHATS, HARD_TEXTS

if TYPE_CHECKING:
    import numpy as np
    from midm_mini import Model

SMALL = 20_000_000  # parameters: below, llama.cpp's threads mostly wait for each other (30 s instead of 2 when busy)
TIE = 0.1  # of the spread of a row of logits: kernels of other shapes round otherwise, so near ties may swap
PROMPTS, PROMPT, STEPS = 3, 12, 16  # greedy continuations: their number, the tokens given, the tokens compared
SEARCH = {  # transformers' defaults, where a parent's generation_config.json says nothing
    **{"do_sample": False, "temperature": 1.0, "top_p": 1.0, "num_beams": 1, "min_length": 0},
    **{"repetition_penalty": 1.0, "no_repeat_ngram_size": 0},
}


class ArtifactRefused(ValueError):
    """An artifact that is not its parent; the message says what differs and where. It never becomes an output."""


@dataclass(frozen=True)
class Verdict:
    """Over so many texts and positions: distance to the parent.

    KL in nats (mean and 99.9 % quantile), largest difference of a logit, shares of positions with the parent's first
    choice: over texts, and where generation itself follows the parent's greedy path, so that one swap costs one place.
    """

    texts: int
    positions: int
    mean_kl: float
    tail_kl: float
    logit_gap: float
    top1: float
    greedy: float


def verify(
    bundle: Path, *, parent: Parent, card: Card, reference: Callable[[list[int]], "np.ndarray"], texts: Sequence[str],
    longest: int, **limits: float,
) -> Verdict:  # fmt: skip
    """Reads `bundle` back and compares it with its parent; raises ArtifactRefused at the first thing that differs.

    `reference` gives the parent's float32 logits [T, V], compared on `texts` cut to `longest` tokens, on a chat and on
    the last ids of the vocabulary. `limits`: the largest mean_kl, tail_kl, logit_gap, the smallest top1 and greedy.
    """
    import midm_mini

    ours = parent.template == CHAT_TEMPLATE  # another's template is compared as text alone
    chats, strings = CHATS if ours else (), [*HARD_TEXTS, *texts]
    ids = parent_ids(parent, strings)
    used = max(parent.ids.values()) + 1
    windows = [window[:longest] for window in ids[len(HARD_TEXTS) :] if window]
    if not windows:
        raise ArtifactRefused(f"{bundle.name}: no text to compare logits on; give calibration documents with text")
    windows += [ids[len(HARD_TEXTS) - 1][:longest], list(range(max(0, used - longest), used))]
    found = facts.read(bundle, strings, chats)
    _same("chat template", found.template, parent.template)
    _same("stop ids", found.stops, sorted(parent.stops.values()))
    _same("pad id", [found.pad], [parent.pad])
    wanted = _expected(parent, card)
    for word, said in found.said.items():
        _alike(word, said, wanted[word])
    alone = artifact_format(bundle) == "onnx-genai"  # its encode adds nothing, whatever a tokenizer asks for
    for text, theirs, given in zip(strings, found.ids, parent_ids(parent, strings, alone=alone), strict=True):
        _same(f"token ids of {text[:40]!r} by its own library", theirs, given)
    for chat, shown in zip(chats, found.chats, strict=True):
        _same("chat by its own library", shown, render_chat(*chat))
    for name, error, allowed in weights.distances(bundle, parent):
        if not error <= allowed:
            raise ArtifactRefused(
                f"{name}: a row is off by {error:.2g} of its size, its bits allow {allowed}; export again"
            )
    with midm_mini.load(bundle, threads=1 if parent.parameters < SMALL else None) as artifact:
        _same("vocabulary by midm_mini", [artifact.vocab_size, artifact.bos], [parent.config["vocab_size"], parent.bos])
        for text, given in zip(strings, ids, strict=True):
            _same(f"token ids of {text[:40]!r} by midm_mini", artifact.tokenize(text, special=True), given)
        for chat, given in zip(chats, parent_ids(parent, [render_chat(*chat) for chat in chats]), strict=True):
            _same("ids of a chat by midm_mini", artifact.chat_ids(*chat), given)
        if {parent.ids.get(BOS), parent.ids.get(EOT)} & set(artifact.tokenize(BOS + EOT, special=False)):
            raise ArtifactRefused(f"{bundle.name}: control tokens inside plain text become control; export it again")
        figures = _distances(artifact, reference, windows) | {"greedy": _greedy(artifact, reference, windows)}
    verdict = Verdict(len(strings), sum(map(len, windows)), **figures)
    if not all(figures[name] >= limit if name in ("top1", "greedy") else figures[name] <= limit  # NaN fails too
               for name, limit in limits.items()):  # fmt: skip
        asked = ", ".join(f"{name} {limit}" for name, limit in limits.items())
        raise ArtifactRefused(f"{bundle.name}: {verdict} is outside {asked}: the export is wrong, or too coarse")
    return verdict


def parent_ids(parent: Parent, texts: Sequence[str], *, alone: bool = True) -> list[list[int]]:
    """The ids that Hugging Face's tokenizer gives; nothing added if `alone`, else what it adds by itself."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(parent.folder / "tokenizer.json"))
    return [found.ids for found in tokenizer.encode_batch(list(texts), add_special_tokens=not alone)]


def _expected(parent: Parent, card: Card) -> dict[str, Any]:
    """What the files must say, by the words of `facts`, told from the parent alone."""
    config, rows, stops = parent.config, parent.config["vocab_size"], sorted(parent.stops.values())
    kinds = {row: 1 for row in parent.tokenizer["model"]["vocab"].values()}  # llama.cpp's numbers
    for token in parent.tokenizer["added_tokens"]:  # placeholders are text that is seen
        kinds[token["id"]] = 3 if token["special"] and token["content"] not in PII_PLACEHOLDERS else 4
    texts = {row: text for text, row in parent.ids.items()}
    pairs = parent.tokenizer["model"]["merges"]
    return {
        **{"architecture": "llama", "basename": card.basename, "finetune": card.finetune, "version": card.version},
        **{"license": card.license, "languages": list(card.languages), "base model": card.base_model},
        **{"vocabulary": rows, "context": config["max_position_embeddings"], "width": config["hidden_size"]},
        **{"inner width": config["intermediate_size"], "layers": config["num_hidden_layers"]},
        **{"heads": config["num_attention_heads"], "key-value heads": config["num_key_value_heads"]},
        **dict.fromkeys(("width of a head", "width of a value", "rotated width"), parent.head_dim),
        **{"rope base": parent.rope_theta, "norm epsilon": config["rms_norm_eps"], "BOS": parent.bos},
        **{"EOS": stops[0], "end of turn": stops[-1] if len(stops) > 1 else None},
        **{"heads that attend": config["num_attention_heads"], "heads attended to": config["num_key_value_heads"]},
        **{"attention scale": parent.head_dim**-0.5, "neighbours rotated together": 0},
        "pre-tokenizer": PRE_TYPES[bool(parent.tokenizer["model"].get("ignore_merges"))],
        "BOS before every text": parent.adds_bos,
        "tokens": [texts.get(row, f"[PAD{row}]") for row in range(rows)],
        "kinds of tokens": [kinds.get(row, 5) for row in range(rows)],
        "merges": [pair if isinstance(pair, str) else " ".join(pair) for pair in pairs],
        "tokenizer": parent.tokenizer,
        "stops in config.json": stops,
        "pad in config.json": parent.pad,
        "search": {name: parent.generation.get(name, value) for name, value in SEARCH.items()}
        | {"max_length": config["max_position_embeddings"]},
    }


def _alike(word: str, theirs: Any, ours: Any) -> None:
    """Equal; floats as float32, of a table the rows that are asked for."""
    import numpy as np

    if isinstance(ours, Mapping) and isinstance(theirs, Mapping) and set(ours) <= set(theirs):
        theirs = {key: theirs[key] for key in ours}
    if isinstance(ours, float) and isinstance(theirs, int | float):
        theirs, ours = float(np.float32(theirs)), float(np.float32(ours))
    if isinstance(ours, list) and isinstance(theirs, list):
        _same(word, theirs, ours)
    elif theirs != ours:
        raise ArtifactRefused(f"{word}: the artifact says {theirs!r:.80}, its parent {ours!r:.80}; export it again")


def _same(what: str, theirs: Sequence[object], ours: Sequence[object]) -> None:
    if theirs != ours:
        pairs = enumerate(zip(theirs, ours, strict=False))
        at = next((n for n, (a, b) in pairs if a != b), min(len(theirs), len(ours)))
        seen, wanted = repr(theirs[at : at + 8]), repr(ours[at : at + 8])
        raise ArtifactRefused(f"{what}: from place {at} the artifact has {seen}, its parent {wanted}; export it again")


def _distances(
    artifact: "Model", reference: Callable[[list[int]], "np.ndarray"], windows: list[list[int]]
) -> dict[str, float]:
    """KL, its tail, top-1 agreement and largest logit difference, three digits each: kernels differ beyond."""
    import numpy as np

    kl, same, gaps = [], [], []
    for ids in windows:
        theirs_TV, ours_TV = artifact.logits(ids), reference(ids)
        _same("shape of logits", theirs_TV.shape, ours_TV.shape)
        log_q, log_p = _log_softmax(theirs_TV), _log_softmax(ours_TV)
        kl.append((np.exp(log_p) * (log_p - log_q)).sum(-1))
        same.append(ours_TV.argmax(-1) == theirs_TV.argmax(-1))
        gaps.append(np.abs(theirs_TV - ours_TV).max())
    spread, agreed = np.concatenate(kl), np.concatenate(same)
    figures = {"mean_kl": spread.mean(), "tail_kl": np.quantile(spread, 0.999), "logit_gap": np.max(gaps)}
    return {name: float(f"{figure:.3g}") for name, figure in (figures | {"top1": agreed.mean()}).items()}


def _greedy(artifact: "Model", reference: Callable[[list[int]], "np.ndarray"], windows: list[list[int]]) -> float:
    """Share of the parent's own greedy tokens that generation would choose too, each after the parent's ones before.

    The way that generates (its cache, its kernels) must also choose what the artifact's scored logits choose.
    """
    import numpy as np

    agreed = []
    for window in windows[:PROMPTS]:
        prompt, path = window[:PROMPT], list[int]()
        for _ in range(STEPS):
            path.append(int(reference(prompt + path)[-1].argmax()))
        chosen = artifact.follow(prompt, path).argmax(-1)
        scores = artifact.logits(prompt + path)[len(prompt) - 1 : -1]
        short = scores.max(-1) - scores[range(STEPS), chosen]
        if not (short <= TIE * scores.std(-1)).all():
            at = int(short.argmax())
            raise ArtifactRefused(
                f"step {at} generates {chosen[at]}, its logits say {scores[at].argmax()}; export again"
            )
        agreed.append(chosen == path)
    return float(f"{np.mean(agreed):.3g}")


def _log_softmax(logits_TV: "np.ndarray") -> "np.ndarray":
    import numpy as np

    shifted = logits_TV.astype("float64") - logits_TV.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
