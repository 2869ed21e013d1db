"""Makes the tiny parent that every export test starts from: odd head size, grouped heads, tied rows, own rope base."""

import json
import random
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from midm_mini.format import EOT

from corpus import bpe
from export.gguf import Card
from export.onnx import Blocks

CARD = Card("midm-mini-test", "instruct", "v0.1", "mit", ("ko", "en"), "midm-base-test")
BLOCKS = Blocks(block_size=32, symmetric=False)
HEADS, KV_HEADS, HEAD_DIM, LAYERS, CONTEXT = (4, 2, 32, 2, 256)  # 4 x 32 is not hidden: head_dim must be carried
ROPE_THETA = 50_000.0

FIXED = [
    "안녕하세요, 반갑습니다!",
    "한국의 수도는 서울이다.",
    "The quick brown fox's 12345 jumps over 3.14 lazy dogs.",
    "I'LL we've DON'T it's",
    "서울에서 Seoul까지 100km를 3시간에 gelangen었다",
    "ㅋㅋㅋㅋ ㅠㅠ ㅎㅎ",
    "  leading and trailing   ",
    "\n\n\t tabs \r\n and\r\nlines \n \n",
    "👩‍👩‍👧‍👦🇰🇷👍🏽 이모지",
    unicodedata.normalize("NFD", "각 나라의 말씀이 서로 다르다"),
    unicodedata.normalize("NFD", "café naïve résumé"),
    "漢字와 한글, カタカナ, кириллица, العربية, हिन्दी",
    "１２３ ①②③ ½ Ⅷ",
    "\u200b\u200d\ufeff zero\u00a0width\u3000wide",
    "def f(x):\n    return x**2  # 제곱\n",
    "https://example.org/경로?q=값&r=1#끝",
    "",
    " ",
    "a",
]
HANGUL = [chr(code) for code in range(0xAC00, 0xD7A4, 37)]
ENGLISH = ["the", "of", "river", "winter", "because", "o'clock", "don't", "42", "1,024", "U.S.A.", "re-open"]
MARKS = [" ", " ", " ", "  ", "\n", ". ", ", ", "!", "?", "…", "·", "「", "」", "-", "~", "%", "\t", "'s", '"']
EMOJI = [*"😀🎉🚀🌸🍚🐯❤️🇰🇷", "👩‍🚀", "👨‍👩‍👧", "🤦🏽‍♂️", "☕️"]


def sentences(count: int, *, seed: int) -> Iterator[str]:
    """Yields `FIXED`, then made-up Korean, English, mixed, emoji and decomposed strings, the same for a seed."""
    yield from FIXED
    choose = random.Random(seed)
    for number in range(count - len(FIXED)):
        pools = [[HANGUL], [ENGLISH], [HANGUL, ENGLISH], [HANGUL, EMOJI], [HANGUL, ENGLISH, EMOJI]][number % 5]
        parts = []
        for _ in range(choose.randint(1, 24)):
            parts.append("".join(choose.choices(choose.choice(pools), k=choose.randint(1, 3))))
            parts.append(choose.choice(MARKS) if choose.random() < 0.6 else "")
        text = "".join(parts)
        yield unicodedata.normalize("NFD", text) if number % 7 == 0 else text


def save_tokenizer(folder: Path) -> int:
    """Writes the project's own kind of tokenizer, learnt from `sentences`; returns its number of tokens."""
    tokenizer = bpe.train(sentences(600, seed=1), vocab_size=900, min_frequency=1)
    bpe.save(tokenizer, folder, context=CONTEXT)
    return tokenizer.get_vocab_size()


def save_parent(
    folder: Path, *, hidden: int = 256, ffn: int = 512, tied: bool = True, dtype: str = "float32", shard: str = "1GB"
) -> Path:
    """Writes a random Llama whose logits really depend on rope, head order and every layer."""
    import torch
    from tokenizers import Tokenizer
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True)
    tokens = save_tokenizer(folder)
    eot = Tokenizer.from_file(str(folder / "tokenizer.json")).token_to_id(EOT)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=-(-tokens // 64) * 64,
        hidden_size=hidden,
        intermediate_size=ffn,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        head_dim=HEAD_DIM,
        max_position_embeddings=CONTEXT,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        tie_word_embeddings=tied,
        initializer_range=0.06,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=[2, eot],
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(bos_token_id=0, pad_token_id=1, eos_token_id=[2, eot])
    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=shard)
    return folder


CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
RENAMED = {
    "<|begin_of_text|>": "<|startoftext|>",
    "<pad>": "<|reserved|>",
    "<|end_of_text|>": "<|endoftext|>",
    "<|eot_id|>": "<|im_end|>",
    "<|start_header_id|>": "<|im_start|>",
}


def save_foreign(folder: Path, *, tied: bool = False) -> Path:
    """Writes a checkpoint as others' look: transformers 4, bfloat16 shards, own specials, no pad, BOS by itself."""
    save_parent(folder, tied=tied, dtype="bfloat16", shard="1MB")
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    added = [row | {"content": RENAMED.get(row["content"], row["content"])} for row in tokenizer["added_tokens"]]
    model = tokenizer["model"] | {"ignore_merges": False}
    model["vocab"] = {RENAMED.get(text, text): row for text, row in model["vocab"].items()}
    first = {"SpecialToken": {"id": "<|startoftext|>", "type_id": 0}}
    single = [first, {"Sequence": {"id": "A", "type_id": 0}}]
    opened = {"<|startoftext|>": {"id": "<|startoftext|>", "ids": [0], "tokens": ["<|startoftext|>"]}}
    post = {"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": opened}
    rewrite(folder / "tokenizer.json", tokenizer | {"model": model, "added_tokens": added, "post_processor": post})
    settings = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "chat_template": CHATML}
    rewrite(folder / "tokenizer_config.json", settings | {"tokenizer_class": "PreTrainedTokenizerFast"})
    (folder / "chat_template.jinja").unlink()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for name in ("rope_parameters", "pad_token_id"):
        del config[name]
    rewrite(folder / "config.json", config | {"rope_theta": ROPE_THETA, "rope_scaling": None, "eos_token_id": 2})
    rewrite(folder / "generation_config.json", {"bos_token_id": 0, "eos_token_id": 2, "do_sample": True, "top_p": 0.9})
    return folder


def rewrite(path: Path, value: object) -> None:
    """Writes JSON."""
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
