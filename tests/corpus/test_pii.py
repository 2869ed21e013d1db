"""Personal data: what is one is masked with its type, what only looks like one stays."""

import random
from collections import Counter

import pytest
from midm_mini.format import PII_PLACEHOLDERS

from corpus import pii
from tests.corpus import identifiers


def masked(text):
    return pii.mask([text])[0]


FOUND = [
    ("이메일", "문의는 hong.gildong+a@mail.example.co.kr로 주세요", "hong.gildong+a@mail.example.co.kr"),
    ("전화번호", "연락처는 010-1234-5678입니다", "010-1234-5678"),
    ("전화번호", "010 1234 5678, 급합니다", "010 1234 5678"),
    ("전화번호", "사무실 02-123-4567", "02-123-4567"),
    ("전화번호", "지역 (031) 123-4567", "(031) 123-4567"),
    ("전화번호", "call +82-10-5678-9012 tonight", "+82-10-5678-9012"),
    ("전화번호", "call (212) 555-0143 tonight", "(212) 555-0143"),
    ("주민번호", "번호 850228-1990015과", "850228-1990015"),
    ("외국인등록번호", "등록번호 880315-7990025이", "880315-7990025"),
    ("신용카드번호", "카드 4111-1111-1111-1111로", "4111-1111-1111-1111"),
    ("신용카드번호", "card 4111111111111111.", "4111111111111111"),
    ("사업자등록번호", "사업자 220-81-62517", "220-81-62517"),
    ("계좌번호", "국민은행 123456-04-123456으로 보내 주세요", "123456-04-123456"),
    ("계좌번호", "입금 계좌: 110-234-567890", "110-234-567890"),
    ("여권번호", "여권번호 M12345678이", "M12345678"),
    ("여권번호", "passport no. M123A4567", "M123A4567"),
    ("자동차운전면허번호", "면허 11-00-123456-78이", "11-00-123456-78"),
    ("자동차번호", "차량 12가 3456이 서 있다", "12가 3456"),
    ("통관번호", "통관부호 P123456789012", "P123456789012"),
    ("건보번호", "건강보험증 번호 1-2345678901", "1-2345678901"),
    ("IP", "접속 주소 203.0.113.7에서", "203.0.113.7"),
    ("MAC주소", "장치 00:1B:44:11:3A:B7", "00:1B:44:11:3A:B7"),
    ("주소", "서울특별시 종로구 세종대로 209번길 3, 201호로 오세요", "서울특별시 종로구 세종대로 209번길 3, 201호"),
    ("이름", "예금주: 홍길동", "홍길동"),
    ("SNS계정", "카톡 아이디 gildong_77", "gildong_77"),
    ("SNS계정", "인스타그램 @gil.dong", "@gil.dong"),
    ("ID", "아이디: gildong99", "gildong99"),
    # the same data as others write it
    ("전화번호", "London: +44 20 7946 0958", "+44 20 7946 0958"),
    ("전화번호", "82-10-1234-5678로", "82-10-1234-5678"),
    ("전화번호", "계좌 문의는 010-1234-5678", "010-1234-5678"),
    ("계좌번호", "국민 123456-01-234567", "123456-01-234567"),
    ("계좌번호", "이체: 110-123-456789", "110-123-456789"),
    ("건보번호", "Health insurance number: 1-1234567890", "1-1234567890"),
    ("사업자등록번호", "사업자등록번호 2208162517", "2208162517"),
    ("여권번호", "passport PM1234567", "PM1234567"),
    ("자동차운전면허번호", "면허는 서울12-123456-12", "서울12-123456-12"),
    ("자동차운전면허번호", "driver's license 111212345612", "111212345612"),
    ("MAC주소", "MAC aabb.ccdd.eeff", "aabb.ccdd.eeff"),
    ("IP", "2001:0db8:85a3:0000:0000:8a2e:0370:7334에서", "2001:0db8:85a3:0000:0000:8a2e:0370:7334"),
    ("IP", "at fe80::1ff:fe23:4567:890a", "fe80::1ff:fe23:4567:890a"),
    ("IP", "http://197.158.164.104:9000/", "197.158.164.104"),
    ("자동차번호", "서울 12 가 3456", "서울 12 가 3456"),
    ("SNS계정", "인스타 gildong_99 맞팔해요", "gildong_99"),
    ("SNS계정", "Instagram handle: gildong", "gildong"),
    ("SNS계정", "LINE ID: gildong99", "gildong99"),
    ("SNS계정", "디스코드 gildong#1234", "gildong#1234"),
    ("SNS계정", "X 계정 @gildong99", "@gildong99"),
    ("ID", "ID: gildong99", "gildong99"),
    ("ID", "회원ID gildong99", "gildong99"),
    ("이름", "제 이름은 홍길동입니다", "홍길동"),
]


@pytest.mark.parametrize("kind, text, value", FOUND)
def test_personal_data_is_replaced_by_its_typed_placeholder(kind, text, value):
    clean, counts = masked(text)
    assert clean == text.replace(value, f"#@{kind}@#")
    assert counts == {kind: 1}


@pytest.mark.parametrize(
    "text",
    [
        "2023-05-17에 시작해 1,234,567명이 왔다.",
        "버전 3.12.4, 점수 14-3, 가격 12,500원, 비율 3.14159265358979",
        "주문 번호 1234-5678-9012-3456은 카드가 아니다",  # Luhn fails
        "없는 날짜 851332-1990015",
        "8502281990016 은 하이픈 없이 검증 숫자가 틀리다",
        "사업자 220-81-62518",  # check digit fails
        "내부 주소 192.168.0.1, 127.0.0.1, 10.0.0.8",
        "판 번호 1.2.3.4.5와 999.1.1.1",
        "ISBN 978-89-1234-567-8",
        "119와 120, 1588을 누르세요",
        "이메일은 @ 기호로 나뉜다. user@localhost",
        "서울특별시 종로구는 오래된 동네다",
        "카카오톡 공유 facebook",
        "이름을 짓는 일은 어렵다",
        "std::vector<int> v{1, 2, 3};",
        "버전은 1.2.3.4, 펌웨어 1.2.3.4, build 1.2.3.4",
        "Section 4.2.5.5 and Chrome/12.0.60.10",
        "--instance_data_dir과 install_fonts",
        "Twitter: Maya, 인스타: https://www.example.com/p",
        "원래 이름은 최한진이었으나 바꾸었다",
        "UsernameToken10, username: someone, id: string",
        "12:30:45:10에 멈춘 라인 2개",
    ],
)
def test_what_only_looks_like_personal_data_stays(text):
    assert masked(text) == (text, {})


def test_masking_twice_changes_nothing_more():
    texts = [text for _, text, _ in FOUND]
    once = [clean for clean, _ in pii.mask(texts)]
    assert [clean for clean, _ in pii.mask(once)] == once


def test_every_kind_has_a_placeholder_of_the_bundle():
    assert {f"#@{kind.name}@#" for kind in pii.KINDS} <= set(PII_PLACEHOLDERS)
    assert len({kind.name for kind in pii.KINDS}) == 18


def resident_number(draw, foreigner):
    head = f"{draw.randrange(50, 99):02d}{draw.randrange(1, 13):02d}{draw.randrange(1, 29):02d}"
    head += str(draw.choice([5, 6] if foreigner else [1, 2])) + f"{draw.randrange(10**5):05d}"
    total = sum(int(digit) * weight for digit, weight in zip(head, [2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5], strict=True))
    return head + str(((11 - total % 11) % 10 + 2 * foreigner) % 10)


@pytest.mark.parametrize("foreigner", [False, True])
def test_only_one_last_digit_makes_a_bare_resident_number(foreigner):
    draw = random.Random(1)
    for _ in range(300):
        number = resident_number(draw, foreigner)
        valid = [digit for digit in "0123456789" if pii.is_resident_number(number[:-1] + digit)]
        assert valid == [number[-1]]


def test_numbers_issued_since_2020_have_no_checksum_and_are_masked_by_shape_and_date():
    assert masked("201105-3123456")[0] == masked("201105-3123457")[0] == "#@주민번호@#"


def test_luhn_finds_every_single_wrong_digit_of_a_card():
    card = "4111111111111111"
    wrong = [card[:i] + d + card[i + 1 :] for i in range(16) for d in "0123456789" if d != card[i]]
    assert pii.is_card_number(card)
    assert not any(map(pii.is_card_number, wrong))


@pytest.fixture(scope="module")
def judged():
    """Recall and precision by type over 20,000 identifiers and 20,000 look-alikes in sentences."""
    rows = [*identifiers.personal(20_000, seed=11)]
    asked, found, right, said = Counter(), Counter(), Counter(), Counter()
    for (kind, _, value), (clean, counts) in zip(rows, pii.mask([text for _, text, _ in rows]), strict=True):
        asked[kind] += 1
        found[kind] += value not in clean and kind in counts
        right[kind] += kind in counts
        said.update(counts)
    for _, counts in pii.mask([*identifiers.lookalikes(20_000, seed=12)]):
        said.update(counts)
    return {kind: (found[kind] / asked[kind], right[kind] / max(1, said[kind])) for kind in identifiers.KINDS}


@pytest.mark.parametrize("kind", sorted(set(identifiers.KINDS) - set(identifiers.IN_CONTEXT_ONLY)))
def test_of_20000_identifiers_nearly_all_vanish_and_of_20000_lookalikes_nearly_none(judged, kind):
    recall, precision = judged[kind]
    assert recall >= 0.98 and precision >= 0.97, (recall, precision)


def test_the_generator_knows_all_18_types():
    assert {f"#@{kind}@#" for kind in identifiers.KINDS} == set(PII_PLACEHOLDERS)
