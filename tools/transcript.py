"""Writes docs/transcript.md: what `midm-mini chat` shows in a real terminal (tmux), in Korean and in English."""

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

COLUMNS, ROWS, SECONDS = 110, 50, 60.0
TOOLS = [{"name": "calculator", "parameters": {"properties": {"expression": {}}}}]
PASSAGES = {
    "ko": "가람시의 시장은 한여름이다. 가람시는 강이 둘이다.",
    "en": "The mayor of Garam is Han Yeoreum. Garam has two rivers.",
}
HEAD = """# Conversations

Generated: `python -m tools.transcript docs/transcript.md artifacts/export/<name> …`.
Each block is a terminal (tmux) into which the lines after `>` and `calculator =` were typed; uncut."""
FILES = {"tools": "tools.json", "passages": "passage.txt"}
TALKS: Mapping[str, Sequence[tuple[str, Sequence[str]]]] = {  # language → options of chat, what is typed
    "ko": (
        ("", ("안녕하세요! 누구신가요?", "한국의 수도는 어디야?", "그럼 프랑스의 수도는?", "물은 몇 도에서 끓어?")),
        ("--tools {tools}", ("12 + 30을 계산하면 얼마가 되나요?", "42")),
        ("--passages {passages}", ("가람시의 시장은 누구야?",)),
    ),
    "en": (
        ("", ("Hi there! And who are you?", "What is the capital of Korea?", "And the capital of France?")),
        ("--tools {tools}", ("Can you tell me what 12 + 30 comes to?", "42")),
        ("--passages {passages}", ("Who is the mayor of Garam?",)),
    ),
}


def main(out: Path, artifacts: Sequence[Path]) -> None:
    """One section an artifact, one block a conversation, as the terminal shows them."""
    text = [HEAD]
    with tempfile.TemporaryDirectory() as folder:
        for artifact in artifacts:
            text += ["", f"## {artifact.name}"]
            for language, talks in TALKS.items():
                files = {name: Path(folder, language, file) for name, file in FILES.items()}
                files["tools"].parent.mkdir(exist_ok=True)
                files["tools"].write_text(json.dumps(TOOLS), encoding="utf-8")
                files["passages"].write_text(PASSAGES[language], encoding="utf-8")
                for options, lines in talks:
                    given = f"--preset {language} --max-tokens 60 {options}".rstrip()
                    shown = conversation(artifact, given.format(**files), lines)
                    text += ["", "```", f"$ midm-mini chat {artifact} {given.format(**FILES)}", *shown, "```"]
    out.write_text("\n".join(text) + "\n", encoding="utf-8")


def conversation(artifact: Path, options: str, lines: Sequence[str]) -> list[str]:
    """The terminal's lines once `lines` are typed, each when asked for; one meant for a tool that was not called is
    left out."""
    entry = "import sys; from midm_mini.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", entry, "chat", str(artifact), *shlex.split(options)]
    with terminal(shlex.join(command)) as run:
        for number, line in enumerate(lines):
            asked = wait(run)
            if asked.endswith(" =") or not (number and line.isdigit()):
                run("send-keys", "-l", line)
                run("send-keys", "Enter")
        if wait(run) == ">":
            return screen(run)[:-1]
        return screen(run)


@contextmanager
def terminal(command: str) -> Iterator:
    """A terminal of its own that runs `command`: a function from tmux's words to what it prints."""
    name = f"openmidm-{os.getpid()}-{time.monotonic_ns()}"
    environment = os.environ | {"LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}

    def run(*words: str) -> str:
        tmux = ["tmux", "-u", "-L", name, "-f", "/dev/null", *words]
        return subprocess.run(
            tmux, check=True, capture_output=True, text=True, encoding="utf-8", env=environment
        ).stdout

    run("new-session", "-d", "-x", f"{COLUMNS}", "-y", f"{ROWS}", command)
    try:
        run("set-option", "remain-on-exit", "on")
        yield run
    finally:
        run("kill-server")


def screen(run) -> list[str]:
    """All lines so far, without the empty rest."""
    return run("capture-pane", "-p", "-J", "-S", "-").rstrip().splitlines()


def wait(run) -> str:
    """The line at which the conversation waits for somebody: `>` or `<tool> =`; TimeoutError with what is shown."""
    deadline, before = time.monotonic() + SECONDS, None
    while time.monotonic() < deadline:
        shown = screen(run)
        last = shown[-1].rstrip() if shown else ""
        if shown == before and (last == ">" or last.endswith(" =")):
            return last
        before = shown
        time.sleep(0.1)
    raise TimeoutError("\n".join(["no prompt came; the terminal shows:", *screen(run)]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(argument) for argument in sys.argv[2:]])
