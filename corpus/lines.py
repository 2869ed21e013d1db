"""Knows which lines of a page are its furniture: notices, menus, and lines that many documents of a source repeat."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.cleaning import BLANK_LINES
from corpus.engine import quiet_daft

# RE2 syntax, matched by arrow (ten times faster than `re`): phrases of notices, then whole lines of menus.
_NOTICES = (
    r"무단 ?(?:전재|복제|배포)|재배포 ?(?:금지|를 금)|저작권(?:자|은)? ?(?:ⓒ|©|\(c\)|.{0,20}(?:에게|에) 있습니다)|ⓒ|©|"
    r"\(c\) ?(?:19|20)\d\d|all rights reserved|개인정보 ?(?:처리|취급|보호) ?방침|이용 ?약관|청소년 ?보호 ?정책|"
    r"통신판매업|이메일 ?무단 ?수집|사업자 ?등록 ?번호|쿠키를? ?(?:사용|허용)|구독과 ?좋아요|페이스북 ?(?:공유|"
    r"트위터)|카카오스토리|[가-힣]{2,4} ?기자 ?[=(]? ?\S+@|(?:accept|use[sd]?) (?:all )?cookies|cookie (?:policy|"
    r"settings|preferences)|privacy policy|terms (?:of|and) (?:use|service|conditions)|subscribe to (?:our|"
    r"the) newsletter|click here to|javascript (?:is|must be)|your browser (?:does not|doesn)"
)
_MENUS = (
    r"로그인|회원 ?가입|마이 ?페이지|장바구니|고객 ?센터|공지 ?사항|사이트 ?맵|회사 ?소개|본문 ?바로 ?가기|메뉴|홈|"
    r"검색|목록|이전 ?글|다음 ?글|맨 ?위로|(?:이 )?(?:기사|글)?를? ?(?:공유|인쇄|스크랩)(?:하기)?|글자 ?크기.*|"
    r"댓글 ?(?:\d+|쓰기|달기)?|더 ?보기|(?:관련|인기) ?(?:기사|글|뉴스)|좋아요 ?\d*|구독(?:하기)?|(?:조회|"
    r"추천) ?수?[ :]*[\d,]+|home|about(?: us)?|contact(?: us)?|log ?in|sign ?(?:in|up)|register|search|menu|"
    r"share(?: this.*)?|tweet|print|email|next|previous|read more|skip to (?:main )?content|back to top|"
    r"leave a (?:reply|comment)|related (?:posts|articles)|subscribe.*|follow us.*|advertisement|sitemap"
)
_BOILERPLATE = rf"{_NOTICES}|^ *(?:{_MENUS})(?: ?[|>·/»].*)? *$"
LONGEST_BOILERPLATE_LINE = 160  # characters; a longer line is a paragraph that merely mentions such a phrase

_FENCE = r"^[ \t]*(?:```|~~~)"
_SENTENCE_END = "[.!?…。다요][\"'”’)]*$"
_SHORTEST = 4  # characters of a line worth counting across documents
_ROWS = 2  # of the sketch


@dataclass(frozen=True)
class Sketch:
    """How many documents hold a line, at least: a count-min sketch, whose size does not grow with the corpus.

    `cells` [rows, 2^bits]; a line's count is the smallest of its cells, so it is never too low, and too high only where
    other lines fill all of its cells: 2^22 cells serve some 20 million distinct lines.
    """

    cells: np.ndarray

    @classmethod
    def of(cls, bits: int) -> "Sketch":
        """An empty sketch."""
        return cls(np.zeros((_ROWS, 1 << bits), dtype=np.uint32))

    def add(self, keys: np.ndarray, counts: np.ndarray) -> None:
        """Adds each key's number of documents; the order of calls changes nothing."""
        for cells, places in zip(self.cells, self._places(keys), strict=True):
            cells += np.bincount(places, weights=counts.astype(np.float64), minlength=len(cells)).astype(np.uint32)

    def counts(self, keys: np.ndarray) -> np.ndarray:
        """Documents that hold each key [keys]; none hold the key 0."""
        return (keys != 0) * np.min(
            [cells[places] for cells, places in zip(self.cells, self._places(keys), strict=True)], axis=0
        )

    def _places(self, keys: np.ndarray) -> list[np.ndarray]:
        bits = self.cells.shape[1].bit_length() - 1
        return [((keys >> np.uint64(row * 32)) & np.uint64((1 << bits) - 1)).astype(np.int64) for row in range(_ROWS)]


def keys(texts: list[str], sources: list[str]) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    """All lines of the texts, the text of each [lines], and a number [lines] that equal lines of one source share.

    Digits count as one another, so that "Page 3 of 9" and "Page 4 of 9" are the same line; a line that is too short to
    count has the number 0.
    """
    split = pc.split_pattern(pa.array(texts, pa.large_string()), "\n")
    owners = np.repeat(np.arange(len(texts)), pc.list_value_length(split).to_numpy(zero_copy_only=False))
    lines = split.flatten()
    pattern = pc.replace_substring_regex(pc.utf8_trim_whitespace(lines), "[0-9]+", "0")
    codes = _hashes(pattern) ^ _hashes(pa.array(sources, pa.large_string()))[owners]
    counted = pc.greater_equal(pc.utf8_length(pattern), _SHORTEST).to_numpy(zero_copy_only=False)
    return lines, owners, np.where(counted, codes, np.uint64(0))


def documents_per_key(owners: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct keys and the number of texts that hold each; the key 0 is left out."""
    order = np.lexsort((owners, keys))
    keys, owners = keys[order], owners[order]
    first = np.ones(len(keys), dtype=bool)
    first[1:] = (keys[1:] != keys[:-1]) | (owners[1:] != owners[:-1])
    distinct, counts = np.unique(keys[first & (keys != 0)], return_counts=True)
    return distinct, counts.astype(np.uint64)


def drop(texts: list[str], lines: pa.Array, owners: np.ndarray, repeated: np.ndarray) -> list[tuple[str, float]]:
    """Each text without boilerplate and `repeated` lines [lines], and the share of its characters that stood in them.

    A repeated line goes if it stands in a run of them at the text's edge, or ends no sentence: what a dialogue or a law
    says again and again in its midst is text. Where half of a text is repeated it is a copy, for dedup to judge. Fenced
    code stays whole.
    """
    code = _fenced(lines, owners)
    boilerplate = _flags(pc.match_substring_regex(lines, _BOILERPLATE, ignore_case=True))
    lengths = pc.utf8_length(lines).to_numpy()
    boilerplate &= (lengths <= LONGEST_BOILERPLATE_LINE) & ~code
    sizes = np.bincount(owners, weights=lengths, minlength=len(texts))
    unended = ~_flags(pc.match_substring_regex(lines, _SENTENCE_END))
    repeated = repeated & ~code & (unended | _at_an_edge(repeated | (lengths == 0), owners))
    copied = np.bincount(owners, weights=lengths * repeated, minlength=len(texts)) > sizes / 2
    cut = boilerplate | repeated & ~copied[owners]
    lost = np.bincount(owners, weights=lengths * cut, minlength=len(texts))
    bounds = np.searchsorted(owners, np.arange(len(texts) + 1))
    cleaned = []
    for place, text in enumerate(texts):
        if lost[place]:
            mine = slice(bounds[place], bounds[place + 1])
            kept = lines.take(pa.array(np.flatnonzero(~cut[mine]) + bounds[place])).to_pylist()
            text = BLANK_LINES.sub("\n\n", "\n".join(kept)).strip()
        cleaned.append((text, float(lost[place] / max(sizes[place], 1))))
    return cleaned


def _fenced(lines: pa.Array, owners: np.ndarray) -> np.ndarray:
    """Which lines are fences or stand between two; where a text has an odd number of fences, only these themselves."""
    fences = _flags(pc.match_substring_regex(lines, _FENCE))
    count = np.bincount(owners, weights=fences).astype(np.int64)
    opened = np.cumsum(fences) - (np.cumsum(count) - count)[owners]
    return fences | ((opened % 2 == 1) & (count % 2 == 0)[owners])


def _at_an_edge(removable: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Which lines stand in a run of removable ones that begins or ends their text."""
    stays = np.flatnonzero(~removable)
    count = owners[-1] + 1 if len(owners) else 0
    first, last = np.full(count, len(owners)), np.full(count, -1)
    np.minimum.at(first, owners[stays], stays)
    np.maximum.at(last, owners[stays], stays)
    places = np.arange(len(owners))
    return (places < first[owners]) | (places > last[owners])


def _hashes(column: pa.Array) -> np.ndarray:
    return quiet_daft().Series.from_arrow(column).hash().to_arrow().to_numpy()


def _flags(column: pa.Array) -> np.ndarray:
    return column.to_numpy(zero_copy_only=False).astype(bool)
