"""Knows what the server bears: mutated requests, slow and leaving clients, wrong keys, and a good client among them.

    python -m benchmarks.server_attack --artifact artifacts/export/gguf-q4_k_m --peer /tmp/llama_server_pkgs [--quick]

Each server runs alone, with a key, and meets one attack after the other, each for LIMIT seconds at most; all the while
a good client in a process of its own asks for a short and a long answer by turns, a new connection each time. Its p95
under attack is held against its p95 alone. The attackers come from another address, as they would. `bytes`, `leaving`
and `crowd` hold requests that must be served: how the good client fares among them from one address with it, as behind
a proxy, `crowd, one address` shows. The server has the first core for itself, and the attackers, the good client going
before them, the last; where there is one core only, they have what server and good client leave of it.
The peer, llama-cpp-python's server, needs three packages of its own, kept out of this environment:
`pip install --no-deps --target /tmp/llama_server_pkgs sse-starlette==3.7.0 starlette-context==0.5.1`.
"""

import argparse
import asyncio
import http.client
import json
import multiprocessing
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path
from statistics import quantiles
from typing import Any

from benchmarks import _frame, _requests
from benchmarks._target import GOOD_ADDRESS, KEY, PATIENCE, Target, running

GOAL = "ours: 0 crashes, 0 5xx, nothing malformed accepted, every wrong key refused, good client's p95 <= 2x quiet"
MALFORMED, BYTES, SLOW, LEAVING, WRONG_KEYS, CROWD = 5_000, 5_000, 500, 200, 2_000, 2_000  # requests of each attack
GOOD = 200  # requests of the good client beside each; the attack goes on until both are through
AT_ONCE, LEAVING_AT_ONCE = 64, 8
ANSWERS, CONTEXT = (32, 128), 256  # tokens
PROMPT = "물은 몇 도에서 끓어?"  # to be gone on with: a taught chat ends by itself, however hot
SAMPLING = {"temperature": 2.0, "top_p": 1.0, "seed": 1}  # so hot that hardly a text ends early
PEER_SAMPLING = {"min_tokens": max(ANSWERS)}  # it ends early all the same: `tokens`
LIMIT = 40.0  # seconds of an attack, whatever is left of it


def main() -> None:
    """Runs both servers through all attacks, prints and records."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--artifact", type=Path, required=True, help="a .gguf file or a folder with one")
    parser.add_argument("--peer", type=Path, help="the folder with the packages that the peer needs")
    parser.add_argument("--quick", action="store_true", help="a twentieth of every attack")
    flags = parser.parse_args()
    file = flags.artifact if flags.artifact.is_file() else next(flags.artifact.glob("*.gguf"))
    share = 20 if flags.quick else 1
    rows, ratio, cores = list[dict[str, Any]](), dict[str, float](), sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[-1:])
    os.sched_setscheduler(0, os.SCHED_IDLE | os.SCHED_RESET_ON_FORK, os.sched_param(0))  # what it starts is as usual
    ways = {"midm-mini": _ours(file)} | ({"llama-cpp-python": _peer(file, flags.peer)} if flags.peer else {})
    for way, (command, env, more) in ways.items():
        quiet, *found = asyncio.run(_campaign(["taskset", "-c", str(cores[0]), *command], env, more, share))
        rows += [{"server": way} | row for row in (quiet, *found)]
        for name in (f"p95 ms of {answer}" for answer in ANSWERS):
            ratio |= {f"{way}: {name}, {row['attack']} / quiet": row[name] / quiet[name] for row in found if row[name]}
    os.sched_setaffinity(0, cores)
    _frame.report("server_attack", goal=GOAL, rows=rows, ratio=ratio)


def _ours(file: Path) -> tuple[list[str], dict[str, str], dict[str, float]]:
    code = "import sys; from midm_mini.cli import main; sys.exit(main())"
    command = [_frame.PYTHON, "-c", code, "serve", str(file), "--threads", "1", "--context", str(CONTEXT)]
    return command, _frame.QUIET | {"MIDM_MINI_KEY": KEY}, SAMPLING


def _peer(file: Path, packages: Path) -> tuple[list[str], dict[str, str], dict[str, float]]:
    command = [_frame.PYTHON, "-m", "llama_cpp.server", "--model", str(file), "--api_key", KEY]
    command += ["--n_threads", "1", "--n_threads_batch", "1", "--n_ctx", str(CONTEXT), "--verbose", "False"]
    return command, {"PYTHONPATH": str(packages)}, SAMPLING | PEER_SAMPLING


async def _campaign(
    command: list[str], env: Mapping[str, str], sampling: Mapping[str, float], share: int
) -> list[dict[str, Any]]:
    """A row for the quiet server and one for each attack; a server that dies is counted and started again."""
    attacks: dict[str, Callable[[Target, Counter, int, asyncio.Future], Awaitable[Any]]] = {
        "quiet": lambda *given: asyncio.wait([given[-1]]), "malformed": _malformed, "bytes": _bytes, "slow": _slow,
        "leaving": _leaving, "wrong keys": _wrong_keys, "crowd": _crowd,
        "crowd, one address": lambda target, *more: _crowd(target._replace(source=GOOD_ADDRESS), *more),
    }  # fmt: skip
    rows = []
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        for name, attack in attacks.items():
            with running(command, env) as target:
                loop, seen, started = asyncio.get_running_loop(), Counter[str](), time.perf_counter()
                asked, count = {"model": target.model} | sampling, max(GOOD // share, 20)
                good = loop.run_in_executor(pool, _good_client, target.port, asked, count)
                await attack(target, seen, share, good)
                took, tokens, failed = await good
                rows.append({
                    "attack": name, "requests": seen["requests"], "seconds": round(time.perf_counter() - started, 1),
                    "crashes": int(target.process.poll() is not None), "5xx": seen["5xx"], "hangs": seen["hang"],
                    "malformed accepted": seen["accepted"], "valid refused": seen["refused"], "no reply": seen["none"],
                    "wrong key let in": seen["let in"], "good": sum(map(len, took.values())), "good failed": failed,
                    "tokens": tokens,
                    **{f"p{n} ms of {answer}": _quantile(took[answer], n) for answer in ANSWERS for n in (50, 95)},
                    "MiB": target.resident(),
                })  # fmt: skip
                print(rows[-1], flush=True)
    return rows


async def _malformed(target: Target, seen: Counter, share: int, good: asyncio.Future) -> None:
    """Requests that are wrong for certain, of every kind."""
    rng = random.Random(6)

    async def one() -> None:
        path, body = _requests.wrong(json.loads(target.chat()), rng)
        status = await target.status(target.ask(body, path=path), seen)
        seen["accepted"] += status == 200
        seen["none"] += status == 0

    await _many(one, MALFORMED // share, AT_ONCE, good)


async def _bytes(target: Target, seen: Counter, share: int, good: asyncio.Future) -> None:
    """Requests with bytes changed anywhere, some of which stay right; every tenth says odd things and is right."""
    rng = random.Random(7)

    async def one() -> None:
        odd = rng.random() < 0.1
        body = target.chat(**({"messages": [{"role": "user", "content": rng.choice(_requests.TEXTS)}]} if odd else {}))
        request = target.ask(body if odd else _requests.spoilt(body, rng))
        if not odd and rng.random() < 0.3:
            head, blank, rest = target.ask(body).partition(b"\r\n\r\n")
            request = _requests.spoilt(head, rng) + blank + rest
        status = await target.status(request, seen)
        seen["refused"] += odd and status not in (200, 429)

    await _many(one, BYTES // share, AT_ONCE, good)


async def _slow(target: Target, seen: Counter, share: int, good: asyncio.Future) -> None:
    """Half of them never end a head, half a body, a byte a second; whoever is put out comes again."""
    whole = target.ask(target.chat())

    async def one() -> None:
        seen["requests"] += 1
        sent = whole[: whole.index(b"\r\n\r\n") + (8 if seen["requests"] % 2 else 1)]
        with suppress(OSError):
            reader, writer = await target.line()
            writer.write(sent)
            while not (good.done() or reader.at_eof()):
                with suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(1000), 1.0)
                writer.write(b"a")
            writer.close()
        await asyncio.sleep(0.2)

    await _many(one, SLOW // share, SLOW // share, good)


async def _leaving(target: Target, seen: Counter, share: int, good: asyncio.Future) -> None:
    """Each asks for a long stream, reads its first words and leaves."""
    request = target.ask(target.chat(stream=True, max_tokens=128))

    async def one() -> None:
        seen["requests"] += 1
        reader, writer = await target.line()
        writer.write(request)
        with suppress(TimeoutError, OSError):
            line = await asyncio.wait_for(reader.read(300), PATIENCE)
            seen["5xx"] += line[9:10] == b"5"
        writer.transport.abort()

    await _many(one, LEAVING // share, LEAVING_AT_ONCE, good)


async def _wrong_keys(target: Target, seen: Counter, share: int, good: asyncio.Future) -> None:
    near = [KEY[:-1], KEY + "x", KEY.upper(), "", "null", KEY[::-1], f"{KEY} {KEY}", "\xff" * 36]

    async def one() -> None:
        key = near[seen["requests"] % len(near)]
        seen["let in"] += await target.status(target.ask(target.chat(), key=key), seen) not in (401, 403, 0)

    await _many(one, WRONG_KEYS // share, AT_ONCE, good)


async def _crowd(target: Target, seen: Counter, share: int, good: asyncio.Future) -> None:
    """As many good requests at once as mutants are: some must be told to come again."""

    async def one() -> None:
        status = await target.status(target.ask(target.chat(max_tokens=8)), seen)
        seen["refused"] += status not in (200, 429)
        if status == 429:
            await asyncio.sleep(1)  # as Retry-After asks

    await _many(one, CROWD // share, AT_ONCE, good)


async def _many(one: Callable[[], Awaitable[None]], count: int, at_once: int, good: asyncio.Future) -> None:
    """Runs `one` `count` times and on until the good client is through, `at_once` at a time."""
    left = iter(range(count))

    async def worker() -> None:
        while next(left, None) is not None or not good.done():
            with suppress(OSError):
                await one()

    with suppress(TimeoutError):
        async with asyncio.timeout(LIMIT):  # whatever is under way by then is no hang
            await asyncio.gather(*(worker() for _ in range(at_once)))


def _good_client(port: int, asked: dict[str, Any], count: int) -> tuple[dict[int, list[float]], float, int]:
    """Seconds of `count` answers of each length by turns, the mean of the tokens they had, and how many failed."""
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    took, written, failed = {answer: list[float]() for answer in ANSWERS}, list[int](), 0
    end = time.perf_counter() + LIMIT
    for answer in ANSWERS * count:
        if (started := time.perf_counter()) > end:
            break
        body = json.dumps(asked | {"prompt": PROMPT, "max_tokens": answer})
        line = http.client.HTTPConnection("localhost", port, timeout=min(PATIENCE, end - started))
        try:
            line.request("POST", "/v1/completions", body, headers)
            reply = line.getresponse()
            said, seconds = reply.read(), time.perf_counter() - started
            if reply.status == 200:
                took[answer].append(seconds)
                written.append(json.loads(said)["usage"]["completion_tokens"])
            failed += reply.status != 200
        except (OSError, http.client.HTTPException):
            failed += time.perf_counter() < end  # cut off by the attack's end is no failure
        finally:
            line.close()
    return took, round(sum(written) / max(len(written), 1), 1), failed


def _quantile(took: list[float], percent: int) -> float | None:
    return round(1000 * quantiles(took, n=100)[percent - 1], 1) if len(took) > 1 else None


if __name__ == "__main__":
    main()
