"""Brings back a run beside this clone: its commit, its changes and numbers, and the very bytes it read and made."""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipelines import _tracking
from pipelines._provenance import digest, md5s_of


def main() -> None:
    """`--run <id, its beginning, or a pipeline's name> [--place folder]`: exit 1 unless every md5 is as recorded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", required=True)
    parser.add_argument("--place", type=Path, help="a new folder; .scratch/runs/<id> if not given")
    asked = parser.parse_args()
    try:
        runs = _tracking.runs_of(asked.run)
        place = asked.place or Path(".scratch/runs", (runs[0].parent if len(runs) > 1 else runs[0].id)[:12])
        restore_code(runs, place)
        wanted = data(runs)
        restore_data(wanted, place)
    except LookupError as error:
        sys.exit(f"error: {error.args[0]}")
    wrong = [path for path, md5 in wanted.items() if digest(md5s_of(place / path)) != md5]
    for path, md5 in wanted.items():
        print(f"{'DIFFERS ' if path in wrong else 'same'}  {md5}  {path}")
    if wrong:
        sys.exit(f"error: {place}: {len(wrong)} of {len(wanted)} are not what the run had: {', '.join(wrong)}")
    print(f"{place}: {len(wanted)} of {len(wanted)} md5s as the run recorded them")


def restore_code(runs: list[_tracking.Record], place: Path) -> None:
    """A git worktree of the commit at `place` with the changes of the time; no file of this clone is touched."""
    first = runs[0]
    commit, patch = first.tags["git.commit"], _tracking.attachment(first.id, _tracking.CHANGES)
    if place.exists():
        raise LookupError(f"{place} exists; remove it (git worktree remove --force {place}) or give another --place")
    if others := {run.tags["git.commit"] for run in runs} - {commit}:
        raise LookupError(f"its stages ran at {len(others) + 1} commits; reproduce one stage by its id")
    if subprocess.run(["git", "cat-file", "-e", f"{commit}^{{commit}}"], capture_output=True).returncode:
        raise LookupError(f"commit {commit} is not in this clone; git fetch from where the run was made")
    call("git", "worktree", "add", "--quiet", "--detach", str(place), commit)
    if patch:
        call("git", "apply", "--whitespace=nowarn", cwd=place, input=patch)
    print(f"{place}: commit {commit}{' with the changes recorded by the run' if patch else ''}")
    if untracked := first.tags.get("git.untracked"):
        print(f"warning: these were not in git when it ran, and are missing here: {untracked}")


def data(runs: list[_tracking.Record]) -> dict[str, str]:
    """path → md5 of all that the runs read and made; of an unfinished run, what it read."""
    known = {path: md5 for run in runs for path, md5 in [*run.inputs.items(), run.output] if path}
    for path in (path for path, md5 in known.items() if md5 == "unknown"):
        print(f"not verified: {path}: DVC knew no md5 of it")
    return {path: md5 for path, md5 in known.items() if md5 != "unknown"}


def restore_data(wanted: dict[str, str], place: Path) -> None:
    """Pulls the artifacts among `wanted` from this clone's remote into `place`, whose dvc.lock then names them."""
    outs = {path: md5 for path, md5 in wanted.items() if path.startswith("artifacts/")}
    if not outs:
        return
    scribe, lock = YAML(), place / "dvc.lock"
    content = scribe.load(lock) if lock.exists() else {"schema": "2.0"}
    scribe.dump(with_outs(content, outs), lock)
    same_store(place)
    if subprocess.run([sys.executable, "-m", "dvc", "pull", "--quiet", *outs], cwd=place).returncode:
        raise LookupError("dvc pull failed, see above; was the run pushed (dvc push), is the remote the same?")


def with_outs(lock: dict[str, Any], outs: dict[str, str]) -> dict[str, Any]:
    """dvc.lock with these md5s as the outs of their stages: artifacts/<stage>/<cell> belongs to <stage>@<cell>."""
    for path, md5 in outs.items():
        name = path.removeprefix("artifacts/").replace("/", "@", 1)
        stage = lock.setdefault("stages", {}).setdefault(name, {"cmd": ""})
        others = [row for row in stage.get("outs", []) if row["path"] != path]
        stage["outs"] = [*others, {"path": path, "hash": "md5", "md5": md5}]
    return lock


def same_store(place: Path) -> None:
    """Lets DVC in `place` use this clone's cache and remotes, whose addresses may be relative or in config.local."""
    from dvc.repo import Repo

    with Repo(".") as here, Repo(str(place)) as there, there.config.edit("local") as local:
        local["cache"] = {"dir": os.path.abspath(here.cache.local.path)}
        local["remote"] = dict(here.config["remote"])
        if default := here.config["core"].get("remote"):
            local.setdefault("core", {})["remote"] = default


def call(*command: str, **more: Any) -> None:
    """Runs a command that must succeed."""
    if subprocess.run(command, **more).returncode:
        raise LookupError(f"that failed: {' '.join(command)}")


if __name__ == "__main__":
    main()
