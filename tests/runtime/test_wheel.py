"""Proves what an app relies on: five names, no torch, a clean exit, and a command line that speaks plainly."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import midm_mini
import pytest
from midm_mini import Piece, cli
from midm_mini.calls import schemas
from midm_mini.model import Reply

from tests.runtime import conftest
from tools import environment, wheels

SOURCE = Path(midm_mini.__file__).parent
FORBIDDEN = {"torch", "transformers", "pipelines", "corpus", "models", "export", "evals", "mlflow"}


def test_the_front_door_has_five_names() -> None:
    assert midm_mini.__all__ == ["MidmError", "Model", "Piece", "Reply", "load"]


@pytest.mark.parametrize("file", sorted(SOURCE.glob("*.py")), ids=lambda file: file.name)
def test_no_file_imports_torch_transformers_or_another_room(file: Path) -> None:
    names = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    assert not names & FORBIDDEN


def test_answering_imports_no_torch_and_a_forgotten_model_exits_in_silence(artifacts: dict[str, Path]) -> None:
    for path in artifacts.values():
        code = (
            "import sys, midm_mini\n"
            f"model = midm_mini.load({str(path)!r}, threads=1)\n"
            "reply = model.chat([{'role': 'user', 'content': '수도'}], max_tokens=3)\n"
            "next(reply); model.logits([0, 5])\n"
            f"assert not {FORBIDDEN!r} & set(sys.modules), sys.modules.keys()\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_one_question_prints_the_artifact_and_the_answer(artifacts: dict[str, Path], capsys) -> None:
    for kind, path in artifacts.items():
        assert cli.main(["chat", str(path), "--prompt", "수도?", "--max-tokens", "4", "--threads", "1"]) == 0
        shown = capsys.readouterr()
        assert kind in shown.err and str(path) in shown.err and shown.out.endswith("\n")


def test_a_conversation_keeps_its_turns_until_the_end_of_input(artifacts: dict[str, Path], capsys, monkeypatch) -> None:
    lines, seen = iter(["하나", "둘", ""]), []
    monkeypatch.setattr("builtins.input", lambda _: next(lines))
    monkeypatch.setattr(midm_mini.Model, "chat_ids", lambda model, messages, *_: seen.append(list(messages)) or [0, 5])
    assert cli.main(["chat", str(artifacts["gguf"]), "--max-tokens", "2", "--system", "짧게"]) == 0
    assert [message["role"] for message in seen[-1]] == ["system", "user", "assistant", "user"]


def test_a_call_is_shown_its_result_is_typed_and_the_answer_follows(gguf: Path, tmp_path, capsys, monkeypatch) -> None:
    said = iter(['<tool_call>{"name": "clock", "arguments": {"at": "서울"}}</tool_call>', "세 시입니다."])
    lines, seen = iter(["몇 시야?", "15:00", ""]), []
    (tmp_path / "tools.json").write_text('[{"name": "clock", "parameters": {"properties": {"at": {}}}}]')
    (tmp_path / "a.txt").write_text("글 하나\n", encoding="utf-8")

    def chat(model, messages, tools, *, passages, **_):
        seen.append((list(messages), passages))
        return Reply(iter([Piece(next(said), 5, "stop", 0.0)]), schemas(tools))

    monkeypatch.setattr("builtins.input", lambda prompt: print(prompt) or next(lines))
    monkeypatch.setattr(midm_mini.Model, "chat", chat)
    files = ["--tools", str(tmp_path / "tools.json"), "--passages", str(tmp_path / "a.txt"), "--preset", "ko"]
    assert cli.main(["chat", str(gguf), *files]) == 0
    shown = capsys.readouterr().out
    assert (
        "→ clock(at='서울')" in shown and "clock = " in shown and "세 시입니다." in shown and "<tool_call>" not in shown
    )
    assert [message["role"] for message in seen[1][0]] == ["system", "user", "assistant", "tool"]
    assert seen[1][0][-1]["content"] == "15:00" and seen[0][1] == ["글 하나"]
    (tmp_path / "tools.json").write_text("[{}]")
    assert cli.main(["chat", str(gguf), *files]) == 2 and "tools.json" in capsys.readouterr().err


def test_the_readmes_example_of_tools_passages_and_schemas_runs(parent: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(conftest, "CONTEXT", 1024)  # a tiny vocabulary takes many tokens
    gguf = conftest._gguf(parent, tmp_path / "wide")
    page = (SOURCE.parents[1] / "README.md").read_text("utf-8").split("## Tools, passages, schemas")[1]
    code = page.split("```python\n")[1].split("```")[0]
    assert 'load("artifacts/export/gguf-q4_k_m")' in code
    code = code.replace('"artifacts/export/gguf-q4_k_m"', repr(str(gguf)))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0 and json.loads(done.stdout.splitlines()[-1]).keys() >= {"city"}, done.stderr


def test_info_tells_format_size_tokenizer_context_and_the_manifest(
    artifacts: dict[str, Path], capsys, tmp_path
) -> None:
    for kind, path in artifacts.items():
        assert cli.main(["info", str(path)]) == 0
        shown = capsys.readouterr().out
        assert kind in shown and "256 tokens" in shown and "tokenizer" in shown
    folder = tmp_path / "bundle"
    folder.mkdir()
    file = next(artifacts["gguf"].glob("*.gguf"))
    (folder / file.name).write_bytes(file.read_bytes())
    (folder / "manifest.json").write_text(
        json.dumps({"quantization": "F32", "files": [{"path": "x", "sha256": "abc123"}]})
    )
    assert cli.main(["info", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "F32" in shown and "abc123" in shown
    (folder / "manifest.json").write_text("{")
    assert cli.main(["info", str(folder)]) == 2 and "manifest.json" in capsys.readouterr().err


def test_an_error_is_one_line_and_code_two(capsys, tmp_path: Path) -> None:
    assert cli.main(["chat", str(tmp_path / "absent"), "--prompt", "x"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ") and shown.count("\n") == 1


@pytest.mark.slow
def test_an_empty_environment_without_a_compiler_installs_the_wheels_and_answers(
    artifacts, tmp_path: Path, capsys
) -> None:
    wheels.main(tmp_path / "dist")
    python = tmp_path / "venv/bin/python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    *install, _ = environment.installer()
    if not install[0].endswith("uv"):
        pytest.skip("no uv, whose cache holds the packages of this environment: pip would need the network")
    install += [python, "--offline", "--only-binary", ":all:", "--find-links", tmp_path / "dist"]
    install += ["-c", environment.MAIN, "midm-mini[gguf,onnx]"]
    bare = {"PATH": str(python.parent), "CC": "/bin/false", "CXX": "/bin/false"}
    done = subprocess.run(install, env=os.environ | bare, capture_output=True, text=True)
    if "network was disabled" in done.stderr:
        pytest.skip("uv's cache does not hold every package of this environment")
    assert done.returncode == 0, done.stderr
    absent = "import importlib.util as u; print([n for n in ('torch', 'transformers', 'pip') if u.find_spec(n)])"
    assert subprocess.run([python, "-c", absent], env=bare, capture_output=True, text=True).stdout == "[]\n"
    capsys.readouterr()
    for path in artifacts.values():
        question = ["chat", str(path), "--prompt", "수도?", "--max-tokens", "4", "--threads", "1"]
        there = subprocess.run([python.with_name("midm-mini"), *question], env=bare, capture_output=True, text=True)
        assert cli.main(question) == 0
        assert (there.returncode, there.stdout) == (0, capsys.readouterr().out), there.stderr
