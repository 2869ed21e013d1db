"""Knows what choosing types by what errors cost saves: a file for a size beside llama.cpp's kind of that very size.

    OMP_NUM_THREADS=2 python -m benchmarks.sizes --model artifacts/dpo --calibration artifacts/mix

Both are made by the stage with the same calibration text and judged by the gate, on texts that neither was made by.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import _frame

GOAL = "at no more bytes no farther from the parent than llama.cpp's kind with an importance matrix: ratio up to 1"
KINDS = ("gguf-iq4_xs", "gguf-q4_k_m", "gguf-q5_k_m")


def main() -> None:
    """Makes each kind, then a file of its size, prints and records."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--kinds", nargs="*", default=KINDS)
    flags = parser.parse_args()
    inputs = ["--model", str(flags.model.resolve()), "--calibration", str(flags.calibration.resolve())]
    rows, ratio = list[dict[str, Any]](), dict[str, float]()
    with tempfile.TemporaryDirectory(prefix="openmidm-sizes-") as place:
        folder = Path(place)
        shutil.copyfile(_frame.ROOT / "profiles" / "demo.yaml", folder / _frame.PARAMS_FILE)
        for kind in flags.kinds:
            theirs = exported(kind, inputs, folder)
            ours = exported(f"gguf-{theirs['bytes'] // 1000}kb", inputs, folder)
            rows += [theirs, ours]
            ratio[kind] = ours["mean_kl"] / theirs["mean_kl"]
    _frame.report("sizes", goal=GOAL, rows=rows, ratio=ratio)


def exported(name: str, inputs: list[str], folder: Path) -> dict[str, Any]:
    """The row of one artifact."""
    out = folder / "artifacts" / name
    command = [sys.executable, "-m", "pipelines.export", *inputs, "--name", name, "--out", str(out)]
    run = _frame.measure(command, cwd=folder, env=_frame.QUIET)
    report = _frame.conclusion(folder, f"export@{name}")
    figures = {key: report[key] for key in ("positions", "mean_kl", "tail_kl", "top1", "greedy")}
    size = next(out.glob("*.gguf")).stat().st_size
    return {"artifact": name, "bytes": size} | figures | {"cpu seconds": run.cpu_seconds}


if __name__ == "__main__":
    main()
