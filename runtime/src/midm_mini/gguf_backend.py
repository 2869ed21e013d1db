"""Knows llama.cpp: a GGUF file as a Backend, through the low-level calls of llama-cpp-python."""

import ctypes
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any

import numpy as np

from midm_mini.backend import Chooser, Trial, kept, pick_context, written
from midm_mini.format import MidmError

CHUNK = 256  # tokens per call: bounds the logits that llama.cpp holds at once to 256 x V floats
_complaints: deque[str] = deque(maxlen=8)


def _bindings() -> Any:
    """llama_cpp.llama_cpp alone: the package's own front imports jinja2 and diskcache, a third of a cold start."""
    spec = None if "llama_cpp" in sys.modules else find_spec("llama_cpp")
    if spec is None:  # imported already, or missing, which this says
        return import_module("llama_cpp.llama_cpp")
    sys.modules["llama_cpp"] = module_from_spec(spec)  # not run
    try:
        return import_module("llama_cpp.llama_cpp")
    finally:  # whoever imports the package later gets a whole one
        for name in [name for name in sys.modules if name.partition(".")[0] == "llama_cpp"]:
            del sys.modules[name]


llama = _bindings()


@llama.llama_log_callback
def _listen(level: int, text: bytes, _: object) -> None:  # a module name: llama.cpp keeps the pointer for good
    if level == 4:  # ggml.h: errors; llama-cpp-python 0.3.36 still names the old numbers
        _complaints.append(text.decode("utf-8", "replace").strip())


class GgufBackend:
    """A GGUF file (or the only one in a folder) opened by llama.cpp."""

    def __init__(self, path: Path, *, threads: int | None, context: int | None) -> None:
        file = path if path.is_file() else next(path.glob("*.gguf"))
        _complaints.clear()
        llama.llama_log_set(_listen, ctypes.c_void_p(0))
        llama.llama_backend_init()
        self._context: Any = None
        self._cached: list[int] = []  # what the cache begins with, whatever was interrupted since
        self._model = llama.llama_model_load_from_file(str(file).encode(), llama.llama_model_default_params())
        if not self._model:
            raise MidmError(f"{file}: llama.cpp refuses it ({'; '.join(_complaints)}); export it again")
        try:
            self.context = pick_context(context, trained=llama.llama_model_n_ctx_train(self._model))
            trial = Trial(file.stat().st_size)
            self._trial: Trial | None = None if threads else trial
            self._context = llama.llama_init_from_model(self._model, self._params(threads or trial.threads))
            if not self._context:
                raise MidmError(f"{file}: no context of {self.context} tokens ({'; '.join(_complaints)}); ask for less")
        except MidmError:
            self.close()
            raise
        self._piece = ctypes.create_string_buffer(4096)
        self._vocab = llama.llama_model_get_vocab(self._model)
        self.vocab_size = llama.llama_vocab_n_tokens(self._vocab)
        self.bos = bos if (bos := llama.llama_vocab_bos(self._vocab)) >= 0 else None
        described = self._string(llama.llama_model_desc)  # of a shape that llama.cpp has no name for, size "?B"
        self.details = {"model": described.replace(" ?B", "")}
        for key, name in {"name": b"general.name", "tokenizer": b"tokenizer.ggml.pre"}.items():
            self.details[key] = self._string(llama.llama_model_meta_val_str, name)

    def ends(self, token: int) -> bool:
        return llama.llama_vocab_is_eog(self._vocab, token)

    def encode(self, text: str, *, special: bool) -> list[int]:
        data = text.encode("utf-8")
        buffer = (llama.llama_token * (len(data) + 1))()  # a token stands for a byte or more
        count = llama.llama_tokenize(self._vocab, data, len(data), buffer, len(buffer), False, special)
        if count < 0:
            raise MidmError(f"llama.cpp cannot tokenize {len(data)} bytes of text (code {count}); give it in parts")
        return list(buffer[:count])

    def token_bytes(self, token: int) -> bytes:
        size = llama.llama_token_to_piece(self._vocab, token, self._piece, len(self._piece), 0, True)
        if size < 0:
            raise MidmError(f"token {token} is {-size} bytes long; this wheel reads at most {len(self._piece)}")
        return self._piece[:size]

    def start(self, ids: Sequence[int]) -> np.ndarray:
        for chunk in self._chunks(ids, after=kept(self._cached, ids)):
            self._decode(chunk, scored=1)
        return self._scores(1)[0]

    def step(self, token: int) -> np.ndarray:
        started = time.perf_counter()
        self._decode([token], scored=1)
        if self._trial:
            self._try(self._trial, time.perf_counter() - started)
        return self._scores(1)[0]

    def write(self, ids: Sequence[int], choose: Chooser) -> Iterator[int]:
        return written(self, ids, choose)

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        found = []
        for chunk in self._chunks(ids, after=0):
            self._decode(chunk, scored=len(chunk))
            found.append(self._scores(len(chunk)).copy())
        return np.concatenate(found)

    def hidden(self, ids: Sequence[int]) -> np.ndarray:
        found, width = [], llama.llama_model_n_embd(self._model)
        llama.llama_set_embeddings(self._context, True)
        try:
            for chunk in self._chunks(ids, after=0):
                self._decode(chunk, scored=len(chunk))
                states = llama.llama_get_embeddings(self._context)
                found.append(np.ctypeslib.as_array(states, shape=(len(chunk), width)).copy())
        finally:
            llama.llama_set_embeddings(self._context, False)
        return np.concatenate(found)

    def close(self) -> None:
        llama.llama_free(self._context)
        llama.llama_model_free(self._model)

    def _params(self, threads: int) -> Any:
        params = llama.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = self.context, CHUNK, CHUNK
        params.n_threads = params.n_threads_batch = threads
        if llama.llama_model_ftype(self._model) & ~llama.LLAMA_FTYPE_GUESSED == llama.LLAMA_FTYPE_ALL_F32:
            params.type_k = params.type_v = llama.GGML_TYPE_F32  # an f16 cache or flash attention costs 1e-2 here,
            params.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_DISABLED  # without them 1e-5 (measured, tiny model)
        return params

    def _try(self, trial: Trial, seconds: float) -> None:
        found = trial.add(seconds)
        llama.llama_set_n_threads(self._context, trial.threads, max(trial.threads, trial.first))
        self._trial = None if found else trial

    def _chunks(self, ids: Sequence[int], *, after: int) -> Iterator[Sequence[int]]:
        """What is to be read of `ids`, in parts; the cache keeps the first `after` of them and nothing else."""
        memory, self._cached = llama.llama_get_memory(self._context), list(ids[:after])
        if not llama.llama_memory_seq_rm(memory, 0, after, -1):  # a recurrent model forgets all or nothing
            after, self._cached = 0, []
            llama.llama_memory_clear(memory, False)
        return (ids[at : at + CHUNK] for at in range(after, len(ids), CHUNK))

    def _decode(self, tokens: Sequence[int], *, scored: int) -> None:
        """Reads `tokens` after those in the cache; the last `scored` of them get an output row."""
        count = len(tokens)
        held = (llama.llama_token * count)(*tokens)
        batch = llama.llama_batch_get_one(held, count)
        if scored > 1:  # llama.cpp scores the last by itself
            batch.logits = (ctypes.c_int8 * count)(*[0] * (count - scored), *[1] * scored)
        if code := llama.llama_decode(self._context, batch):
            at = len(self._cached)
            raise MidmError(f"llama.cpp failed (code {code}) on tokens {at} to {at + count} of the context")
        self._cached += tokens

    def _scores(self, rows: int) -> np.ndarray:
        """llama.cpp's own float32 [rows, V], which its next call overwrites."""
        scores = llama.llama_get_logits(self._context).contents  # numpy's as_array took 12 us, a token of demo's 330
        block = (ctypes.c_float * (rows * self.vocab_size)).from_address(ctypes.addressof(scores))
        return np.frombuffer(block, np.float32).reshape(rows, self.vocab_size)

    def _string(self, ask: Any, *key: bytes) -> str:
        buffer = ctypes.create_string_buffer(256)
        size = ask(self._model, *key, buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace") if size >= 0 else "not stated"
