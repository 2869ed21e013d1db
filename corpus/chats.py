"""Knows chat files that others wrote: reads their formats into conversations, and gives every row a verdict."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from corpus.reading import Quarantined, read_rows
from corpus.synthesis import REPLY, SOLUTION_FORM
from corpus.turns import ChatError, check, final_answer, parsed
from corpus.world import LANGUAGES, SLOT

LONGEST_ROW = 1 << 20  # bytes
FILES = (".jsonl", ".jsonl.gz", ".jsonl.zst")


class Given(BaseModel):
    """The user's own chat files."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    folder: str  # that dvc.yaml hands over as --chat-files
    files: list[str]  # names or glob patterns in it; adapters among them are passed over
    reasoning: Literal["keep", "drop"]  # of <think>…</think>, and of "풀이:" or "Solution:" before the answer
    max_bad: float  # share of a file's rows that may be quarantined
    held_back: float  # share, by lot, that is kept from training to judge it by


class Adapter(BaseModel):
    """A flat source as data/conversations/<name>.yaml describes it; templates name fields as {field} or {a.0.b}."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    name: str  # of its file, which is <name>.jsonl, .jsonl.gz or .jsonl.zst
    lang: Literal["ko", "en"]
    user: str
    assistant: str
    system: str = ""
    where: dict[str, list[str]] = {}  # only rows with one of these values are taken
    remove: str = ""  # what this pattern matches is cut from the reply
    final: str = ""  # the mark in a reply that parts the reasoning from the final answer
    license: str
    url: str


class Verdict(NamedTuple):
    """What becomes of a row: its conversation if there is no `reason`; `bad` rows are quarantined, others dropped."""

    file: str
    line: int
    conversation: dict[str, Any]
    reason: str = ""
    bad: bool = False


def read_adapters(folder: Path) -> dict[str, Adapter]:
    """The adapters by name; ChatError names the file and the key that is wrong."""
    from ruamel.yaml import YAML, YAMLError

    found = {}
    for file in sorted(folder.glob("*.yaml")):
        try:
            found[file.stem] = Adapter.model_validate(YAML(typ="safe", pure=True).load(file))
        except (ValidationError, YAMLError) as error:
            raise ChatError(f"{file}: {' '.join(str(error).split())}; compare with the other files there") from None
        if found[file.stem].name != file.stem:
            raise ChatError(f"{file}: name is {found[file.stem].name!r}; make it equal to the file's name")
    return found


def collected(
    folder: Path, adapters: Path, given: Given, *, gate: Callable[[Sequence[str]], Sequence[str]]
) -> list[Verdict]:
    """A verdict for every row of the given files; `adapters` is the folder of adapters; raises ChatError."""
    return settled(read(folder, given, read_adapters(adapters)), max_bad=given.max_bad, gate=gate)


def read(folder: Path, given: Given, known: Mapping[str, Adapter]) -> Iterator[Verdict]:
    """A verdict for every row of the given files, in the order of their names; ChatError if one cannot be read."""
    for pattern in given.files:
        if not any(folder.glob(pattern)):
            raise ChatError(f"{folder}: no file {pattern} there; mend synthesize.given.files or the folder")
    found = {path for pattern in given.files for path in folder.glob(pattern) if path.is_file()}
    for path in sorted(path for path in found if path.suffix != ".yaml"):
        name = path.relative_to(folder).as_posix()
        if not name.endswith(FILES):
            raise ChatError(f"{path}: not {', '.join(FILES)}; convert it or name the others in synthesize.given.files")
        adapter = known.get(path.name.partition(".jsonl")[0])
        rows = read_rows(path, name, max_record_bytes=LONGEST_ROW, make=lambda row, *, file, line: (line, row))
        for row in rows:
            if isinstance(row, Quarantined):
                yield Verdict(name, row.line, {}, row.reason, bad=True)
            else:
                yield _verdict(name, *row, adapter=adapter, reasoning=given.reasoning)


def settled(
    verdicts: Iterable[Verdict], *, max_bad: float, gate: Callable[[Sequence[str]], Sequence[str]]
) -> list[Verdict]:
    """The verdicts with repeated conversations and those that the gate has a reason against dropped.

    Raises ChatError if more than `max_bad` of a file's rows are quarantined.
    """
    rows, seen = [*verdicts], set()
    texts = [json.dumps(row.conversation.get("messages"), ensure_ascii=False) for row in rows]
    for place, (row, text, reason) in enumerate(zip(rows, texts, gate(texts), strict=True)):
        if not row.reason:
            rows[place] = row._replace(reason=reason or ("duplicate" if text in seen else ""))
            seen.add(text)
    for file, total in Counter(row.file for row in rows).items():
        bad = [row for row in rows if row.file == file and row.bad]
        if len(bad) > max_bad * total:
            first = "; ".join(f"{row.file}:{row.line} {row.reason}" for row in bad[:3])
            raise ChatError(f"{len(bad)} of {total} rows are no conversations, more than {max_bad:.1%}: {first}; "
                            "mend them, or raise synthesize.given.max_bad")  # fmt: skip
    return rows


def records(rows: Iterable[Verdict], share: float, *, lot: Callable[..., int]) -> dict[str, list]:
    """The kept conversations by the name of their file: dialogues, or held_back for a share of them by lot."""
    kept = [row.conversation for row in rows if not row.reason]
    back = {talk["id"] for talk in kept if lot("held back", talk["source"], talk["messages"][:-1]) < share * 2**64}
    parts = {"dialogues": [talk for talk in kept if talk["id"] not in back]}
    return parts | {"held_back": [talk for talk in kept if talk["id"] in back]}


def account(rows: Iterable[Verdict]) -> dict[str, dict[str, Any]]:
    """Per file how many rows were read, kept, and dropped or quarantined for which reason."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        counts = found.setdefault(row.file, {"read": 0, "kept": 0, "dropped": Counter(), "quarantined": Counter()})
        counts["read"] += 1
        if row.reason:
            counts["quarantined" if row.bad else "dropped"][row.reason.partition(":")[0]] += 1
        else:
            counts["kept"] += 1
    return found


def _verdict(file: str, line: int, record: Any, *, adapter: Adapter | None, reasoning: str) -> Verdict:
    try:
        if not isinstance(record, dict):
            raise ChatError("not_an_object")
        if adapter and any(str(record.get(field)) not in values for field, values in adapter.where.items()):
            return Verdict(file, line, {}, "not_chosen")
        if record.get("split") not in (None, "", "train"):  # whatever the format: what is marked test is never trained
            return Verdict(file, line, {}, "not_for_training")
        made = _adapted(record, adapter, reasoning) if adapter else parsed(record, reasoning)
        check(made)
    except (ChatError, AttributeError, TypeError) as error:  # the latter two: a list or a number where no chat has one
        reason = str(error) if isinstance(error, ChatError) else f"malformed: {error}"
        return Verdict(file, line, {}, reason, bad=True)
    lang = adapter.lang if adapter else _language(record, made["messages"])
    origin = adapter.model_dump(include={"license", "url"}) if adapter else {}
    named = {
        "id": f"dialogue/given/{file}:{line}",
        "lang": lang,
        "kind": "given",
        "source": file.partition(".jsonl")[0],
    }
    return Verdict(file, line, named | origin | made)


def _adapted(record: dict, adapter: Adapter, reasoning: str) -> dict[str, Any]:
    system, user, reply = (_fill(text, record) for text in (adapter.system, adapter.user, adapter.assistant))
    reply = re.sub(adapter.remove, "", reply) if adapter.remove else reply
    if adapter.final:
        work, mark, answer = (part.strip() for part in reply.rpartition(adapter.final))
        if not mark:
            raise ChatError(f"no_final_answer: nothing after {adapter.final!r}")
        form = SOLUTION_FORM[adapter.lang].split("\n", 1)[1] if reasoning == "keep" else REPLY[adapter.lang]
        reply = form.format(w=work, a=answer, o=answer)
    turns = [("system", system), ("user", user), ("assistant", final_answer(reply, reasoning))]
    return {"messages": [{"role": role, "content": text} for role, text in turns if text or role != "system"]}


def _fill(template: str, record: dict) -> str:
    def field(match: re.Match[str]) -> str:
        value: Any = record
        for key in match[1].split("."):
            try:
                value = value[int(key) if isinstance(value, list) else key]
            except (LookupError, TypeError, ValueError):
                raise ChatError(f"missing_field: {match[1]}") from None
        if not isinstance(value, str):
            raise ChatError(f"not_text: {match[1]}")
        return value

    return SLOT.sub(field, template).strip()


def _language(record: dict, messages: Sequence[Mapping[str, Any]]) -> str:
    said = "".join(turn["content"] for turn in messages)
    return record["lang"] if record.get("lang") in LANGUAGES else "ko" if re.search("[가-힣]", said) else "en"
