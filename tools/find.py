"""Knows which run made or read a file, and which files a run read and made: md5 → run, run → md5s."""

import argparse
import json
import sys

from pipelines import _tracking


def main() -> None:
    """`--md5 <of a file or a folder>` or `--run <id, its beginning, or a name>`."""
    parser = argparse.ArgumentParser(description=__doc__)
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--md5", help="what md5sum or dvc.lock says, its beginning is enough")
    asked.add_argument("--run", help="a run or a pipeline")
    wanted = parser.parse_args()
    try:
        print("\n".join(of_md5(wanted.md5) if wanted.md5 else of_run(wanted.run)))
    except LookupError as error:
        sys.exit(f"error: {error.args[0]}")


def of_md5(md5: str) -> list[str]:
    """A line per run that made or read it, newest first; LookupError if none did."""
    if len(md5) < 6:
        raise LookupError(f"{md5}: too short for an md5; give at least six of its digits")
    lines = []
    for run in _tracking.records():
        made = [path for path, found in files(run).items() if found.startswith(md5)]
        read = [path for path, found in run.inputs.items() if found.startswith(md5)]
        lines += [
            f"run {run.id} ({about(run)}) {verb} {p}" for verb, ps in (("made", made), ("read", read)) for p in ps
        ]
    if not lines:
        raise LookupError(f"no run on record made or read {md5}; a file of git's own: git log --all --find-object")
    return lines


def of_run(key: str) -> list[str]:
    """Every stage of it, then a line per input and per file made: md5, path."""
    lines = []
    for run in _tracking.runs_of(key):
        lines += [
            f"run {run.id} ({about(run)})",
            *(f"  read {md5}  {path}" for path, md5 in sorted(run.inputs.items())),
        ]
        lines += [f"  made {md5}  {path}" for path, md5 in sorted(files(run).items())]
    return lines


def files(run: _tracking.Record) -> dict[str, str]:
    """path → md5 of what the run made: the folder as DVC knows it, and every file in it."""
    path, md5 = run.output
    return {path: md5, **json.loads(_tracking.attachment(run.id, _tracking.FILES) or "{}")} if path else {}


def about(run: _tracking.Record) -> str:
    """Stage, end, time and commit, for a line."""
    return f"{run.stage or run.name}, {run.status}, {run.started} UTC, commit {run.tags.get('git.commit', '?')[:10]}"


if __name__ == "__main__":
    main()
