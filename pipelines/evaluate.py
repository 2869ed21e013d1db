"""Judges one subject: held-out text, questions, chats with tools and passages, distance to its parent."""

import time
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from corpus import shards
from evals import held_back, material, metrics, trials
from evals import questions as quiz
from evals.subject import open_subject, size_bytes
from pipelines._journal import Journal, peak_mib
from pipelines._stage import StageParams, enter


class Params(StageParams):
    """What is measured, and how much of it."""

    max_questions: int  # per language, drawn by `seed`
    max_validation_bytes: int  # UTF-8 bytes of held-out text per language: whole documents, at least one
    kl_tokens: int  # positions of held-out text (languages taking turns) at which subject and parent are compared
    max_new_tokens: int  # per answer to a question
    trial_tokens: int  # per reply to a trial or a held-back conversation
    held_back_replies: int  # written per source, to be read
    shots: int
    portions: dict[str, trials.Portion]  # of subjects by name
    others: trials.Portion
    seed: int


def main(
    *, subject: str, model: Path, parent: Path | None = None, documents: Path, questions: Path, greetings: Path,
    out: Path, memory: Path | None = None, params: Params, journal: Journal,
) -> None:  # fmt: skip
    """model, parent: HF folders or bundles (a model is no parent of itself); documents: mix; questions: synthesize.

    greetings: a file of trials.
    """
    portion, pool = params.portions.get(subject, params.others), quiz.read_questions(questions / "questions.jsonl")
    asked = {lang: quiz.sample(pool, lang=lang, n=params.max_questions, seed=params.seed) for lang in ("ko", "en")}
    folder, size = documents / "validation", params.max_validation_bytes
    texts = {lang: material.held_out_texts(folder, lang=lang, max_bytes=size) for lang in asked}
    talks = held_back.read_conversations(questions / "held_back.jsonl", per_source=portion.held_back)
    n_chat, started = min(portion.chat_questions, *map(len, asked.values())), time.perf_counter()
    judged = open_subject(model)
    journal.step(0, **{"perf/load_seconds": time.perf_counter() - started})
    result: dict[str, Any] = {"chance": quiz.CHANCE, "size_bytes": size_bytes(model), "n_chat": n_chat, "few_shot": {}}
    started, chats = time.perf_counter(), trials.as_trials(chain.from_iterable(q[:n_chat] for q in asked.values()))
    rows = trials.put(judged, chats, max_tokens=params.max_new_tokens)
    tokens = sum(len(judged.encode(row["reply"])) + (row["finish_reason"] == "stop") for row in rows)
    journal.step(0, **{"perf/decode_tokens_per_s": tokens / (time.perf_counter() - started)})
    said, other = (trials.read_trials(file) for file in (greetings, questions / "trials.jsonl"))
    drawn = trials.first_of_each([*said, *trials.under_preset(chats), *other], portion.trials)
    drawn += held_back.openings(judged, talks, per_source=params.held_back_replies)
    tried = trials.put(judged, drawn, max_tokens=params.trial_tokens)
    result["trials_too_long"], rows = len(drawn) - len(tried), [*rows, *tried]
    shards.write_lines(out / "replies.jsonl", rows)
    journal.attach(out / "replies.jsonl")
    result |= {"trials": trials.summary(rows), "held_back": held_back.judge(judged, talks)}
    for lang, own in asked.items():
        marks, chat = metrics.marked(quiz.ask(judged, own)), result["trials"]["question"][lang]["right"]["value"]
        result |= {f"{key}_{lang}": value for key, value in metrics.weighed(judged, texts[lang]).items()}
        result |= {f"chat_{lang}": chat, f"qa_{lang}": marks["value"], f"marks_{lang}": marks["marks"]}
        result |= {f"n_qa_{lang}": marks["n"], **{f"qa_{lang}_{end}": marks[end] for end in ("low", "high")}}
        some, solved = own[: portion.few_shot_questions], shards.read(questions / "documents")
        shown = quiz.few_shot(judged, some, solved, shots=params.shots, max_tokens=params.max_new_tokens)
        result["few_shot"][lang] = metrics.marked(shown)
        journal.step(0, **{f"eval/{key}_{lang}": result[f"{key}_{lang}"] for key in ("bpb", "qa", "chat")})
    journal.step(0, **{"perf/peak_rss_mib": peak_mib()})
    result |= {"kl_parent": None, "kl_parent_p999": None, "top1_parent": None, "n_positions": 0}
    if parent and parent != model:
        elder, turns = open_subject(parent, memory), filter(None, chain.from_iterable(zip_longest(*texts.values())))
        result |= metrics.divergence(judged, elder, turns, max_positions=params.kl_tokens)
        elder.close()
    judged.close()
    journal.conclude(**result)


if __name__ == "__main__":
    enter(main)
