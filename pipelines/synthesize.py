"""Makes text to learn from: out of a small world of checked facts, and by recipes out of organic documents."""

from collections import Counter
from functools import partial
from itertools import chain
from pathlib import Path

from corpus import chats, contrasts, conversations, diversity, generators, shards, synthesis
from corpus import recipes as cooking
from corpus.world import load, load_lists, load_talks
from pipelines._journal import Journal
from pipelines._stage import StageError, StageParams, enter


class Params(StageParams, synthesis.Portions):
    """What the world teaches (corpus/synthesis.py), and what conversations and recipes add to it."""

    conversations: conversations.Numbers  # with tools, about passages, of several turns; and the trials held out
    given: chats.Given  # chat files of the user's own
    recipes: list[str]  # names of data/recipes/*.yaml; none needs no generator
    seeds_per_recipe: int  # organic documents drawn for each, one request each
    seed_characters: cooking.Range  # shorter documents are no seeds, longer ones are cut at a sentence
    generator: generators.Settings
    prose: cooking.Prose  # the language of a reply
    near: diversity.Nearness  # as dedup, of replies to all that is known and to each other
    quality_texts: int  # per source and language, drawn for the figures of variety and relevance
    quality_clusters: int  # of a language's organic texts, to see how many of them are reached


def main(
    *, world: Path, documents: Path, recipes: Path, chat_files: Path, adapters: Path, out: Path, scratch: Path,
    params: Params, journal: Journal,
) -> None:  # fmt: skip
    """Writes documents/, questions, conversations of every use as JSON lines; replies are kept beside `scratch`."""
    known, chosen = load(world), cooking.load(recipes, params.recipes)
    cap, talk, repeats = params.facts_per_relation, world / "talk", params.talk_repeats.model_dump()
    taught = synthesis.taught_part(known, params.relations, facts_per_relation=cap, seed=params.seed)
    made = list(synthesis.documents(taught, params))
    records = synthesis.records(taught, params, load_talks(talk))
    records = synthesis.joined(records, conversations.records(known, taught, talk, params.conversations))
    records["dialogues"] += contrasts.dialogues(contrasts.load(talk / "contrasts.yaml"), taught, repeats=repeats)
    records = conversations.opened(records, taught, load_lists(talk / "system.yaml"))
    held_out = [*records["questions"], *conversations.asked_in(records["trials"])]
    if leaked := synthesis.leaks(held_out, [*made, *records["dialogues"], *records["preferences"]]):
        raise StageError(f"{world}: held-out questions occur in training text: {leaked[:3]}; rephrase them")
    gate = partial(synthesis.leaking, held_out)
    given = chats.collected(chat_files, adapters, params.given, gate=gate)
    records = synthesis.joined(records, chats.records(given, params.given.held_back, lot=taught.draw))
    shards.write_lines(out / "rejected.jsonl", (row._asdict() for row in given if row.reason))
    judged: list[cooking.Judged] = []
    if chosen:
        count, size, most = params.seeds_per_recipe, params.seed_characters, params.generator.max_failed
        seeds = cooking.draw(chosen, shards.read(documents), count=count, size=size, lot=taught.draw)
        generator = generators.opened(params.generator, seed=params.seed, folder=scratch.parent / "requests")
        judged = cooking.answered(seeds, generator, prose=params.prose, max_failed=most, on_step=journal.step)
    batches = ([row["text"] for row in shards.read_shard(path)] for path in shards.paths(documents))
    before = chain([[row["text"] for row in made]], batches)
    judged = cooking.sift(cooking.sift(judged, gate), partial(diversity.copies, known=before, near_as=params.near))
    made += [row.document for row in judged if row.status == "kept"]
    for name, lines in records.items():
        shards.write_lines(out / f"{name}.jsonl", lines)
    shards.write(out / "documents", made)
    drawn = {"size": params.quality_texts, "clusters": params.quality_clusters}
    journal.conclude(
        facts_known=sum(len(relation.facts) for relation in known.values()),
        facts_taught=len(taught.facts),
        facts_by_relation={name: len(relation.facts) for name, relation in taught.relations.items()},
        documents=dict(sorted(Counter(document["source"] for document in made).items())),
        **diversity.shares(made, shards.read(documents)),
        held_out_questions_in_training_text=len(leaked),
        given=chats.account(given),
        kinds=dict(sorted(Counter(row["kind"] for row in records["dialogues"]).items())),
        recipes=cooking.account(judged, prices=(params.generator.prompt_price, params.generator.completion_price)),
        quality=diversity.compared(made, partial(shards.read, documents), **drawn),
        **{name: dict(sorted(Counter(row["lang"] for row in lines).items())) for name, lines in records.items()},
    )


if __name__ == "__main__":
    enter(main)
