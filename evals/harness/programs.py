"""Knows how to run a program that a model wrote: in a process of its own, with limits and without a network."""

import ctypes
import os
import resource
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SECONDS, MEMORY, FILE_BYTES = 5, 1 << 30, 1 << 20
_NEW_USER, _NEW_NET = 0x10000000, 0x40000000  # linux/sched.h


class BoxError(RuntimeError):
    """The machine cannot shut a program in; nothing was run."""


def passes(program: str) -> bool:
    """Whether `program` reaches its end within SECONDS.

    Its own user and network namespaces (no network at all), no rights, an empty environment, a folder that goes with
    it. This guards against accidents; whoever expects malice runs the whole judge in a container. Linux only.
    """
    mark = secrets.token_hex(8)  # written after the last test: exit(0) in an answer is no pass
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "program.py").write_text(f"{program}\nopen({mark!r}, 'w').close()\n", encoding="utf-8")
        try:
            subprocess.run(
                [sys.executable, "-I", "program.py"], cwd=folder, env={}, preexec_fn=_shut_in, check=False,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return False
        except subprocess.SubprocessError:
            raise BoxError(
                "this machine gives no namespaces (user.max_user_namespaces, or a container's seccomp forbids them), "
                "so a program could reach the network; leave the code tasks out or run them elsewhere"
            ) from None
        return Path(folder, mark).exists()


def humaneval(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """pass@1 of one continuation of a HumanEval prompt."""
    return {"pass@1": float(passes(f"{doc['prompt']}{results[0]}\n{doc['test']}\ncheck({doc['entry_point']})"))}


def mbpp(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """pass@1 of one answer to an MBPP task."""
    return {"pass@1": float(passes("\n".join([results[0], doc.get("test_setup_code", ""), *doc["test_list"]])))}


def _shut_in() -> None:
    if ctypes.CDLL(None).unshare(_NEW_USER | _NEW_NET):
        raise OSError("unshare")
    os.setsid()
    limits = {
        resource.RLIMIT_CPU: SECONDS, resource.RLIMIT_AS: MEMORY, resource.RLIMIT_FSIZE: FILE_BYTES,
        resource.RLIMIT_NOFILE: 64, resource.RLIMIT_CORE: 0, resource.RLIMIT_NPROC: 64,
    }  # fmt: skip
    for name, most in limits.items():
        resource.setrlimit(name, (most, most))
