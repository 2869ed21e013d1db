"""Knows how to put trials to a model: chats with tools and passages; which replies are right, which well formed."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from midm_mini.calls import CallFlow, Malformed, ToolCall, call_grammar, schemas
from midm_mini.format import SYSTEM_PROMPTS, MidmError, chat_segments
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from evals.material import MaterialError, read_jsonl
from evals.metrics import marked
from evals.questions import Question, says
from evals.subject import Subject

# Least share of a reply's letters: technical Korean is half Latin script, English has hardly another.
SCRIPTS = {"ko": (re.compile("[가-힣ㄱ-ㅣ]"), 0.5), "en": (re.compile("[A-Za-z]"), 0.9)}
UNMARKED = ("held back",)  # kinds whose replies nobody can mark by a list of texts: they are read


class Portion(BaseModel):
    """How much a subject is asked besides its four-choice questions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    chat_questions: int  # per language, the first of those, put as a chat; at least one
    few_shot_questions: int  # per language, the first of those, answered in plain text after some that are solved
    trials: int  # per kind and language
    held_back: int  # conversations per source


class Trial(BaseModel):
    """A chat that waits for its reply. `expected`: texts, one of which the reply must say, or the call due.

    `memory`: what the reply must not say, for it stands in no passage.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    id: str
    lang: Literal["ko", "en"]
    kind: str
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] = []
    expected: list[str] | dict[str, Any]
    memory: str = ""

    @model_validator(mode="after")
    def _whole(self) -> "Trial":
        chat_segments(self.messages, self.tools)  # type: ignore[arg-type]
        if not self.messages or self.messages[-1]["role"] == "assistant":
            raise ValueError("messages: end before the reply that is asked for")
        if isinstance(self.expected, dict) and not _is_call(self.expected):
            raise ValueError("expected: a call has a `name` and an object of `arguments`")
        return self


def read_trials(file: Path) -> list[Trial]:
    """All trials of a .jsonl file in order; MaterialError names the first line that breaks the form."""
    trials = []
    for where, record in read_jsonl(file):
        try:
            trials.append(Trial.model_validate(record))
        except (ValidationError, MidmError) as error:
            said = str(error)
            if isinstance(error, ValidationError):
                said = "; ".join(f"{'.'.join(map(str, row['loc']))}: {row['msg']}" for row in error.errors())
            raise MaterialError(f"{where}: {said.lstrip(': ')}; mend the line or run synthesize again") from None
    return trials


def first_of_each(trials: Iterable[Trial], n: int) -> list[Trial]:
    """The first `n` trials of each kind and language, in order."""
    groups: dict[tuple[str, str], int] = Counter()
    kept = []
    for trial in trials:
        groups[trial.kind, trial.lang] += 1
        if groups[trial.kind, trial.lang] <= n:
            kept.append(trial)
    return kept


def under_preset(asked: Iterable[Trial]) -> list[Trial]:
    """The same chats after the wheel's own system prompt."""
    made = []
    for one in asked:
        messages = [{"role": "system", "content": SYSTEM_PROMPTS[one.lang]}, *one.messages]
        made.append(one.model_copy(update={"id": f"preset/{one.id}", "kind": "preset", "messages": messages}))
    return made


def as_trials(questions: Iterable[Question]) -> list[Trial]:
    """Four-choice questions put as chats: the reply must say the right choice, the others are not shown."""
    made = []
    for number, q in enumerate(questions, 1):
        asked: dict[str, Any] = {"id": f"question/{q.lang}/{number}", "lang": q.lang, "kind": "question"}
        turns = [{"role": "user", "content": q.question}]
        made.append(Trial(**asked, messages=turns, expected=[q.choices[q.answer]]))
    return made


def put(subject: Subject, trials: Sequence[Trial], *, max_tokens: int) -> list[dict[str, Any]]:
    """The trials with greedy `reply`, `finish_reason`, and whether it is `right` and `well_formed`.

    Calls are kept to the listed tools, as the wheel's `chat` keeps them. Those that leave no room for a reply in the
    subject's context are left out.
    """
    asked = [(trial, subject.chat_ids(trial.messages, trial.tools)) for trial in trials]  # type: ignore[arg-type]
    asked = [(trial, ids) for trial, ids in asked if len(ids) < subject.context]
    grammars = [call_grammar(schemas(trial.tools), "auto") if trial.tools else "" for trial, _ in asked]
    replies = subject.complete([ids for _, ids in asked], max_tokens, grammars=grammars)
    rows = []
    for (trial, _), (reply, reason) in zip(asked, replies, strict=True):
        marks = {"right": right(trial, reply), "well_formed": well_formed(trial, reply, reason)}
        rows.append({**trial.model_dump(), "reply": reply, "finish_reason": reason, **marks})
    return rows


def right(trial: Trial, reply: str) -> bool:
    """Whether the reply is the one call that is due, or calls nothing and says an expected text, not the memory's."""
    made = calls(reply, trial.tools)
    if isinstance(trial.expected, dict):
        return made is not None and len(made) == 1 and same(made[0], trial.expected)
    said = not trial.expected or any(says(reply, text) for text in trial.expected)
    return said and made == [] and not (trial.memory and says(reply, trial.memory))


def well_formed(trial: Trial, reply: str, reason: str) -> bool:
    """Whether the reply ends by itself and is a call, as a listed tool takes it, if one is due, else text in the
    language asked for."""
    if reason != "stop" or not reply.strip():
        return False
    made = calls(reply, trial.tools)
    if isinstance(trial.expected, dict):
        return bool(made)
    return made == [] and in_language(reply, trial.lang, trial.expected)


def calls(reply: str, tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]] | None:
    """The calls in a reply as an app gets them, in order; None if one is malformed or open (midm_mini.calls)."""
    flow = CallFlow(schemas(tools))
    parts = [*flow.push(reply), *flow.rest()]
    if any(isinstance(part, Malformed) for part in parts):
        return None
    return [{"name": part.name, "arguments": part.arguments} for part in parts if isinstance(part, ToolCall)]


def same(one: Any, other: Any) -> bool:
    """JSON equality: 2 is 2.0 but neither "2" nor true; the order of keys does not count, that of lists does."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def in_language(reply: str, lang: str, names: Sequence[str] = ()) -> bool:
    """Whether the letters are of the language's script; `names` and replies without letters are neutral."""
    for name in sorted(names, key=len, reverse=True):
        reply = re.sub(re.escape(name), "", reply, flags=re.IGNORECASE)
    script, least = SCRIPTS[lang]
    letters = [character for character in reply if character.isalpha()]
    return sum(map(bool, map(script.match, letters))) >= least * len(letters)


def summary(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """By kind and language {right, well_formed}, rates with their marks; rows to be read only are left out."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["kind"] not in UNMARKED:
            groups.setdefault((row["kind"], row["lang"]), []).append(row)
    found: dict[str, dict[str, Any]] = {}
    for (kind, lang), group in sorted(groups.items()):
        keys = ("right", "well_formed")
        found.setdefault(kind, {})[lang] = {key: marked([row[key] for row in group]) for key in keys}
    return found


def _is_call(value: Any) -> bool:
    kinds = {"name": str, "arguments": dict}
    return isinstance(value, dict) and {key: type(part) for key, part in value.items()} == kinds
