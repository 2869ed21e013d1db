"""Knows how fast raw text becomes a training mixture: ours and datatrove's on the same files, and rensa's signatures.

    python -m benchmarks.corpus_speed --data ../shared/data/corpus --peer-python /tmp/dt/bin/python

The peers live in an environment of their own, for datatrove needs an older xxhash:

    python3 -m venv /tmp/dt && /tmp/dt/bin/pip install -r constraints/peers.txt

Our row is the four stages as dvc.yaml calls them, on the laptop profile, each in its own process with its start in the
time. datatrove's row is one process (benchmarks/_datatrove.py says what was chosen in its favour). It does less: no
markup removal, no boilerplate notices, 2 types of personal data for our 18, no classifiers, no reasons, no rejects.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import _frame, _texts

QUESTIONS = "artifacts/synthesize/questions.jsonl"
STAGES = ("ingest", "filter", "dedup", "mix")
GOAL = "end to end >= 20 x datatrove in its fastest setting; signatures >= 1 x rensa"


def main() -> None:
    """Measures, prints, records."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--megabytes", type=float, help="a thinner copy of the data instead of all of it")
    parser.add_argument("--peer-python", type=Path, default=Path("/tmp/dt/bin/python"))
    parser.add_argument("--words", nargs="*", default=["split", "spacy-xx", "proper"], help="datatrove's settings")
    parser.add_argument("--runs", type=int, default=1, help="alternating; the median counts")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="openmidm-texts-") as name:
        data = flags.data
        if flags.megabytes:
            data = Path(name)
            _texts.thin(flags.data, data, flags.megabytes)
        megabytes = _texts.size(data)
        with _frame.workspace(data) as folder:
            runs: dict[str, list[dict[str, Any]]] = {}
            for _ in range(flags.runs):
                runs.setdefault("ours", []).append(ours(folder))
                for words in flags.words:
                    peer = datatrove(flags.peer_python, data, folder, words, "--questions", str(folder / QUESTIONS))
                    runs.setdefault(f"datatrove {words}", []).append(peer)
            marks = signatures(flags.peer_python, folder)
    rows = [row_of(name, of_one, megabytes) for name, of_one in runs.items()]
    peers = {row["who"].split()[-1]: row["seconds"] / rows[0]["seconds"] for row in rows[1:]}
    fastest = {"end to end, fastest setting": min(peers.values())} if peers else {}
    ratio = fastest | {f"end to end, {name}": value for name, value in peers.items()} | marks.pop("ratio")
    _frame.report("corpus_speed", goal=GOAL, rows=[*rows, marks], ratio=ratio)


def ours(folder: Path, *, env: Mapping[str, str] | None = None, cores: int = 0) -> dict[str, Any]:
    """Seconds per stage, peak memory and documents of one pass of our stages."""
    runs = {name: _frame.stage(name, folder, env=env, cores=cores) for name in STAGES[:-1]}
    _frame.stage("synthesize", folder)  # the peer makes no text, so it is in no time
    runs["mix"] = _frame.stage("mix", folder, env=env, cores=cores)
    written = {name: _frame.conclusion(folder, name) for name in STAGES}
    return {
        "seconds": round(sum(run.seconds for run in runs.values()), 2),
        "cpu_seconds": round(sum(run.cpu_seconds for run in runs.values()), 2),
        "peak_mib": max(run.peak_mib for run in runs.values()),
        "filtered": written["filter"]["documents_kept"],
        "kept": written["dedup"]["documents_kept"],
        "steps": {name: run.seconds for name, run in runs.items()},
        "steps_mib": {name: run.peak_mib for name, run in runs.items()},
    }


def datatrove(python: Path, data: Path, folder: Path, words: str, *more: str) -> dict[str, Any]:
    """The same of datatrove, its words cut as `words` says; its files stay in the workspace."""
    out = folder / "datatrove"
    shutil.rmtree(out, ignore_errors=True)
    flags = {"--data": data.resolve(), "--out": out, "--params": folder / _frame.PARAMS_FILE, "--words": words}
    script = [
        python,
        _frame.ROOT / "benchmarks/_datatrove.py",
        *(word for pair in flags.items() for word in pair),
        *more,
    ]
    run = _frame.measure([*map(str, script)], cwd=folder, env={"OMP_NUM_THREADS": "1"})
    said = json.loads(run.output.splitlines()[-1])
    taken = {"seconds": run.seconds, "cpu_seconds": run.cpu_seconds, "peak_mib": run.peak_mib}
    return taken | {"filtered": said["filtered"], "kept": said["kept"], "steps": said["seconds"]}


def row_of(name: str, runs: list[dict[str, Any]], megabytes: float) -> dict[str, Any]:
    """The median run of one contestant as a row of the table."""
    run = sorted(runs, key=lambda it: it["seconds"])[len(runs) // 2]
    cores = _frame.machine()["cores"]
    speed = {"mb": round(megabytes, 1), "mb_per_second_and_core": round(megabytes / run["seconds"] / cores, 3)}
    return {"who": name, **speed, **run, "all_seconds": [it["seconds"] for it in runs]}


def signatures(python: Path, folder: Path) -> dict[str, Any]:
    """Documents per second of our signature step and of rensa's two batch calls, on the same texts given as units."""
    from corpus import near, shards

    texts = [near.units(row["text"]) for row in shards.read(folder / "artifacts/filter/kept")]
    file = folder / "units.txt"
    file.write_text("\n".join(texts) + "\n", encoding="utf-8")
    script = str(_frame.ROOT / "benchmarks/_signatures.py")
    both = ((_frame.PYTHON, _frame.QUIET), (str(python), {}))
    runs = [_frame.measure([who, script, str(file)], cwd=folder, env=env) for who, env in both]
    found = {name: seconds for run in runs for name, seconds in json.loads(run.output.splitlines()[-1]).items()}
    speed = {name: round(len(texts) / seconds) for name, seconds in found.items()}
    ratio = {f"signatures, ours to {name}": speed["ours"] / value for name, value in speed.items() if name != "ours"}
    return {"who": "signatures per second", "kept": len(texts), "steps": speed, "ratio": ratio}


if __name__ == "__main__":
    main()
