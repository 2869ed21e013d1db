"""Knows the rows of benchmarks: local files brought to the hub's form, and questions made of rows that are none."""

import re
from collections.abc import Callable
from functools import cache
from typing import Any

Row = dict[str, Any]
NLI_LABELS = ("entailment", "neutral", "contradiction")
ENTITY_KINDS = ("PS", "LC", "OG", "DT", "TI", "QT")  # person, place, organization, date, time, quantity
PUNKT_CHECKS = {"length_constraints:number_sentences", "change_case:capital_word_frequency"}
_ENTITY = re.compile(r"<([^<>]+):(PS|LC|OG|DT|TI|QT)>")


def as_on_hub(row: Row) -> Row:
    """A local row as it is: its fields are the hub's."""
    return row


def klue_nli(row: Row) -> Row:
    """The label as a number, premise and hypothesis by these names (KorNLI calls them sentences)."""
    premise, hypothesis = row.get("premise", row.get("sentence1")), row.get("hypothesis", row.get("sentence2"))
    return {"premise": premise, "hypothesis": hypothesis, "label": NLI_LABELS.index(row["gold_label"])}


def klue_ner(row: Row) -> Row:
    """The marked sentence under the hub's name."""
    return {"sentence": row["tagged"]}


def mmlu(row: Row) -> Row:
    """The answer as a number."""
    return row | {"answer": int(row["answer"])}


def truthfulqa(row: Row) -> Row:
    """One true answer and all false ones, the true one first as in mc1."""
    false = [text.strip() for text in row["Incorrect Answers"].split(";") if text.strip()]
    choices = [row["Best Answer"], *false]
    return {"question": row["Question"], "mc1_targets": {"choices": choices, "labels": [1] + [0] * len(false)}}


def ifeval(row: Row) -> Row:
    """The row itself; ValueError if its check needs data that nltk would load from the network."""
    if not PUNKT_CHECKS.isdisjoint(row["instruction_id_list"]) and not _has_punkt():
        raise ValueError("nltk's punkt_tab is not here (python -m nltk.downloader punkt_tab)")
    return row


def entity_questions(rows: Any) -> Any:
    """KLUE-NER rows (a datasets.Dataset) as questions for the kind of their first entity; rows without one fall out."""
    return rows.filter(lambda row: bool(_ENTITY.search(row["sentence"]))).map(_entity_question)


def bias_questions(rows: Any) -> Any:
    """KoBBQ rows with choices as a list and the answer's place in it."""
    return rows.map(_bias_question)


@cache
def _has_punkt() -> bool:
    import nltk

    try:
        return bool(nltk.data.find("tokenizers/punkt_tab"))
    except LookupError:
        return False


def _entity_question(row: Row) -> Row:
    entity, kind = _ENTITY.search(row["sentence"]).groups()  # type: ignore[union-attr]
    return {"sentence": _ENTITY.sub(r"\1", row["sentence"]), "entity": entity, "label": ENTITY_KINDS.index(kind)}


def _bias_question(row: Row) -> Row:
    given = row["choices"]
    choices = re.findall(r"'([^']+)'", given) if isinstance(given, str) else list(given)
    return {"choices": choices, "label": choices.index(row["answer"])}


MAKERS: dict[str, Callable[[Row], Row]] = {
    maker.__name__: maker for maker in (as_on_hub, klue_nli, klue_ner, mmlu, truthfulqa, ifeval)
}
