"""One grid, two artifacts: GGUF and ONNX hold the parent's own values bit for bit; what lies beside it is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from export import checkpoint, gguf, grid, onnx
from models import checkpoints
from models.quantization import OnGrid
from tests.export.parents import save_parent

BITS = {4.5: {4}, 4.9: {4, 5}, 7.0: {5, 8}}  # allowed per weight → what some matrices then have
BLOCKS = onnx.Blocks(block_size=128, symmetric=False)  # what the grid must not be made with


def on_grid(folder: Path, to: Path, *, bits: float) -> checkpoint.Parent:
    """The model of `folder` moved to the grid, as the qad stage saves it."""
    import torch
    from safetensors.torch import save_file

    model = checkpoints.load(folder)
    settled = OnGrid(lambda *_: None, model, [torch.arange(3, 99)[None]], bits=bits)  # type: ignore[arg-type, return-value]
    shutil.copytree(folder, to)
    model.save_pretrained(to)
    save_file(settled.scales, to / grid.SCALES, {"bits": json.dumps(settled.bits)})
    return checkpoint.read(to)


@pytest.fixture(scope="module", params=BITS)
def settled(request: pytest.FixtureRequest, parent: checkpoint.Parent, tmp_path_factory: pytest.TempPathFactory):
    found = on_grid(parent.folder, tmp_path_factory.mktemp("grid") / "hf", bits=request.param)
    assert set(grid.read(found).bits.values()) >= BITS[request.param]
    return found


def stored_by_gguf(path: Path) -> dict[str, np.ndarray]:
    import gguf as format

    return {row.name: format.dequantize(row.data, row.tensor_type) for row in format.GGUFReader(path).tensors}


def test_gguf_holds_every_value_of_the_parent_bit_for_bit(
    settled: checkpoint.Parent, card: gguf.Card, tmp_path: Path
) -> None:
    """Read by ggml's own Python reader, which knows nothing of our packing."""
    gguf.make(settled, card, "Q4_0", tmp_path)
    stored = stored_by_gguf(next(tmp_path.glob("*-Q4_0.gguf")))
    for name, weight in checkpoint.tensors(settled):
        found = stored.pop(gguf.official_name(settled, name))
        assert np.array_equal(found, gguf._as_llama_cpp(name, weight, settled)), name
    assert not stored


def test_gguf_takes_half_a_bit_more_than_the_levels_have(
    settled: checkpoint.Parent, card: gguf.Card, tmp_path: Path
) -> None:
    import gguf as format

    gguf.make(settled, card, "Q4_0", tmp_path)
    stored = {row.name: row for row in format.GGUFReader(next(tmp_path.glob("*.gguf"))).tensors}
    for name, bits in grid.read(settled).bits.items():
        row = stored[gguf.official_name(settled, name)]
        assert row.tensor_type.name == f"Q{bits}_0" and row.n_bytes * 8 == (bits + 0.5) * row.n_elements


def dequantized(file: Path) -> dict[str, np.ndarray]:
    """Every MatMulNBits of a graph as float32 [N, K], by onnx's description of the operator."""
    import onnx as format
    from onnx import numpy_helper

    graph = format.load(file).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    found = {}
    for node in graph.node:
        if node.op_type == "MatMulNBits":
            bits = {attribute.name: attribute.i for attribute in node.attribute}["bits"]
            codes = stored[node.input[1]]
            if bits == 4:
                codes = np.stack([codes & 15, codes >> 4], axis=-1).reshape(*codes.shape[:2], -1)
            levels = codes.astype(np.float32) - 2 ** (bits - 1)
            found[node.name.rpartition("_")[0]] = (levels * stored[node.input[2]].reshape(*codes.shape[:2], 1)).reshape(
                len(codes), -1
            )
            assert len(node.input) == 3, "no zero points"
    return found


@pytest.mark.slow
def test_onnx_holds_every_value_of_the_parent_bit_for_bit(
    settled: checkpoint.Parent, card: gguf.Card, tmp_path: Path
) -> None:
    onnx.make(settled, card, "grid", tmp_path, blocks=BLOCKS)
    found, weights = dequantized(tmp_path / "model.onnx"), dict(checkpoint.tensors(settled))
    for layer in range(2):
        ours, theirs = f"model.layers.{layer}", f"/model/layers.{layer}"
        qkv = np.concatenate([weights[f"{ours}.self_attn.{name}_proj.weight"] for name in "qkv"])
        assert np.array_equal(found.pop(f"{theirs}/attn/qkv_proj/MatMul"), qkv)
        for name, own in {
            "attn/o": "self_attn.o",
            "mlp/gate": "mlp.gate",
            "mlp/up": "mlp.up",
            "mlp/down": "mlp.down",
        }.items():
            assert np.array_equal(found.pop(f"{theirs}/{name}_proj/MatMul"), weights[f"{ours}.{own}_proj.weight"])
    (head,) = found.values()
    assert np.array_equal(head, weights["model.embed_tokens.weight"])


@pytest.mark.slow
def test_an_untied_grid_goes_through_both_formats(card: gguf.Card, tmp_path: Path) -> None:
    parent = on_grid(save_parent(tmp_path / "plain", tied=False), tmp_path / "hf", bits=5.0)
    weights = dict(checkpoint.tensors(parent))
    for name in ("gguf", "onnx"):
        (tmp_path / name).mkdir()
    gguf.make(parent, card, "Q4_0", tmp_path / "gguf")
    onnx.make(parent, card, "grid", tmp_path / "onnx", blocks=BLOCKS)
    assert np.array_equal(
        stored_by_gguf(next((tmp_path / "gguf").glob("*.gguf")))["output.weight"], weights["lm_head.weight"]
    )
    assert np.array_equal(dequantized(tmp_path / "onnx/model.onnx")["/lm_head/MatMul"], weights["lm_head.weight"])


def test_one_weight_beside_the_grid_is_refused_by_name(
    settled: checkpoint.Parent, card: gguf.Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = checkpoint.tensors

    def moved(parent: checkpoint.Parent):
        for name, weight in real(parent):
            if name == "model.layers.1.mlp.up_proj.weight":
                weight[5, 7] = np.nextafter(weight[5, 7], np.float32(1))
            yield name, weight

    monkeypatch.setattr(checkpoint, "tensors", moved)
    with pytest.raises(checkpoint.CheckpointError, match=r"layers\.1\.mlp\.up_proj.*not on this grid"):
        gguf.make(settled, card, "Q4_0", tmp_path)


def test_a_parent_without_a_grid_is_told_what_to_give(
    parent: checkpoint.Parent, card: gguf.Card, tmp_path: Path
) -> None:
    with pytest.raises(checkpoint.CheckpointError, match="give --model the folder of the qad stage"):
        gguf.make(parent, card, "Q4_0", tmp_path)
