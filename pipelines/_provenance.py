"""Knows where an output comes from: the code's commit and changes, DVC's md5s, a hash of the numbers."""

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

CODE = (*(f"{room}/*.py" for room in ("pipelines", "export", "corpus", "models", "runtime")), "constraints")


def lineage(params: dict[str, Any], **inputs: Path | None) -> dict[str, Any]:
    """What a manifest says: functions of code and inputs alone, so that a commit of other files changes no byte.

    `git_commit` is the last one that touched the code, with "+dirty" if it was changed since; an input that DVC has not
    made has no md5.
    """
    commit = git("log", "-1", "--format=%H", "--", *CODE) or "none"
    dirty = "+dirty" if git("status", "--porcelain", "--untracked-files=no", "--", *CODE) else ""
    known = md5s_known_to_dvc()
    md5s = {role: known.get(path.as_posix()) for role, path in inputs.items() if path}
    return {"git_commit": commit + dirty, "params_hash": params_hash(params), "inputs": md5s}


def git(*arguments: str) -> str:
    """What git prints; nothing outside a repository."""
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False).stdout.strip()


def changes() -> bytes:
    """The patch from HEAD to the tracked files as they are, but for what stages write: dvc.lock and reports/."""
    command = ["git", "diff", "--binary", "--no-ext-diff", "HEAD", "--", ".", ":!dvc.lock", ":!reports"]
    return subprocess.run(command, capture_output=True, check=False).stdout


def md5s_of(path: Path) -> dict[str, str]:
    """Place in the folder → md5 of every file; "" → md5 of a single file; {} of nothing."""
    files = [file for file in sorted(path.rglob("*")) if file.is_file()] if path.is_dir() else [path]
    return {"" if file == path else file.relative_to(path).as_posix(): _md5(file) for file in files if file.exists()}


def digest(md5s: dict[str, str]) -> str:
    """The md5 by which DVC knows such a file or folder: of a folder, that of its sorted list, with ".dir"."""
    if "" in md5s:
        return md5s[""]
    rows = [{"md5": md5, "relpath": name} for name, md5 in sorted(md5s.items())]
    return hashlib.md5(json.dumps(rows, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def params_hash(params: dict[str, Any]) -> str:
    """The first 16 hex digits of the sha256 of a section's values."""
    return hashlib.sha256(json.dumps(params, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


def md5s_known_to_dvc() -> dict[str, str]:
    """path → md5 in dvc.lock of all that stages make: true of what this stage reads, older for what follows."""
    lock = Path("dvc.lock")
    stages = (YAML(typ="safe").load(lock) or {}).get("stages", {}) if lock.exists() else {}
    rows = [row for stage in stages.values() for row in stage.get("outs", [])]
    return {row["path"]: row["md5"] for row in rows if "md5" in row}


def _md5(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
