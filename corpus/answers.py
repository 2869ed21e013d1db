"""Knows when a written answer is right: its seed says it, or calculating again gives it; and what is only copied."""

import ast
import operator
import re
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise

from corpus import near
from corpus.language import ENGLISH_WORDS

STRETCH = 8  # units (Korean syllables, other words) that are no longer said alike by chance
SUPPORT = 0.6  # share of an answer's content that its seed must hold: particles and endings may differ


def copied(text: str, seed: str) -> float:
    """Share of the text's stretches of STRETCH units that stand in the seed; a shorter text is one stretch."""
    ours, theirs = near.units(text).split(), f" {near.units(seed)} "
    places = range(max(len(ours) - STRETCH + 1, 1))
    return sum(f" {' '.join(ours[place : place + STRETCH])} " in theirs for place in places) / len(places)


def unsupported(text: str, seed: str) -> str:
    """An objection unless every question has an answer whose numbers and content words stand in the seed."""
    answers = _ANSWER.findall(text)
    if not answers or len(answers) != len(_QUESTION.findall(text)):
        return "no_answer"
    numbers, content = set(_DIGITS.findall(seed)), _content(seed) | set(near.units(seed).split())
    for answer in answers:
        said = _content(answer) or set(near.units(answer).split())
        if set(_DIGITS.findall(answer)) - numbers or len(said & content) < SUPPORT * max(len(said), 1):
            return "unsupported_answer"
    return ""


def miscalculated(text: str, _: str = "") -> str:
    """An objection unless all equations hold and the stated answer is what the last one gives."""
    chains = [sides for chain in _CHAIN.finditer(text) if len(sides := re.split(r"\s*([=≈])\s*", chain[0])) > 1]
    chains = [sides for sides in chains if any(re.search(_OPERATOR, _bare(side)) for side in sides[::2])]
    answers = _ANSWER.findall(text)
    if not chains or not answers:
        return "no_answer" if chains else "no_calculation"
    try:
        if not all(_holds(*sides[at : at + 3]) for sides in chains for at in range(0, len(sides) - 2, 2)):
            return "wrong_calculation"
        stated = {_calculate(number) for number in re.findall(_TERM, answers[-1])}
        return "" if _calculate(chains[-1][-1]) in stated else "other_answer"
    except (ArithmeticError, AttributeError, KeyError, SyntaxError, ValueError):
        return "wrong_calculation"


CHECKS: dict[str, Callable[[str, str], str]] = {
    "none": lambda text, seed: "",
    "supported": unsupported,
    "recomputed": miscalculated,
}
_QUESTION = re.compile(r"^(?:질문|Question) ?:[ \t]*\S", re.MULTILINE)
_ANSWER = re.compile(r"^(?:답|정답|Answer) ?:[ \t]*(\S.*)$", re.MULTILINE)
_DIGITS = re.compile(r"\d+(?:[.,]\d+)*")
_NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d{1,15})(?:\.\d{1,9})?"
_UNIT = r"(?:[ ]?(?![xX][ ]*[(\d])[A-Za-z가-힣%²³]{1,10}(?:/[A-Za-z가-힣]{1,10})?)?"
_TERM = rf"[-−]?[₩$€]?{_NUMBER}{_UNIT}"
_OPERATOR = r"[+*/×÷xX·–−-]"
_SIDE = rf"[(]{{0,3}}{_TERM}[)]{{0,3}}(?:[ ]*{_OPERATOR}[ ]*[(]{{0,3}}{_TERM}[)]{{0,3}}){{0,30}}"
_CHAIN = re.compile(rf"(?<![\w.,]){_SIDE}(?:[ ]*[=≈][ ]*{_SIDE})+")
_PYTHON = str.maketrans("×xX·÷–−", "***" + "*/--")
_OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def _content(text: str) -> set[str]:
    """Pairs of neighbouring Korean syllables, and other words that are not English function words."""
    units = near.units(text).split()
    korean = {a + b for a, b in pairwise(units) if "가" <= a <= "힣" and "가" <= b <= "힣"}
    return korean | {unit for unit in units if not "가" <= unit <= "힣" and unit not in ENGLISH_WORDS}


def _holds(left: str, sign: str, right: str) -> bool:
    """Whether both sides are equal, up to the last decimal written, or to the last digit after ≈."""
    plain = [side for side in (_bare(left), _bare(right)) if not re.search(_OPERATOR, side)]
    decimals = max((len(side.partition(".")[2]) for side in plain), default=0)
    slack = Fraction(1, 10**decimals) if decimals or (plain and sign == "≈") else 0
    return abs(_calculate(left) - _calculate(right)) <= slack


def _bare(side: str) -> str:
    """A side of an equation without units, currency and thousands separators; percent is a hundredth."""
    clean = re.sub(rf"({_NUMBER})({_UNIT})", lambda m: m[1].replace(",", "") + "/100" * ("%" in m[2]), side)
    clean = re.sub(r"[₩$€\s]", "", clean)
    return clean if clean.count("(") == clean.count(")") else clean.strip("()")


def _calculate(side: str) -> Fraction:
    return _value(ast.parse(_bare(side).translate(_PYTHON), mode="eval").body)


def _value(node: ast.AST) -> Fraction:
    if isinstance(node, ast.Constant):
        return Fraction(str(node.value))
    if isinstance(node, ast.UnaryOp):
        return -_value(node.operand)
    return _OPERATIONS[type(node.op)](_value(node.left), _value(node.right))  # type: ignore[attr-defined]
