"""Knows what a model does on a few windows of text: how its channels and heads act, how far a layer moves its stream.

Shapes: B examples, T positions, D hidden, F FFN channels, H query heads, L layers.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from models import checkpoints, kernels
from models.batches import Packed, TokenShard

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import LlamaForCausalLM

    Batches = Sequence[torch.Tensor]  # ids [B, T]

EXAMPLES = 8  # of a calibration batch
TABLE = "model.embed_tokens.weight"


def calibration(folder: Path, *, windows: int, context: int, seed: int) -> "list[torch.Tensor]":
    """About `windows` examples of phase 2 of a tokenize folder, drawn by `seed`: ids [8, context] each."""
    packed = Packed(TokenShard.open(folder, "phase2"), context, seed)
    return [packed.batch(step, EXAMPLES)["ids"] for step in range(max(1, windows // EXAMPLES))]


def importance(model: "LlamaForCausalLM", batches: "Batches") -> dict[str, "torch.Tensor"]:
    """Mean absolute activation of each hidden channel (all norms' outputs) and FFN channel, mean norm of each head's
    output (Minitron, arXiv 2407.14679, §2.2): {"hidden": [D], "ffn": [L, F], "heads": [L, H]}.
    """
    import torch

    config, layers, device = model.config, model.model.layers, model.device
    hidden = torch.zeros(config.hidden_size, device=device)
    ffn = torch.zeros(len(layers), config.intermediate_size, device=device)
    heads = torch.zeros(len(layers), config.num_attention_heads, device=device)

    def channels(scores: "torch.Tensor", activation_BTC: "torch.Tensor") -> None:
        scores.add_(activation_BTC.abs().mean((0, 1)))

    def head_norms(scores: "torch.Tensor", output_BTC: "torch.Tensor") -> None:
        scores.add_(output_BTC.unflatten(-1, (config.num_attention_heads, -1)).norm(dim=-1).mean((0, 1)))

    hooks: list[Any] = []
    for n, layer in enumerate(layers):
        for norm in (layer.input_layernorm, layer.post_attention_layernorm):
            hooks.append(norm.register_forward_hook(lambda _m, _i, out: channels(hidden, out)))
        down, out = layer.mlp.down_proj, layer.self_attn.o_proj
        hooks.append(down.register_forward_pre_hook(lambda _m, given, n=n: channels(ffn[n], given[0])))
        hooks.append(out.register_forward_pre_hook(lambda _m, given, n=n: head_norms(heads[n], given[0])))
    with _hooked(hooks):
        _run(model, batches)
    share = 1 / len(batches)
    scores = {"hidden": hidden * share / (2 * len(layers)), "ffn": ffn * share, "heads": heads * share}
    return {name: tensor.cpu() for name, tensor in scores.items()}


def input_squares(folder: Path, windows: Sequence[list[int]]) -> dict[str, "np.ndarray"]:
    """Mean square of each input column of every matrix of a model over windows of ids: name → float32 [columns].

    llama.cpp calls it an importance matrix: it weighs rounding errors. No windows give no matrices. Tied rows are
    measured as the head that they also are.
    """
    import torch

    model = checkpoints.load(folder).to(kernels.device()).eval()  # type: ignore[arg-type]
    sums: dict[str, Any] = {}

    def add(name: str, input_BTC: "torch.Tensor") -> None:
        sums[name] = sums.get(name, 0) + input_BTC.double().square().sum((0, 1))

    hooks: list[Any] = [model.model.norm.register_forward_hook(lambda _m, _i, out: add(_head(model), out))]
    for name, module in _linears(model).items():
        hooks.append(module.register_forward_pre_hook(lambda _m, given, name=name: add(name, given[0])))
    with _hooked(hooks):
        _run(model, [torch.tensor([ids]) for ids in windows])
    positions = sum(map(len, windows))
    return {name: (total / positions).float().cpu().numpy() for name, total in sums.items()}


def loss_weights(folder: Path, windows: Sequence[list[int]]) -> dict[str, "np.ndarray"]:
    """What an error in each column of a matrix costs: name → float32 [columns]; ½ Σ weight · error² is about the KL.

    Mean square of a column's inputs times that of the gradients behind it (the diagonal of `felt`, rows alike; K-FAC,
    arXiv 1503.05671, without its positions). A lookup meets the errors of one row of the embedding.
    """
    import torch

    model = checkpoints.load(folder).to(kernels.device()).eval()  # type: ignore[arg-type]
    found = felt(model, [torch.tensor([ids]) for ids in windows])
    weights = {name: gram.diagonal() * found.outputs[name].mean() for name, gram in found.inputs.items()}
    weights[TABLE] = weights.get(TABLE, 0) + found.embedded.diagonal() / model.config.vocab_size
    return {name: weight.float().cpu().numpy() for name, weight in weights.items()}


class Felt(NamedTuple):
    """How predictions feel what matrices give, by their names; the embedding's rows are felt as the head's."""

    outputs: "dict[str, torch.Tensor]"  # mean square of each output's gradient [rows]
    inputs: "dict[str, torch.Tensor]"  # mean Gram matrix of the inputs [columns, columns], positions weighed as felt
    embedded: "torch.Tensor"  # mean Gram matrix of the gradients of embedded tokens [D, D]


def felt(model: "LlamaForCausalLM", batches: "Batches") -> Felt:
    """What an error behind each matrix costs: about ½ Σ outputs[row] · error[row]ᵀ · inputs · error[row], in nats.

    The loss is that of tokens drawn from the model's own predictions, so these are parts of its Fisher information,
    the curvature of KL to itself (Kunstner et al. 2019, arXiv 1905.12558). A position counts by the square of the
    gradient behind it, as most errors are felt at few of them (GuidedQuant, Kim et al. 2025, arXiv 2505.07004).
    """
    import torch

    draw = torch.Generator(model.device).manual_seed(0)
    outputs, grams, total = dict[str, Any](), dict[str, Any](), dict[str, Any]()
    embedded_DD = torch.zeros((), device=model.device)

    def add(name: str, input_NC: "torch.Tensor", gradient_NR: "torch.Tensor") -> None:
        squares_NR = gradient_NR.square()
        weight_N = squares_NR.sum(-1)
        outputs[name] = outputs.get(name, 0) + squares_NR.sum(0)
        grams[name] = grams.get(name, 0) + (input_NC.T * weight_N) @ input_NC
        total[name] = total.get(name, 0) + weight_N.sum()

    def watch(name: str, module: Any) -> Any:
        def seen(_module: Any, given: Any, output: "torch.Tensor") -> None:
            input_NC = given[0].detach().flatten(0, -2)
            output.register_hook(lambda gradient: add(name, input_NC, gradient.flatten(0, -2)))

        return module.register_forward_hook(seen)

    matrices = {**_linears(model), _head(model): model.get_output_embeddings()}
    with _hooked([watch(name, module) for name, module in matrices.items()]):
        for ids_T in chain.from_iterable(batches):
            stream_TD = model.model.embed_tokens(ids_T[None].to(model.device)).detach().requires_grad_()
            logits_TV = model(inputs_embeds=stream_TD, use_cache=False).logits[0].float()
            drawn_T = torch.multinomial(logits_TV.detach().softmax(-1), 1, generator=draw)[:, 0]
            loss = torch.nn.functional.cross_entropy(logits_TV, drawn_T, reduction="sum")
            (gradient_TD,) = torch.autograd.grad(loss, stream_TD)
            embedded_DD = embedded_DD + gradient_TD[0].T @ gradient_TD[0]
    positions = sum(ids_BT.numel() for ids_BT in batches)
    means = {name: square / positions for name, square in outputs.items()}
    inputs = {name: gram / total[name].clamp(min=torch.finfo(torch.float32).tiny) for name, gram in grams.items()}
    return Felt({TABLE: means[_head(model)], **means}, inputs, embedded_DD / positions)


def influence(model: "LlamaForCausalLM", batches: "Batches") -> list[float]:
    """Block influence of each layer: 1 − mean cosine of the stream before and after it (ShortGPT, 2403.03853, eq. 1).

    0: the layer changes no direction; the greater, the more the layer does.
    """
    return [1 - cosine for cosine in _mean_over(_streams(model, batches), 1, lambda cosine_BT: cosine_BT)]


def angles(model: "LlamaForCausalLM", batches: "Batches", *, length: int) -> list[float]:
    """Angular distance in units of π across each run of `length` layers (Gromov et al., arXiv 2403.17887, eq. 7)."""
    import math

    streams = _streams(model, batches)
    return _mean_over(streams, length, lambda cosine_BT: cosine_BT.clamp(-1, 1).arccos() / math.pi)


def _mean_over(streams: Iterator["list[torch.Tensor]"], length: int, measure: Any) -> list[float]:
    from torch.nn.functional import cosine_similarity

    found = [
        [float(measure(cosine_similarity(a, b, dim=-1)).mean()) for a, b in zip(stream, stream[length:], strict=False)]
        for stream in streams
    ]
    return [sum(column) / len(found) for column in zip(*found, strict=True)]


def _streams(model: "LlamaForCausalLM", batches: "Batches") -> Iterator["list[torch.Tensor]"]:
    """The residual stream [B, T, D] before each layer and after the last one, batch by batch."""
    for ids_BT in batches:
        stream: list[torch.Tensor] = []

        def record(_module: Any, given: Any, *, stream: "list[torch.Tensor]" = stream) -> None:
            stream.append(given[0])

        with _hooked([it.register_forward_pre_hook(record) for it in (*model.model.layers, model.model.norm)]):
            _run(model, [ids_BT])
        yield stream


def _linears(model: "LlamaForCausalLM") -> dict[str, Any]:
    """The layers' matrices, as modules, by the names of their weights."""
    import torch

    modules = model.model.layers.named_modules(prefix="model.layers")
    return {f"{name}.weight": module for name, module in modules if isinstance(module, torch.nn.Linear)}


def _head(model: "LlamaForCausalLM") -> str:
    return TABLE if model.config.tie_word_embeddings else "lm_head.weight"


def _run(model: "LlamaForCausalLM", batches: "Batches") -> None:
    import torch

    with torch.no_grad():
        for ids_BT in batches:
            model.model(input_ids=ids_BT.to(model.device), use_cache=False)


@contextmanager
def _hooked(hooks: list[Any]) -> Iterator[None]:
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
