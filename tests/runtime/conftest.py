"""Knows three tiny artifacts of one random Llama, made here without the export room: GGUF, genai folder, plain ONNX."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from midm_mini import Model, load
from midm_mini.format import CHAT_TEMPLATE, CONTROL_TOKENS, EOT

from corpus import bpe
from tests.runtime.service import Service, serving

CONTEXT = 256
TEXTS = [f"{n}번째 문장: 한국의 수도는 서울이다. The capital of Korea is Seoul, sentence {n}." for n in range(200)]
FORMATS = ["gguf", "onnx-genai", "onnx"]


@pytest.fixture(scope="session")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random untied Llama with grouped heads and head_dim ≠ hidden/heads, in Hugging Face form."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("runtime") / "hf"
    tokenizer = bpe.train(TEXTS, vocab_size=420, min_frequency=1)
    bpe.save(tokenizer, folder, context=CONTEXT)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=448,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 50_000.0},
        initializer_range=0.2,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=[2, tokenizer.token_to_id(EOT)],
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def gguf(parent: Path) -> Path:
    """The quickest of the three to make."""
    return _gguf(parent, parent.parent / "gguf")


@pytest.fixture(scope="session")
def artifacts(parent: Path, gguf: Path) -> dict[str, Path]:
    """One path per format."""
    return {"gguf": gguf, **_onnx(parent, parent.parent)}


@pytest.fixture(scope="module")
def shared(gguf: Path) -> Iterator[Service]:
    """One server with the limits it has by default."""
    with serving(gguf) as service:
        yield service


@pytest.fixture
def service(shared: Service) -> Iterator[Service]:
    """The shared server, at full speed before and after."""
    yield shared
    shared.pause = 0.0
    assert shared.quiet()


@pytest.fixture(params=FORMATS)
def model(request: pytest.FixtureRequest, artifacts: dict[str, Path]) -> Iterator[Model]:
    """The same model through every backend."""
    with load(artifacts[request.param], threads=1) as opened:
        yield opened


@pytest.fixture(scope="session")
def reference(parent: Path):
    """Logits of torch for token ids, float32 [T, V]."""
    import torch
    from transformers import LlamaForCausalLM

    torch.set_num_threads(1)
    network = LlamaForCausalLM.from_pretrained(parent, dtype=torch.float32).eval()

    def logits(ids: list[int]) -> np.ndarray:
        with torch.no_grad():
            return network(torch.tensor([ids])).logits[0].numpy()

    return logits


def _gguf(parent: Path, folder: Path) -> Path:
    import gguf
    from safetensors.numpy import load_file

    folder.mkdir()
    tokenizer = json.loads((parent / "tokenizer.json").read_text())
    ids = tokenizer["model"]["vocab"] | {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    names = {n: name for name, n in ids.items()}
    added = {token["content"] for token in tokenizer["added_tokens"]}
    kinds = [_kind(gguf.TokenType, names.get(n), added) for n in range(448)]
    writer = gguf.GGUFWriter(str(folder / "tiny-F32.gguf"), "llama")
    for key, value in {
        "context_length": CONTEXT,
        "embedding_length": 64,
        "block_count": 2,
        "feed_forward_length": 128,
    }.items():
        getattr(writer, f"add_{key}")(value)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_key_length(32)
    writer.add_value_length(32)
    writer.add_rope_dimension_count(32)
    writer.add_rope_freq_base(50_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(448)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list([names.get(n, f"[PAD{n}]") for n in range(448)])
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)
    for name, values in load_file(parent / "model.safetensors").items():
        writer.add_tensor(_gguf_name(name), _permuted(name, values.astype(np.float32)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder


def _kind(types, name: str | None, added: set[str]) -> int:
    if name is None:
        return types.UNUSED
    if name in CONTROL_TOKENS:
        return types.CONTROL
    return types.USER_DEFINED if name in added else types.NORMAL


def _gguf_name(name: str) -> str:
    import gguf

    stem = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2).get_name(name, try_suffixes=(".weight",))
    assert stem, name
    return stem


def _permuted(name: str, values: np.ndarray) -> np.ndarray:
    """Rows of Q and K in llama.cpp's rotary order (pairs beside each other, not halves apart)."""
    heads = {"q_proj": 4, "k_proj": 2}.get(name.split(".")[-2])
    if heads is None:
        return values
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, values.shape[1])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(values.shape))


def _onnx(parent: Path, root: Path) -> dict[str, Path]:
    genai, plain = root / "genai", root / "plain"
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-m", str(parent), "-o", str(genai)]
    command += ["-p", "fp32", "-e", "cpu", "-c", str(root / "cache")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    shutil.copytree(genai, plain, ignore=shutil.ignore_patterns("genai_config.json"))
    shutil.copy(parent / "config.json", plain)
    return {"onnx-genai": genai, "onnx": plain}


@pytest.fixture
def no_native_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """An import of any library behind the wheel, or of its backends, fails."""
    for name in ("llama_cpp", "onnxruntime", "onnxruntime_genai", "tokenizers", "safetensors"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("gguf_backend", "onnx_backend"):
        monkeypatch.delitem(sys.modules, f"midm_mini.{name}", raising=False)
