"""Knows the faults of ONNX folders: what is edited in a finished graph, its settings or its tokenizer."""

from typing import Any

import numpy as np

from benchmarks._checkpoints import THETA
from benchmarks._gguf_faults import AFTER, BEFORE, EMBED, ROW, added, copied
from benchmarks._rig import (
    Inject,
    afterwards,
    change,
    cut,
    each,
    flipped,
    folder,
    graph,
    inverse_frequencies,
    oddly,
    rotary_tables,
    set_at,
    settings,
    swap,
    text,
)

BEGIN = {"SpecialToken": {"id": "<|begin_of_text|>", "type_id": 0}}
BOS_FIRST = {
    **{"type": "TemplateProcessing", "single": [BEGIN, {"Sequence": {"id": "A", "type_id": 0}}], "pair": []},
    "special_tokens": {"<|begin_of_text|>": {"id": "<|begin_of_text|>", "ids": [0], "tokens": ["<|begin_of_text|>"]}},
}
GENAI = "model.layers.{}.{}.MatMul.weight_{}"
QKV, KINDS = "attn.qkv_proj", ("Q4G32", "scale", "zp")
MATRICES = (QKV, "attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
QKV_ROWS = {"queries and keys": (slice(0, 64), slice(128, 192)), "keys and values": (slice(128, 192), slice(192, 256))}


def genai_names(layer: int, matrices: Any = MATRICES) -> list[str]:
    return [GENAI.format(layer, matrix, kind) for matrix in matrices for kind in KINDS]


def rows_swapped(first: slice, second: slice) -> Any:
    def edit(array: np.ndarray) -> np.ndarray:
        array[first], array[second] = array[second].copy(), array[first].copy()
        return array

    return each(*(change(name, edit) for name in genai_names(1, [QKV])))


def model(**changes: Any) -> Inject:
    return settings("genai_config.json", lambda value: value["model"].update(changes))


def decoder(**changes: Any) -> Inject:
    return settings("genai_config.json", lambda value: value["model"]["decoder"].update(changes))


def theta_lost(held: Any) -> None:
    """Transformers 4.57 without a word: the default base in the graph."""
    held.constants(lambda array: array.size == 16 and np.allclose(array.ravel(), inverse_frequencies(THETA)),
                   lambda array: inverse_frequencies(10_000.0).reshape(array.shape))  # fmt: skip


def optimum_matrix(layer: int, place: int, edit: Any) -> Any:
    """A matrix [in, out] by its place (q, k, v, o, gate, up, down) among those that the tracer numbered."""

    def spoil(held: Any) -> None:
        change(optimum_names(held, layer)[place], edit)(held)

    return spoil


def optimum_names(held: Any, layer: int) -> list[str]:
    numbered = sorted((name for name in held.names if "MatMul_" in name), key=lambda name: int(name.split("_")[-1]))
    return numbered[7 * layer : 7 * layer + 7]


def optimum_swap(first: tuple[int, int], second: tuple[int, int]) -> Any:
    def spoil(held: Any) -> None:
        names = [optimum_names(held, layer)[place] for layer, place in (first, second)]
        swap(*names)(held)

    return spoil


SPEAKER = text("chat_template.jinja", lambda t: t.replace("open('assistant')", "open('user')"))
FAULTS: dict[str, Inject] = {
    "genai: rope base": graph(rotary_tables(10_000.0)),
    "genai: rope interleaved": graph(lambda held: held.attribute("GroupQueryAttention", "rotary_interleaved", 1)),
    "genai: attention scale": graph(lambda held: held.attribute("GroupQueryAttention", "scale", 0.125)),
    "genai: key-value heads in the graph": graph(lambda held: held.attribute("GroupQueryAttention", "kv_num_heads", 4)),
    "genai: norm epsilon": graph(lambda held: held.attribute("SkipSimplifiedLayerNormalization", "epsilon", 1e-3)),
    "genai: norms dropped": graph(each(*(change(name, np.ones_like) for name in (BEFORE, AFTER)))),
    "genai: norms swapped": graph(swap(BEFORE, AFTER)),
    "genai: gate and up swapped": graph(
        each(
            *(
                swap(a, b)
                for a, b in zip(genai_names(1, ["mlp.gate_proj"]), genai_names(1, ["mlp.up_proj"]), strict=True)
            )
        )
    ),
    **{f"genai: {name} swapped": graph(rows_swapped(*rows)) for name, rows in QKV_ROWS.items()},
    "genai: layers in another order": graph(
        each(*(swap(a, b) for a, b in zip(genai_names(1), genai_names(2), strict=True)))
    ),
    "genai: a layer twice": graph(each(*(copied(b, a) for a, b in zip(genai_names(1), genai_names(2), strict=True)))),
    "genai: scales doubled": graph(change(GENAI.format(1, "mlp.down_proj", "scale"), lambda s: s * 2)),
    "genai: scales transposed": graph(change(GENAI.format(1, "mlp.down_proj", "scale"), oddly)),
    "genai: zero points off by one": graph(change(GENAI.format(1, "mlp.up_proj", "zp"), lambda z: z + 0x11)),
    "genai: zero points of other blocks": graph(change(GENAI.format(1, "mlp.up_proj", "zp"), oddly)),
    "genai: nibbles swapped": graph(change(GENAI.format(1, QKV, "Q4G32"), lambda q: q >> 4 | q << 4)),
    "genai: blocks of 64": graph(lambda held: held.attribute("MatMulNBits", "block_size", 64)),
    "genai: signed bytes in the head": graph(change("lm_head.MatMul.weight_Q8G32", lambda q: q ^ 0x80)),
    "genai: zero points of the head lost": graph(change("lm_head.MatMul.weight_zp", lambda z: np.full_like(z, 120))),
    "genai: rows of the head shifted": graph(change("lm_head.MatMul.weight_scale", lambda s: np.roll(s, 1, 0))),
    "genai: one row of zeros": graph(change("lm_head.MatMul.weight_scale", set_at(ROW, 0))),
    "genai: end of turn forgotten": model(eos_token_id=2),
    "genai: stops of another tokenizer": model(eos_token_id=[2, 400]),
    "genai: pad is the end": model(pad_token_id=2),
    "genai: BOS": model(bos_token_id=1),
    "genai: context": model(context_length=4096),
    "genai: vocabulary": model(vocab_size=900),
    "genai: width of a head": decoder(head_size=64),
    "genai: layers": decoder(num_hidden_layers=2),
    "genai: key-value heads": decoder(num_key_value_heads=4),
    "genai: samples by default": settings("genai_config.json", lambda value: value["search"].update(do_sample=True)),
    "genai: template role": folder(SPEAKER),
    "genai: older template for older readers": settings(
        "tokenizer_config.json", lambda v: v.update(chat_template="{{ 1 }}")
    ),
    "genai: older tokenizer": settings("tokenizer.json", lambda t: t["model"]["merges"].__delitem__(slice(-150, None))),
    "genai: a control token that is text": settings("tokenizer.json", added(3, special=False)),
    "genai: shortened weights": folder(cut),
    "genai: manifest older than a file": afterwards(text("genai_config.json", lambda t: t + " ")),
    "optimum: default rope base": graph(theta_lost),
    "optimum: default rope base in the config": settings(
        "config.json", lambda value: value.update(rope_theta=10_000.0)
    ),
    "optimum: norm epsilon": graph(
        lambda held: held.constants(
            lambda a: a.size == 1 and np.isclose(a, 1e-5, rtol=0.1).all(), lambda a: a * 0 + 1e-6
        )
    ),
    "optimum: gate and up swapped": graph(optimum_swap((1, 4), (1, 5))),
    "optimum: keys and values swapped": graph(optimum_swap((1, 1), (1, 2))),
    "optimum: a tensor of another layer": graph(optimum_swap((0, 6), (1, 6))),
    "optimum: o_proj transposed": graph(optimum_matrix(1, 3, oddly)),
    "optimum: one weight with a flipped bit": graph(optimum_matrix(2, 6, flipped)),
    "optimum: a matrix rounded to float16": graph(
        optimum_matrix(1, 4, lambda w: w.astype(np.float16).astype(np.float32))
    ),
    "optimum: norms dropped": graph(change(BEFORE, np.ones_like)),
    "optimum: norms swapped": graph(swap(BEFORE, AFTER)),
    "optimum: rows of the vocabulary shifted": graph(change(EMBED, lambda w: np.roll(w, 1, 0))),
    "optimum: one row of zeros": graph(change(EMBED, set_at(ROW, 0))),
    "optimum: end of turn forgotten": settings("generation_config.json", lambda value: value.update(eos_token_id=[2])),
    "optimum: end of turn forgotten in the config": settings(
        "config.json", lambda value: value.update(eos_token_id=[2])
    ),
    "optimum: pad is the end": settings("generation_config.json", lambda value: value.update(pad_token_id=2)),
    "optimum: width of a head": settings("config.json", lambda value: value.update(head_dim=64)),
    "optimum: context": settings("config.json", lambda value: value.update(max_position_embeddings=2048)),
    "optimum: BOS by the tokenizer too": settings("tokenizer.json", lambda t: t.update(post_processor=BOS_FIRST)),
    "optimum: older tokenizer": settings("tokenizer.json", lambda t: t["model"]["merges"].pop(40)),
    "optimum: template role": folder(SPEAKER),
    "optimum: shortened graph": folder(cut),
}
