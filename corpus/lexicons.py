"""Knows terms that give a text away by their density: advertising and abuse, Korean and English, in RE2 syntax.

Density, not presence: an article about an insult or a casino names it a few times among hundreds of words.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

ADVERTISING = (
    r"(?:당일|즉시|소액|무직자|무서류) ?대출|카지노|토토|바카라|슬롯|먹튀|꽁머니|첫 ?충전|환전|출장 ?(?:안마|마사지)|"
    r"비아그라|시알리스|무료 ?상담|최저가|초?특가|당일 ?(?:입금|지급|승인)|할인 ?쿠폰|지금 ?(?:바로 ?)?(?:클릭|신청|"
    r"가입|구매|전화|연락|문의)|클릭|선착순|수익 ?보장|고수익|(?:카톡|문자|전화|상담) ?문의|100% ?(?:보장|환불|당첨)|"
    r"(?:월|일|주) ?\d+만 ?원|재택 ?알바|부업|리딩방|급등주|당첨|바로 ?가기|추천인|https?://(?:bit\.ly|tinyurl|t\.me|"
    r"open\.kakao)|\b(?:casino|viagra|cialis|payday|jackpot|free (?:trial|gift|bonus|spins?|shipping)|(?:click|buy|"
    r"order|call|act|apply|sign up|shop|join|register) (?:here|now|today)|limited[- ]time|winner|discounts?|"
    r"(?:special|exclusive) (?:offer|deal)s?|100% (?:free|legit)|guaranteed?|congratulations|make money|"
    r"work from home|you(?:'ve| have) (?:won|been selected)|earn (?:up to )?\$|(?:lowest|best) prices?|\d+% off|"
    r"weight loss|risk[- ]free|no (?:credit check|prescription|risk)|cheap|bonus|promo code)"
)
# Written for this project. Of insults that are also plain words (a fish, a beetle, an animal's face) none is here.
ABUSE = (
    "씨발|시발(?:놈|년|새끼|것)|씨팔|ㅅㅂ|ㅆㅂ|병신|ㅂㅅ|븅신|지랄|ㅈㄹ|좆|[개쌔] ?새끼|쌔끼|이 ?새끼|"
    "미친 ?(?:놈|년|것|새끼)|또라이|썅|쌍[년놈]|(?:잡|걸레)[년놈]|창녀|한남충|김치녀|된장녀|맘충|틀딱|급식충|짱깨|"
    r"쪽바리|조센징|똥꼬충|느금마|엠창|닥쳐|꺼져라|뒈져|뒤져라|찐따|쓰레기 ?같은|역겨운|역겹다|꼴값|관종|빨갱이|"
    r"[이저그]놈|\b(?:f+u+c+k\w*|motherf\w+|(?:bull)?shit(?:ty|head)?s?|bitch(?:es|y)?|bastards?|a(?:ss|rse)holes?|dickheads?|cunts?|"
    r"whores?|sluts?|fag(?:got)?s?|nigg(?:er|a)s?|retard(?:s|ed)?|kikes?|chinks?|trann(?:y|ies)|wankers?|twats?|"
    r"scumbags?|morons?|idiots?|imbeciles?|dumbass|jackass|douchebags?|kill yourself|kys|stfu|shut up|go to hell|"
    r"piece of (?:shit|crap|trash)|subhumans?)\b"
)


def per_word(terms: str, texts: list[str]) -> np.ndarray:
    """Occurrences of a lexicon's terms per space-separated word [texts]."""
    found = pc.count_substring_regex(pa.array(texts, pa.large_string()), terms, ignore_case=True).to_numpy()
    return np.array([count and count / max(1, len(text.split())) for count, text in zip(found, texts, strict=True)])
