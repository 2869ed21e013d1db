"""Knows four ways to say a reply token by token: ours, and the two libraries below it as their own users write it.

    python -m benchmarks._decoders ours artifacts/export/gguf-q8_0 2 256 $(date +%s.%N)     # seconds of a cold start

A decoder takes a prompt's ids and a number of tokens, and gives the seconds to the first and those of each later one,
all greedy. Prompts that begin differently share nothing, so nothing is answered from a cache.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path

Decoder = Callable[[Sequence[int], int], tuple[float, list[float]]]


def ours(path: Path, threads: int, context: int) -> Decoder:
    """midm_mini, its public pieces; without stops, so that every reply has its length."""
    import midm_mini

    model = midm_mini.load(path, threads=threads, context=context)
    model._opened.ends = lambda _: False  # type: ignore[method-assign]
    return lambda ids, count: _timed(model.stream(ids, max_tokens=count), count)


def llama_cpp_python(path: Path, threads: int, context: int) -> Decoder:
    """llama-cpp-python's `Llama.generate`, greedy, as its README has it."""
    import llama_cpp

    settings = {"n_ctx": context, "n_threads": threads, "n_threads_batch": threads, "n_batch": 256, "n_ubatch": 256}
    model = llama_cpp.Llama(str(next(path.glob("*.gguf"))), verbose=False, **settings)
    return lambda ids, count: _timed(model.generate(list(ids), temp=0.0, repeat_penalty=1.0), count)


def llama_c(path: Path, threads: int, context: int) -> Decoder:
    """llama.cpp's C calls with its own greedy sampler, as examples/simple has it: the least Python there can be."""
    import llama_cpp.llama_cpp as llama
    from llama_cpp._logger import set_verbose

    set_verbose(False)
    file = str(next(path.glob("*.gguf"))).encode()
    model = llama.llama_model_load_from_file(file, llama.llama_model_default_params())
    settings = llama.llama_context_default_params()
    settings.n_ctx, settings.n_batch, settings.n_ubatch = context, 256, 256
    settings.n_threads = settings.n_threads_batch = threads
    opened, greedy = llama.llama_init_from_model(model, settings), llama.llama_sampler_init_greedy()

    def tokens(ids: Sequence[int]) -> Iterator[int]:
        llama.llama_memory_clear(llama.llama_get_memory(opened), False)
        for at in range(0, len(ids), 256):
            part = (llama.llama_token * len(ids[at : at + 256]))(*ids[at : at + 256])
            llama.llama_decode(opened, llama.llama_batch_get_one(part, len(part)))
        one = (llama.llama_token * 1)()
        batch = llama.llama_batch_get_one(one, 1)
        while True:
            one[0] = llama.llama_sampler_sample(greedy, opened, -1)
            yield one[0]
            llama.llama_decode(opened, batch)

    return lambda ids, count: _timed(tokens(ids), count)


def genai(path: Path, threads: int, context: int) -> Decoder:
    """onnxruntime-genai's Generator loop, greedy, as its README has it."""
    import numpy as np
    import onnxruntime_genai

    onnxruntime_genai.disable_telemetry_events()
    options = {"session_options": {"intra_op_num_threads": threads, "inter_op_num_threads": 1}}
    rows = json.loads((path / "genai_config.json").read_text(encoding="utf-8"))["model"]["vocab_size"]
    config = onnxruntime_genai.Config(
        str(path)
    )  # its end is a row that no tokenizer has, so that replies have a length
    config.overlay(json.dumps({"model": {"decoder": options, "eos_token_id": rows - 1}}))
    params = onnxruntime_genai.GeneratorParams(model := onnxruntime_genai.Model(config))
    params.set_search_options(max_length=context, batch_size=1, do_sample=False)
    generator, tokenizer = onnxruntime_genai.Generator(model, params), onnxruntime_genai.Tokenizer(model)

    def tokens(ids: Sequence[int]) -> Iterator[int]:
        generator.rewind_to(0)
        generator.append_tokens(np.array(ids, np.int32))
        while True:
            generator.generate_next_token()
            yield int(generator.get_next_tokens()[0])

    tokenizer.encode("Hello")  # the others have read theirs too
    return lambda ids, count: _timed(tokens(ids), count)


DECODERS = {"ours": ours, "llama_cpp_python": llama_cpp_python, "llama_c": llama_c, "genai": genai}


def _timed(tokens: Iterator[object], count: int) -> tuple[float, list[float]]:
    started = time.perf_counter()
    moments = [time.perf_counter() for _ in islice(tokens, count)]
    return moments[0] - started, [after - before for before, after in pairwise(moments)]


if __name__ == "__main__":
    DECODERS[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))(range(8, 24), 1)
    print(time.time() - float(sys.argv[5]))
