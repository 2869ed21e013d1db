"""Proves that a conversation works where people have it: in a terminal, in Korean and English, on GGUF and ONNX."""

import shutil
from pathlib import Path

import pytest
from midm_mini import load
from midm_mini.format import SYSTEM_PROMPTS

from tools import transcript

LINES = ["한국의 수도는 어디야?", "What is the capital of Korea?"]


@pytest.mark.parametrize("kind", ["gguf", "onnx-genai"])
def test_what_is_typed_and_answered_shows_in_a_real_terminal(artifacts: dict[str, Path], kind: str) -> None:
    if not shutil.which("tmux"):
        pytest.skip("no tmux here: apt-get install tmux")
    options = "--preset ko --max-tokens 3 --context 250 --threads 1"
    shown = "\n".join(transcript.conversation(artifacts[kind], options, LINES))
    messages = [{"role": "system", "content": SYSTEM_PROMPTS["ko"]}]
    with load(artifacts[kind], threads=1, context=250) as model:
        for line in LINES:
            messages.append({"role": "user", "content": line})
            reply = model.chat(messages, max_tokens=3).text
            messages.append({"role": "assistant", "content": reply})
            assert f"> {line}\n" in shown
            assert all(word in shown for word in reply.split() if word.isprintable() and "\ufffd" not in word)
    assert shown.count("> ") >= len(LINES) and "Traceback" not in shown
