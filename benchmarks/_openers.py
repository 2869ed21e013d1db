"""Knows how each library opens a spoilt artifact, in a child process whose end is counted."""

import importlib
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from midm_mini import MidmError

HANG, MEMORY = 10.0, 8 << 30  # seconds and bytes of a child
UNNAMED = 4  # its exit code when our wheel raised what is no MidmError
IMPORTS = {"gguf": ["gguf", "llama_cpp"], "safetensors": ["safetensors"]}  # by kind; the others are ONNX's


def prepare(kind: str) -> None:
    """Imports the libraries once, not in every child."""
    for library in IMPORTS.get(kind, ["onnxruntime", "onnxruntime_genai", "tokenizers"]):
        importlib.import_module(library)


def ended(attempt: Callable[[Path], Any], path: Path) -> str:
    """How a child that tries it ends: accepted, refused (an exception), crashed (a signal), hung."""
    if not (child := os.fork()):
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1), os.dup2(quiet, 2)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        try:
            attempt(path)
        except Exception:
            os._exit(1)
        except BaseException:  # a panic of Rust's tokenizers is no Exception
            os._exit(3)
        os._exit(0)
    deadline = time.monotonic() + HANG
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            ends = {0: "accepted", 1: "refused", UNNAMED: "unnamed error"}
            return "crashed" if os.WIFSIGNALED(status) else ends.get(os.WEXITSTATUS(status), "crashed")
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hung"


def _midm(path: Path) -> None:
    import midm_mini

    try:
        with midm_mini.load(path, threads=1) as model:
            model.logits([model.bos, 5])
            if model.format != "onnx":
                model.stream([model.bos, 5], max_tokens=2).text  # noqa: B018
    except MidmError:
        raise
    except Exception:
        os._exit(UNNAMED)


def _gguf_py(path: Path) -> None:
    import gguf as library

    for tensor in library.GGUFReader(path).tensors:
        tensor.data.sum()


def _llama_cpp(path: Path) -> None:
    import llama_cpp

    llama = llama_cpp.Llama(str(path), n_ctx=64, n_threads=1, verbose=False)
    llama.eval([0, 5])


def _onnxruntime(folder: Path) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])


def _tokenizers(folder: Path) -> None:
    from tokenizers import Tokenizer

    Tokenizer.from_file(str(folder / "tokenizer.json")).encode("한국의 수도는 Seoul, 2026!")


def _genai(folder: Path) -> None:
    import onnxruntime_genai

    onnxruntime_genai.Model(str(folder))


def _safetensors(path: Path) -> None:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        for name in file.keys():  # noqa: SIM118
            file.get_tensor(name)


OPENERS: dict[str, dict[str, Callable[[Path], Any]]] = {
    "gguf": {"gguf-py": _gguf_py, "llama-cpp-python": _llama_cpp, "midm-mini load, GGUF": _midm},
    "onnx": {"onnxruntime": _onnxruntime, "midm-mini load, ONNX": _midm},
    "tokenizer.json": {"tokenizers": _tokenizers, "midm-mini load, tokenizer": _midm},
    "genai_config.json": {"onnxruntime-genai": _genai, "midm-mini load, genai_config": _midm},
    "safetensors": {"safetensors": _safetensors},
}
