"""Knows how raw text becomes plain text: Unicode repair, markup removal, boilerplate lines."""

import html
import json
import re
import unicodedata
from collections.abc import Iterator
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc

_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ue000-\uf8ff\ufeff\ufff9-\ufffb]"
)
_SPACES = re.compile(r"[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_INDENT = re.compile(r"\n[ \t]+(?=[가-힣])")
_RUNS = re.compile(r"(?<=\S)[ \t]{2,}(?=\S)")
_BLANK_LINES = re.compile(r"\n{3,}")
_UTF8_AS_LATIN1 = re.compile("[ÃÂâìíëê](?=[\u0080-\u00ff€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ])")

FENCE = re.compile(r"(^[ \t]*(?:```|~~~).*?^[ \t]*(?:```|~~~)[ \t]*$)", re.MULTILINE | re.DOTALL)
_FRONT_MATTER = re.compile(r"\A\s*(?:(---|\+\+\+)[ \t]*\n.*?\n\1|%\{\n.*?\n\}\n---)[ \t]*(?:\n|\Z)", re.DOTALL)
_XML_DOCUMENT = re.compile(r"\A\s*<(?:\?xml|!doctype|html|document|body|div|p|article|section)\b", re.IGNORECASE)
_HIDDEN = re.compile(
    r"<!--.*?-->|<(script|style|head|nav|footer|svg|noscript|iframe|form)\b.*?</\1\s*>", re.DOTALL | re.IGNORECASE
)
_BLOCKS = (
    "address|article|aside|blockquote|body|br|caption|center|dd|div|dl|dt|fieldset|figcaption|figure|footer|form|h[1-6]|"
    "head|header|hr|html|legend|li|link|main|meta|nav|ol|option|p|para|pre|section|select|table|tbody|td|textarea|tfoot|"
    "th|thead|title|tr|ul"
)
_INLINE = (
    "a|abbr|audio|b|bdi|big|button|cite|code|del|details|dfn|em|embed|font|i|iframe|img|input|ins|kbd|label|mark|object|"
    "q|rp|rt|ruby|s|samp|script|small|source|span|strike|strong|style|sub|summary|sup|svg|time|tt|u|var|video|wbr"
)
_BLOCK_TAG = re.compile(rf"</?(?:{_BLOCKS})(?:\s[^<>]*)?/?>", re.IGNORECASE)
_INLINE_TAG = re.compile(rf"</?(?:{_INLINE})(?:\s[^<>]*)?/?>", re.IGNORECASE)
_ANY_TAG = re.compile(r"<[!?/]?[a-zA-Z][^<>]*>")
_MARKDOWN = [
    (re.compile(pattern, re.MULTILINE), replacement)
    for pattern, replacement in (
        (r"!\[[^\]]*\]\([^()\s]*(?: \"[^\"]*\")?\)", ""),  # images
        (r"\[([^\[\]]*)\]\((?:[^()\s]|\([^()]*\))*(?: [\"'][^\"']*[\"'])?\)", r"\1"),  # links
        (r"^[ \t]*\[[^\]]+\]:[ \t]+\S.*$", ""),  # link definitions
        (r"^ {0,3}#{1,6} +(.*?)(?: +#+)?(?: *(?:\{[ /*]*#[^}]*\}|\[\[[^\]]*\]\]))?$", r"\1"),  # headings
        (r"(\*\*|__)(?=\S)([^\n]+?)(?<=\S)\1", r"\2"),  # bold
        (r"\[\[(?:[^\[\]|]*\|)?([^\[\]|]*)\]\]", r"\1"),  # wiki links
        (r"'{2,3}([^'\n]+)'{2,3}", r"\1"),  # wiki emphasis
        (r"\{\{[^{}]*\}\}|\{%[^{}]*%\}", ""),  # templates and shortcodes
        (r"^[ \t]*(?:\.\. [\w-]+::.*|:{3,}.*|={3,}|-{3,}|\*{3,}|~{3,}|\^{3,})[ \t]*$", ""),  # directives, rules
        (r":[a-z]+:`([^`<]*?)(?: ?<[^>`]*>)?`", r"\1"),  # reST roles
    )
]
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


def normalise(text: str) -> str:
    """NFC without control, zero-width and private-use characters; mojibake repaired, spaces and blank lines folded."""
    if _UTF8_AS_LATIN1.search(text):
        import ftfy

        text = ftfy.fix_encoding(text)
    text = unicodedata.normalize("NFC", _INVISIBLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))
    text = "\n".join(map(str.rstrip, _SPACES.sub(" ", text).split("\n")))
    if "  " in text or "\t" in text:
        text = _RUNS.sub(" ", text)
    return _BLANK_LINES.sub("\n\n", _INDENT.sub("\n", text)).strip()


def strip_markup(text: str) -> str:
    """HTML, XML, Markdown, reST, wiki markup, front matter and notebooks as plain text; fenced code stays as it is."""
    text = _FRONT_MATTER.sub("", _notebook_text(text.replace("\r\n", "\n").lstrip("\ufeff")), count=1)
    if _XML_DOCUMENT.match(text):
        text = html.unescape(_ANY_TAG.sub("", _BLOCK_TAG.sub("\n", _HIDDEN.sub("", text))))
        return re.sub(r"^[ \t]+", "", text, flags=re.MULTILINE)
    parts = FENCE.split(text)  # even parts are prose, odd parts fenced code
    for index in range(0, len(parts), 2):
        parts[index] = html.unescape(_INLINE_TAG.sub("", _BLOCK_TAG.sub("\n", _HIDDEN.sub("", parts[index]))))
        for pattern, replacement in _MARKDOWN:
            parts[index] = pattern.sub(replacement, parts[index])
    return "".join(parts)


def _notebook_text(text: str) -> str:
    """The cells of a Jupyter notebook, code fenced, outputs left out; any other text unchanged."""
    if not text.lstrip().startswith("{") or '"cells"' not in text:
        return text
    try:
        cells = json.loads(text)["cells"]
        sources = [("".join(cell["source"]), cell["cell_type"] == "code") for cell in cells]
    except (ValueError, KeyError, TypeError):
        return text  # not a notebook after all: judged as it stands
    return "\n\n".join(f"```\n{source}\n```" if code else source for source, code in sources if source.strip())


def drop_boilerplate(texts: list[str]) -> list[tuple[str, float]]:
    """Each text without its boilerplate lines, and the share of its characters that stood in them."""
    cleaned = []
    for lines, flags in matching_lines(texts, _BOILERPLATE):
        pairs = zip(lines, flags, strict=True)
        kept = [line for line, flag in pairs if not flag or len(line) > LONGEST_BOILERPLATE_LINE]
        before, after = sum(map(len, lines)), sum(map(len, kept))
        cleaned.append((_BLANK_LINES.sub("\n\n", "\n".join(kept)).strip(), 1 - after / before if before else 0.0))
    return cleaned


def matching_lines(texts: list[str], pattern: str) -> Iterator[tuple[list[str], list[bool]]]:
    """The lines of each text and which of them hold the pattern (RE2 syntax, case ignored).

    All texts go through one call of arrow, which compiles the pattern once and searches in linear time.
    """
    split = [text.split("\n") for text in texts]
    every = pa.array([line for lines in split for line in lines], pa.string())
    flags = iter(pc.match_substring_regex(every, pattern, ignore_case=True).to_pylist())
    for lines in split:
        yield lines, list(islice(flags, len(lines)))
