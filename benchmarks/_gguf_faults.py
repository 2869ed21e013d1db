"""Knows the faults of GGUF files: "maker@parent: what" → how it is put into the exporter's run or its file."""

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from benchmarks._checkpoints import THETA
from benchmarks._rig import (
    Inject,
    Rig,
    afterwards,
    card,
    change,
    config,
    cut,
    each,
    flipped,
    folder,
    oddly,
    parent,
    set_at,
    swap,
    template,
    tokenizer,
    weights,
    written,
)  # fmt: skip
from export import gguf

L, EMBED, NORM, HEAD = "model.layers.{}.{}.weight", "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"
Q, K, V, OUT = (L.format(1, f"self_attn.{name}_proj") for name in "qkvo")
GATE, UP, DOWN = (L.format(1, f"mlp.{name}_proj") for name in ("gate", "up", "down"))
BEFORE, AFTER = L.format(1, "input_layernorm"), L.format(1, "post_attention_layernorm")
PARTS = [Q, K, V, OUT, GATE, UP, DOWN, BEFORE, AFTER]
LAYERS = [[name.replace("layers.1.", f"layers.{layer}.") for name in PARTS] for layer in range(3)]
SMALL, ROW = 1e-3, 300  # a row of the vocabulary that text meets


def copied(target: str, source: str) -> Any:
    """One tensor is written where another belongs."""
    return lambda held: held.__setitem__(target, held[source])


def added(number: int, **changes: Any) -> Any:
    return lambda value: value["added_tokens"][number].update(changes)


def specials_moved(rig: Rig) -> None:
    """Every special token after the merges one id later."""
    late = sorted(row for row in rig.parent.ids.values() if row > 2 and row >= min(
        token["id"] for token in rig.parent.tokenizer["added_tokens"] if token["id"] > 2))  # fmt: skip
    moved = dict(zip(late, [*late[1:], late[0]], strict=True))
    parent(ids={text: moved.get(row, row) for text, row in rig.parent.ids.items()})(rig)


def untied_as_tied(rig: Rig) -> None:
    """The head is forgotten, and llama.cpp takes the embedding for it."""
    shapes = {name: shape for name, shape in rig.parent.shapes.items() if name != HEAD}
    parent(config=rig.parent.config | {"tie_word_embeddings": True}, shapes=shapes)(rig)


def one_layer_less(rig: Rig) -> None:
    shapes = {name: shape for name, shape in rig.parent.shapes.items() if "layers.2." not in name}
    parent(config=rig.parent.config | {"num_hidden_layers": 2}, shapes=shapes)(rig)


def permuted(change_rows: Any) -> Inject:
    """Another re-ordering of rotary rows."""
    return lambda rig: rig.patch(gguf, "_as_llama_cpp", change_rows)


def backwards(name: str, weight: np.ndarray, given: Any) -> np.ndarray:
    heads = {"q_proj": 4, "k_proj": 2}.get(name.split(".")[-2])
    return weight if not heads else weight.reshape(heads, 16, 2, -1).swapaxes(1, 2).reshape(weight.shape)


def queries_only(name: str, weight: np.ndarray, given: Any) -> np.ndarray:
    return weight if "q_proj" not in name else weight.reshape(4, 2, 16, -1).swapaxes(1, 2).reshape(weight.shape)


def blocks(tensor: str, edit: Any) -> Inject:
    """The bytes of a quantized tensor of the finished file."""

    def spoil(bundle: Path) -> None:
        import gguf as format

        reader = format.GGUFReader(next(bundle.glob("*.gguf")), "r+")
        row = next(row for row in reader.tensors if row.name == tensor)
        row.data[:] = edit(row.data.copy())
        reader.data.flush()

    return folder(spoil)


def half_bytes(edit: Any, size: int) -> Any:
    """The float16 that opens each block of `size` bytes."""

    def change_scales(data: np.ndarray) -> np.ndarray:
        rows = data.reshape(-1, size)
        rows[:, :2] = edit(rows[:, :2].copy().view(np.float16)).astype(np.float16).view(np.uint8)
        return rows.reshape(data.shape)

    return change_scales


def half(held: Any) -> None:
    for name in [*held]:
        held[name] = held[name].astype(np.float16).astype(np.float32)


def bfloat(held: Any) -> None:
    for name in [*held]:
        held[name] = held[name].astype(ml_dtypes.bfloat16).astype(np.float32)


WEIGHTS = {  # of float32 tensors by Hugging Face's names
    "gate and up swapped": swap(GATE, UP),
    "keys and values swapped": swap(K, V),
    "o_proj transposed": change(OUT, oddly),
    "down_proj transposed": change(DOWN, oddly),
    "key heads in another order": change(K, lambda w: np.roll(w, 32, 0)),
    "query heads shared by the wrong keys": change(
        Q, lambda w: w.reshape(2, 2, 32, -1).swapaxes(0, 1).reshape(w.shape)
    ),
    "norms dropped": each(*(change(name, np.ones_like) for layer in LAYERS for name in layer[-2:])),
    "norms shifted by one": each(*(change(name, lambda w: w + 1) for layer in LAYERS for name in layer[-2:])),
    "norms of a layer swapped": swap(BEFORE, AFTER),
    "last norm dropped": change(NORM, np.ones_like),
    "layers in another order": each(*(swap(a, b) for a, b in zip(LAYERS[1], LAYERS[2], strict=True))),
    "a layer twice": each(*(copied(b, a) for a, b in zip(LAYERS[1], LAYERS[2], strict=True))),
    "a tensor of another shard": copied(UP, UP.replace("layers.1", "layers.2")),
    "one weight with a flipped bit": change(DOWN, flipped),
    "one row of zeros": change(V, set_at(7, 0)),
    "vocabulary rows shifted by one": change(EMBED, lambda w: np.roll(w, 1, 0)),
    "last token's row lost": change(EMBED, set_at(899, 0)),
    "embedding scaled": change(EMBED, lambda w: w * 16),
    "rounded to float16 on the way": half,
    "rounded to bfloat16 on the way": bfloat,
}
FAULTS: dict[str, Inject] = {f"gguf: {name}": weights(edit) for name, edit in WEIGHTS.items()} | {
    "gguf: rope base": config(rope_parameters={"rope_theta": 10_000.0}),
    "gguf: rope base a little off": config(rope_parameters={"rope_theta": THETA * 1.02}),
    "gguf: rope unpermuted": permuted(lambda name, weight, given: weight),
    "gguf: rope permuted backwards": permuted(backwards),
    "gguf: rope permuted for queries only": permuted(queries_only),
    "gguf: rope scaled": written("add_rope_freq_base", lambda value: value * 8),
    "gguf: norm epsilon": config(rms_norm_eps=1e-6),
    "gguf: heads": config(num_attention_heads=2, head_dim=64),
    "gguf: key-value heads": config(num_key_value_heads=4),
    "gguf: width of a head": written("add_key_length", lambda value: 64),
    "gguf: rotated width": written("add_rope_dimension_count", lambda value: 16),
    "gguf: context": written("add_context_length", lambda value: 2048),
    "gguf: a layer less": one_layer_less,
    "gguf@untied: head forgotten": untied_as_tied,
    "gguf@untied: head is the embedding": weights(copied(HEAD, EMBED)),
    "gguf@untied: embedding is the head": weights(copied(EMBED, HEAD)),
    "gguf@untied: last rows of the head lost": weights(change(HEAD, set_at(slice(890, None), 0))),
    "gguf@untied: a special token's row lost": weights(change(EMBED, set_at(877, 0))),
    "gguf: BOS twice": written("add_add_bos_token", lambda value: True),
    "gguf: add_bos not said": written("add_add_bos_token", lambda value: None),
    "gguf: template whitespace": template(lambda t: t.replace("\\n\\n", "\\n", 1)),
    "gguf: template role": template(lambda t: t.replace("open('assistant')", "open('user')")),
    "gguf: no template": written("add_chat_template", lambda value: None),
    "gguf: merges of an older tokenizer": tokenizer(lambda t: t["model"]["merges"].__delitem__(slice(-150, None))),
    "gguf: two merges swapped": tokenizer(lambda t: t["model"]["merges"].insert(0, t["model"]["merges"].pop(1))),
    "gguf: a merge missing": tokenizer(lambda t: t["model"]["merges"].pop(40)),
    "gguf: special ids shifted": specials_moved,
    "gguf: pre-tokenizer": written("add_tokenizer_pre", lambda value: "gpt-2"),
    "gguf: pre-tokenizer without ignore_merges": written("add_tokenizer_pre", lambda value: "dbrx"),
    "gguf: a placeholder that is control": written("add_token_types", lambda kinds: [*kinds[:895], 3, *kinds[896:]]),
    "gguf: a control token that is text": tokenizer(added(0, special=False)),
    "gguf: padding rows that are text": written("add_token_types", lambda kinds: [1 if k == 5 else k for k in kinds]),
    "gguf: another end of text": written("add_eos_token_id", lambda value: 5),
    "gguf: end of turn not said": written("add_eot_token_id", lambda value: None),
    "gguf: pad is the end of text": parent(pad=2),
    "gguf: BOS is another": written("add_bos_token_id", lambda value: 1),
    "gguf: licence": card(license="apache-2.0"),
    "gguf: languages": card(languages=("en",)),
    "gguf: base model": card(base_model="another"),
    "gguf: a shortened file": folder(cut),
    "gguf: manifest older than a file": afterwards(lambda bundle: next(bundle.glob("*.gguf")).open("ab").write(b"0")),
    "gguf: a file beside the manifest": afterwards(lambda bundle: (bundle / "notes.txt").write_text("x")),
    "gguf-f16: rope base": config(rope_parameters={"rope_theta": 10_000.0}),
    "gguf-f16: a value too large": weights(change(DOWN, set_at((3, 3), 1e6))),
    "gguf-f16: output scaled by 2 %": weights(change(NORM, lambda w: w * 1.02)),
    "gguf-q8_0: scales doubled": blocks("blk.1.ffn_up.weight", half_bytes(lambda s: s * 2, 34)),
    "gguf-q8_0: scales of other blocks": blocks("blk.1.attn_v.weight", half_bytes(lambda s: np.roll(s, 8), 34)),
    "gguf-q8_0: signs lost": blocks("blk.1.attn_q.weight", lambda data: data & 0x7F),
    "gguf-q4_k_m: nibbles swapped": blocks("blk.1.ffn_gate.weight", lambda data: data >> 4 | data << 4),
    "gguf-q4_k_m: gate and up swapped": weights(swap(GATE, UP)),
    "gguf-q4_k_m: layers in another order": weights(WEIGHTS["layers in another order"]),
}
