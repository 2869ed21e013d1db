"""The page is the wheel in a browser: the same ids, rendered chats and greedy tokens, from its own origin only."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import midm_mini
import pytest
from midm_mini.format import EOT, PAD, render_chat
from tokenizers import Tokenizer

from export import checkpoint, gguf, web
from tests.export.parents import BLOCKS, sentences
from tests.runtime.test_format import CALLS, CONTENTS, LONG_CHAT, TOOLS

PAGE = Path(__file__).parents[2] / "apps" / "browser"
QUESTIONS = ["한국의 수도는 어디야?", "둘째 질문: two #@이름@# 👩‍🚀", f"{EOT}{PAD} 끝"]
CONTROL = re.compile(r"<(?=\||pad>)")  # what the page breaks in the text of people
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def packages() -> None:
    """The page's npm packages, installed as its lock says where they are not yet."""
    if missing := [tool for tool in ("node", "npm") if not shutil.which(tool)]:
        pytest.skip(f"no {', '.join(missing)} here")
    if not (PAGE / "node_modules/.package-lock.json").is_file():
        done = subprocess.run(["npm", "ci"], cwd=PAGE, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"npm ci in apps/browser: {done.stderr.strip()[-200:]}")


def test_tokenizer_and_template_say_in_javascript_what_they_say_in_python(parent: checkpoint.Parent, tmp_path) -> None:
    checkpoint.write_tokenizer(parent, tmp_path)
    turns = [[{"role": "user", "content": content}] for content in CONTENTS]
    chats = [(LONG_CHAT[start:end], tools) for start in (0, 1) for end in range(1, 7) for tools in ([], TOOLS)]
    chats += [(turn, []) for turn in turns] + [([{"role": "assistant", "content": "x", "tool_calls": CALLS}], [])]
    texts = list(sentences(600, seed=5))
    given = {"tokenizer": parent.tokenizer, "config": checkpoint.read_json(tmp_path / "tokenizer_config.json")}
    opened = [not chat or chat[-1]["role"] != "assistant" for chat, _ in chats]
    given |= {"texts": texts, "chats": [
        {"messages": chat, "tools": tools or None, "add_generation_prompt": open_}
        for (chat, tools), open_ in zip(chats, opened, strict=True)
    ]}  # fmt: skip
    script = Path(__file__).with_name("check.mjs")
    done = subprocess.run(["node", script], cwd=PAGE, input=json.dumps(given), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    tokenizer = Tokenizer.from_file(str(parent.folder / "tokenizer.json"))
    assert found["ids"] == [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    assert found["chats"] == [render_chat(chat, tools) for chat, tools in chats]


@pytest.fixture(scope="module")
def site(parent: checkpoint.Parent, card: gguf.Card, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of a model and the page built around it."""
    root = tmp_path_factory.mktemp("browser")
    (root / "model").mkdir()
    web.make(parent, card, "int4", root / "model", blocks=BLOCKS)
    subprocess.run(["node", "build.js", root / "model", root / "dist"], cwd=PAGE, check=True)
    return {"model": root / "model", "dist": root / "dist"}


@pytest.fixture(scope="module")
def url(site: dict[str, Path]) -> Iterator[str]:
    """Where serve.js serves the page."""
    with subprocess.Popen(
        ["node", "serve.js", "0", site["dist"]], cwd=PAGE, stdout=subprocess.PIPE, text=True
    ) as server:
        yield server.stdout.readline().strip()
        server.terminate()


def test_with_the_network_cut_the_page_writes_the_tokens_of_the_wheel(site, url: str, tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or pytest.skip("no chromium here: apt-get install chromium")
    command = ["node", "look.js", url, tmp_path / "page.png", *QUESTIONS]
    done = subprocess.run(command, cwd=PAGE, env=os.environ | {"CHROMIUM": chromium}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert all(request.startswith(url) for request in seen["requests"]) and len(seen["requests"]) > 6
    messages = []
    with midm_mini.load(site["model"], threads=1) as model:
        for question, answer in zip(QUESTIONS, seen["answers"], strict=True):
            messages.append({"role": "user", "content": CONTROL.sub("< ", question)})
            pieces = list(model.chat(messages, max_tokens=200))
            text = "".join(piece.text for piece in pieces)
            assert answer["tokens"].split() == [str(piece.token) for piece in pieces]
            assert answer["text"].startswith(text)
            messages.append({"role": "assistant", "content": CONTROL.sub("< ", answer["text"])})


def test_only_files_of_the_page_are_served(url: str) -> None:
    address = urlsplit(url)
    for path, status in {"/": 200, "/main.js": 200, "/models": 404, "/..%2fmodel/config.json": 404, "/%": 404}.items():
        connection = HTTPConnection(address.hostname, address.port)
        connection.request("GET", path)
        assert connection.getresponse().status == status, path
        connection.close()


def test_a_folder_without_a_model_for_the_web_is_refused_by_name(tmp_path: Path) -> None:
    done = subprocess.run(["node", "build.js", tmp_path], cwd=PAGE, capture_output=True, text=True)
    assert done.returncode == 2 and str(tmp_path) in done.stderr
