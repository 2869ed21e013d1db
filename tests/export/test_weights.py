"""What an artifact stores is read back by its own rules and lies as near its parent as its bits allow, every row."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export import checkpoint, facts, gguf, onnx, optimum_box, weights
from tests.export.parents import BLOCKS, CARD, save_parent

genai = partial(onnx.make, blocks=BLOCKS)


@pytest.fixture(scope="module")
def untied(tmp_path_factory: pytest.TempPathFactory) -> checkpoint.Parent:
    return checkpoint.read(save_parent(tmp_path_factory.mktemp("untied") / "hf", tied=False))


@pytest.mark.parametrize("precision", ["F32", "F16", "Q8_0", "Q4_K_M"])
@pytest.mark.parametrize("name", ["parent", "untied"])
def test_every_tensor_of_a_gguf_is_found_and_near(
    request: pytest.FixtureRequest, name: str, precision: str, tmp_path: Path
) -> None:
    parent = request.getfixturevalue(name)
    gguf.make(parent, CARD, precision, tmp_path)
    found = list(weights.distances(tmp_path, parent))
    assert {row.name for row in found} == set(parent.shapes)
    assert all(row.error <= row.allowed for row in found)
    assert precision != "F32" or all(row.error == 0 for row in found)


@pytest.mark.slow
@pytest.mark.parametrize(("make", "precision"), [(genai, "int4"), (genai, "int8"), (optimum_box.make, "fp32")])
def test_every_tensor_of_an_onnx_folder_is_found_and_near(
    untied: checkpoint.Parent, make: Any, precision: str, tmp_path: Path
) -> None:
    make(untied, CARD, precision, tmp_path)
    found = list(weights.distances(tmp_path, untied))
    assert precision == "fp32" or {row.name for row in found} == set(untied.shapes)
    assert len(found) > 7 * 2
    assert all(row.error <= row.allowed for row in found)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("zeros", [True, False])
def test_blocks_are_unpacked_as_onnxruntime_unpacks_them(bits: int, zeros: bool) -> None:
    import onnx as format
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    draw = np.random.RandomState(bits)
    rows, blocks, size = 6, 3, 32
    packed = draw.randint(0, 256, (rows, blocks, size * bits // 8), np.uint8)
    inputs = [packed, draw.rand(rows * blocks).astype(np.float32)]
    if zeros:
        inputs.append(draw.randint(0, 256, rows * -(-blocks * bits // 8), np.uint8))
    about = {"K": blocks * size, "N": rows, "bits": bits, "block_size": size}
    names = ["q", "s", "z"][: len(inputs)]
    node = helper.make_node("MatMulNBits", ["x", *names], ["y"], domain="com.microsoft", **about)
    held = [numpy_helper.from_array(array, name) for array, name in zip(inputs, names, strict=True)]
    given, asked = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, None]) for name in "xy")
    graph = helper.make_graph([node], "one", [given], [asked], held)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = format.helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    by_runtime = session.run(None, {"x": np.eye(blocks * size, dtype=np.float32)})[0].T
    ours = weights._onnx_rows(inputs, about, 0).rows(slice(0, rows))
    np.testing.assert_allclose(ours, by_runtime, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("precision", ["Q8_0", "Q4_K_M", "IQ4_XS"])
def test_a_row_too_small_for_a_half_floats_steps_is_no_fault(precision: str, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = save_parent(tmp_path / "hf", tied=False)
    held = load_file(folder / "model.safetensors")
    row = held["model.layers.0.mlp.gate_proj.weight"][3]
    row *= 4e-5 / np.sqrt(np.mean(row**2))
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
    small = checkpoint.read(folder)
    (tmp_path / "out").mkdir()
    gguf.make(small, CARD, precision, tmp_path / "out")
    assert all(row.error <= row.allowed for row in weights.distances(tmp_path / "out", small))


def test_an_outlier_clipped_for_its_neighbours_is_no_fault_but_a_smaller_scale_is(tmp_path: Path) -> None:
    import gguf as format
    from safetensors.numpy import load_file, save_file

    folder, name = save_parent(tmp_path / "hf", tied=False), "model.layers.1.mlp.down_proj.weight"
    held = load_file(folder / "model.safetensors")
    held[name][7, 11] = 6 * np.abs(held[name][7]).max()
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
    parent = checkpoint.read(folder)
    heavy = np.ones(held[name].shape[1], np.float32)
    heavy[11] = 1e-3
    (tmp_path / "out").mkdir()
    gguf.make(parent, CARD, "Q6_K", tmp_path / "out", importance={"blk.1.ffn_down.weight": heavy})
    reader = format.GGUFReader(next((tmp_path / "out").glob("*.gguf")), "r+")
    tensor = next(row for row in reader.tensors if row.name == "blk.1.ffn_down.weight")
    stored = format.dequantize(tensor.data, tensor.tensor_type)[7]
    plain = np.linalg.norm(stored - held[name][7]) / np.linalg.norm(held[name][7])
    assert plain > weights.ALLOWED[6]  # it was clipped
    assert all(row.error <= row.allowed for row in weights.distances(tmp_path / "out", parent))
    scale = tensor.data[7, 208:210].view(np.float16)  # of the first 256 weights
    scale *= 0.8
    reader.data.flush()
    far = [row.name for row in weights.distances(tmp_path / "out", parent) if not row.error <= row.allowed]
    assert far == [name]


def test_one_wrong_row_is_far(parent: checkpoint.Parent, tmp_path: Path) -> None:
    import gguf as format

    gguf.make(parent, CARD, "Q8_0", tmp_path)
    reader = format.GGUFReader(next(tmp_path.glob("*.gguf")), "r+")
    tensor = next(row for row in reader.tensors if row.name == "blk.1.ffn_up.weight")
    tensor.data[7] = 0
    reader.data.flush()
    far = {row.name: row.error for row in weights.distances(tmp_path, parent) if not row.error <= row.allowed}
    name = "model.layers.1.mlp.up_proj.weight"
    size = np.sqrt(np.mean(dict(checkpoint.tensors(parent))[name][7] ** 2))
    assert far == {name: pytest.approx(1 - 2.0**-25 * weights.WHOLE["Q8_0"] / size)}


def test_a_matrix_under_an_unknown_name_is_infinitely_far(
    parent: checkpoint.Parent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gguf.make(parent, CARD, "F16", tmp_path)
    monkeypatch.setitem(weights.GGUF_NAMES, "mlp.up_proj", "ffn_other")
    far = [row for row in weights.distances(tmp_path, parent) if not row.error <= row.allowed]
    assert [row.error for row in far] == [np.inf, np.inf]


def test_a_broken_graph_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x0a\xff\xff\xff\x0f")
    with pytest.raises(ValueError, match=r"model.onnx: refused .*export it again"):
        facts.graph_of(tmp_path / "model.onnx", weights=True)
