"""Makes text to learn from: out of a small world of checked facts, and by recipes out of organic documents."""

import sys
from collections import Counter
from functools import partial
from itertools import chain
from pathlib import Path

from corpus import conversations, diversity, generators, shards, synthesis
from corpus import recipes as cooking
from corpus.world import load, load_asked, load_lists, load_talk
from pipelines._journal import Journal
from pipelines._stage import StageError, StageParams, enter


class Params(StageParams, synthesis.Portions):
    """What the world teaches (corpus/synthesis.py), and what recipes add to it."""

    conversations: conversations.Numbers  # with tools, about passages, of several turns; and the trials held out
    recipes: list[str]  # names of data/recipes/*.yaml; none needs no generator
    seeds_per_recipe: int  # organic documents drawn for each, one request each
    seed_characters: cooking.Range  # shorter documents are no seeds, longer ones are cut at a sentence
    generator: generators.Settings
    prose: cooking.Prose  # the language of a reply
    near: diversity.Nearness  # as dedup, of replies to all that is known and to each other
    quality_texts: int  # per source and language, drawn for the figures of variety and relevance
    quality_clusters: int  # of a language's organic texts, to see how many of them are reached


def main(
    *, world: Path, documents: Path, recipes: Path, out: Path, scratch: Path, params: Params, journal: Journal
) -> None:
    """Writes documents/, questions.jsonl, dialogues.jsonl and preferences.jsonl; replies are kept beside `scratch`."""
    known, chosen = load(world), cooking.load(recipes, params.recipes)
    cap = params.facts_per_relation
    taught = synthesis.taught_part(known, params.relations, facts_per_relation=cap, seed=params.seed)
    made = list(synthesis.documents(taught, params))
    talk = {name: load_talk(world / f"talk/{name}.yaml") for name in ("everyday", "refused", "harmless")}
    records = synthesis.records(taught, params, **talk)
    wide = synthesis.taught_part(known, params.relations, facts_per_relation=sys.maxsize, seed=params.seed)
    asked, systems = load_asked(world / "talk/tools.yaml"), load_lists(world / "talk/system.yaml")
    maker = conversations.Maker(taught, wide, asked, systems)
    records["dialogues"] += conversations.dialogues(maker, params.conversations)
    records["trials"] = [*conversations.trials(maker, params.conversations)]
    held_out = [*records["questions"], *conversations.asked_in(records["trials"])]
    leaked = synthesis.leaks(held_out, [*made, *records["dialogues"], *records["preferences"]])
    if leaked:
        raise StageError(f"{world}: held-out questions occur in training text: {leaked[:3]}; rephrase them")
    judged: list[cooking.Judged] = []
    if chosen:
        count, size, settings = params.seeds_per_recipe, params.seed_characters, params.generator
        seeds = cooking.draw(chosen, shards.read(documents), count=count, size=size, lot=taught.draw)
        generator = generators.opened(settings, seed=params.seed, folder=scratch.parent / "requests")
        judged = cooking.answered(
            seeds, generator, prose=params.prose, max_failed=settings.max_failed, on_step=journal.step
        )
    judged = cooking.sift(judged, lambda texts: synthesis.leaking(records["questions"], texts))
    batches = ([row["text"] for row in shards.read_shard(path)] for path in shards.paths(documents))
    before = chain([[document["text"] for document in made]], batches)
    judged = cooking.sift(judged, lambda texts: diversity.copies(texts, before, near_as=params.near))
    made += [row.document for row in judged if row.status == "kept"]
    for name, rows in records.items():
        shards.write_lines(out / f"{name}.jsonl", rows)
    shards.write(out / "documents", made)
    prices = (params.generator.prompt_price, params.generator.completion_price)
    drawn = {"size": params.quality_texts, "clusters": params.quality_clusters}
    journal.conclude(
        facts_known=sum(len(relation.facts) for relation in known.values()),
        facts_taught=len(taught.facts),
        facts_by_relation={name: len(relation.facts) for name, relation in taught.relations.items()},
        documents=dict(sorted(Counter(document["source"] for document in made).items())),
        **diversity.shares(made, shards.read(documents)),
        held_out_questions_in_training_text=len(leaked),
        recipes=cooking.account(judged, prices=prices),
        quality=diversity.compared(made, partial(shards.read, documents), **drawn),
        **{name: dict(sorted(Counter(row["lang"] for row in rows).items())) for name, rows in records.items()},
    )


if __name__ == "__main__":
    enter(main)
