"""Knows induction heads: a seed is given two kinds of them by hand, and they stay as they are while the rest learns.

Heads of the first layer look one token back and write down what stood there; heads of the second look for the place
before which the present token stood, and read what came next: a text is gone on with as it went before (Olsson et al.
2022, arXiv 2209.11895, "How induction heads work"). Large models grow them from billions of tokens; in the demo's no
training did, and optimizer steps undo them unless they are held (docs/log.md). All of the first group's heads are so.
"""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM

    Held = tuple[str, tuple[slice, ...]]

FAST, SLOW, STILL = 0.2, 2.5, 0.2  # radians of rotary pairs: in one token for the first, in the context for the others
CHANNELS, CONSTANT = 2, 3.0  # of embeddings: it stands in the first, as Llama has no biases; in the second of bos alone
BEFORE, MATCH, REST = 20.0, 30.0, 6.0  # scores: of the token before; of a match; of bos, where there is none
NEAR = 0.8  # the neighbours of the token before score less by about one
WRITTEN, READ = 1.5, 4.0  # sizes of what is written of the token before, and of what followed


def induce(model: "LlamaForCausalLM", *, seed: int) -> None:
    """Wires the first heads of the first two layers of a fresh, untied model; its head begins as its embeddings.

    Keys and values are random projections, so that any token can be found. Raises ValueError for a tied model, one of
    fewer than two layers or groups of heads, or one whose heads turn too fast to find anything a context away.
    """
    import torch

    config: Any = model.config
    width, size, context = config.hidden_size, config.head_dim, config.max_position_embeddings
    turn_F = config.rope_parameters["rope_theta"] ** (-torch.arange(size // 2) / (size // 2))  # radians a token
    slow_F, still_F = turn_F * context < SLOW, turn_F * context < STILL
    small = min(config.num_hidden_layers, config.num_key_value_heads) < 2
    if config.tie_word_embeddings or small or slow_F.sum() < 8 or not still_F.any():
        wanted = "untied embeddings, two layers, two groups of heads, and 8 rotary pairs that are slow for the context"
        raise ValueError(f"induction heads want {wanted}; or set pretrain.induction to false")
    draw, none = torch.Generator().manual_seed(seed), torch.zeros(CHANNELS, size)
    drawn = (torch.linalg.qr(torch.randn(width - CHANNELS, size, generator=draw)).Q for _ in range(3))
    read_DH, written_DH, copied_DH = (torch.cat([none, directions]) for directions in drawn)
    config.induction = {"before": [0], "match": [1]}
    first, second = (layer.self_attn for layer in model.model.layers[:2])
    with torch.no_grad():
        for name, place in held(config):
            model.get_parameter(name)[place] = 0
        embeddings = model.model.embed_tokens.weight
        embeddings[:, 0], embeddings[config.bos_token_id, 1] = CONSTANT, CONSTANT
        model.lm_head.weight.copy_(embeddings * config.initializer_range)[:, :CHANNELS] = 0
        _look_back(first, turn_F, still_F)
        _look_up(second, slow_F, read_DH, written_DH)
        for attention, values_DH, outputs_DH, scale in (
            (first, read_DH, written_DH, WRITTEN), (second, copied_DH, copied_DH, READ),
        ):  # fmt: skip
            attention.v_proj.weight[:size] = values_DH.T
            group = attention.num_key_value_groups
            attention.o_proj.weight[:, : group * size] = scale / group * outputs_DH.repeat(1, group)


def _look_back(attention: Any, turn_F: "torch.Tensor", still_F: "torch.Tensor") -> None:
    """Pairs that turn fast agree one token back; still ones take from each score what its neighbours share with it, so
    that a token of larger embedding does not draw the look to itself."""
    import torch

    width, size = attention.config.hidden_size, attention.head_dim
    fast_F, still_F = (turn_F > FAST).float(), still_F.float()
    still_F *= ((fast_F.sum() - NEAR) / still_F.sum()).sqrt()
    scale = math.sqrt(BEFORE * math.sqrt(size) * (width - 1 + CONSTANT**2) / width) / CONSTANT  # of normed embeddings
    attention.k_proj.weight[:size, 0] = scale * torch.cat([fast_F * turn_F.cos() + still_F, fast_F * turn_F.sin()])
    for query_HD in attention.q_proj.weight.split(size)[: attention.num_key_value_groups]:
        query_HD[: size // 2, 0] = scale * (fast_F - still_F)


def _look_up(attention: Any, slow_F: "torch.Tensor", read_DH: "torch.Tensor", written_DH: "torch.Tensor") -> None:
    """Keys are what the first layer wrote of the token before, queries the same of the present one."""
    import torch

    width, size = attention.config.hidden_size, attention.head_dim
    slow = slow_F.nonzero().flatten()
    matched, rest = torch.cat([slow[:-1], slow[:-1] + size // 2]), slow[-1]
    spread = math.sqrt((width + CONSTANT**2 + WRITTEN**2 * size) / width)  # of this layer's inputs before their norm
    per_match = math.sqrt(MATCH * spread**2 * math.sqrt(size) / (WRITTEN * len(matched)))
    per_rest = math.sqrt(REST * math.sqrt(size)) * spread / CONSTANT
    attention.k_proj.weight[matched] = per_match * written_DH.T[matched]
    attention.k_proj.weight[rest, 1] = per_rest
    for query_HD in attention.q_proj.weight.split(size)[: attention.num_key_value_groups]:
        query_HD[matched] = per_match * read_DH.T[matched]
        query_HD[rest, 0] = per_rest


def held(config: Any) -> "Iterator[Held]":
    """Names and places of the weights that are to stay as they are; none of a model that was not induced.

    How what was read is written is not among them: it has to become what the head can say.
    """
    size, group = config.head_dim, config.num_attention_heads // config.num_key_value_heads
    for kind, layer in ((kind, layer) for kind, layers in _known(config).items() for layer in layers):
        name = f"model.layers.{layer}.self_attn"
        yield f"{name}.q_proj.weight", (slice(group * size),)
        yield f"{name}.k_proj.weight", (slice(size),)
        yield f"{name}.v_proj.weight", (slice(size),)
        if kind == "before":
            yield f"{name}.o_proj.weight", (slice(None), slice(group * size))
    if _known(config):
        yield "model.embed_tokens.weight", (slice(None), slice(CHANNELS))


def hold(model: "LlamaForCausalLM", optimizers: "Sequence[torch.optim.Optimizer]") -> None:
    """Puts them back after each step of any optimizer. Raises ValueError where the weights lie in shards."""
    import torch
    from torch.distributed.tensor import DTensor

    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    kept = [(weights[name], place) for name, place in held(model.config) if name in weights]
    if any(isinstance(weight, DTensor) for weight, _ in kept):
        raise ValueError("induction heads cannot be held where weights are sharded; set pretrain.induction to false")
    values = [weight.detach()[place].clone() for weight, place in kept]

    def put_back(*_: Any) -> None:
        with torch.no_grad():
            for (weight, place), value in zip(kept, values, strict=True):
                weight[place] = value

    for optimizer in optimizers if kept else ():
        optimizer.register_step_post_hook(put_back)


def free(config: Any) -> None:
    """Lets go of them: conversations ask for copies so often that they stay, and learn better what to copy."""
    vars(config).pop("induction", None)


def channels(config: Any) -> int:
    """How many of the first channels of embeddings these heads' queries and keys are made of."""
    return CHANNELS if _known(config) else 0


def carry(source: Any, target: Any, origins: Sequence[int]) -> None:
    """Tells the config of a model that consists of another's layers, by number, where its induction heads are."""
    if known := _known(source):
        target.induction = {
            kind: [n for n, origin in enumerate(origins) if origin in layers] for kind, layers in known.items()
        }


def spare(config: Any, scores: dict[str, Any]) -> None:
    """Raises the scores by which pruning chooses, so that it keeps what induction needs."""
    group = config.num_attention_heads // config.num_key_value_heads
    for layer in {layer for layers in _known(config).values() for layer in layers}:
        scores["hidden"][:CHANNELS] = scores["heads"][layer][:group] = scores["layers"][layer] = math.inf


def _known(config: Any) -> dict[str, list[int]]:
    """Numbers of the layers that have such heads, by their kind."""
    return getattr(config, "induction", {})
