"""Knows what spoilt artifacts do: our checks over many mutants of real headers, and bare libraries on a part of them.

    python -m benchmarks.hostile --artifacts artifacts/export --checkpoint artifacts/dpo [--mutants N] [--peers N]

Every mutant is an artifact with one file changed field by field (benchmarks/_mutants.py), its weights zeros in a sparse
file. Workers check them within 256 MiB of address space beyond their own start. Then every library gets the same part
of the mutants, most of them such as our check lets pass: one child each, so that a crash or a hang is counted.
"""

import argparse
import os
import random
import resource
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from midm_mini import MidmError, headers, manifest
from midm_mini.headers import safetensors

from benchmarks import _frame, _mutants, _openers
from tests.runtime import crafted

GOAL = "our check: no crash, none over 1 s of processor time or 256 MB; our load: no native crash or hang"
SHARES = {"gguf": 0.35, "onnx": 0.3, "documents": 0.15, "safetensors": 0.15, "manifest": 0.05}
BATCH, ROOM, LONG = 250, 256 << 20, 1.0  # mutants a task, bytes, seconds of a check
HEAD = 32 << 20  # bytes in which a header ends
NOTES = ("tokenizer.json", "genai_config.json", "config.json", "tokenizer_config.json")


class Subject(NamedTuple):
    """A file of an artifact that is to be spoilt."""

    kind: str
    bundle: Path
    file: str


class Outcome(NamedTuple):
    """What the check said of one mutant: "refused", "accepted", or the name of an error that must not happen."""

    seed: int
    verdict: str
    seconds: float


def main() -> None:
    """Checks the mutants, gives a part of them to the libraries, prints and records."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--artifacts", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--mutants", type=int, default=100_000)
    parser.add_argument("--peers", type=int, default=150, help="mutants of each file that the libraries get")
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    flags = parser.parse_args()
    subjects = list(found(flags.artifacts, flags.checkpoint))
    outcomes: dict[Subject, list[Outcome]] = {subject: [] for subject in subjects}
    peak = 0
    with ProcessPoolExecutor(flags.workers) as pool:  # a worker's death is an error here, not a row
        for subject, part, used in pool.map(checked, tasks(subjects, flags.mutants, flags.seed)):
            outcomes[subject] += part
            peak = max(peak, used)
    by_kind = {
        kind: [one for subject in subjects if subject.kind == kind for one in outcomes[subject]] for kind in SHARES
    }
    rows = [row(kind, found) for kind, found in by_kind.items()] + [row("at the limits", list(at_the_limits()))]
    tallies: dict[str, Counter[str]] = {}
    for subject in subjects:
        compare(subject, chosen(outcomes[subject], flags.peers, flags.seed), tallies)
    rows += [{"who": who, "mutants": tally.total(), **tally} for who, tally in tallies.items()]
    bad = sum(one["crashed"] + one["over 1 s"] for one in rows if one["who"].startswith("our check"))
    ratio = {"our check: crashes or over 1 s": bad, "our check: peak MiB": peak / 2**20}
    ratio |= {f"{who}: crashed or hung": tally["crashed"] + tally["hung"] for who, tally in tallies.items()}
    _frame.report("hostile", goal=GOAL, rows=rows, ratio=ratio)


def found(artifacts: Path, checkpoint: Path) -> Iterator[Subject]:
    """Every file with a header in every artifact, and the checkpoint's weights."""
    for bundle in sorted(path for path in artifacts.iterdir() if path.is_dir() and not (path / "onnx").is_dir()):
        for file in sorted(path for path in bundle.iterdir() if path.is_file()):
            kind = {".gguf": "gguf", ".onnx": "onnx"}.get(file.suffix, "documents" if file.name in NOTES else "")
            kind = "manifest" if file.name == "manifest.json" else kind
            if kind:
                yield Subject(kind, bundle, file.name)
    for file in sorted(checkpoint.glob("*.safetensors")):
        yield Subject("safetensors", checkpoint, file.name)


def tasks(subjects: list[Subject], mutants: int, seed: int) -> Iterator[tuple[Subject, range]]:
    """Shares the mutants out among kinds, then evenly among a kind's files."""
    for kind, share in SHARES.items():
        mine = [subject for subject in subjects if subject.kind == kind]
        for number, subject in enumerate(mine):
            count = round(mutants * share / len(mine))
            first = seed * 10**9 + number * 10**7
            for start in range(first, first + count, BATCH):
                yield subject, range(start, min(start + BATCH, first + count))


def checked(task: tuple[Subject, range]) -> tuple[Subject, list[Outcome], int]:
    """Runs our check over mutants in a worker; also the worker's growth in memory, bytes."""
    subject, seeds = task
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        lair = Lair(subject, Path(folder))
        start = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (start + ROOM, resource.RLIM_INFINITY))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        outcomes = [lair.check(seed) for seed in seeds]
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return subject, outcomes, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


class Lair:
    """A copy of one artifact whose subject is spoilt again and again; weights are holes of the right size."""

    def __init__(self, subject: Subject, folder: Path) -> None:
        self.subject, self.folder = subject, folder
        self.file = folder / subject.file
        for source in subject.bundle.iterdir():
            weights = source.suffix in (".data", ".safetensors", ".gguf")
            if source.is_file() and not weights:
                shutil.copyfile(source, folder / source.name)
            elif weights:
                (folder / source.name).touch()
                os.truncate(folder / source.name, source.stat().st_size)
        if (graph := folder / "model.onnx").exists() and not (folder / "model.onnx.data").exists():
            _outside(graph)
        self.mutate, self.size = self._mutator(subject.bundle / subject.file)

    def write(self, seed: int) -> Path:
        """Puts the mutant in place; what a library is asked to open."""
        head = self.mutate(random.Random(seed))
        self.file.write_bytes(head)
        if self.size:
            os.truncate(self.file, max(len(head), self.size) if seed % 16 else len(head))
        return self.file if self.subject.kind in ("gguf", "safetensors") else self.folder

    def check(self, seed: int) -> Outcome:
        """What our check says of a mutant, and how long it took."""
        return tried(CHECKS.get(self.subject.kind, headers.check), self.write(seed), seed=seed)

    def _mutator(self, source: Path) -> tuple[_mutants.Mutator, int]:
        """The mutator of the file's kind, and the whole file's size where only its head is kept."""
        size = source.stat().st_size
        if self.subject.kind in ("gguf", "safetensors"):
            with source.open("rb") as stream:
                mutator = {"gguf": _mutants.gguf, "safetensors": _mutants.safetensors}[self.subject.kind]
                return mutator(stream.read(HEAD)), size
        if self.subject.kind == "onnx":
            return _mutants.onnx(self.file.read_bytes()), 0
        return _mutants.document(source.read_bytes()), 0


def _outside(graph: Path) -> None:
    """Puts a graph's weights into a file beside it, so that its mutants are small."""
    import onnx

    onnx.save_model(
        onnx.load(graph), graph, save_as_external_data=True, location="model.onnx.data", size_threshold=1024
    )


CHECKS: dict[str, Callable[[Path], Any]] = {
    "safetensors": safetensors.check,
    "manifest": lambda folder: list(manifest.compare(folder)),
}


def at_the_limits() -> Iterator[Outcome]:
    """The largest headers that our checks read to their end."""
    for name, (check, content) in crafted.LARGEST.items():
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            (file := Path(folder, name)).write_bytes(content())
            yield tried(check, file, seed=0)


def tried(check: Callable[[Path], Any], path: Path, *, seed: int) -> Outcome:
    """What a check says of a file, and how long it took."""
    start = time.process_time()
    try:
        check(path)
        verdict = "accepted"
    except MidmError:
        verdict = "refused"
    except Exception as error:
        verdict = type(error).__name__
    return Outcome(seed, verdict, time.process_time() - start)


def row(kind: str, outcomes: list[Outcome]) -> dict[str, Any]:
    """One row of the table: our check over one kind of file."""
    verdicts = Counter(one.verdict for one in outcomes)
    good = verdicts["refused"], verdicts["accepted"]
    times = sorted(one.seconds for one in outcomes) or [0.0]
    said = {"who": f"our check, {kind}", "mutants": len(outcomes), "refused": good[0], "accepted": good[1]}
    slow = sum(seconds > LONG for seconds in times)
    strange = ", ".join(sorted(verdicts.keys() - {"refused", "accepted"}))
    said |= {"crashed": len(outcomes) - sum(good), "errors": strange, "over 1 s": slow}
    return said | {"median ms": 1000 * times[len(times) // 2], "slowest s": times[-1]}


def chosen(outcomes: list[Outcome], count: int, seed: int) -> list[int]:
    """Seeds for the libraries: mutants that our check accepts and such as it refuses, as many of each as there are."""
    draw = random.Random(seed)
    order = draw.sample(outcomes, len(outcomes))
    accepted = [one.seed for one in order if one.verdict == "accepted"][: count * 3 // 4]
    refused = [one.seed for one in order if one.verdict != "accepted"]
    return accepted + list(islice(refused, count - len(accepted)))


def compare(subject: Subject, seeds: list[int], tallies: dict[str, Counter[str]]) -> None:
    """Gives the mutants to every library for this kind, and to our load; counts how each child ended."""
    openers = _openers.OPENERS.get(subject.file) or _openers.OPENERS.get(subject.kind, {})
    _openers.prepare(subject.kind)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        lair = Lair(subject, Path(folder))
        for seed in seeds if openers else []:
            path = lair.write(seed)
            for who, attempt in openers.items():
                tallies.setdefault(who, Counter())[_openers.ended(attempt, path)] += 1


if __name__ == "__main__":
    main()
