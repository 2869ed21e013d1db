"""Knows llama.cpp: a GGUF file as a Backend, through the low-level calls of llama-cpp-python."""

import ctypes
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as llama
import numpy as np

from midm_mini.backend import pick_context
from midm_mini.format import MidmError

CHUNK = 256  # tokens per call: bounds the logits that llama.cpp holds at once to 256 x V floats
_complaints: deque[str] = deque(maxlen=8)


@llama.llama_log_callback
def _listen(level: int, text: bytes, _: object) -> None:  # a module name: llama.cpp keeps the pointer for good
    if level == 4:  # ggml.h: errors; llama-cpp-python 0.3.36 still names the old numbers
        _complaints.append(text.decode("utf-8", "replace").strip())


class GgufBackend:
    """A GGUF file (or the only one in a folder) opened by llama.cpp."""

    def __init__(self, path: Path, *, threads: int, context: int | None) -> None:
        file = path if path.is_file() else next(path.glob("*.gguf"))
        _complaints.clear()
        llama.llama_log_set(_listen, ctypes.c_void_p(0))
        llama.llama_backend_init()
        self._context: Any = None
        self._model = llama.llama_model_load_from_file(str(file).encode(), llama.llama_model_default_params())
        if not self._model:
            raise MidmError(f"{file}: llama.cpp refuses it ({'; '.join(_complaints)}); export it again")
        try:
            self.context = pick_context(context, trained=llama.llama_model_n_ctx_train(self._model))
            self._context = llama.llama_init_from_model(self._model, self._params(threads))
            if not self._context:
                raise MidmError(f"{file}: no context of {self.context} tokens ({'; '.join(_complaints)}); ask for less")
        except MidmError:
            self.close()
            raise
        self._vocab = llama.llama_model_get_vocab(self._model)
        self.vocab_size = llama.llama_vocab_n_tokens(self._vocab)
        self.bos = bos if (bos := llama.llama_vocab_bos(self._vocab)) >= 0 else None
        self.details = {"model": self._string(llama.llama_model_desc)}
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
        buffer = ctypes.create_string_buffer(4096)
        size = llama.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, True)
        if size < 0:
            raise MidmError(f"token {token} is {-size} bytes long; this wheel reads at most {len(buffer)}")
        return buffer.raw[:size]

    def start(self, ids: Sequence[int]) -> np.ndarray:
        llama.llama_memory_clear(llama.llama_get_memory(self._context), False)
        return self._read(ids, rows=1)[-1]

    def step(self, token: int) -> np.ndarray:
        return self._read([token], rows=1)[-1]

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        llama.llama_memory_clear(llama.llama_get_memory(self._context), False)
        return self._read(ids, rows=CHUNK)

    def close(self) -> None:
        llama.llama_free(self._context)
        llama.llama_model_free(self._model)

    def _params(self, threads: int) -> llama.llama_context_params:
        params = llama.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = self.context, CHUNK, CHUNK
        params.n_threads = params.n_threads_batch = threads
        if llama.llama_model_ftype(self._model) & ~llama.LLAMA_FTYPE_GUESSED == llama.LLAMA_FTYPE_ALL_F32:
            params.type_k = params.type_v = llama.GGML_TYPE_F32  # an f16 cache or flash attention costs 1e-2 here,
            params.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_DISABLED  # without them 1e-5 (measured, tiny model)
        return params

    def _read(self, ids: Sequence[int], *, rows: int) -> np.ndarray:
        """Reads `ids` after those before, chunk by chunk; float32 [n, V] for the last `rows` tokens of each chunk."""
        found = []
        for at in range(0, len(ids), CHUNK):
            chunk = ids[at : at + CHUNK]
            tokens = (llama.llama_token * len(chunk))(*chunk)
            wanted = [n >= len(chunk) - rows for n in range(len(chunk))]
            batch = llama.llama_batch_get_one(tokens, len(chunk))
            batch.logits = (ctypes.c_int8 * len(chunk))(*wanted)
            if code := llama.llama_decode(self._context, batch):
                raise MidmError(f"llama.cpp failed (code {code}) on tokens {at} to {at + len(chunk)} of {len(ids)}")
            shape = (sum(wanted), self.vocab_size)
            found.append(np.ctypeslib.as_array(llama.llama_get_logits(self._context), shape=shape).copy())
        return np.concatenate(found)

    def _string(self, ask: Any, *key: bytes) -> str:
        buffer = ctypes.create_string_buffer(256)
        size = ask(self._model, *key, buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace") if size >= 0 else "not stated"
