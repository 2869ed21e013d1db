"""Knows what the gate sees: faults put into exporters and artifacts one at a time, and clean exports that must pass.

    OMP_NUM_THREADS=1 python -m benchmarks.export_faults [--only gguf] [--verbose]

Tiny random parents; GGUF faults are put into the running exporter, ONNX ones into its finished folder, for the tools
that make those take ten seconds a time. Beside the gate: optimum's own validation (against torch, at its atol),
whether onnxruntime-genai loads and generates, whether llama.cpp loads. The faults: _gguf_faults.py, _onnx_faults.py.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import _checkpoints, _frame, _gguf_faults, _onnx_faults
from benchmarks._rig import CARD, Rig
from export import checkpoint, gguf, manifest, onnx, optimum_box, verify
from export.texts import HARD_TEXTS, PLAIN_TEXTS
from models import reference

GOAL = ">= 59 of every 60 faults refused, none of >= 20 clean exports, < 60 s on 2 cores"
TIGHT = {"mean_kl": 1e-6, "tail_kl": 1e-5, "logit_gap": 0.01, "top1": 0.99, "greedy": 0.97}  # float32
HALF = {"mean_kl": 1e-4, "tail_kl": 1e-3, "logit_gap": 0.1, "top1": 0.98, "greedy": 0.95}  # float16
LOOSE = {"mean_kl": 0.2, "tail_kl": 0.6, "logit_gap": 6.0, "top1": 0.3, "greedy": 0.25}  # 4 bits: logits are flat
COARSE = {"mean_kl": 0.5, "tail_kl": 2.0, "logit_gap": 8.0, "top1": 0.3, "greedy": 0.2}  # the same, of tied rows
EIGHT = {"mean_kl": 0.02, "tail_kl": 0.2, "logit_gap": 1.0, "top1": 0.85, "greedy": 0.8}  # 8 bits
MAKERS: dict[str, tuple[Callable[..., Any], str, dict[str, float]]] = {
    "gguf": (gguf.make, "F32", TIGHT),
    "gguf-f16": (gguf.make, "F16", HALF),
    "gguf-q8_0": (gguf.make, "Q8_0", EIGHT),
    "gguf-q4_k_m": (gguf.make, "Q4_K_M", LOOSE),
    "genai": (partial(onnx.make, blocks=onnx.Blocks(32, symmetric=False)), "int4", COARSE),
    "optimum": (optimum_box.make, "fp32", TIGHT),
}
PARENTS = {  # by seed and shape: dtypes, tied and not, with and without grouped heads
    "tied": _checkpoints.Shape(900, 960),
    "untied": _checkpoints.Shape(900, 960, tied=False),
    "bfloat16": _checkpoints.Shape(850, 896, dtype="bfloat16", heads=8, key_value_heads=8, theta=8e6),
    "float16": _checkpoints.Shape(700, 704, dtype="float16", tied=False, hidden=512, layers=2, key_value_heads=1),
    "wide": _checkpoints.Shape(900, 904, hidden=384, heads=6, key_value_heads=3, head_dim=64, ffn=768, layers=4),
}
FAULTS = _gguf_faults.FAULTS | _onnx_faults.FAULTS
FOLDERS = ("genai", "optimum")  # made once, then copied and spoilt
CLEAN = [("tied", "genai"), ("tied", "optimum")]
CLEAN += [(parent, maker) for parent in PARENTS for maker in MAKERS if maker not in FOLDERS]


class Outcome(NamedTuple):
    """What the gate said ("" if it passed) and whether the library itself refused the artifact."""

    said: str
    library: str
    seconds: float


def main() -> None:
    """Makes the parents and the shared folders, runs clean exports and faults two at a time, prints and records."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    parser.add_argument("--verbose", action="store_true")
    flags = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="openmidm-faults-") as place:
        root = Path(place)
        prepare(root)
        faults = [name for name in FAULTS if name.startswith(flags.only)]
        jobs: list[tuple[Any, ...]] = [(root, parent, maker, "") for parent, maker in CLEAN]
        jobs += [(root, *home(name), name) for name in faults]
        with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
            outcomes = list(pool.map(attempt, *zip(*jobs, strict=True)))
        seconds = time.perf_counter() - start
        validated = optimum_validation(root, [name for name in faults if name.startswith("optimum")])
    clean, spoilt = outcomes[: len(CLEAN)], dict(zip(faults, outcomes[len(CLEAN) :], strict=True))
    if flags.verbose:
        for job, outcome in zip(jobs, outcomes, strict=True):
            print(f"{outcome.seconds:5.2f}s {job[1:]}: {outcome.said[:150] or 'PASSED'} | {outcome.library[:40]}")
    record(clean, spoilt, validated, seconds)


def prepare(root: Path) -> None:
    """The parents, and the folders that foreign exporters make of the first, both at once."""
    words = spelled()
    for number, (name, shape) in enumerate(PARENTS.items()):
        _checkpoints.save(root / name / "hf", shape, words, seed=number)
    made = [get_context("fork").Process(target=make, args=(root, "tied", maker)) for maker in FOLDERS]
    for process in made:
        process.start()
    for name in PARENTS:
        truth(root, name)
    for process in made:
        process.join()
        if process.exitcode:
            raise RuntimeError("a clean folder could not be made; see above")


def spelled() -> list[str]:
    """Pretokens that fill a vocabulary of a thousand."""
    found = re.findall(r" ?[^\s\d]+", " ".join([*PLAIN_TEXTS, *HARD_TEXTS]))
    return [*found, *(chr(code) for code in range(0xAC00, 0xD7A4, 29))]


def home(fault: str) -> tuple[str, str]:
    """(parent, maker) of a fault."""
    maker, _, parent = fault.split(":")[0].partition("@")
    return parent or "tied", maker


def make(root: Path, parent: str, maker: str) -> None:
    """The clean artifact, with its manifest."""
    out = root / parent / maker
    out.mkdir()
    MAKERS[maker][0](source(root, parent), CARD, MAKERS[maker][1], out)


def attempt(root: Path, parent: str, maker: str, fault: str) -> Outcome:
    """Exports with one fault and asks the gate, then the manifest; a refusal anywhere on the way counts."""
    start, library = time.perf_counter(), ""
    build, precision, limits = MAKERS[maker]
    given = source(root, parent)
    with tempfile.TemporaryDirectory(dir=root) as place, Rig(given) as rig:
        bundle = Path(place, "bundle")
        inject = FAULTS.get(fault, lambda rig: None)
        try:
            inject(rig)
            if maker in FOLDERS:
                shutil.copytree(root / parent / maker, bundle)
            else:
                bundle.mkdir()
                build(rig.parent, rig.card, precision, bundle)
            for spoil in rig.spoil:
                spoil(bundle)
            rig.restore()
            library = loads(bundle, maker)
            asked = {"texts": PLAIN_TEXTS, "longest": 32, "reference": truth(root, parent), **limits}
            verify.verify(bundle, parent=given, card=CARD, **asked)
            manifest.write(bundle, name=maker, parent=given, card=CARD, lineage={})
            for spoil in rig.late:
                spoil(bundle)
            said = stale(bundle)
        except (ValueError, RuntimeError, OSError) as error:  # refusals; any other type is a defect, and ends this
            said = f"{type(error).__name__}: {error}"
    return Outcome(said, library, time.perf_counter() - start)


def stale(bundle: Path) -> str:
    """What `midm-mini verify` would say."""
    from midm_mini.manifest import compare

    return next((f"{row.path}: {row.fault}" for row in compare(bundle) if row.fault), "")


def loads(bundle: Path, maker: str) -> str:
    """What the library itself says of the artifact before any gate; "" if it loads (and, for genai, generates)."""
    try:
        if maker == "genai":
            import onnxruntime_genai as genai

            params = genai.GeneratorParams(model := genai.Model(str(bundle)))
            params.set_search_options(max_length=8)
            generator = genai.Generator(model, params)
            generator.append_tokens([0, 5, 6])
            while not generator.is_done():
                generator.generate_next_token()
        elif maker.startswith("gguf"):
            from midm_mini.gguf_backend import GgufBackend

            GgufBackend(bundle, threads=1, context=None).close()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


@cache
def source(root: Path, parent: str) -> checkpoint.Parent:
    """The parent, read once."""
    return checkpoint.read(root / parent / "hf")


@cache
def truth(root: Path, parent: str) -> Callable[[list[int]], Any]:
    """Its logits, each window once: those of the gate are asked for here, before the pool forks."""
    real = reference.logits(root / parent / "hf")
    kept = cache(lambda ids: real(list(ids)))
    given = source(root, parent)
    for ids in verify.parent_ids(given, [*PLAIN_TEXTS, HARD_TEXTS[-1]]):
        kept(tuple(ids[:32]))
    return lambda ids: kept(tuple(ids))


def optimum_validation(root: Path, faults: Sequence[str]) -> int:
    """How many of the spoilt graphs optimum's own validation refuses, in its box, with its own inputs and atol."""
    with tempfile.TemporaryDirectory(dir=root) as place:
        for number, name in enumerate(faults):
            with Rig(source(root, "tied")) as rig:
                shutil.copytree(root / "tied" / "optimum", bundle := Path(place, f"{number:03}"))
                FAULTS[name](rig)
                for spoil in [*rig.spoil, *rig.late]:
                    spoil(bundle)
        adapted = Path(place, "adapted")
        adapted.mkdir()
        optimum_box.adapt(source(root, "tied"), adapted)
        code = Path(__file__).with_name("_optimum_validation.py").read_text(encoding="utf-8")
        command = [sys.executable, "-c", code, str(adapted), *map(str, sorted(Path(place).glob("[0-9]*")))]
        env = os.environ | {"PYTHONPATH": str(optimum_box.box()), "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, cwd=place)
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        return sum(json.loads(done.stdout.splitlines()[-1]))


def record(clean: Sequence[Outcome], spoilt: dict[str, Outcome], validated: int, seconds: float) -> None:
    """Rows of ours and the peers', each over the faults it could see."""
    missed = [name for name, outcome in spoilt.items() if not outcome.said]
    of = {kind: [o for name, o in spoilt.items() if name.startswith(kind)] for kind in ("gguf", "genai", "optimum")}
    rows = [
        {"who": "our gate", "faults": len(spoilt), "caught": len(spoilt) - len(missed), "clean exports": len(clean)}
        | {"false alarms": sum(bool(o.said) for o in clean), "seconds": round(seconds, 1), "missed": "; ".join(missed)},
        {"who": "optimum's validation", "faults": len(of["optimum"]), "caught": validated},
        {"who": "onnxruntime-genai loads and generates", "faults": len(of["genai"])}
        | {"caught": sum(bool(o.library) for o in of["genai"])},
        {"who": "llama.cpp loads", "faults": len(of["gguf"]), "caught": sum(bool(o.library) for o in of["gguf"])},
    ]
    caught = rows[0]["caught"] / max(1, len(spoilt))
    _frame.report("export_faults", goal=GOAL, rows=rows, ratio={"caught of all": caught})


if __name__ == "__main__":
    main()
