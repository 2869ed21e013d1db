"""Reading survives anything: thousands of mutated shards, and every line of each is a document or a verdict."""

import gzip
import io
import json
import os
import random
import signal
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.reading import Quarantined, ReadingError, read_folder

LIMIT = 4096
BATCH = 64  # parquet rows that are decoded, and so held in memory, together
ANY, BLANK, VERDICT, DAMAGE, HUGE = "*any*", "*blank*", "*verdict*", "damaged_file", "x"
BOM = b"\xef\xbb\xbf"
BAD = {
    b'{"text": "no end': "broken_json",
    b'{"text": ' + b"[" * 3000: "broken_json",
    b'{"text": "deep", "id": ' + b"[" * 1500 + b"]" * 1500 + b"}": "broken_json",
    b'{"text": "x", "n": ' + b"9" * 4000 + b"}": HUGE,  # more digits than Python cares to read
    b'{"text": "\xff\xfe"}': "invalid_utf8",
    b'["text"]': "not_an_object",
    b'"text"': "not_an_object",
    b'"\\ud800"': "not_an_object",
    b"12": "not_an_object",
    b"NaN": "not_an_object",
    b"null": "not_an_object",
    b'{"title": "no text"}': "missing_text",
    b'{"text": null}': "missing_text",
    b'{"text": " \\n"}': "empty_text",
    b'{"text": 12}': "text_not_a_string",
    b'{"text": ["a"]}': "text_not_a_string",
    b'{"text": {"a": 1}}': "text_not_a_string",
    b'{"text": "a\\u0000b"}': "nul_character",
    b'{"text": "a\0b"}': "broken_json",
    b'{"text": "a\\ud800b"}': "lone_surrogate",
    b'{"text": "' + b"x" * LIMIT + b'"}': "record_too_large",
    b" " * 2 * LIMIT + b'{"text": "far"}' + b" " * LIMIT: "record_too_large",
    b"\0" * 99: "broken_json",
}
known: dict[bytes, str] = dict(BAD)  # line → its text or its verdict


@dataclass(frozen=True)
class Shard:
    """A file and what must be read from it: `lines` in order; with `after`, then anything, and `after` at the end."""

    suffix: str
    data: bytes
    lines: list[str]
    after: list[str] | None = None


# Material and oracles: what a reader owes, told without the reader.


def good(draw: random.Random) -> bytes:
    text = "".join(draw.choice(["가", "나다", "word ", "\n", "é", "🙂", "7"]) for _ in range(draw.randint(1, 120)))
    text = f"글{draw.getrandbits(48)} {text}"
    line = json.dumps({"text": text}, ensure_ascii=draw.random() < 0.3).encode()
    known[line] = text
    return line


def goods(draw: random.Random, most: int = 30) -> list[bytes]:
    return [good(draw) for _ in range(draw.randint(1, most))]


def mixed(draw: random.Random) -> bytes:
    """Good lines with bad ones between them."""
    return b"\n".join(draw.choice(list(BAD)) if draw.random() < 0.2 else good(draw) for _ in range(draw.randint(1, 60)))


def owed(line: bytes) -> str:
    if len(line) > LIMIT:
        return "record_too_large"
    bare = line.removesuffix(b"\r").removeprefix(BOM)
    return known.get(bare, ANY) if line.strip() else BLANK


def plain(data: bytes) -> Shard:
    return Shard("jsonl", data, [owed(line) for line in data.split(b"\n")])


def stream(suffix: str, data: bytes) -> Shard:
    """What a decoder yields byte by byte is owed, and of a line that the damage ends in, only a whole document."""
    content, damaged = {"jsonl.gz": inflated, "jsonl.zst": unpacked}[suffix](data)
    *lines, last = content.split(b"\n")
    whole = [last] if not damaged or (len(last) <= LIMIT and is_document(last)) else []
    return Shard(suffix, data, [*map(owed, lines + whole), *[DAMAGE] * damaged])


def is_document(line: bytes) -> bool:
    try:
        text = json.loads(line)["text"]
        return bool(text.encode().strip()) and "\0" not in text
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return False


def inflated(data: bytes) -> tuple[bytes, bool]:
    """RFC 1952 by hand: ten bytes of header (ours has no name), raw deflate, checksum and length, next member."""
    content = b""
    while data.strip(b"\0"):
        if not b"\x1f\x8b\x08".startswith(data[:3]):
            return content, True
        decoder, member = zlib.decompressobj(-15), b""
        try:
            for place in range(10, len(data)):
                member += decoder.decompress(data[place : place + 1])
                if decoder.eof:
                    break
        except zlib.error:
            return content + member, True
        content += member
        trailer = zlib.crc32(member).to_bytes(4, "little") + len(member).to_bytes(4, "little")
        if not decoder.eof or data[place + 1 : place + 9] != trailer:
            return content, True
        data = data[place + 9 :]
    return content, False


def unpacked(data: bytes) -> tuple[bytes, bool]:
    content = bytearray()
    with pa.input_stream(io.BytesIO(data), compression="zstd") as file:
        try:
            while byte := file.read(1):
                content += byte
        except OSError:
            return bytes(content), True
    return bytes(content), False


def packed(suffix: str, content: bytes) -> bytes:
    if suffix == "jsonl.gz":
        return gzip.compress(content, mtime=0)
    return pa.compress(content, codec="zstd", asbytes=True)


def flipped(draw: random.Random, data: bytes, first: int = 0, end: int | None = None) -> bytes:
    """One to eight bytes changed between `first` and `end`."""
    damaged = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 8])):
        damaged[draw.randrange(first, end or len(data))] ^= draw.randrange(1, 256)
    return bytes(damaged)


# Mutations.


def utf_16(draw: random.Random) -> Shard:
    data = b"\n".join(goods(draw)).decode().encode(draw.choice(["utf-16", "utf-16-le", "utf-16-be"]))
    return Shard("jsonl", data, [VERDICT if line.strip() else BLANK for line in data.split(b"\n")])


def truncated(draw: random.Random, suffix: str) -> Shard:
    data = packed(suffix, mixed(draw))
    return stream(suffix, data[: draw.randrange(len(data))])


def concatenated(draw: random.Random, suffix: str) -> Shard:
    """Members are one text, wherever it is cut."""
    content = b"\n".join(goods(draw))
    cut = draw.randrange(len(content))
    return Shard(
        suffix,
        packed(suffix, content[:cut]) + packed(suffix, b"") + packed(suffix, content[cut:]),
        [owed(line) for line in content.split(b"\n")],
    )


def cut_in_the_second_member(draw: random.Random, suffix: str) -> Shard:
    first, second = (packed(suffix, b"\n".join(goods(draw)) + b"\n") for _ in "12")
    return stream(suffix, first + second[: draw.randrange(1, len(second))])


def wrong_checksum(draw: random.Random) -> Shard:
    content = b"\n".join(goods(draw)) + b"\n"
    data = packed("jsonl.gz", content)
    lines = [owed(line) for line in content.split(b"\n")][:-1]
    return Shard("jsonl.gz", flipped(draw, data, len(data) - 8), [*lines, DAMAGE])


def damaged_among_good(draw: random.Random) -> Shard:
    """Of three gzip members the second is cut or flipped: the first and the third are owed."""
    first, second, third = (b"\n".join(goods(draw)) + b"\n" for _ in "123")
    member = packed("jsonl.gz", second)
    damaged = draw.choice([member[: draw.randrange(1, len(member))], flipped(draw, member, 10)])
    data = packed("jsonl.gz", first) + damaged + packed("jsonl.gz", third)
    before, after = ([owed(line) for line in text.split(b"\n")[:-1]] for text in (first, third))
    return Shard("jsonl.gz", data, before, [*after])


def followed_by_rubbish(draw: random.Random) -> Shard:
    return stream("jsonl.gz", packed("jsonl.gz", mixed(draw)) + b"rubbish" + draw.randbytes(draw.randint(5, 50)))


def flipped_header(draw: random.Random, suffix: str) -> Shard:
    """Nothing is owed; whatever is read is accounted for."""
    return Shard(suffix, flipped(draw, packed(suffix, mixed(draw)), 0, 10), [], [])


def flipped_stream(draw: random.Random, suffix: str) -> Shard:
    return stream(suffix, flipped(draw, packed(suffix, mixed(draw)), 10))


def rows(draw: random.Random) -> tuple[bytes, list[str], pq.FileMetaData]:
    """A parquet file of some row groups, its texts, its own footer."""
    texts = [f"줄 {draw.getrandbits(40)}" for _ in range(draw.choice([1, 100, 300]))]
    table = pa.table({"text": texts, "n": range(len(texts)), "nested": [[n, None] for n in range(len(texts))]})
    codec = draw.choice(["none", "snappy", "gzip", "zstd", "lz4", "brotli"])
    pq.write_table(table, file := io.BytesIO(), compression=codec, row_group_size=draw.choice([50, 64, 1000]))
    return file.getvalue(), texts, pq.read_metadata(file)


def truncated_parquet(draw: random.Random) -> Shard:
    data, _, _ = rows(draw)
    return Shard("parquet", data[: draw.randrange(len(data))], [DAMAGE])


def flipped_footer(draw: random.Random) -> Shard:
    data, _, _ = rows(draw)
    size = int.from_bytes(data[-8:-4], "little") + 8
    return Shard("parquet", flipped(draw, data, len(data) - size), [], [])


def flipped_row_group(draw: random.Random) -> Shard:
    """Rows of the groups before and behind the damaged one stay."""
    data, texts, footer = rows(draw)
    group = footer.row_group(number := draw.randrange(footer.num_row_groups))
    before = sum(footer.row_group(earlier).num_rows for earlier in range(number))
    columns = [group.column(n) for n in range(group.num_columns)]
    first = min(column.dictionary_page_offset or column.data_page_offset for column in columns)
    damaged = flipped(draw, data, first, first + sum(column.total_compressed_size for column in columns))
    return Shard("parquet", damaged, texts[:before], texts[before + group.num_rows :])


def odd_rows(draw: random.Random) -> Shard:
    """Rows no Python value can be made of, and rows beyond the limit, between good ones."""
    kinds = [
        draw.choice(["good", "invalid_utf8", "broken_row", "record_too_large", "missing_text"]) for _ in range(200)
    ]
    texts = {"invalid_utf8": b"a\xff", "record_too_large": b"x" * LIMIT, "missing_text": None}
    column = pa.array([texts.get(kind, b"good") for kind in kinds], pa.binary())
    text = pa.Array.from_buffers(pa.string(), len(kinds), column.buffers())  # the one way to have bad UTF-8 in it
    times = pa.array([2**62 if kind == "broken_row" else 0 for kind in kinds], pa.timestamp("us"))
    pq.write_table(pa.table({"text": text, "time": times}), file := io.BytesIO())
    return Shard("parquet", file.getvalue(), kinds)


def no_text_column(draw: random.Random) -> Shard:
    pq.write_table(pa.table({"title": ["a"] * (count := draw.randint(1, 200))}), file := io.BytesIO())
    return Shard("parquet", file.getvalue(), ["missing_text"] * count)


def numbers_for_text(draw: random.Random) -> Shard:
    column = draw.choice([[1, 2], [1.5, 2.5], [["a"], ["b"]], [b"a", b"b"], [{"a": 1}, {"a": 2}]])
    pq.write_table(pa.table({"text": column}), file := io.BytesIO())
    return Shard("parquet", file.getvalue(), ["text_not_a_string"] * 2)


def whole_text(draw: random.Random) -> Shard:
    data, verdict = draw.choice(
        [
            (BOM + "글".encode(), "글"),
            (b"a\0b", "nul_character"),
            (b"\xff\xfea\0", "invalid_utf8"),
            (BOM, "empty_text"),
            (b"x" * (LIMIT + 1), "record_too_large"),
            (b" " * (LIMIT + 1) + b"far", "record_too_large"),
            (b" \n", BLANK),
        ]
    )
    return Shard(draw.choice(["txt", "md"]), data, [verdict])


MUTATIONS: dict[str, Callable[[random.Random], Shard]] = {
    "bad lines": lambda draw: plain(mixed(draw)),
    "an empty file": lambda draw: plain(b""),
    "blank lines": lambda draw: plain(b"\n \n\t\n".join(goods(draw)) + b"\n" * draw.randrange(9)),
    "CRLF": lambda draw: plain(mixed(draw).replace(b"\n", b"\r\n") + b"\r\n"),
    "a BOM": lambda draw: plain(BOM + b"\n".join(goods(draw))),
    "UTF-16": utf_16,
    "NUL characters": lambda draw: plain(b"\n".join(goods(draw)) + b"\0" * draw.randrange(1, 3000)),
    "flipped jsonl": lambda draw: plain(flipped(draw, mixed(draw))),
    "noise": lambda draw: plain(draw.randbytes(draw.randrange(3000))),
    "whole texts": whole_text,
    "truncated gzip": lambda draw: truncated(draw, "jsonl.gz"),
    "truncated zstd": lambda draw: truncated(draw, "jsonl.zst"),
    "concatenated gzip": lambda draw: concatenated(draw, "jsonl.gz"),
    "concatenated zstd": lambda draw: concatenated(draw, "jsonl.zst"),
    "a damaged gzip member among good ones": damaged_among_good,
    "a cut second gzip member": lambda draw: cut_in_the_second_member(draw, "jsonl.gz"),
    "a cut second zstd frame": lambda draw: cut_in_the_second_member(draw, "jsonl.zst"),
    "a wrong checksum": wrong_checksum,
    "rubbish behind gzip": followed_by_rubbish,
    "flipped gzip header": lambda draw: flipped_header(draw, "jsonl.gz"),
    "flipped zstd header": lambda draw: flipped_header(draw, "jsonl.zst"),
    "flipped gzip": lambda draw: flipped_stream(draw, "jsonl.gz"),
    "flipped zstd": lambda draw: flipped_stream(draw, "jsonl.zst"),
    "truncated parquet": truncated_parquet,
    "flipped parquet footer": flipped_footer,
    "flipped parquet rows": flipped_row_group,
    "odd parquet rows": odd_rows,
    "parquet without text": no_text_column,
    "parquet of other types": numbers_for_text,
}


# Claims.


@pytest.fixture(autouse=True)
def no_hang():
    """pytest's failure is no Exception, so that the reader cannot take it for damage."""
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("hangs"))
    signal.alarm(120)
    yield
    signal.alarm(0)


def check(shard: Shard, records: list[dict | Quarantined]) -> None:
    """Every line is there once, in order, as what it is; nothing else is, but where anything may be."""
    results = [r["text"] if isinstance(r, dict) else r.reason for r in records]
    places = [int(r["id"].rsplit(":", 1)[1]) if isinstance(r, dict) else r.line for r in records]
    assert places == sorted({*places}), "each place once"
    owes = [(place, line) for place, line in enumerate(shard.lines, 1) if line != BLANK]
    assert places[: len(owes)] == [place for place, _ in owes]
    matched = [*zip((line for _, line in owes), records, results, strict=False)]
    if shard.after is None:
        assert len(records) == len(owes)
    else:
        assert len(records) >= len(owes) + len(shard.after)
        end = len(records) - len(shard.after)
        matched += zip(shard.after, records[end:], results[end:], strict=True)
    for line, record, result in matched:
        assert isinstance(record, Quarantined) if line == VERDICT else line in (ANY, result), (line, result)


def read_mutated(folder: Path, *, seed: int, count: int) -> Counter[str]:
    """Writes `count` shards, kinds in turn, reads them as one folder and checks each one."""
    draw = random.Random(seed)
    shards: dict[str, tuple[str, Shard]] = {}
    for number in range(count):
        kind = list(MUTATIONS)[number % len(MUTATIONS)]
        shard = MUTATIONS[kind](draw)
        shards[f"{number:05}.{shard.suffix}"] = kind, shard
        (folder / f"{number:05}.{shard.suffix}").write_bytes(shard.data)
    found, seen = dict[str, list](), Counter[str]()
    records = read_folder(folder, max_record_bytes=LIMIT)
    for name, group in groupby(records, lambda r: r["id"].rsplit(":", 1)[0] if isinstance(r, dict) else r.file):
        assert name not in found, "records of a file stand together"
        found[name] = list(group)
    for name, (kind, shard) in shards.items():
        mine = found.pop(name, [])
        for record in mine:
            row = record if isinstance(record, dict) else asdict(record)
            json.dumps(row, ensure_ascii=False).encode()  # can be written
            seen["documents" if isinstance(record, dict) else record.reason] += 1
        try:
            check(shard, mine)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, {name}, {kind}: {error}") from error
    assert not found
    return seen


@pytest.mark.parametrize("seed", range(2))
def test_a_thousand_mutated_shards_are_read_and_every_line_is_accounted_for(tmp_path, seed):
    seen = read_mutated(tmp_path, seed=seed, count=500)
    assert seen["documents"] > 4_000
    reasons = {*BAD.values(), "damaged_file", "broken_row", "documents"} - {HUGE}
    assert seen.keys() == reasons


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 15))
def test_ten_thousand_mutated_shards_are_read_and_every_line_is_accounted_for(tmp_path, seed):
    assert read_mutated(tmp_path, seed=seed, count=2_000)["documents"] > 16_000


def test_places_that_are_no_files_are_verdicts_and_their_neighbours_are_read(tmp_path):
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "folder.jsonl" / "a.jsonl").write_bytes(b'{"text": "inside"}')
    (tmp_path / "loop.jsonl").symlink_to("loop.jsonl")
    (tmp_path / "up").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.jsonl.gz")
    (tmp_path / os.fsdecode(b"\xff.jsonl")).write_bytes(b'{"text": "odd name"}\n[]')
    records = list(read_folder(tmp_path, max_record_bytes=LIMIT))
    json.dumps([r if isinstance(r, dict) else asdict(r) for r in records], ensure_ascii=False).encode()
    assert [r["text"] if isinstance(r, dict) else (r.file, r.reason) for r in records] == [
        "inside",
        ("loop.jsonl", "not_a_file"),
        ("pipe.jsonl.gz", "not_a_file"),
        ("up", "not_a_file"),
        "odd name",
        ("?.jsonl", "not_an_object"),
    ]


def test_a_folder_deeper_than_the_system_can_name_is_a_reading_error(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("fine")
    monkeypatch.chdir(tmp_path)
    for _ in range(20):
        os.mkdir("d" * 250)
        os.chdir("d" * 250)
    with pytest.raises(ReadingError, match="file name too long; make it readable"):
        list(read_folder(tmp_path, max_record_bytes=LIMIT))
    for _ in range(20):  # pytest cannot name it either
        os.chdir("..")
        os.rmdir("d" * 250)


def grown(folder: Path) -> tuple[list[str], int]:
    """What a fresh process reads with a limit of 1 MiB, and by how many MiB its peak memory grows over the imports."""
    code = (
        "import resource, sys, pyarrow.parquet; from pathlib import Path; from corpus.reading import read_folder\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "for r in read_folder(Path(sys.argv[1]), max_record_bytes=1 << 20):\n"
        "    print('document' if isinstance(r, dict) else r.reason)\n"
        "print((peak() - before) // 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    *results, size = done.stdout.split()
    return results, int(size)


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "jsonl.zst", "txt"])
def test_a_line_of_a_hundred_megabytes_never_fills_the_memory(tmp_path, suffix):
    """The compressed ones are bombs: 128 MiB out of some kilobytes."""
    path = tmp_path / f"a.{suffix}"
    with (
        gzip.open(path, "wb", 1) if suffix == "jsonl.gz" else path.open("wb") as opened,
        pa.output_stream(opened, compression="zstd" if suffix == "jsonl.zst" else None) as file,
    ):
        for _ in range(128):
            file.write(b"x" * (1 << 20))
        file.write(b'\n{"text": "after"}')
    if suffix in ("jsonl.gz", "jsonl.zst"):
        assert path.stat().st_size < 1 << 20
    results, size = grown(tmp_path)
    assert results == ["record_too_large", *(["document"] if suffix != "txt" else [])]
    assert size < 20


def test_a_parquet_bomb_takes_the_memory_of_one_batch(tmp_path):
    """Half a GiB of text in a file of kilobytes: a dictionary holds the text once, each row points to it."""
    table = pa.table({"text": pa.array(["x" * 1_000_000] * 2).take(pa.array([0]))})
    table = pa.table({"text": pa.DictionaryArray.from_arrays(pa.array([0] * 500), table["text"].combine_chunks())})
    pq.write_table(table, tmp_path / "a.parquet", store_schema=False)
    assert (tmp_path / "a.parquet").stat().st_size < 1 << 20
    results, size = grown(tmp_path)
    assert results == ["document"] * 500
    assert size < 3 * BATCH
