"""Knows where an output comes from: the commit of the code, DVC's md5 of each input, a hash of the numbers."""

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


def params_hash(params: dict[str, Any]) -> str:
    """The first 16 hex digits of the sha256 of a section's values."""
    return hashlib.sha256(json.dumps(params, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


def md5s_known_to_dvc() -> dict[str, str]:
    """path → md5 as dvc.lock has it: what the finished stages before this one made."""
    lock = Path("dvc.lock")
    stages = (YAML(typ="safe").load(lock) or {}).get("stages", {}) if lock.exists() else {}
    rows = [row for stage in stages.values() for row in [*stage.get("deps", []), *stage.get("outs", [])]]
    return {row["path"]: row["md5"] for row in rows if "md5" in row}
