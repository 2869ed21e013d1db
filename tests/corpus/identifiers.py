"""Personal identifiers of the 18 types and numbers that only look like them, drawn by seed, in natural sentences.

Written from the issuers' own formats (ministries, banks, card schemes), not from the detector's patterns.
"""
# ruff: noqa: E501 (tables)

import random
from collections.abc import Callable, Iterator

LATIN = "abcdefghijklmnopqrstuvwxyz"
SURNAMES = "김이박최정강조윤장임한오서신권황안송류전홍고문양손배백허유남심노하곽성차주우구민진지엄채원천방공현함변염여추도소석선설마길연위표명기반왕금옥육인맹제모탁국어은편용"
GIVEN = "민서준우지현수영도윤하은채원시아건예린성호재혁동진경태승빈나다라유선미정희철"
BANKS = {  # bank → lengths of the number's groups, as printed on its passbooks
    "국민은행": (6, 2, 6), "신한은행": (3, 3, 6), "우리은행": (4, 3, 6), "농협": (3, 4, 4, 2), "하나은행": (3, 6, 5),
    "기업은행": (3, 6, 2, 3), "카카오뱅크": (4, 2, 7), "새마을금고": (4, 4, 4, 1), "우체국": (6, 2, 6), "SC제일은행": (3, 2, 6),
}  # fmt: skip
ROADS = ("세종대로", "테헤란로", "올림픽로", "중앙로", "시청로", "번영로", "한누리대로", "봉은사로")
DISTRICTS = ("서울특별시 종로구", "서울 강남구", "부산광역시 해운대구", "경기도 성남시 분당구", "대전 유성구", "제주특별자치도 제주시",
             "전라남도 여수시", "강원특별자치도 춘천시")  # fmt: skip
PLATE_LETTERS = "가나다라마거너더러머버서어저고노도로모보소오조구누두루무부수우주하허호배"


class Draw(random.Random):
    """A seeded source of digits, words and check digits."""

    def digits(self, count: int) -> str:
        return "".join(self.choice("0123456789") for _ in range(count))

    def grouped(self, *sizes: int, by: str = "-") -> str:
        return by.join(self.digits(size) for size in sizes)

    def handle(self) -> str:
        stem = "".join(self.choice(LATIN) for _ in range(self.randrange(4, 9)))
        return stem + self.choice(["", "_", "."]) + self.digits(self.randrange(1, 4))

    def birth(self, century: int) -> str:
        year = self.randrange(50, 100) if century == 19 else self.randrange(0, 20)
        return f"{year:02d}{self.randrange(1, 13):02d}{self.randrange(1, 29):02d}"

    def resident(self, foreign: bool) -> str:
        """13 digits with the check digit that was issued until October 2020."""
        century = self.choice([19, 20])
        sex = {19: "56", 20: "78"} if foreign else {19: "12", 20: "34"}
        head = self.birth(century) + self.choice(sex[century]) + self.digits(5)
        total = sum(
            int(digit) * weight for digit, weight in zip(head, (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5), strict=True)
        )
        return head + str((11 - total % 11 + 2 * foreign) % 10)

    def card(self) -> str:
        """A number that passes Luhn: Visa, Mastercard, a domestic 9… card (16 digits) or American Express (15)."""
        start, length = self.choice([("4", 16), (str(self.randrange(51, 56)), 16), ("9", 16), ("37", 15)])
        head = start + self.digits(length - 1 - len(start))
        doubled = [int(digit) * (2 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(head))]
        full = head + str(-sum(value - 9 * (value > 9) for value in doubled) % 10)
        if length == 15:
            return self.choice([full, f"{full[:4]}-{full[4:10]}-{full[10:]}", f"{full[:4]} {full[4:10]} {full[10:]}"])
        by = self.choice(["-", " ", ""])
        return by.join(full[at : at + 4] for at in range(0, 16, 4))

    def business(self) -> str:
        head = self.choice(["1", "2", "3", "4", "5", "6"]) + self.digits(8)
        products = [int(digit) * weight for digit, weight in zip(head, (1, 3, 7, 1, 3, 7, 1, 3, 5), strict=True)]
        full = head + str(-(sum(products) + products[-1] // 10) % 10)
        return f"{full[:3]}-{full[3:5]}-{full[5:]}"

    def phone(self) -> str:
        middle, last = self.digits(self.choice([3, 4, 4])), self.digits(4)
        area = self.choice(["02", "031", "032", "042", "051", "053", "062", "064", "070"])
        exchange = str(self.randrange(201, 990))
        return self.choice([
            f"010-{self.digits(4)}-{last}", f"010{self.randrange(2, 10)}{self.digits(7)}", f"010.{self.digits(4)}.{last}",
            f"010 {self.digits(4)} {last}", f"011-{middle}-{last}", f"{area}-{middle}-{last}", f"{area}){middle}-{last}",
            f"+82-10-{self.digits(4)}-{last}", f"+82 10 {self.digits(4)} {last}", f"({exchange}) 555-{last}",
            f"{exchange}-555-{last}", f"+1 {exchange} 555 {last}", f"+1-{exchange}-555-{last}",
        ])  # fmt: skip

    def plate(self) -> str:
        letter, number = self.choice(PLATE_LETTERS), f"{self.randrange(1000, 10000)}"
        first = self.choice([self.digits(2), f"{self.randrange(100, 700)}"])
        return f"{first}{letter}{self.choice(['', ' '])}{number}"

    def mac(self) -> str:
        by, upper = self.choice(":-"), self.choice([True, False])
        text = by.join(f"{self.randrange(256):02x}" for _ in range(6))
        return text.upper() if upper else text

    def public_ip(self) -> str:
        return f"{self.choice([1, 8, 52, 121, 175, 203, 211, 220])}." + ".".join(
            str(self.randrange(1, 255)) for _ in range(3)
        )

    def name(self) -> str:
        return self.choice(SURNAMES) + self.choice(GIVEN) + self.choice(GIVEN)


def licence(draw: Draw) -> str:
    """A driving licence: the region's number or name, year, serial and check."""
    region = draw.choice([str(draw.randrange(11, 29)), "서울", "경기", "부산", "충남"])
    return f"{region}{draw.choice(['-', ' ']) if region.isalpha() else '-'}{draw.digits(2)}-{draw.digits(6)}-{draw.digits(2)}"


def passport(draw: Draw) -> str:
    """Until 2021 a letter and eight digits, since then with a letter in the middle."""
    letter = draw.choice("MSRGD")
    return letter + draw.choice([draw.digits(8), f"{draw.digits(3)}{draw.choice('ABCDEFGHJK')}{draw.digits(4)}"])


def address(draw: Draw) -> str:
    """A road address of a building, some with a flat."""
    flat = draw.choice(
        ["", f", {draw.randrange(101, 120)}동 {draw.randrange(101, 1900)}호", f" {draw.randrange(1, 20)}층"]
    )
    return f"{draw.choice(DISTRICTS)} {draw.choice(ROADS)} {draw.randrange(1, 600)}{flat.removesuffix('층') if '층' in flat else flat}"


# type → how one is drawn, and the sentences in which people write it ({} is what must vanish)
KINDS: dict[str, tuple[Callable[[Draw], str], tuple[str, ...]]] = {
    "주민번호": (
        lambda d: (n := d.resident(False))[:6] + d.choice(["-", "-", "-", " - ", ""]) + n[6:],
        ("주민등록번호는 {}이고 주소는 그대로입니다.", "가족관계증명서에 {}라고 적혀 있다.", "본인 확인: {}", "My resident number is {}, please check."),
    ),
    "외국인등록번호": (
        lambda d: (n := d.resident(True))[:6] + d.choice(["-", "-", "-", " - ", ""]) + n[6:],
        ("외국인등록번호 {}로 조회해 주세요.", "체류자격 F-4, 등록번호 {}", "Her alien registration number is {}."),
    ),
    "자동차운전면허번호": (licence, ("운전면허번호는 {}입니다.", "렌터카를 빌리려면 면허증({})이 필요합니다.", "Driver licence {} was shown.")),
    "여권번호": (passport, ("여권번호는 {}예요.", "여권 {}를 분실했습니다.", "Passport number: {}", "my passport no. is {} and expires soon")),
    "전화번호": (
        lambda d: d.phone(),
        ("궁금하면 {}로 전화 주세요.", "연락처: {}", "담당자 휴대폰 {} 입니다", "Call me at {} tonight.", "문자는 {}, 메일은 따로 보내 주세요."),
    ),
    "계좌번호": (
        lambda d: (lambda bank: f"{bank}|{d.grouped(*BANKS[bank], by=d.choice(['-', '-', '']))}")(d.choice(list(BANKS))),
        ("회비는 {b} {}로 보내 주세요.", "{b} 계좌 {} (예금주 확인)", "입금하실 곳: {b} {}", "Please wire it to {b} account {}."),
    ),
    "신용카드번호": (lambda d: d.card(), ("카드번호 {}로 결제했습니다.", "결제 수단: {}", "He paid with {} yesterday.", "분실한 카드는 {}이에요.")),
    "사업자등록번호": (lambda d: d.business(), ("사업자등록번호 {}", "저희 가게 번호는 {}입니다.", "계산서는 {} 앞으로 끊어 주세요.", "Business no. {} in Korea")),
    "건보번호": (
        lambda d: f"{d.randrange(1, 10)}{d.choice(['-', ''])}{d.digits(10)}",
        ("건강보험증 번호는 {}입니다.", "건강보험 증번호 {}를 적어 주세요.", "건보 번호 {} 확인"),
    ),
    "자동차번호": (lambda d: d.plate(), ("차량번호 {}가 주차되어 있습니다.", "검은색 승용차 {} 차주분", "The car {} is blocking the gate.", "{} 차 좀 빼 주세요.")),
    "통관번호": (lambda d: f"P{d.digits(12)}", ("개인통관고유부호 {}", "해외직구할 때 {}를 씁니다.", "customs code {} for the parcel")),
    "이메일": (
        lambda d: f"{d.handle()}@{d.choice(['naver.com', 'gmail.com', 'company.co.kr', 'mail.example.org'])}",
        ("메일은 {}로 보내 주세요.", "문의: {}", "Write to {}, please.", "<{}>에서 답장이 왔다."),
    ),
    "IP": (lambda d: d.public_ip(), ("{}에서 접속한 기록이 있습니다.", "작성자 IP: {}", "blocked {} after ten attempts", "서버 {}로 붙어 보세요.")),
    "MAC주소": (lambda d: d.mac(), ("공유기 MAC 주소는 {}입니다.", "device {} joined", "기기 {} 등록")),
    "SNS계정": (
        lambda d: d.handle().replace(".", "_"),
        ("인스타그램 @{} 팔로우해 주세요.", "카톡 아이디 {}로 추가하세요.", "텔레그램 @{}", "my instagram is @{}", "트위터 계정: {}"),
    ),
    "ID": (lambda d: d.handle(), ("아이디: {}", "로그인 아이디는 {}입니다.", "user id: {}", "회원 아이디 : {} 탈퇴 요청")),
    "이름": (lambda d: d.name(), ("이름: {}", "예금주: {}", "성명 : {}", "담당자는 {}입니다.")),
    "주소": (address, ("주소는 {}입니다.", "배송지: {}", "{}에서 만나요.", "우편물은 {}로 보내 주세요.")),
}  # fmt: skip
IN_CONTEXT_ONLY = ("이름", "주소")  # reported, without a goal: no shape to check


def ean(draw: Draw) -> str:
    """A Korean article number: 13 digits that begin with 880."""
    head = "880" + draw.digits(9)
    return head + str(-sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(head)) % 10)


LOOKALIKES: tuple[tuple[Callable[[Draw], str], tuple[str, ...]], ...] = (
    (lambda d: f"{d.randrange(1990, 2026)}{d.choice('-./')}{d.randrange(1, 13):02d}-{d.randrange(1, 29):02d}", ("{}에 발표했다.", "Released on {}.")),
    (lambda d: f"{d.randrange(2015, 2026)}{d.randrange(1, 13):02d}{d.randrange(1, 29):02d}-{d.digits(6)}", ("주문번호 {}로 조회하세요.", "Order {} has shipped.")),
    (lambda d: f"978-89-{d.digits(4)}-{d.digits(3)}-{d.digits(1)}", ("ISBN {}", "책 번호는 {}이다.")),
    (ean, ("바코드 {}를 찍었다.", "Barcode {} is Korean.")),
    (lambda d: f"{d.randrange(0, 20)}.{d.randrange(0, 40)}.{d.randrange(0, 300)}", ("버전 {}에서 고쳐졌다.", "Upgrade to v{} first.")),
    (lambda d: f"{d.randrange(1, 20)}.{d.randrange(0, 10)}.{d.randrange(0, 10)}.{d.randrange(0, 10)}", ("버전 {}을 설치했다.", "version {} is out", "v{} 변경 사항")),
    (lambda d: f"{d.randrange(1, 999)},{d.digits(3)},{d.digits(3)}원", ("가격은 {}이다.", "총액 {}을 냈다.")),
    (lambda d: f"${d.randrange(1, 999)},{d.digits(3)}.{d.digits(2)}", ("It costs {}.", "수출액은 {}였다.")),
    (lambda d: f"{d.randrange(1990, 2026)}{d.choice(['다', '나', '가합', '도', '헌바'])}{d.digits(5)}", ("대법원 {} 판결", "사건번호 {}은 끝났다.")),
    (lambda d: f"{d.digits(4)}-{d.digits(4)}-{d.digits(4)}", ("운송장 {}를 조회했다.", "tracking {} arrived")),
    (lambda d: f"{d.digits(2)}-{d.digits(7)}", ("관보 {}호", "품번 {}을 단종한다.")),
    (lambda d: f"{d.randrange(33, 39)}.{d.digits(6)}, {d.randrange(124, 132)}.{d.digits(6)}", ("좌표 {}에 있다.", "at {} on the map")),
    (lambda d: f"{d.digits(1)}.{d.digits(14)}", ("값은 {}이다.", "it converged to {}")),
    (lambda d: f"{d.randrange(10, 100)}대 {d.randrange(1000, 10000)}명", ("응답자는 {}이었다.", "{}이 참여했다.")),
    (lambda d: f"{d.randrange(10, 100)}가지 {d.randrange(1000, 10000)}개", ("부품 {}가 들어간다.", "모두 {}를 모았다.")),
    (lambda d: f"10.{d.digits(4)}/{d.handle()}.{d.digits(4)}", ("doi {}", "논문 {}를 보라.")),
    (lambda d: f"{d.randrange(0, 24):02d}:{d.randrange(0, 60):02d}:{d.randrange(0, 60):02d}", ("{}에 멈췄다.", "at {} sharp")),
    (lambda d: f"{d.randrange(16**8):08x}-{d.randrange(16**4):04x}-4{d.randrange(16**3):03x}-a{d.randrange(16**3):03x}-{d.randrange(16**12):012x}", ("요청 {} 실패", "uuid {}")),
    (lambda d: f"192.168.{d.randrange(0, 256)}.{d.randrange(1, 255)}", ("공유기는 {}이다.", "ping {} first")),
    (lambda d: f"M{d.digits(2)}x{d.digits(2)}", ("볼트 {}을 쓴다.", "use {} bolts")),
    (lambda d: f"제{d.randrange(1, 400)}조 제{d.randrange(1, 9)}항", ("민법 {}에 따른다.", "{}을 개정한다.")),
    (lambda d: f"{draw_team(d)} {d.randrange(0, 15)}-{d.randrange(0, 15)}", ("어제 {}으로 이겼다.", "{} 무승부")),
    (lambda d: f"{d.randrange(1, 100)}.{d.digits(1)}%", ("비율은 {}이다.", "up {} from last year")),
    (lambda d: f"{d.randrange(1000, 10000)}-{d.randrange(1000, 10000)}", ("모델 {}의 부품", "part {} fits")),
    (lambda d: f"SM-{d.choice('GNS')}{d.digits(3)}{d.choice('NSK')}", ("모델명 {}", "my phone is a {}")),
)  # fmt: skip


def draw_team(draw: Draw) -> str:
    """A club's name."""
    return draw.choice(["두산이", "전북이", "서울이", "한화가"])


def personal(count: int, seed: int) -> Iterator[tuple[str, str, str]]:
    """`count` rows (type, sentence, what must vanish), the types in turn."""
    draw, kinds = Draw(seed), list(KINDS)
    for number in range(count):
        kind = kinds[number % len(kinds)]
        make, frames = KINDS[kind]
        bank, _, value = make(draw).rpartition("|")
        yield kind, draw.choice(frames).replace("{b}", bank).replace("{}", value), value


def lookalikes(count: int, seed: int) -> Iterator[str]:
    """`count` sentences that hold no personal data."""
    draw = Draw(seed)
    for number in range(count):
        make, frames = LOOKALIKES[number % len(LOOKALIKES)]
        yield draw.choice(frames).replace("{}", make(draw))
