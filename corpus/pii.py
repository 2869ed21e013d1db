"""Knows personal data in Korean and English text: finds it, checks it by checksum or date, masks it by type."""

import re
from collections import Counter
from collections.abc import Callable
from datetime import date
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from midm_mini.format import PII_PLACEHOLDERS

_PLACEHOLDER = {placeholder.strip("#@"): placeholder for placeholder in PII_PLACEHOLDERS}


class Kind(NamedTuple):
    """One type of personal data: its pattern (group `v` is masked), a check on the match, and what announces it."""

    name: str
    hint: str  # RE2 syntax: a line without it does not hold the pattern
    pattern: re.Pattern[str]
    check: Callable[[str], bool]


def mask(texts: list[str]) -> list[tuple[str, Counter[str]]]:
    """Each text with personal data replaced by typed placeholders (`#@전화번호@#`), and how many of each type.

    Arrow looks through all lines at once for the few that may hold anything, and through these for each kind's hint.
    """
    split = [text.split("\n") for text in texts]
    lines = [line for own in split for line in own]
    owners = np.repeat(np.arange(len(texts)), [len(own) for own in split])
    counts = [Counter[str]() for _ in texts]
    suspicious = _holding(lines, np.arange(len(lines)), "|".join(kind.hint for kind in KINDS))
    for kind in KINDS:
        for place in _holding(lines, suspicious, kind.hint).tolist():
            lines[place] = kind.pattern.sub(partial(_replace, kind, counts[owners[place]]), lines[place])
    ends = np.cumsum([len(own) for own in split]).tolist()
    return [
        ("\n".join(lines[end - len(own) : end]), found) for end, own, found in zip(ends, split, counts, strict=True)
    ]


def _holding(lines: list[str], places: np.ndarray, pattern: str) -> np.ndarray:
    some = pa.array([lines[place] for place in places.tolist()], pa.large_string())
    found = pc.match_substring_regex(some, pattern, ignore_case=True)
    return places[found.to_numpy(zero_copy_only=False).astype(bool)]


def _replace(kind: Kind, counts: Counter[str], match: re.Match[str]) -> str:
    if not kind.check(match["v"]):
        return match[0]
    counts[kind.name] += 1
    start, end = match.start("v") - match.start(), match.end("v") - match.start()
    return match[0][:start] + _PLACEHOLDER[kind.name] + match[0][end:]


def is_resident_number(value: str) -> bool:
    """A resident or foreigner number: a real birth date; and the checksum, if it is written without a hyphen.

    Numbers issued since October 2020 end in random digits, so with a hyphen the shape and the date are evidence enough.
    """
    digits = _digits(value)
    century = {9: 1800, 0: 1800, 1: 1900, 2: 1900, 5: 1900, 6: 1900}.get(digits[6], 2000)
    try:
        date(century + digits[0] * 10 + digits[1], digits[2] * 10 + digits[3], digits[4] * 10 + digits[5])
    except ValueError:
        return False
    expected = 11 - _weighted(digits[:12], (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)) % 11 + 2 * (5 <= digits[6] <= 8)
    return not value.isdigit() or digits[12] == expected % 10


def is_card_number(value: str) -> bool:
    """Luhn's check of a payment card number."""
    return sum(2 * d - 9 * (d > 4) if n % 2 else d for n, d in enumerate(reversed(_digits(value)))) % 10 == 0


def is_business_number(value: str) -> bool:
    """The check digit of a Korean business registration number (10 digits)."""
    digits = _digits(value)
    return -(_weighted(digits[:9], (1, 3, 7, 1, 3, 7, 1, 3, 5)) + digits[8] * 5 // 10) % 10 == digits[9]


def _digits(value: str) -> list[int]:
    return [int(character) for character in value if character.isdigit()]


def _weighted(digits: list[int], weights: tuple[int, ...]) -> int:
    return sum(digit * weight for digit, weight in zip(digits, weights, strict=True))


def _kind(name: str, hint: str, *pattern: str, check: Callable[[str], bool] = bool) -> Kind:
    # ASCII: a Korean particle may follow a number at once, so it must not count as one of its word characters
    return Kind(name, hint, re.compile("".join(pattern), re.IGNORECASE | re.ASCII), check)


_PROVINCE = "서울|부산|대구|인천|광주|대전|울산|세종|경기|강원|충청|충북|충남|전라|전북|전남|경상|경북|경남|제주"
_NAMED = "이름|성명|성함|예금주|수취인|담당자"
_SURNAME = (
    "김이박최정강조윤장임한오서신권황안송류전홍고문양손배백허유남심노하곽성차주우구민진지엄채원천방공현함변염여추"
)
_NETWORK = (
    "카카오톡|카톡|인스타그램|인스타|텔레그램|트위터|페이스북|디스코드|틱톡|스레드|kakao(?:talk)?|insta(?:gram)?|telegram|twitter"
    r"|facebook|discord|tiktok|(?:라인|line|\bX)(?= ?(?:아이디|계정|id))"
)
_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_LOCAL_NETWORKS = r"(?:0|10|127|22[4-9]|23\d|24\d|25\d)\.|192\.168\.|169\.254\.|172\.(?:1[6-9]|2\d|3[01])\."
_VERSION = r"(?<![\d.v])(?<![a-z]/)" + "".join(
    f"(?<!{word})(?<!{word} )(?<!{word}: )"  # Python's lookbehind knows fixed widths only
    for word in ("버전", "버전은", "펌웨어", "릴리스", "릴리즈", "빌드", "ion", "firmware", "release", "build")
)
_BANK = "계좌|은행|뱅크|금고|농협|신협|우체국|증권|입금|송금|이체|account|transfer"
_BANK_IN_SHORT = "국민|신한|우리|하나|기업|카카오|케이|토스|수협|씨티"
_TELEPHONE = r"0(?:1[016-9]|2|[3-6][1-5]|70|50\d)"
_HEALTH = "건강보험|건보|health insurance|nhis"
_CARD = r"[2-69]\d{3}([ -]?)\d{4}\2\d{4}\2\d{4}|3[47]\d\d([ -]?)\d{6}\3\d{5}"  # the second is American Express
_PLATE = "가나다라마거너더러머버서어저고노도로모보소오조구누두루무부수우주바사아자배하허호"  # and no counter such as 대
_BIRTH = "[0-9]{6} ?[-–]? ?[0-9]{7}"
_ACCOUNT = "아이디|계정명|(?:user|login|member|회원|로그인) ?id"
# Order matters: the longer and better checked shapes first, so that a card is not read as a telephone number.
KINDS = (
    _kind(
        "이메일",
        "@[a-z0-9]",
        r"(?<![\w.+-])(?P<v>[a-z0-9][\w.+-]{0,63}@(?:[a-z0-9-]{1,63}\.){1,4}[a-z]{2,10})(?![\w@])",
    ),
    _kind("신용카드번호", "[0-9]{4}[ -]?[0-9]{4}", rf"(?<![\d.-])(?P<v>{_CARD})(?![\d-])", check=is_card_number),
    _kind("주민번호", _BIRTH, r"(?<![\d.-])(?P<v>\d{6} ?[-–]? ?[0-49]\d{6})(?![\d-])", check=is_resident_number),
    _kind("외국인등록번호", _BIRTH, r"(?<![\d.-])(?P<v>\d{6} ?[-–]? ?[5-8]\d{6})(?![\d-])", check=is_resident_number),
    _kind(
        "자동차운전면허번호",
        "-[0-9]{6}-[0-9]{2}",
        r"(?<![\d-])(?P<v>(?:(?:1[1-9]|2[0-8])[- ]|[가-힣]{2}[- ]?)\d{2}-\d{6}-\d{2})(?![\d-])",
    ),
    _kind(
        "자동차운전면허번호",
        "면허|licen[cs]e",
        r"(?:면허|licen[cs]e)[^\d\n]{0,20}(?P<v>(?:1[1-9]|2[0-8])[- ]?\d{2}[- ]?\d{6}[- ]?\d{2})(?![\d-])",
    ),
    _kind(
        "사업자등록번호",
        "[0-9]{3}-[0-9]{2}-[0-9]{5}",
        r"(?<![\d-])(?P<v>\d{3}-\d{2}-\d{5})(?![\d-])",
        check=is_business_number,
    ),
    _kind("사업자등록번호", "사업자", r"사업자[^\d\n]{0,15}(?P<v>\d{10})(?!\d)", check=is_business_number),
    _kind("통관번호", "P[0-9]{12}", r"(?<!\w)(?P<v>P\d{12})(?!\w)"),
    _kind(
        "여권번호",
        "여권|passport",
        r"(?:여권|passport)[^\d\n]{0,20}?(?P<v>[A-Z]{1,2}\d{7,8}|[A-Z]\d{3}[A-Z]\d{4})(?!\w)",
    ),
    _kind("건보번호", _HEALTH, rf"(?:{_HEALTH})\D{{0,15}}?(?P<v>\d-?\d{{10}}|\d{{10,11}})(?!\d)"),
    _kind(
        "계좌번호",
        rf"(?:{_BANK})[^0-9]{{0,20}}[0-9]|(?:{_BANK_IN_SHORT}) ?[1-9]",
        rf"(?:(?:{_BANK})[^\d\n]{{0,20}}(?!{_TELEPHONE}[-). ]?\d{{3,4}}[- ]?\d{{4}}(?!\d))",
        rf"|(?:{_BANK_IN_SHORT}) ?(?=[1-9]\d+-\d+-\d))(?P<v>\d{{2,6}}(?:-\d{{1,7}}){{1,4}}|\d{{10,14}})(?![\d-])",
        check=lambda value: 10 <= len(_digits(value)) <= 14,
    ),
    _kind(
        "전화번호",
        "[0-9]{3}[- .]?[0-9]{4}",
        rf"(?<![\w.-])(?P<v>(?:(?:\+82[- .]?|82[- ])(?:\(0\))?(?:1[016-9]|2|[3-6]\d|70)|{_TELEPHONE})",
        r"[-). ]{0,2}\d{3,4}[- .]?\d{4}|\+[1-9]\d{0,2}(?:[- .]\(?\d{1,4}\)?){1,3}[- .]\d{3,4}",
        r"|(?:\+1[- .]?\(?\d{3}\)?[- .]|\(\d{3}\) ?|\d{3}[-.])\d{3}[- .]\d{4})(?![\d-])",
    ),
    _kind(
        "자동차번호",
        rf"[0-9] ?[{_PLATE}] ?[0-9]{{4}}",
        rf"(?<!\w)(?P<v>(?:\d{{2,3}}|(?:{_PROVINCE}) ?\d{{1,2}} ?)[{_PLATE}] ?\d{{4}})(?!\d)",
    ),
    _kind(
        "IP",
        r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]",
        rf"{_VERSION}(?!{_LOCAL_NETWORKS})(?P<v>(?:{_OCTET}\.){{3}}{_OCTET})(?![\d.]*\d)",
    ),
    _kind(
        "IP",
        "[0-9a-f]:[0-9a-f]{0,4}:[0-9a-f]{1,4}:",
        r"(?<![\w:])(?P<v>(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}|(?:[0-9a-f]{1,4}:){1,6}(?::[0-9a-f]{1,4}){1,6})(?![\w:])",
    ),
    _kind(
        "MAC주소",
        r"(?:[0-9a-f]{2}[:-]){3}|[0-9a-f]{4}\.[0-9a-f]{4}\.",
        r"(?<![\w:.-])(?P<v>[0-9a-f]{2}([:-])[0-9a-f]{2}(?:\2[0-9a-f]{2}){4}|(?:[0-9a-f]{4}\.){2}[0-9a-f]{4})(?![\w:-])",
    ),
    _kind(
        "주소",
        rf"(?:{_PROVINCE}).*[시군구] .*[0-9]",
        rf"(?P<v>(?:{_PROVINCE})[가-힣]{{0,5}} (?:[가-힣]{{1,5}}[시군구] ){{1,2}}(?:[가-힣]{{1,6}}[읍면] )?",
        r"[가-힣\d]{1,12}(?:로|길|동|리) ?\d{1,4}(?:번길 ?\d{1,4}|번지)?(?:-\d{1,4})?",
        r"(?:,? ?\d{1,4}동)?(?:,? ?\d{1,4}호)?)",
    ),
    # of what "… 이름은" goes before only the speaker's own name, or every article on a person would lose it
    _kind(
        "이름",
        rf"(?:{_NAMED})[은는]?(?: ?[:：]| )",
        rf"(?:{_NAMED})(?:[은는]? ?[:：] ?(?=[가-힣]{{2,4}}(?![가-힣]))",
        rf"|(?<![^제내] 이름)[은는] (?=[{_SURNAME}][가-힣]{{2}}(?:[이입예]|이에)))",
        r"(?P<v>[가-힣]{3}(?=[이입예])|[가-힣]{2,4})",
    ),
    # a plain word after a network's name is a handle only if a digit, an underscore or @ shows it
    _kind(
        "SNS계정",
        _NETWORK.replace("(?= ", "(?: "),
        rf"(?<![a-z_])(?:{_NETWORK})(?: ?(?:아이디|계정|핸들)[는은]? ?[:：]? ?",
        r"| (?:id|handle|account|username) ?[:：] ?",
        r"|(?: (?:id|handle|account|username))?[는은]?(?: is)?(?: ?[:：] ?| |(?=@))",
        r"(?=@|[a-z.]*#?[\d_]))",
        r"(?!https?:|www\.)(?P<v>@?[a-z][\w.]{3,29}(?:#\d{4})?)(?![\w.@])",
    ),
    # without a colon only what holds a digit, for plain words follow too
    _kind(
        "ID",
        rf"{_ACCOUNT}|(?-i:ID) ?[:：]|username",
        rf"(?:(?:{_ACCOUNT})[는은]?(?: is)? ?(?:[:：] ?|(?=[a-z_.-]*\d))(?<![a-z])",
        r"|(?<![\w가-힣.-])(?:(?-i:ID)|username)(?: is | ?[:：] ?)(?=[a-z_.-]*\d))",
        r"(?P<v>[a-z][\w.-]{2,28}\w)",
    ),
)
