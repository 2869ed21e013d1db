"""Proves that a spoilt GGUF file is refused by name of the field, before llama.cpp is even imported."""

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from midm_mini import MidmError, headers, load
from midm_mini.format import CHAT_TEMPLATE

from tests.runtime import crafted
from tests.runtime.crafted import f32, i32s, raw, text, texts, u32

Edit = Callable[[dict[str, bytes], dict[str, list[Any]]], Any]
EMBED, QUERY = "token_embd.weight", "blk.0.attn_q.weight"
TOKENS, TYPES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
NESTED = struct.pack("<IIQ", 9, 9, 1) * 64

WHOLE: dict[str, tuple[dict[str, Any], str]] = {  # what is wrong → how the file is put together, the field named
    "another magic": ({"magic": b"GGML"}, "magic"),
    "big-endian version": ({"version": 3 << 24}, "version"),
    "version 1, whose counts have 4 bytes": ({"version": 1}, "version"),
    "2^63 tensors": ({"counts": (1 << 63, 20)}, "tensor_count"),
    "no tensors": ({"counts": (0, 20)}, "tensor_count"),
    "2^40 keys": ({"counts": (20, 1 << 40)}, "kv_count"),
    "more keys than there are": ({"counts": (20, 4_000)}, "length of key|type of|key \\d+"),
}
KEYS: dict[str, tuple[str, bytes | None, str]] = {  # what is wrong → key, its new value (None: gone), the field named
    "another architecture": ("general.architecture", text("mamba"), "general.architecture"),
    "architecture as a number": ("general.architecture", u32(7), "type of general.architecture"),
    "alignment 0": ("general.alignment", u32(0), "general.alignment"),
    "alignment 12": ("general.alignment", u32(12), "general.alignment"),
    "file type as a text, which aborts llama.cpp": ("general.file_type", text("1"), "type of general.file_type"),
    "no layers": ("llama.block_count", u32(0), "llama.block_count"),
    "4 billion layers": ("llama.block_count", u32(0xFFFFFFFF), "llama.block_count"),
    "more layers than tensors": ("llama.block_count", u32(3), "a tensor"),
    "no context": ("llama.context_length", u32(0), "llama.context_length"),
    "no heads": ("llama.attention.head_count", u32(0), "llama.attention.head_count"),
    "heads that no groups divide": ("llama.attention.head_count_kv", u32(3), "head_count_kv"),
    "a head of odd width": ("llama.attention.key_length", u32(33), "llama"),
    "rotation wider than a head": ("llama.rope.dimension_count", u32(64), "llama.rope.dimension_count"),
    "a rotary base that is NaN": ("llama.rope.freq_base", f32(float("nan")), "llama.rope.freq_base"),
    "an infinite rotary base": ("llama.rope.freq_base", f32(float("inf")), "llama.rope.freq_base"),
    "no rotary base, so that readers guess": ("llama.rope.freq_base", None, "llama.rope.freq_base"),
    "a negative epsilon": ("llama.attention.layer_norm_rms_epsilon", f32(-1), "layer_norm_rms_epsilon"),
    "an embedding of another width": ("llama.embedding_length", u32(64), "tensor token_embd.weight's dims"),
    "another vocabulary size": ("llama.vocab_size", u32(7), "llama.vocab_size"),
    "a key of llama.cpp that we do not know": ("llama.expert_count", u32(8), "a key"),
    "a file that claims to be one of several": ("split.count", struct.pack("<IH", 2, 3), "a key"),
    "a foreign tokenizer model": ("tokenizer.ggml.model", text("llama"), "tokenizer.ggml.model"),
    "no tokens": (TOKENS, None, TOKENS),
    "tokens as numbers": (TOKENS, i32s([1, 2]), f"type of {TOKENS}"),
    "a doubled token": (TOKENS, texts([*crafted.TOKENS[:-1], "a"]), TOKENS),
    "an empty token": (TOKENS, texts([*crafted.TOKENS[:-1], ""]), TOKENS),
    "a token that is not UTF-8": (TOKENS, texts([*crafted.TOKENS[:-1], b"\xff"]), TOKENS),
    "two halves of a letter in two tokens": (TOKENS, texts([*crafted.TOKENS[:-2], b"\xea\xb0", b"\x80"]), TOKENS),
    "a token of 5,000 bytes": (TOKENS, texts([*crafted.TOKENS[:-1], "x" * 5_000]), "length of tokenizer.ggml.tokens"),
    "2^62 tokens": (TOKENS, texts([], count=1 << 62), f"count of {TOKENS}"),
    "fewer tokens than it counts": (TOKENS, texts(crafted.TOKENS, count=600_000), TOKENS),
    "an array of arrays": (TOKENS, NESTED, f"type of {TOKENS}"),
    "types for fewer tokens, read past the end": (TYPES, i32s([1, 1]), f"count of {TYPES}"),
    "a token type of 99": (TYPES, i32s([99] * crafted.ROWS), TYPES),
    "scores for fewer tokens": ("tokenizer.ggml.scores", struct.pack("<IIQf", 9, 6, 1, 0), "tokenizer.ggml.scores"),
    "a BOS beyond the vocabulary": ("tokenizer.ggml.bos_token_id", u32(crafted.ROWS), "bos_token_id"),
    "a BOS of -1": ("tokenizer.ggml.bos_token_id", struct.pack("<Ii", 5, -1), "type of tokenizer.ggml.bos_token_id"),
    "a merge without a space": ("tokenizer.ggml.merges", texts(["ab"]), "tokenizer.ggml.merges"),
    "a merge of unknown tokens": ("tokenizer.ggml.merges", texts(["a 한"]), "tokenizer.ggml.merges"),
    "a bool of 2": ("tokenizer.ggml.add_bos_token", struct.pack("<IB", 7, 2), "add_bos_token"),
    "a value of no known type": ("general.note", struct.pack("<II", 13, 0), "type of general.note"),
    "a text of 2^63 bytes": ("general.note", struct.pack("<IQ", 8, 1 << 63), "length of general.note"),
    "a text of 2 MB": ("general.note", text("x" * (1 << 21)), "length of general.note"),
    "a key that is not ASCII": ("general.이름", u32(1), "key"),
}
INFOS: dict[str, tuple[Edit, str]] = {
    "a dim of 0": (lambda _, infos: infos[EMBED][0].__setitem__(1, 0), f"tensor {EMBED}'s dims"),
    "a dim of 2^63": (lambda _, infos: infos[EMBED][0].__setitem__(1, 1 << 63), f"tensor {EMBED}'s dims"),
    "dims whose product wraps around 2^64": (
        lambda _, infos: infos[EMBED].__setitem__(0, [1 << 33, 1 << 31]),
        f"tensor {EMBED}'s end",
    ),
    "9 dims": (lambda _, infos: infos[EMBED].__setitem__(0, [32] + [1] * 8), "n_dims"),
    "no dims": (lambda _, infos: infos[EMBED].__setitem__(0, []), "n_dims"),
    "a type of no known number": (lambda _, infos: infos[EMBED].__setitem__(1, 99), f"tensor {EMBED}'s type"),
    "a type that was removed": (lambda _, infos: infos[EMBED].__setitem__(1, 4), f"tensor {EMBED}'s type"),
    "a row that its blocks do not divide": (lambda _, infos: infos[EMBED].__setitem__(1, 12), f"tensor {EMBED}'s row"),
    "a norm in 8 bits, which aborts ggml": (
        lambda _, infos: infos["output_norm.weight"].__setitem__(1, 8),
        "tensor output_norm.weight's type",
    ),
    "an offset off the alignment": (lambda _, infos: infos[QUERY].__setitem__(2, 17), f"tensor {QUERY}'s offset"),
    "an offset beyond the file": (lambda _, infos: infos[QUERY].__setitem__(2, 1 << 40), f"tensor {QUERY}'s end"),
    "an offset of 2^64 - 32": (lambda _, infos: infos[QUERY].__setitem__(2, (1 << 64) - 32), f"tensor {QUERY}'s end"),
    "two tensors over each other": (lambda _, infos: infos[QUERY].__setitem__(2, 32), "'s offset"),
    "a tensor too few": (lambda _, infos: infos.pop("blk.1.ffn_up.weight"), "a tensor"),
    "a tensor too many": (lambda _, infos: infos.update({"blk.7.x": [[32], 0, 1 << 20]}), "a tensor|blk.7.x"),
    "a transposed tensor": (lambda _, infos: infos[QUERY][0].reverse(), f"tensor {QUERY}'s dims"),
    "a name of 200 letters": (lambda _, infos: infos.update({"x" * 200: infos.pop(QUERY)}), "tensor \\d+'s name"),
    "a name with a control letter": (
        lambda _, infos: infos.update({"a\x1b[2J": infos.pop(QUERY)}),
        "tensor \\d+'s name",
    ),
}


def refused(file: Path, content: bytes, field: str) -> None:
    file.write_bytes(content)
    with pytest.raises(MidmError, match=field) as caught:
        load(file)
    assert file.name in str(caught.value) and "pip install" not in str(caught.value) and len(str(caught.value)) < 1_000


def test_the_crafted_file_is_sound_until_it_is_spoilt(tmp_path: Path) -> None:
    (tmp_path / "good.gguf").write_bytes(crafted.gguf(crafted.metadata(), crafted.tensors()))
    assert headers.check(tmp_path) == [CHAT_TEMPLATE]
    with load(tmp_path, threads=1) as model:  # llama.cpp finds it sound too
        assert model.chats and model.logits([0, 5]).shape == (2, crafted.ROWS)


@pytest.mark.usefixtures("no_native_code")
@pytest.mark.parametrize("what", WHOLE)
def test_a_spoilt_front_is_refused(tmp_path: Path, what: str) -> None:
    changes, field = WHOLE[what]
    refused(tmp_path / "bad.gguf", crafted.gguf(crafted.metadata(), crafted.tensors(), **changes), field)


@pytest.mark.usefixtures("no_native_code")
@pytest.mark.parametrize("what", KEYS)
def test_a_spoilt_key_is_refused(tmp_path: Path, what: str) -> None:
    key, value, field = KEYS[what]
    keys = {name: held for name, held in crafted.metadata().items() if name != key} | ({key: value} if value else {})
    refused(tmp_path / "bad.gguf", crafted.gguf(keys, crafted.tensors()), field)


@pytest.mark.usefixtures("no_native_code")
@pytest.mark.parametrize("what", INFOS)
def test_a_spoilt_tensor_is_refused(tmp_path: Path, what: str) -> None:
    edit, field = INFOS[what]
    edit(keys := crafted.metadata(), infos := crafted.tensors())
    refused(tmp_path / "bad.gguf", crafted.gguf(keys, infos), field)


@pytest.mark.usefixtures("no_native_code")
def test_a_doubled_key_is_refused(tmp_path: Path) -> None:
    keys, infos = crafted.metadata(), crafted.tensors()
    twice = raw("general.architecture") + text("llama")
    whole = crafted.gguf(keys, infos, counts=(len(infos), len(keys) + 1))
    refused(tmp_path / "bad.gguf", whole[:24] + twice + whole[24:], "key 1")


@pytest.mark.usefixtures("no_native_code")
def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = crafted.gguf(crafted.metadata(), crafted.tensors())
    for size in [0, 1, 4, 23, 24, *range(31, len(whole) // 2, 997)]:
        refused(tmp_path / "bad.gguf", whole[:size], "bad.gguf")


@pytest.mark.usefixtures("no_native_code")
def test_a_folder_a_pipe_and_a_dead_link_are_no_model(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    os.mkfifo(tmp_path / "a" / "pipe.gguf")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "dead.gguf").symlink_to(tmp_path / "nowhere")
    (tmp_path / "c" / "folder.gguf").mkdir(parents=True)
    for place in ("a", "b", "c"):
        with pytest.raises(MidmError, match=r"\.gguf"):
            load(tmp_path / place)
