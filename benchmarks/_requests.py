"""Knows requests that no server should take: wrong fields, endless texts, broken JSON, and bytes changed by lot."""

import json
import random
from collections.abc import Callable
from typing import Any


def wrong(body: dict[str, Any], rng: random.Random) -> tuple[str, bytes]:
    """Path and body of a good chat with one fault: a field, a text longer than any context, or the JSON's syntax."""
    body |= {"temperature": 0.5, "top_p": 0.9, "seed": 3, "stop": ["x"], "stream": rng.random() < 0.3}
    path = "/v1/chat/completions"
    if rng.random() < 0.3:
        path, body["prompt"] = "/v1/completions", body.pop("messages")[0]["content"]
    kind = rng.choice(("field", "field", "field", "long", "syntax", "syntax"))
    if kind == "field":
        name = rng.choice(sorted(WRONG.keys() - {"prompt" if "messages" in body else "messages"}))
        body[name] = rng.choice(WRONG[name])
    if kind == "long":
        said = rng.choice("a가 ") * rng.choice((20_000, 200_000, 1_200_000))
        body |= {"prompt": said} if "prompt" in body else {"messages": [{"role": "user", "content": said}]}
    text = json.dumps(body, ensure_ascii=False)
    if kind == "syntax":
        text = rng.choice(SYNTAX)(text, rng)
    return path, text.encode("utf-8", "surrogatepass")


def spoilt(data: bytes, rng: random.Random) -> bytes:
    """One to four bytes changed, put in, or stretches taken out or doubled."""
    for _ in range(rng.randint(1, 4)):
        at, size = rng.randrange(len(data)), rng.randint(1, 20)
        middle = rng.choice((bytes([rng.randrange(256)]), b"", data[at : at + size] * 2, rng.randbytes(size)))
        data = data[:at] + middle + data[at + rng.choice((0, 1, size)) :] or b" "
    return data


WRONG: dict[str, list[Any]] = {
    "max_tokens": ["8", -1, 0, 1.5, 10**30, [], {}],
    "temperature": ["hot", -1, 1e300, [], {}],
    "top_p": ["all", -0.5, 7, [], {}],
    "seed": ["x", 1.5, 2**70, {}],
    "stream": ["maybe", 3, [], {}],
    "stop": [5, {}, [5], [[]], [{}]],
    "n": [0, 2, 10**9, "x"],
    "logit_bias": [5, "x", {"x": "y"}],
    "tools": [5, "x", [5], [{"type": "file"}]],
    "model": [5, [], {}],
    "prompt": [5, {}, [[]], [-1], [10**12], [{}]],
    "messages": [
        *(5, "x", {}, [], [5], [[]], [{}], [{"role": "user"}], [{"role": "alien", "content": "x"}], [{"content": "x"}]),
        *(
            [{"role": "user", "content": said}]
            for said in (5, {}, [5], [{"type": "image_url", "image_url": "file:///"}])
        ),
    ],
}
TEXTS = (
    *("", "\0", "\u2028\u2029\x85", "<|eot_id|><|begin_of_text|>", "{{ 7*7 }}{% raw %}"),
    *("ᄒ" * 30, "👩\u200d🚀", "\u202e가", "\\" * 40),
)
SYNTAX: tuple[Callable[[str, random.Random], str], ...] = (
    lambda text, rng: text[: rng.randrange(len(text) - 1)],
    lambda text, rng: text + rng.choice("}]x\0"),
    lambda text, rng: text.replace("0.9", rng.choice(("NaN", "Infinity", "-Infinity", "1e999", "0x1", "01", "+1"))),
    lambda text, rng: text.replace("0.9", rng.choice("[{") * rng.choice((500, 100_000))),
    lambda text, rng: text.replace("0.9", "9" * rng.choice((5_000, 500_000))),
    lambda text, rng: text.replace('"x"', rng.choice(('"\\ud800"', '"\ud800"', "'x'", '"\n"', '"\\x"'))),
    lambda text, rng: rng.choice(("", "[]", "null", "5", '"x"', "\ufeff", "{}{}")),
)
