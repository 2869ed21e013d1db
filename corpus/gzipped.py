"""Knows gzip as it is found: several members, cut short, damaged; what can be decoded is, and the damage is told."""

import zlib
from collections.abc import Iterator
from itertools import chain

PIECE = 1 << 17  # bytes read, and at most as many decoded, at a time
_MEMBER = b"\x1f\x8b\x08"  # how a gzip member begins (RFC 1952)
_BACK = 1 << 12  # bytes of a next member that a decoder may take for its own before it notices


def inflated(pieces: Iterator[bytes]) -> Iterator[bytes | Exception]:
    """The content of gzip members; behind damage it goes on with the next member whose beginning can be decoded."""
    data, place, member, padded = b"", 0, 0, False  # raw bytes at hand, which comes next, where the member began
    decoder: zlib._Decompress | None = zlib.decompressobj(31)
    for piece in chain(pieces, [b""]):  # the last one says that nothing follows
        gone = max(place - _BACK, 0)
        data, place, member = data[gone:] + piece, place - gone, member - gone
        if padded and place == member:
            place = member = _behind_zeros(data, place)
        while True:
            if decoder is None:
                place = member = _next_member(data, place)
                if not data.startswith(_MEMBER, place):
                    break
                decoder = zlib.decompressobj(31)
            before = decoder.copy()
            damage: Exception | None = None
            try:
                content = decoder.decompress(data[place:], PIECE)
                place = len(data) - len(decoder.unconsumed_tail) - len(decoder.unused_data)
                if not piece and place > member and len(content) < PIECE and not decoder.eof:
                    damage = EOFError("the file ends inside a gzip member")
            except zlib.error as error:
                content, place, damage = *_until_damage(before, data, place), error
            if content:
                yield content
            if damage:
                yield damage
                decoder, place = None, max(place - _BACK, member + 1, 0)
            elif decoder.eof:
                decoder, padded, place = zlib.decompressobj(31), True, _behind_zeros(data, place)
                member = place
            elif len(content) < PIECE:
                break


def _behind_zeros(data: bytes, place: int) -> int:
    return len(data) - len(data[place:].lstrip(b"\0"))


def _until_damage(decoder: "zlib._Decompress", data: bytes, place: int) -> tuple[bytes, int]:
    """What a decoder still gives, byte by byte, and the place of the byte that it cannot take."""
    content = bytearray()
    while True:
        try:
            content += decoder.decompress(data[place : place + 1])
        except zlib.error:
            return bytes(content), place
        place += 1


def _next_member(data: bytes, place: int) -> int:
    """Where the next gzip member begins, or from where on to search once there are more data."""
    while (place := data.find(_MEMBER, place)) >= 0:
        try:
            zlib.decompressobj(31).decompress(data[place : place + _BACK])
            return place
        except zlib.error:
            place += 1
    return max(len(data) - len(_MEMBER) + 1, 0)
