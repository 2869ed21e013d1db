"""Knows ONNX folders: onnxruntime-genai ones and plain ones with a key-value cache, both as a Backend."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from midm_mini.backend import SMALL, Chooser, cores, kept, pick_context, written
from midm_mini.format import MidmError, graph_file
from midm_mini.sampling import greedy

ELEMENTS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
VISIBLE = [*range(33, 127), *range(161, 173), *range(174, 256)]  # GPT-2's letters for bytes: these stand for themselves
HIDDEN = [byte for byte in range(256) if byte not in VISIBLE]
BYTE_OF = {chr(byte): byte for byte in VISIBLE} | {chr(256 + n): byte for n, byte in enumerate(HIDDEN)}


class OnnxBackend:
    """A folder with tokenizer.json, a .onnx file and genai_config.json or config.json; opens it when first asked."""

    def __init__(self, path: Path, *, threads: int | None, context: int | None) -> None:
        self._path = path
        self._genai = (path / "genai_config.json").is_file()
        import_module("onnxruntime_genai" if self._genai else "onnxruntime")  # told now if missing, not at the question
        with _naming(file := path / ("genai_config.json" if self._genai else "config.json")):
            config = json.loads(file.read_text("utf-8"))
            config = config.get("model", config)
            decoder = config.get("decoder", config)
            trained = config.get("context_length") or config["max_position_embeddings"]
            self.vocab_size: int = config["vocab_size"]
            self.bos: int | None = config.get("bos_token_id")
            stops = config["eos_token_id"]
            self._stops = frozenset(stops if isinstance(stops, list) else [stops])
            self.details = {"model": config.get("type") or config["model_type"], "tokenizer": "tokenizer.json"}
            self._graph = path / decoder["filename"] if "filename" in decoder else graph_file(path)
            weights = sum(part.stat().st_size for part in self._graph.parent.glob(f"{self._graph.name}*"))
            self._threads = threads or (1 if weights < SMALL else cores())
            self._head = decoder.get("head_size") or config.get("head_dim")
            self._head = self._head or config["hidden_size"] // config["num_attention_heads"]
        self.context = pick_context(context, trained=trained)
        with _naming(path / "tokenizer.json"):
            self._tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
        self._spell = speller(self._tokenizer)
        self._past: dict[str, np.ndarray] = {}  # the plain graph's cache; genai keeps its own
        self._cached: list[int] = []  # what the cache that generates begins with, whatever was interrupted since

    def ends(self, token: int) -> bool:
        return token in self._stops

    def encode(self, text: str, *, special: bool) -> list[int]:
        self._tokenizer.encode_special_tokens = not special
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def token_bytes(self, token: int) -> bytes:
        return self._spell(token)

    def start(self, ids: Sequence[int]) -> np.ndarray:
        return self._next(self._unread(ids))

    def step(self, token: int) -> np.ndarray:
        return self._next([token])

    def write(self, ids: Sequence[int], choose: Chooser) -> Iterator[int]:
        said: list[int] = []
        if self._genai and choose is greedy:  # genai's own choice spares copying scores: 20 us, a token of demo's 240
            self._read(self._unread(ids))
            with _naming(self._path):
                while not self._generator.is_done():  # as after the last row: `ends` knows what ends a reply, not genai
                    self._generator.generate_next_token()
                    self._cached += said[-1:]
                    said.append(int(self._generator.get_next_tokens()[0]))
                    yield said[-1]
        yield from written(self, [*ids, *said], choose)

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        """By onnxruntime itself, whatever generates: genai keeps the last row only."""
        self._past, self._cached = self._empty(), self._cached if self._genai else []
        return self._run(ids)

    def hidden(self, ids: Sequence[int]) -> np.ndarray:
        raise MidmError(f"{self._graph}: gives logits only, no hidden states to embed by; take a GGUF file")

    def close(self) -> None:
        vars(self).clear()  # what it opened goes with the last name

    @cached_property
    def _session(self) -> Any:
        import onnxruntime  # by those who need it: genai has its own inside, and an import is a tenth of a cold start

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = self._threads, 1, 3
        with _naming(self._graph):
            return onnxruntime.InferenceSession(str(self._graph), options, providers=["CPUExecutionProvider"])

    @cached_property
    def _generator(self) -> Any:
        """onnxruntime-genai's loop, whose only choice is the best: every backend obeys the same options."""
        import onnxruntime_genai as genai

        genai.disable_telemetry_events()
        options = {"session_options": {"intra_op_num_threads": self._threads, "inter_op_num_threads": 1}}
        with _naming(self._path):
            config = genai.Config(str(self._path))
            config.overlay(json.dumps({"model": {"decoder": options, "eos_token_id": self.vocab_size - 1}}))
            params = genai.GeneratorParams(model := genai.Model(config))
            alone = {"batch_size": 1, "num_beams": 1, "do_sample": False}
            params.set_search_options(max_length=self.context, min_length=0, repetition_penalty=1.0, **alone)
            return genai.Generator(model, params)

    def _empty(self) -> dict[str, np.ndarray]:
        return {
            entry.name: np.zeros((1, entry.shape[1], 0, self._head), ELEMENTS[entry.type])
            for entry in self._session.get_inputs()
            if entry.name.startswith("past_key_values.")
        }

    def _unread(self, ids: Sequence[int]) -> Sequence[int]:
        """What is to be read of `ids`; the cache keeps what it shares with them and nothing else."""
        after = kept(self._cached, ids)
        self._cached = list(ids[:after])
        if self._genai:
            self._generator.rewind_to(after)
        else:
            self._past = {name: block[:, :, :after] for name, block in (self._past or self._empty()).items()}
        return ids[after:]

    def _next(self, ids: Sequence[int]) -> np.ndarray:
        """float32 [V] for the token after `ids`, which the cache then ends with."""
        if self._genai:
            self._read(ids)
            return self._generator.get_logits()[0, -1].astype(np.float32, copy=False)
        scores = self._run(ids)[-1]
        self._cached += ids
        return scores

    def _read(self, ids: Sequence[int]) -> None:
        """Ends genai's cache with `ids`."""
        with _naming(self._path):
            self._generator.append_tokens(np.array(ids, np.int32))
        self._cached += ids

    def _run(self, ids: Sequence[int]) -> np.ndarray:
        """float32 [T, V] for `ids` after the cache, which then includes them."""
        seen = next((block.shape[2] for block in self._past.values()), 0)
        feed = {
            "input_ids": np.array([ids], np.int64),
            "attention_mask": np.ones((1, seen + len(ids)), np.int64),
            "position_ids": np.arange(seen, seen + len(ids), dtype=np.int64)[None],
        } | self._past
        feed = {entry.name: feed[entry.name] for entry in self._session.get_inputs()}
        names = [entry.name.replace("present", "past_key_values", 1) for entry in self._session.get_outputs()]
        with _naming(self._graph):  # a config that contradicts the graph shows only here
            found = dict(zip(names, self._session.run(None, feed), strict=True))
        scores = found.pop("logits")[0].astype(np.float32, copy=False)
        self._past = found
        return scores


def speller(tokenizer: Tokenizer) -> Callable[[int], bytes]:
    """What says which bytes a token of a byte-level tokenizer stands for; a padding row has none."""
    added = {token: it.content.encode("utf-8") for token, it in tokenizer.get_added_tokens_decoder().items()}

    def spell(token: int) -> bytes:
        known = added.get(token)
        return bytes(BYTE_OF[letter] for letter in tokenizer.id_to_token(token) or "") if known is None else known

    return spell


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # onnxruntime, genai and tokenizers raise types that share no other base
        reason = f"{error}\n".splitlines()[0]
        raise MidmError(f"{file}: refused ({reason}); export the bundle again") from error
