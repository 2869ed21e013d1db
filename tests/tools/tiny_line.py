"""A line of two stages in a git and DVC repository of its own, tracked as ours is; its clone shares a remote."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
STAGE = """
import sys
from pathlib import Path
from ruamel.yaml import YAML
from pipelines._journal import Journal
name, source, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
params = YAML(typ="safe").load(Path("params.yaml"))[name]
journal = Journal.open(name, axis="", params=params, inputs={"text": source}, out=out)
journal.step(1, loss=1.0 / params["times"])
out.mkdir(parents=True)
(out / "part").mkdir()
text = "".join(path.read_text() for path in sorted(source.rglob("*.txt")))
(out / "part/made.txt").write_text(text * params["times"])
(out / "note.txt").write_text(f"{name} {params['times']} times")
journal.conclude(letters=len(text) * params["times"], marks_ko="1011" * 25 if params["times"] > 2 else "1001" * 25)
journal.close("FINISHED")
"""
PLAN = """
stages:
  first:
    cmd: python stage.py first data/text artifacts/first
    deps: [data/text, stage.py]
    params: [first]
    outs: [artifacts/first]
    metrics: [reports/first.json: {cache: false}]
  second:
    cmd: python stage.py second artifacts/first artifacts/second
    deps: [artifacts/first, stage.py]
    params: [second]
    outs: [artifacts/second]
    metrics: [reports/second.json: {cache: false}]
"""
IGNORED = "artifacts/\nlogs/\nmlflow.db*\nmlruns/\n.scratch/\n__pycache__/\n"


def environment(tracking: str, mode: str = "on") -> dict[str, str]:
    """Of a command in such a repository: our code, a person for git, tracking at that address."""
    person = {f"GIT_{role}_{what}": "t@t" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    place = {"PYTHONPATH": f"{ROOT}:{ROOT}/runtime/src", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    quiet = {"OPENMIDM_TRACKING": mode, "MLFLOW_DISABLE_TELEMETRY": "true", "DVC_NO_ANALYTICS": "1"}
    return {**os.environ, **person, **place, **quiet, "MLFLOW_TRACKING_URI": tracking}


def run(place: Path, tracking: str, command: str, mode: str = "on") -> str:
    """What the command prints, after it has ended well and tracked what it should."""
    words = [sys.executable, "-m", *command.split()] if command.startswith(("tools", "dvc")) else command.split()
    done = subprocess.run(words, cwd=place, env=environment(tracking, mode), capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert done.returncode == 0 and "mlflow: " not in said, f"{command}: {done.returncode}\n{said}"
    return said


def build(place: Path, tracking: str, times: int = 2) -> None:
    """The repository, committed before anything ran; its remote is a folder beside it, named relatively."""
    for name, content in {
        "stage.py": STAGE,
        "dvc.yaml": PLAN,
        ".gitignore": IGNORED,
        "params.yaml": f"first: {{times: {times}}}\nsecond: {{times: 1}}\n",
        "data/text/a.txt": "a 하나\n",
        "data/text/b.txt": "b 둘\n",
    }.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(content, encoding="utf-8")
    run(place, tracking, "git init -q -b main")
    run(place, tracking, "dvc init -q")
    run(place, tracking, "dvc remote add -q -d shared ../remote")
    commit(place, tracking, "before")


def commit(place: Path, tracking: str, words: str) -> None:
    """All that git does not ignore."""
    run(place, tracking, "git add -A")
    run(place, tracking, f"git commit -qm {words}")
