"""Makes text to learn from out of a small world of checked facts, and the questions that measure what was learned."""

from collections import Counter
from pathlib import Path

from corpus import shards, synthesis
from corpus.world import load, load_talk
from pipelines._journal import Journal
from pipelines._stage import StageError, StageParams, enter


class Params(StageParams):
    """How much of the world is taught, and how often."""

    seed: int  # orders facts, phrasings and choices; nothing else is random
    relations: list[str]  # names of the world's files that are taught
    facts_per_relation: int  # a cap: the first facts of each file, the best known ones
    textbook_exposures: int  # statements per fact and language, in passages of one relation
    facts_per_passage: int  # statements in one such passage
    question_exposures: int  # question–answer pairs per fact and language, relations mixed
    pairs_per_document: int  # pairs in one document of questions, solutions or translations
    solution_exposures: int  # worked solutions per calculation and language
    translation_exposures: int  # sentence pairs per fact
    questions_per_fact: int  # held-out phrasings asked per fact and language, for the judge
    dialogues_per_fact: int  # conversations per fact and language, for sft
    talk_repeats: int  # times that each everyday, refused or harmless request stands in the dialogues
    preferences_per_fact: int  # reply pairs per fact and language, for dpo


def main(*, world: Path, out: Path, params: Params, journal: Journal) -> None:
    """Writes documents/, questions.jsonl, dialogues.jsonl and preferences.jsonl."""
    known = load(world)
    cap = params.facts_per_relation
    taught = synthesis.taught_part(known, params.relations, facts_per_relation=cap, seed=params.seed)
    everyday, refused, harmless = (load_talk(world / f"talk/{it}.yaml") for it in ("everyday", "refused", "harmless"))
    pairs = params.pairs_per_document
    documents = [
        *synthesis.textbook(taught, exposures=params.textbook_exposures, facts_per_document=params.facts_per_passage),
        *synthesis.question_pairs(taught, exposures=params.question_exposures, pairs_per_document=pairs),
        *synthesis.solutions(taught, exposures=params.solution_exposures, pairs_per_document=pairs),
        *synthesis.translations(taught, exposures=params.translation_exposures, pairs_per_document=pairs),
    ]
    records = {
        "questions": [*synthesis.held_out_questions(taught, per_fact=params.questions_per_fact)],
        "dialogues": [
            *synthesis.dialogues(taught, per_fact=params.dialogues_per_fact),
            *synthesis.talk([*everyday, *refused, *harmless], repeats=params.talk_repeats),
        ],
        "preferences": [
            *synthesis.preferences(taught, per_fact=params.preferences_per_fact),
            *synthesis.talk_preferences(refused=refused, harmless=harmless),
        ],
    }
    leaked = synthesis.leaks(records["questions"], [*documents, *records["dialogues"], *records["preferences"]])
    if leaked:
        raise StageError(f"{world}: held-out questions occur in training text: {leaked[:3]}; rephrase them")
    for name, rows in records.items():
        shards.write_lines(out / f"{name}.jsonl", rows)
    shards.write(out / "documents", documents)
    journal.conclude(
        facts_known=sum(len(relation.facts) for relation in known.values()),
        facts_taught=len(taught.facts),
        facts_by_relation={name: len(relation.facts) for name, relation in taught.relations.items()},
        documents=_counts(documents, "source"),
        characters={lang: sum(len(d["text"]) for d in documents if d["lang"] == lang) for lang in ("ko", "en")},
        held_out_questions_in_training_text=len(leaked),
        **{name: _counts(rows, "lang") for name, rows in records.items()},
    )


def _counts(records: list[dict], key: str) -> dict[str, int]:
    return dict(sorted(Counter(record[key] for record in records).items()))


if __name__ == "__main__":
    enter(main)
