"""Knows how a training state lies on disk: whole or absent, two generations, believed only when every hash agrees."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

MANIFEST = "manifest.json"
KEPT_GENERATIONS = 2
State = tuple[dict[str, "torch.Tensor"], dict[str, Any]]  # tensors by name, facts (JSON)


def save(
    folder: Path, step: int, *, tensors: Mapping[str, "torch.Tensor"], facts: dict[str, Any],
    identity: Mapping[str, str],
) -> None:  # fmt: skip
    """Saves one generation: a draft, every file synced, the manifest last, then a rename. Keeps the newest two.

    A kill at any byte leaves the older generations whole, and so does a full disk: the draft goes and OSError is
    raised. Raises ArithmeticError, before anything is written, when a tensor holds NaN or infinity.
    """
    bad = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if bad:
        raise ArithmeticError(f"step {step}: {', '.join(bad)} not finite, no state is written; lower the learning rate")
    _remove(folder, ".draft-*")
    draft = folder / f".draft-{os.getpid()}"
    draft.mkdir(parents=True)
    try:
        said = json.dumps(facts).encode()
        rows = {"state.safetensors": _write(draft / "state.safetensors", _safetensors(tensors))}
        rows["facts.json"] = _write(draft / "facts.json", [said])
        manifest = {"step": step, "fingerprints": dict(identity), "files": rows}
        _write(draft / MANIFEST, [json.dumps(manifest, indent=1).encode()])
        _sync(draft)
        os.rename(draft, _free_name(folder, step))
        _sync(folder)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        remedy = f"state of step {step} not saved, the one before stands; make room and run the same command again"
        raise OSError(error.errno, f"{error.strerror}: {remedy}", str(folder)) from error
    for old in _generations(folder)[KEPT_GENERATIONS:]:
        shutil.rmtree(old)
    _remove(folder, "refused-*")


def newest(folder: Path, *, identity: Mapping[str, str]) -> State | None:
    """The newest generation that verifies, or None; says which were refused, and why. Drafts are never looked at.

    A refused generation is put aside under another name, so that it cannot push a good one out; the next save, once
    it is whole, removes it.
    """
    from safetensors.torch import load_file

    for found in _generations(folder):
        fault = _fault(found, identity)
        if not fault:
            facts = json.loads((found / "facts.json").read_text(encoding="utf-8"))
            return load_file(found / "state.safetensors"), facts
        print(f"state {found} refused: {fault}; falling back to the one before", flush=True)
        with suppress(OSError):  # another rank may have put it aside already
            os.rename(found, found.with_name(f"refused-{os.getpid()}-{found.name}"))
    if any(folder.glob("refused-*")):
        print(f"no state in {folder} can be used; starting from the beginning", flush=True)
    return None


def code_fingerprint() -> str:
    """sha256 of this room's code and torch's version: what, besides numbers and data, decides the next weights."""
    import torch

    digest = hashlib.sha256(torch.__version__.encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def _generations(folder: Path) -> list[Path]:
    """Newest first."""
    return sorted(folder.glob("step-*"), reverse=True)


def _free_name(folder: Path, step: int) -> Path:
    """step-00000100; a step saved again becomes .001, .002, … since no generation is ever written over."""
    same = sorted(folder.glob(f"step-{step:08d}*"))
    return folder / (f"step-{step:08d}.{int(same[-1].suffix[1:] or 0) + 1:03d}" if same else f"step-{step:08d}")


def _fault(found: Path, identity: Mapping[str, str]) -> str:
    """What is wrong with a generation: the first wrong file, or the fingerprint that is not this run's."""
    try:
        manifest = json.loads((found / MANIFEST).read_bytes())
        for name, row in manifest["files"].items():
            with (found / name).open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            if digest != row["sha256"] or (found / name).stat().st_size != row["bytes"]:
                return f"{name} is not what was written"
        theirs = manifest["fingerprints"]
    except OSError as error:
        return f"{Path(error.filename or found).name} cannot be read ({error.strerror})"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is damaged"
    other = sorted(name for name in {*theirs, *identity} if theirs.get(name) != identity.get(name))
    return f"it is of another run ({', '.join(other)} differ)" if other else ""


def _safetensors(tensors: Mapping[str, "torch.Tensor"]) -> Iterator[bytes | memoryview]:
    """The bytes of a safetensors file, one tensor at a time: its library would hold all of them a second time, cannot
    hash while it writes, and hides a full disk behind an error of its own (format: huggingface/safetensors README)."""
    import torch

    names = {"float64": "F64", "int64": "I64", "float32": "F32", "bfloat16": "BF16", "float16": "F16", "uint8": "U8"}
    header: dict[str, Any] = {}
    at, order = 0, sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    for name in order:
        tensor = tensors[name]
        kind, end = names[str(tensor.dtype).removeprefix("torch.")], at + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in order:
        yield tensors[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data


def _write(path: Path, chunks: Iterable[bytes | memoryview]) -> dict[str, Any]:
    """Writes and syncs a new file; its row in the manifest."""
    digest, size, handle = hashlib.sha256(), 0, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        for chunk in chunks:
            digest.update(chunk)
            size, left = size + len(chunk), memoryview(chunk)
            while left:
                left = left[os.write(handle, left) :]
        os.fsync(handle)
    finally:
        os.close(handle)
    return {"bytes": size, "sha256": digest.hexdigest()}


def _remove(folder: Path, pattern: str) -> None:
    for path in folder.glob(pattern):
        shutil.rmtree(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
