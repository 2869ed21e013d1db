"""Recipes: which documents are asked about, what each gate drops, and that nothing is lost between."""

import random
from collections import Counter

import pytest

from corpus import diversity, recipes
from corpus.generators import Failure, Reply
from corpus.language import identify
from corpus.recipes import Range, RecipeError, Seed
from tests import house

FOLDER = house.ROOT / "data/recipes"
KNOWN = {path.stem: recipes.load(FOLDER, [path.stem])[0] for path in FOLDER.glob("*.yaml")}
SEED = (
    "한강은 태백산맥에서 시작하여 서울을 지나 황해로 흐르는 강이다. 길이는 494킬로미터이고 유역은 넓다. "
    "강가에는 오래전부터 사람이 살았고 배가 다녔다. 지금은 다리가 서른 개 넘게 놓여 있으며 공원이 이어진다. "
    "조선의 임금은 이 강을 도성의 울타리로 여겼고 상인은 남쪽의 쌀과 소금을 배에 실어 날랐다."
)
RETOLD = (
    "서울 한가운데를 가로지르는 물길을 우리는 한강이라고 부른다. 이 물길이 처음 솟는 곳은 동쪽의 높은 산줄기이다. "
    "산에서 내려온 물은 여러 고을을 거쳐 서쪽 바다에 닿는다. 사람들은 물가에 마을을 세우고 나루를 열었다. "
    "오늘날에는 많은 다리가 두 기슭을 잇고, 시민들은 물가에서 쉬거나 자전거를 탄다."
)
ENGLISH = "The river begins in the mountains of the east and it flows through the city to the sea in the west. "
DOCUMENT = {"id": "d1", "text": SEED, "lang": "ko", "license": "CC0-1.0", "url": "", "domain": "geography"}
ANSWERED = (
    "질문: 한강의 길이는 얼마인가?\n답: 494킬로미터이다.\n\n질문: 한강은 어디로 흐르는가?\n답: 황해로 흐르는 강이다."
)
EQUATION = "The boat carries 12 crates of 30 kilograms each on every one of its trips over the river to the market.\n"
SUMS = "12 x 30 = 360\n360 + 40 = 400\n"


def reply(text, finish="stop"):
    return Reply(text=text, finish=finish, prompt_tokens=100, completion_tokens=50)


def verdict(recipe, outcome, text=SEED):
    seed = Seed(KNOWN[recipe], DOCUMENT | {"text": text}, text)
    bounds = {"min_hangul": 0.5, "min_english_words": 0.08}
    return recipes.judge(seed, outcome, identify=lambda said: identify(said, **bounds)[0])


@pytest.mark.parametrize(
    "recipe, outcome, reason",
    [
        ("textbook-ko", reply(RETOLD), "kept"),
        ("textbook-ko", reply(RETOLD, "length"), "cut_off"),
        ("textbook-ko", reply(""), "empty"),
        ("textbook-ko", reply("죄송하지만 그 요청은 도와드릴 수 없습니다. " + RETOLD), "refused"),
        ("textbook-ko", reply(RETOLD, "content_filter"), "refused"),
        ("textbook-ko", reply("물론이죠! 다시 써 보겠습니다.\n" + RETOLD), "chatter"),
        ("textbook-ko", reply("한강은 길다."), "length"),
        ("textbook-ko", reply(RETOLD * 3), "length_against_seed"),
        ("textbook-ko", reply(ENGLISH * 3), "language"),
        ("textbook-ko", reply(f"{RETOLD}\n{ENGLISH}"), "language"),
        ("textbook-ko", reply(SEED), "copy_of_seed"),
        ("textbook-ko", Failure("timeout"), "timeout"),
        ("questions-ko", reply(ANSWERED), "kept"),
        ("questions-ko", reply(ANSWERED.replace("답: 황해", "그것은 황해")), "no_answer"),
        ("questions-ko", reply(ANSWERED.replace("494", "514")), "unsupported_answer"),
        ("questions-ko", reply(ANSWERED.replace("황해로 흐르는 강이다", "유럽 북부의 산맥이다")), "unsupported_answer"),
        ("reasoning-en", reply(f"{EQUATION}{SUMS}Answer: 400 kilograms"), "kept"),
        ("reasoning-en", reply(f"{EQUATION}{SUMS.replace('360', '370')}Answer: 410 kilograms"), "wrong_calculation"),
        ("reasoning-en", reply(f"{EQUATION}{SUMS}Answer: 360 kilograms"), "other_answer"),
        ("reasoning-en", reply(f"{EQUATION}It is heavy, and nobody can lift it.\nAnswer: 400"), "no_calculation"),
    ],
)
def test_each_gate_drops_what_it_names(recipe, outcome, reason):
    found = verdict(recipe, outcome)
    assert found.reason == reason
    assert found.status == {"kept": "kept", "timeout": "failed"}.get(reason, "dropped")


def test_personal_data_in_a_reply_is_masked():
    found = verdict("textbook-ko", reply(f"{RETOLD} 문의는 010-1234-5678로 한다."))
    assert "#@전화번호@#" in found.document["text"] and found.masked == {"전화번호": 1}


def test_a_reply_keeps_the_licence_and_the_domain_of_its_seed():
    document = verdict("textbook-ko", reply(RETOLD)).document
    assert (document["license"], document["domain"]) == ("CC0-1.0", "geography")
    assert (document["id"], document["source"]) == ("synthetic/textbook-ko/d1", "synthetic-textbook-ko")


def test_seeds_are_drawn_by_lot_and_the_order_of_documents_is_no_matter():
    rows = [DOCUMENT | {"id": f"d{n}", "text": f"{SEED} {n}"} for n in range(50)]
    lot = lambda *key: random.Random(repr(key)).random()  # noqa: E731
    asked = {"count": 7, "size": Range(least=100, most=120), "lot": lot}
    some = [KNOWN["textbook-ko"], KNOWN["questions-ko"]]
    drawn = recipes.draw(some, rows, **asked)
    assert drawn == recipes.draw(some, rows[::-1], **asked) and len(drawn) == 14
    assert all(len(seed.text) <= 120 and seed.text.endswith(".") for seed in drawn)
    with pytest.raises(RecipeError, match="find no document of 9000 characters"):
        recipes.draw(some, rows, count=7, size=Range(least=9000, most=9999), lot=lot)


def test_requested_is_kept_and_dropped_and_failed():
    outcomes = [reply(RETOLD), reply(SEED), reply(""), Failure("http_500"), reply(RETOLD)]
    rows = recipes.sift([verdict("textbook-ko", one) for one in outcomes], lambda texts: ["", "copy_of_earlier"])
    [(name, row)] = recipes.account(rows, prices=(2.0, 10.0)).items()
    assert name == "textbook-ko" and row["requested"] == 5 == row["kept"] + 3 + 1
    assert row["dropped"] == {"copy_of_earlier": 1, "copy_of_seed": 1, "empty": 1} and row["failed"] == {"http_500": 1}
    assert row["cost"] == round(4 * (100 * 2 + 50 * 10) / 1e6, 6)


@pytest.mark.parametrize(
    "change, message",
    [
        (("name: textbook-ko", "name: other"), "is not the file's"),
        (("{text}", ""), "exactly once"),
        (("max_copy: 0.4", "max_copy: much"), "max_copy"),
        (("answer: none", "answer: none\nmood: good"), "mood"),
        (("domains: []", "domains: ["), "not valid YAML"),
    ],
)
def test_a_recipe_that_cannot_be_used_is_named_with_its_key(tmp_path, change, message):
    text = (FOLDER / "textbook-ko.yaml").read_text(encoding="utf-8")
    (tmp_path / "textbook-ko.yaml").write_text(text.replace(*change), encoding="utf-8")
    with pytest.raises(RecipeError, match=f"textbook-ko.yaml: .*{message}"):
        recipes.load(tmp_path, [])


def test_an_unknown_recipe_is_answered_with_the_known_ones():
    with pytest.raises(RecipeError, match=r"choose from .*textbook-ko"):
        recipes.load(FOLDER, ["poetry-ko"])


def test_variety_of_equal_texts_is_nothing_and_of_different_ones_much():
    different = [SEED, RETOLD, ENGLISH * 2]
    assert diversity.self_bleu([SEED] * 3) == pytest.approx(1.0) and diversity.self_bleu(different) < 0.2
    assert diversity.distinct([SEED] * 10, 2) < 0.2 < 0.8 < diversity.distinct(different, 2)


def test_self_bleu_equals_a_count_by_hand():
    # a b c d against a b c e: 3/4, (2+1)/(3+1), (1+1)/(2+1), (0+1)/(1+1); the fourth root of their product, both ways
    assert diversity.self_bleu(["a b c d", "a b c e"]) == pytest.approx((3 / 4 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)


def test_a_retold_text_is_nearest_to_its_own_seed():
    seeds = [SEED, ENGLISH * 3, "고양이는 밤에 사냥하고 낮에는 잠을 잔다. 새끼는 봄에 태어난다."]
    space = diversity.Space(seeds, clusters=3)
    likeness, own = space.relevance([RETOLD, ENGLISH, "낮에는 잠을 자는 고양이가 밤에는 사냥을 한다."], seeds)
    assert own == 1.0 and 0.1 < likeness < 0.9
    assert space.covered(seeds) == 1.0 and space.covered([ENGLISH]) == pytest.approx(1 / 3)


def test_copies_of_known_and_of_earlier_texts_are_told_apart():
    near = diversity.Nearness(bands=14, rows=8, shingle=5, similarity=0.75)
    found = diversity.copies([RETOLD, SEED, RETOLD + " 끝.", ANSWERED], [[SEED], [ENGLISH]], near_as=near)
    assert found == ["", "copy_of_known", "copy_of_earlier", ""]
    assert Counter(diversity.copies([], [[SEED]], near_as=near)) == {}
