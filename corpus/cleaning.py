"""Knows how raw text becomes plain text: Unicode repair, markup removal."""

import html
import json
import re
import unicodedata

_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ue000-\uf8ff\ufeff\ufff9-\ufffb]"
)
_SPACES = re.compile(r"[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_INDENT = re.compile(r"\n[ \t]+(?=[가-힣])")
_RUNS = re.compile(r"(?<=\S)[ \t]{2,}(?=\S)")
BLANK_LINES = re.compile(r"\n{3,}")
_UTF8_AS_LATIN1 = re.compile("[ÃÂâìíëê](?=[\u0080-\u00ff€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ])")

_FENCE = re.compile(r"(^[ \t]*(?:```|~~~).*?^[ \t]*(?:```|~~~)[ \t]*$)", re.MULTILINE | re.DOTALL)
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
_MARKDOWN = [  # (what a text must hold for the pattern to be tried, pattern, replacement)
    (sign, re.compile(pattern, re.MULTILINE), replacement)
    for sign, pattern, replacement in (
        ("![", r"!\[[^\]]*\]\([^()\s]*(?: \"[^\"]*\")?\)", ""),  # images
        ("](", r"\[([^\[\]]*)\]\((?:[^()\s]|\([^()]*\))*(?: [\"'][^\"']*[\"'])?\)", r"\1"),  # links
        ("]:", r"^[ \t]*\[[^\]]+\]:[ \t]+\S.*$", ""),  # link definitions
        ("# ", r"^ {0,3}#{1,6} +(.*?)(?: +#+)?(?: *(?:\{[ /*]*#[^}]*\}|\[\[[^\]]*\]\]))?$", r"\1"),  # headings
        ("", r"(\*\*|__)(?=\S)([^\n]+?)(?<=\S)\1", r"\2"),  # bold
        ("[[", r"\[\[(?:[^\[\]|]*\|)?([^\[\]|]*)\]\]", r"\1"),  # wiki links
        ("''", r"'{2,3}([^'\n]+)'{2,3}", r"\1"),  # wiki emphasis
        ("{", r"\{\{[^{}]*\}\}|\{%[^{}]*%\}", ""),  # templates and shortcodes
        ("", r"^[ \t]*(?:\.\. [\w-]+::.*|:{3,}.*|={3,}|-{3,}|\*{3,}|~{3,}|\^{3,})[ \t]*$", ""),  # directives, rules
        (":`", r":[a-z]+:`([^`<]*?)(?: ?<[^>`]*>)?`", r"\1"),  # reST roles
    )
]


def normalise(text: str) -> str:
    """NFC without control, zero-width and private-use characters; mojibake repaired, spaces and blank lines folded."""
    before, text = text, _normalised(text)
    while text != before and _UTF8_AS_LATIN1.search(text):  # folded spaces can uncover more mojibake
        before, text = text, _normalised(text)
    return text


def _normalised(text: str) -> str:
    if _UTF8_AS_LATIN1.search(text):
        import ftfy

        text = ftfy.fix_encoding(text)
    text = unicodedata.normalize("NFC", _INVISIBLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))
    text = "\n".join(map(str.rstrip, _SPACES.sub(" ", text).split("\n")))
    if "  " in text or "\t" in text:
        text = _RUNS.sub(" ", text)
    return BLANK_LINES.sub("\n\n", _INDENT.sub("\n", text)).strip()


def fenced(text: str) -> list[str]:
    """Prose and fenced code in turn; the first and the last part are prose."""
    return _FENCE.split(text) if "```" in text or "~~~" in text else [text]


def strip_markup(text: str) -> str:
    """HTML, XML, Markdown, reST, wiki markup, front matter and notebooks as plain text; fenced code stays as it is."""
    text = _FRONT_MATTER.sub("", _notebook_text(text.replace("\r\n", "\n").lstrip("\ufeff")), count=1)
    if _XML_DOCUMENT.match(text):
        text = html.unescape(_ANY_TAG.sub("", _BLOCK_TAG.sub("\n", _HIDDEN.sub("", text))))
        return re.sub(r"^[ \t]+", "", text, flags=re.MULTILINE)
    parts = fenced(text)
    for index in range(0, len(parts), 2):
        part = parts[index]
        if "<" in part:
            part = _INLINE_TAG.sub("", _BLOCK_TAG.sub("\n", _HIDDEN.sub("", part)))
        part = html.unescape(part)
        for sign, pattern, replacement in _MARKDOWN:
            part = pattern.sub(replacement, part) if sign in part else part
        parts[index] = part
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
