"""Knows what the gate reads of its own: texts that tokenizers disagree on, plain Korean and English, conversations."""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from midm_mini.format import CONTROL_TOKENS, PII_PLACEHOLDERS, Message, render_chat


class Chat(NamedTuple):
    """A conversation and the tools it may call."""

    messages: Sequence[Message]
    tools: Sequence[Mapping[str, Any]] = ()


TOOL = {
    "name": "weather",
    "description": '도시의 "날씨" <b>&\'',
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
CHATS = (
    Chat([{"role": "user", "content": "안녕하세요?"}]),
    Chat([{"role": "system", "content": "짧게 답해."}, {"role": "user", "content": "한국의 수도는?"}]),
    Chat(
        [
            {"role": "user", "content": "  What is 2 + 2?\n"},
            {"role": "assistant", "content": "4\n\n"},
            {"role": "user", "content": "그럼 3 + 3은? <b>'\"\\"},
        ]
    ),
    Chat([{"role": "user", "content": "언제 지었지?", "passages": ["남대문은 1398년에 지었다.", "둘째\n글"]}]),
    Chat(
        [
            {"role": "system", "content": "Use the tools."},
            {"role": "user", "content": "서울 날씨는?"},
            {"role": "assistant", "content": "", "tool_calls": [{"name": "weather", "arguments": {"city": "서울"}}]},
            {"role": "tool", "content": '{"sky": "맑음"}'},
        ],
        [TOOL],
    ),
)
HARD_TEXTS = (  # decomposed Hangul, joined emoji, spaces of every kind, contractions, control tokens in text
    unicodedata.normalize("NFD", "각 나라의 말씀이 서로 다르다, café"),
    "👩\u200d👩\u200d👧🇰🇷👍🏽 ㅋㅋㅋ ㅠㅠ １２３ ½ Ⅷ",
    "  두 칸\n\n\t탭 \r\n줄\u00a0\u3000\u200b끝   ",
    "I'LL don't 3.14159 1,024km/h https://example.org/길?q=값#끝",
    "漢字와 カタカナ кириллица العربية हिन्दी",
    "".join(CONTROL_TOKENS) + " ".join(PII_PLACEHOLDERS),
    *(render_chat(chat.messages, chat.tools) for chat in CHATS),
)
PLAIN_TEXTS = (  # ours; read where a parent comes without calibration text
    "서울은 한국의 수도이며 한강이 도시 가운데를 흐른다. 주말마다 많은 사람이 북한산과 관악산에 오른다.",
    "The harbour was quiet when the ferry came in. A few fishermen mended nets; the baker had just opened.",
    "물은 섭씨 100도에서 끓고 0도에서 언다. 높은 산에서는 기압이 낮아 밥이 설익기 쉽다.",
    "A prime number has exactly two divisors, one and itself. There are infinitely many, as Euclid showed.",
    "어제는 비가 와서 집에서 책을 읽었다. 저녁에는 어머니와 김치전을 부쳐 먹으며 오래된 사진을 함께 보았다.",
    "To make the soup, chop two onions and fry them slowly in butter. Add a litre of water, and cook for an hour.",
    "도서관은 평일 오전 9시부터 오후 10시까지, 주말에는 오후 6시까지 연다. 책은 다섯 권까지 빌릴 수 있다.",
    "If the light is red, stop; if it is green, look left and right, then cross. Drivers don't always see you.",
    "def 평균(값들):\n    합 = sum(값들)\n    return 합 / len(값들)  # 빈 목록이면 오류\n\nprint(평균([3, 4, 5]))\n",
    "이메일로 문의하시면 24시간 안에 답을 드립니다. Please write in Korean or English, whichever you prefer.",
    "한글은 세종대왕이 1443년에 만들고 1446년에 널리 알린 글자로, 닿소리와 홀소리를 모아 한 글자를 이룬다.",
    "The meeting moved from Tuesday, 3 March to Friday at 10:30. Bring the budget (about $12,500) and figures.",
)
