"""Knows how to ask four-choice questions: reads them, puts them as plain text or as a chat, marks the answers."""

import math
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from corpus.synthesis import QUESTION_FORM
from evals.material import MaterialError, read_jsonl
from evals.metrics import continuation
from evals.subject import Subject

CHANCE = 0.25


class Question(NamedTuple):
    """`choices` are four texts, `answer` the index of the right one; `relation` groups questions of one kind."""

    lang: str
    relation: str
    question: str
    choices: list[str]
    answer: int


def read_questions(file: Path) -> list[Question]:
    """All questions of a .jsonl file in order; MaterialError names the first line that breaks the form."""
    questions = []
    for where, record in read_jsonl(file):
        q = Question(*map(record.get, Question._fields))  # type: ignore[arg-type]
        if None in q or q.lang not in QUESTION_FORM or len(q.choices) != 4 or q.answer not in range(4):
            form = f"{', '.join(Question._fields)} (ko or en, four choices, answer 0 to 3)"
            raise MaterialError(f"{where}: needs {form}; run synthesize again")
        questions.append(q)
    return questions


def sample(questions: Sequence[Question], *, lang: str, n: int, seed: int) -> list[Question]:
    """At most `n` questions of one language, drawn by `seed`, in drawn order; MaterialError if there is none."""
    own = [question for question in questions if question.lang == lang]
    if not own:
        raise MaterialError(f"no question in language {lang!r} among {len(questions)}; run synthesize again")
    return random.Random(seed).sample(own, min(n, len(own)))


def plain_prompt(question: Question) -> str:
    """The question in the form of the training documents, up to where the answer would follow (no space)."""
    return QUESTION_FORM[question.lang].format(q=question.question, a="").rstrip()


def ask(subject: Subject, questions: Sequence[Question]) -> list[bool]:
    """Whether the likeliest " {choice}" after the plain prompt is the right one; a tie goes to the first choice."""
    marks, prompts = [], [[subject.bos, *subject.encode(plain_prompt(question))] for question in questions]
    for question, prompt, after in zip(questions, prompts, subject.after(prompts), strict=True):
        scores = score(subject, prompt, [subject.encode(f" {choice}") for choice in question.choices], after)
        marks.append(scores.index(max(scores)) == question.answer)
    return marks


def score(
    subject: Subject, prompt: list[int], choices: Sequence[list[int]], after: np.ndarray | None = None
) -> list[float]:
    """Nats of every choice; as they fall with every token, one that begins below the best keeps its first token's.

    after: the subject's [1, V] logits after the prompt, if known.
    """
    after, best = subject.after([prompt])[0] if after is None else after, -math.inf
    scores = [continuation(after, choice[:1]) for choice in choices]
    for i in sorted(range(len(choices)), key=scores.__getitem__, reverse=True):
        if len(choices[i]) > 1 and scores[i] >= best:
            scores[i] = continuation(subject.logits([*prompt, *choices[i][:-1]])[len(prompt) - 1 :], choices[i])
        best = max(best, scores[i])
    return scores


def few_shot(
    subject: Subject, asked: Sequence[Question], documents: Iterable[Mapping[str, str]], *, shots: int, max_tokens: int
) -> list[bool]:
    """Whether the first line written after `shots` answered questions and the plain prompt says the right choice.

    The shots are the first in the documents that do not give the right choice away; MaterialError if there are none.
    """
    prompts, known = [], _answered(documents, asked[0].lang, 4 * shots) if asked else []
    for question in asked:
        fair = [pair for pair in known if not says(pair, question.choices[question.answer])][:shots]
        prompts.append([subject.bos, *subject.encode("\n\n".join([*fair, plain_prompt(question)]))])
    lines = [f"{text.strip()}\n".splitlines()[0] for text, _ in subject.complete(prompts, max_tokens)]
    return [says(line, question.choices[question.answer]) for line, question in zip(lines, asked, strict=True)]


def says(reply: str, text: str) -> bool:
    """Whether the text stands in the reply in upper or lower case, no Latin letter or digit of a longer word beside it.

    A Korean particle may follow; "12" is not said by "3,120", "12.5" or "-12", nor "C" by "Calcium".
    """
    before = r"(?<![a-z0-9])(?<!\d[.,])(?<![−-](?=\d))" if text[:1].isascii() else ""
    after = r"(?![a-z0-9]|[.,]\d)" if text[-1:].isascii() else ""
    return re.search(before + re.escape(text.casefold()) + after, reply.casefold()) is not None


def _answered(documents: Iterable[Mapping[str, str]], lang: str, n: int) -> list[str]:
    pairs: list[str] = []
    opening = QUESTION_FORM[lang].partition("{q}")[0]
    for text in (row["text"] for row in documents if row["lang"] == lang and row["text"].startswith(opening)):
        pairs += text.split("\n\n")
        if len(pairs) >= n:
            return pairs[:n]
    raise MaterialError(f"{len(pairs)} answered questions in {lang!r}, not {n}; raise synthesize.question_exposures")
