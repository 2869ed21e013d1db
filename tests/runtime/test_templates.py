"""Proves that no text of a stranger is run as a template: neither a bundle's own, nor contents, roles or tools."""

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from midm_mini import MidmError, headers, load
from midm_mini.format import CHAT_TEMPLATE, chat_segments, render_chat

from tests.runtime import crafted

LINES = Path(__file__).with_name("template_payloads.txt").read_text(encoding="utf-8").splitlines()
SECONDS = 0.2  # of processor time, for one payload in one place


def cheap(action: Callable[[], Any]) -> Any:
    """What `action` returns, cheap in the best of three: a pause of the garbage collector is not the payload's."""
    costs = []
    for _ in range(3):
        started = time.thread_time()
        result = action()
        costs.append(time.thread_time() - started)
    assert min(costs) < SECONDS, costs
    return result


@pytest.fixture(scope="module")
def payloads(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The place where an execution would leave a file, and payloads that would make it."""
    canary = tmp_path_factory.mktemp("canary") / "ran"
    return canary, [line.replace("CANARY", f"touch {canary}") for line in LINES]


@pytest.fixture(scope="module")
def carriers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A sound bundle for each place where a template may stand."""
    places = {name: tmp_path_factory.mktemp("bundle") for name in ("gguf", "jinja", "notes")}
    for name in ("jinja", "notes"):
        crafted.folder(places[name], plain=True, notes=lambda notes: notes.clear())
    return places


@pytest.fixture(autouse=True)
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever would compile a template fails at once."""
    import jinja2

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a template was compiled")

    monkeypatch.setattr(jinja2.Environment, "compile", refuse)


def place(carrier: str, folder: Path, template: str) -> Path:
    if carrier == "gguf":
        keys = crafted.metadata() | {"tokenizer.chat_template": crafted.text(template)}
        (folder / "model.gguf").write_bytes(crafted.gguf(keys, crafted.tensors()))
    if carrier == "jinja":
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    if carrier == "notes":
        (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}), encoding="utf-8")
    return folder


def test_there_are_eighty_payloads_and_a_plain_engine_runs_them(tmp_path: Path, monkeypatch) -> None:
    """The control: rendered as the libraries of the CVEs did it, the canary appears."""
    import jinja2

    monkeypatch.undo()
    assert len(set(LINES)) >= 80
    direct = [line for line in LINES if line.startswith("{{ ") and ".os.system('CANARY')" in line and "|" not in line]
    ran = []
    for number, line in enumerate(direct):
        payload = line.replace("CANARY", f"touch {tmp_path / str(number)}")
        with contextlib.suppress(jinja2.TemplateError):
            jinja2.Environment().from_string(payload).render(messages=[])
        ran += [line] if (tmp_path / str(number)).exists() else []
    assert len(ran) >= 4, ran


@pytest.mark.parametrize("carrier", ["gguf", "jinja", "notes"])
@pytest.mark.parametrize("number", range(len(LINES)))
def test_a_template_in_a_bundle_is_read_as_text_only(payloads, carriers, carrier: str, number: int) -> None:
    canary, texts = payloads
    path = place(carrier, carriers[carrier], texts[number])
    assert cheap(lambda: headers.check(path)) == [texts[number]] and not canary.exists()


@pytest.mark.parametrize("carrier", ["gguf", "jinja", "notes"])
def test_chat_with_a_strangers_template_is_refused_and_streaming_is_not(payloads, carriers, carrier: str) -> None:
    canary, texts = payloads
    with load(place(carrier, carriers[carrier], texts[1]), threads=1) as model:
        assert not model.chats
        with pytest.raises(MidmError, match=r"never run; take a bundle .* stream\(\)"):
            model.chat([{"role": "user", "content": "hi"}])
        assert model.stream([model.bos, 9], max_tokens=1).finish_reason is None
        assert not canary.exists()


@pytest.mark.parametrize("change", [lambda text: text + " ", lambda text: text[:-1], lambda text: ""])
def test_a_template_that_is_nearly_ours_is_not_ours(carriers, change) -> None:
    with load(place("jinja", carriers["jinja"], change(CHAT_TEMPLATE) or "x"), threads=1) as model:
        assert not model.chats


def test_two_templates_that_differ_are_not_ours(tmp_path: Path) -> None:
    crafted.folder(tmp_path, plain=True)
    place("jinja", tmp_path, "{{ 1 }}")
    with load(tmp_path, threads=1) as model:
        assert not model.chats
    place("jinja", tmp_path, CHAT_TEMPLATE)
    with load(tmp_path, threads=1) as model:
        assert model.chats


def test_a_bundle_without_a_template_or_without_its_control_tokens_does_not_chat(tmp_path: Path) -> None:
    keys = crafted.metadata()
    del keys["tokenizer.chat_template"]
    (tmp_path / "without.gguf").write_bytes(crafted.gguf(keys, crafted.tensors()))
    tokens = ["<|other|>" if token == "<|end_header_id|>" else token for token in crafted.TOKENS]
    keys = crafted.metadata() | {"tokenizer.ggml.tokens": crafted.texts(tokens)}
    (tmp_path / "lost.gguf").write_bytes(crafted.gguf(keys, crafted.tensors()))
    for file in ("without.gguf", "lost.gguf"):
        with load(tmp_path / file, threads=1) as model:
            assert not model.chats


@pytest.mark.parametrize("number", range(len(LINES)))
def test_a_payload_in_a_conversation_stays_the_text_it_is(payloads, number: int) -> None:
    canary, texts = payloads
    text = texts[number]
    call = {"name": text, "arguments": {"x": text}}
    messages: list[Any] = [
        {"role": "system", "content": text},
        {"role": "user", "content": text, "passages": [text]},
        {"role": "assistant", "content": text, "tool_calls": [call]},
        {"role": "tool", "content": text},
    ]
    shown = cheap(lambda: render_chat(messages, [{"name": text, "description": text, "parameters": {}}]))
    assert shown.count(text) >= 5  # in JSON some are written with escapes
    with pytest.raises(MidmError, match="unknown role"):
        cheap(lambda: chat_segments([{"role": text, "content": ""}]))
    assert not canary.exists()
