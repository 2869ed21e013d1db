"""Knows optimum's own box: the older transformers it needs, laid over our environment for its process alone."""

import fcntl
import hashlib
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from export import checkpoint, worker
from export.checkpoint import Parent
from export.gguf import Card

REQUIREMENTS = Path(__file__).parents[1] / "constraints" / "optimum.txt"
BOXES = Path(__file__).parents[1] / ".boxes" / "optimum"


def make(parent: Parent, card: Card, precision: str, out: Path) -> dict[str, Any]:
    """Exports plain ONNX with a key-value cache ("fp32"), for ORTModel and for onnxruntime alone."""
    with tempfile.TemporaryDirectory() as folder:
        adapt(parent, Path(folder))
        task = ["--task", "text-generation-with-past", "--dtype", precision, "--library-name", "transformers"]
        arguments = ["export", "onnx", "--model", folder, *task, str(out.resolve())]
        worker.run("optimum.commands.optimum_cli", arguments, overlay=box())
    draw_in(out / "model.onnx")
    (out / "special_tokens_map.json").unlink(missing_ok=True)
    checkpoint.write_tokenizer(parent, out)
    return {}


def draw_in(file: Path) -> None:
    """Brings the constants of nodes back into the graph: beyond 2 GB optimum lays them beside it, like weights, where
    no reader of ours looks for them."""
    import onnx
    from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data

    model = onnx.load(file, load_external_data=False)
    constants = [one.t for node in model.graph.node for one in node.attribute if one.type == one.TENSOR]
    beside = [constant for constant in constants if uses_external_data(constant)]
    for constant in beside:
        load_external_data_for_tensor(constant, str(file.parent))
        constant.data_location = constant.DEFAULT
        del constant.external_data[:]
    if beside:
        onnx.save(model, file)


def adapt(parent: Parent, folder: Path) -> None:
    """Lays out what transformers 4.57 reads rightly: without a top-level rope_theta it silently takes its default."""
    for path in [*checkpoint.weight_files(parent.folder), *parent.folder.glob("model*.index.json")]:
        (folder / path.name).symlink_to(path.resolve())
    config = {key: value for key, value in parent.config.items() if key != "rope_parameters"}
    config |= {"rope_theta": parent.rope_theta, "head_dim": parent.head_dim}
    ends = {"bos_token_id": parent.bos, "eos_token_id": sorted(parent.stops.values()), "pad_token_id": parent.pad}
    checkpoint.write_json(folder / "config.json", config | ends)
    checkpoint.write_json(folder / "generation_config.json", parent.generation | ends)
    checkpoint.write_tokenizer(parent, folder)


def box(boxes: Path = BOXES, requirements: Path = REQUIREMENTS) -> Path:
    """The overlay folder for these requirements and this Python, installed once; it appears whole or not at all."""
    identity = requirements.read_text(encoding="utf-8") + platform.python_version() + platform.machine()
    home = boxes / hashlib.sha256(identity.encode()).hexdigest()[:16]
    boxes.mkdir(parents=True, exist_ok=True)
    with boxes.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel frees it even after SIGKILL: a draft found now is nobody's
        for draft in boxes.glob(".*"):
            shutil.rmtree(draft, ignore_errors=True)  # an orphaned pip may still write there: next time, then
        if not home.is_dir():
            print(f"optimum: installing its own box into {home} (about 140 MB, once)", flush=True)
            with tempfile.TemporaryDirectory(prefix=".", dir=boxes) as folder:
                _install(requirements, Path(folder, "box"))
                Path(folder, "box").rename(home)
    return home


def _install(requirements: Path, target: Path) -> None:
    """pip, talking, with the caller's own configuration; --no-deps because torch, numpy and onnx are shared."""
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--progress-bar", "off", "--target", str(target)]
    if subprocess.run([*command, "-r", str(requirements)], check=False).returncode:
        raise worker.ToolError(f"pip could not install {requirements}; see its words above, mend its settings, rerun")
