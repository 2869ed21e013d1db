"""Knows how a stage is entered and left: flags → paths, a params section → typed Params, a draft folder → its place."""

import argparse
import contextlib
import hashlib
import importlib
import inspect
import json
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML, YAMLError

from pipelines._journal import Journal, interrupts_as_exceptions

PARAMS_FILE = Path("params.yaml")
PLACES = ("out", "scratch", "memory")  # of a stage's own: state to resume from; what cells of a matrix share


class StageError(ValueError):
    """Bad input: one line that says what, where and the remedy."""


class StageParams(BaseModel):
    """Base of every stage's Params: frozen, strict, no unknown key, no default (values live in params.yaml)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


P = TypeVar("P", bound=StageParams)


def enter(main: Callable[..., None]) -> None:
    """Runs a stage's `main` from the command line; its signature is the whole interface.

    Keywords annotated `Path` (other than PLACES) are required flags naming inputs, `Path | None` optional
    ones, `str` the axes of a matrix stage. Exits 2 with one line on bad input, 1 on a defect of ours, 130 when stopped.
    """
    stage = Path(inspect.getfile(main)).stem
    hints = {name: hint for name, hint in get_type_hints(main).items() if name != "return"}
    flags = _parse_flags(stage, hints)
    try:
        params = load_params(stage, hints["params"])
        inputs = {name: flags[name] for name, hint in hints.items() if _is_input(name, hint) and flags[name]}
        for name, path in inputs.items():
            if not path.exists():
                raise StageError(f"--{name} {path} does not exist; run the stage that makes it (dvc repro {stage})")
        axes = {name: flags[name] for name, hint in hints.items() if hint is str}
        call = inputs | axes | {name: None for name in hints if _is_input(name, hints[name]) and name not in inputs}
        if "scratch" in hints:
            call["scratch"] = Path(".scratch", stage, _fingerprint(params, call))
            call["scratch"].mkdir(parents=True, exist_ok=True)
        if "memory" in hints:
            call["memory"] = Path(".scratch", "memory")
        if os.environ.get("RANK", "0") != "0":
            return _help(main, call | {"params": params}, stage)
        about = {"params": params.model_dump(), "inputs": inputs, "out": flags["out"]}
        journal = Journal.open(stage, axis="-".join(axes.values()), **about)
    except (ValueError, OSError) as error:
        sys.exit(_one_line(stage, error))
    _run(main, call | {"params": params, "journal": journal}, flags["out"], journal, stage)
    if "scratch" in call:
        shutil.rmtree(call["scratch"], ignore_errors=True)


def load_params(stage: str, schema: type[P], file: Path = PARAMS_FILE) -> P:
    """The stage's section of params.yaml as its typed model; ValueError names the key that is wrong and what to do."""
    return _typed(stage, schema, _sections(file), file)


def check_all(file: Path = PARAMS_FILE) -> None:
    """Validates every stage's section before hours of work begin; raises StageError naming the first wrong keys."""
    sections = _sections(file)  # once: 21 readings take a second of a pipeline that has nothing to do
    for path in sorted(Path(__file__).parent.glob("[a-z]*.py")):
        _typed(path.stem, importlib.import_module(f"pipelines.{path.stem}").Params, sections, file)


def _sections(file: Path) -> Any:
    try:
        return YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))
    except YAMLError as error:
        raise StageError(f"{file} is not valid YAML: {' '.join(str(error).split())}; mend the file") from None


def _typed(stage: str, schema: type[P], sections: Any, file: Path) -> P:
    if not isinstance(sections, dict) or not isinstance(sections.get(stage), dict):
        raise StageError(f"{file} has no section '{stage}'; copy it from profiles/demo.yaml")
    try:
        return schema.model_validate(sections[stage])
    except ValidationError as error:
        raise StageError("; ".join(_explain(file, stage, schema, row) for row in error.errors())) from None


def _run(main: Callable[..., None], call: dict[str, Any], out: Path, journal: Journal, stage: str) -> None:
    draft = out.with_name(f".{out.name}.draft")
    try:
        with interrupts_as_exceptions():
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            main(**call, out=draft)
            shutil.rmtree(out, ignore_errors=True)
            draft.rename(out)
        journal.close("FINISHED")
    except (ValueError, OSError) as error:
        journal.close("FAILED", traceback.format_exc())
        sys.exit(_one_line(stage, error))
    except KeyboardInterrupt:
        journal.close("KILLED")
        print(f"{stage}: stopped; run the same command again to go on", file=sys.stderr)
        sys.exit(130)
    except BaseException:
        journal.close("FAILED", traceback.format_exc())
        raise


def _help(main: Callable[..., None], call: dict[str, Any], stage: str) -> None:
    """A further rank of torchrun: it computes with the first one, whose files, report and lines alone are kept."""
    with tempfile.TemporaryDirectory() as place, open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        journal = Journal.offline(stage, Path(place))
        _run(main, call | {"journal": journal}, Path(place, "out"), journal, stage)


def _is_input(name: str, hint: Any) -> bool:
    return hint in (Path, Path | None) and name not in PLACES


def _parse_flags(stage: str, hints: dict[str, Any]) -> dict[str, Any]:
    parser = argparse.ArgumentParser(prog=f"python -m pipelines.{stage}", allow_abbrev=False)
    for name, hint in hints.items():
        if name == "out" or hint is str or _is_input(name, hint):
            kind = str if hint is str else Path
            parser.add_argument(f"--{name.replace('_', '-')}", dest=name, type=kind, required=hint != Path | None)
    return vars(parser.parse_args())


def _explain(file: Path, stage: str, schema: type[StageParams], row: Any) -> str:
    key = ".".join(map(str, (stage, *row["loc"])))
    if row["type"] == "extra_forbidden":
        return f"{file}: unknown key {key}; known keys: {', '.join(sorted(schema.model_fields))}"
    if row["type"] == "missing":
        return f"{file}: missing key {key}; add it (profiles/demo.yaml shows a value)"
    return f"{file}: {key} = {row['input']!r}: {row['msg']}"


def _one_line(stage: str, error: Exception) -> int:
    kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
    print(f"error: {stage}: {kind}{' '.join(str(error).split())}", file=sys.stderr)
    return 2


def _fingerprint(params: StageParams, inputs: dict[str, Any]) -> str:
    """Identity of a run: its parameters, the rules of text and the bytes of its inputs, so resumed state fits them."""
    digest = hashlib.sha256(params.model_dump_json().encode())
    for name, module in sorted(sys.modules.items()):
        if name.startswith("corpus.") and module.__file__:
            digest.update(Path(module.__file__).read_bytes())
    for name, root in sorted(inputs.items()):
        digest.update(name.encode())
        for file in sorted(p for p in [root, *root.rglob("*")] if p.is_file()) if isinstance(root, Path) else []:
            digest.update(file.relative_to(root).as_posix().encode())
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    try:
        check_all()
    except (ValueError, OSError) as error:
        sys.exit(_one_line("params", error))
    print(json.dumps({"params": "ok"}))
