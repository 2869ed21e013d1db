"""Made conversations: their calls and passages say what is stated, and what is asked in trials is never trained."""

import json
import re
from collections import Counter, defaultdict
from datetime import date, timedelta
from pathlib import Path

import pytest
from midm_mini.format import SYSTEM_PROMPTS, chat_segments

from corpus import conversations, synthesis
from corpus.passages import SORTS, readings
from corpus.tools import UNITS
from corpus.world import WorldError, load, load_lists

WORLD = Path(__file__).parents[2] / "data/sample/world"
NAMES = ["capital", "colour", "currency", "element_symbol"]
NUMBERS = conversations.Numbers(per_tool=40, untooled=20, passages=420, turns=20, repeats=40, trials=16, preferences=6)
CALL = re.compile(r"<tool_call>(.*)</tool_call>")
BESIDE = re.compile(r"(.*)\. (?:(.*) 옆에 있는 것은 무엇인가요\?|What stands beside (.*)\?)")


@pytest.fixture(scope="module")
def world():
    return load(WORLD)


@pytest.fixture(scope="module")
def taught(world):
    return synthesis.taught_part(world, NAMES, facts_per_relation=12, seed=7)


@pytest.fixture(scope="module")
def made(world, taught):
    return conversations.records(world, taught, WORLD / "talk", NUMBERS)


def _returned(world, call):
    """What a tool may give, computed afresh; of a made-up subject, anything that such subjects have."""
    given = call["arguments"]
    if call["name"] == "calculator":
        one, sign, two = re.fullmatch(r"(\d+) ([-+*]) (\d+)", given["expression"]).groups()
        return {str({"+": int(one) + int(two), "-": int(one) - int(two), "*": int(one) * int(two)}[sign])}
    if call["name"] == "date_after":
        return {str(date.fromisoformat(given["date"]) + timedelta(days=given["days"]))}
    if call["name"] == "days_between":
        return {str((date.fromisoformat(given["end"]) - date.fromisoformat(given["start"])).days)}
    if call["name"] == "convert":
        times = {(a, b): n for ko, en, small_ko, small_en, n in UNITS for a, b in ((ko, small_ko), (en, small_en))}
        large = (given["from"], given["to"])
        return {str(given["value"] * times[large] if large in times else given["value"] // times[large[::-1]])}
    told = [(f.subject[lang], f.object[lang]) for f in world[given["relation"]].facts for lang in ("ko", "en")]
    return {said for subject, said in told if subject == given["subject"]} or {said for _, said in told}


def _said(message):
    return next(part.text for part in chat_segments([message]) if part.learned)


def test_a_list_is_said_again_as_it_stands_or_as_json_and_of_pairs_what_stands_beside(made):
    rows = [
        [turn["content"] for turn in talk["messages"][-2:]] for talk in made["dialogues"] if talk["kind"] == "repeat"
    ]
    assert len(rows) == 2 * NUMBERS.repeats and len({asked for asked, _ in rows}) > 0.9 * len(rows)
    forms, sides = Counter(), Counter()
    for asked, reply in rows:
        if table := BESIDE.fullmatch(asked):
            pairs, found = ([pair.split(": ") for pair in side.split(", ")] for side in (table[1], reply))
            assert ", ".join(named for named, _ in found) == (table[2] or table[3])
            assert sorted(map(sorted, pairs)) == sorted(map(sorted, found))
            forms["pairs"] += 1
            sides.update(pair in pairs for pair in found)
        else:
            said = ", ".join(json.loads(reply)) if reply.startswith("[") else reply
            assert asked.endswith(f": {said}") and 2 <= len(said.split(", ")) <= 9
            forms["json" if reply.startswith("[") else "plain"] += 1
    assert forms["pairs"] > len(rows) / 2 and min(forms.values()) >= len(rows) // 6 - 2
    assert sides[True] > sides[False] > 0


def test_every_call_is_json_copied_from_the_question_and_gives_the_result_that_the_answer_says(world, made):
    tooled = [row for row in made["dialogues"] if row["id"].startswith("dialogue/tool/") and "/none/" not in row["id"]]
    assert Counter(row["lang"] for row in tooled) == {"ko": 200, "en": 200}
    for row in tooled:
        question, called, returned, answer = [m for m in row["messages"] if m["role"] != "system"]
        call = json.loads(CALL.fullmatch(_said(called))[1])
        listed = {tool["name"]: set(tool["parameters"]["properties"]) for tool in row["tools"]}
        assert set(call["arguments"]) == listed[call["name"]]
        copied = {name: value for name, value in call["arguments"].items() if name != "relation"}
        assert all(str(value).casefold() in question["content"].casefold() for value in copied.values())
        assert returned["role"] == "tool" and returned["content"] in _returned(world, call)
        assert returned["content"].casefold() in answer["content"].casefold()


def test_where_no_listed_tool_helps_the_reply_is_the_fact_and_no_call(made):
    rows = [row for row in made["dialogues"] if "/tool/none/" in row["id"]]
    assert len(rows) == 40
    for row in rows:
        assert row["tools"] and "lookup" not in {tool["name"] for tool in row["tools"]}
        assert row["messages"][-1]["content"].startswith(("답: ", "Answer: "))


def test_a_reply_names_whom_it_is_about_and_its_passage_alone_holds_the_answer(made):
    rows = [row for row in made["dialogues"] if row["kind"] == "passage"]
    asked = defaultdict(list)
    for row in rows:
        asked[row["id"].split("/")[2]].append(json.dumps(row["messages"]))
    assert len(rows) == 840 and [len(set(part)) for part in asked.values()] == [120] * 7  # sorts and what they tell of
    places = Counter()
    turns = [
        (said[0]["passages"], question["content"], reply)
        for said in ([turn for turn in row["messages"] if turn["role"] != "system"] for row in rows)
        for question, reply in zip(said[::2], said[1::2], strict=True)
    ]
    assert len(turns) > 1.2 * len(rows)  # the other facts are asked for, too
    for passages, question, reply in turns:
        subject, answer, place = re.fullmatch(r"(.+?): (.+?)(?: \[(\d)\])?", reply["content"]).groups()
        assert (place is None) == (len(passages) == 1)
        assert subject.casefold() in question.casefold() and answer.casefold() not in subject.casefold()
        holds = [answer.casefold() in passage.casefold() for passage in passages]
        assert holds[int(place or 1) - 1]
        if len(answer) > 3:  # shorter ones, such as chemical symbols, stand in other words
            assert sum(holds) == 1
        places[len(holds), int(place or 1)] += 1
    for several in (2, 3):  # no place is favoured
        counts = [places[several, place] for place in range(1, several + 1)]
        assert min(counts) > sum(counts) / (2 * several)


def test_a_turned_round_passage_contradicts_the_world_and_never_says_what_the_world_does(taught):
    facts = {
        (fact.relation, lang, fact.subject[lang]): fact.object[lang] for fact in taught.facts for lang in ("ko", "en")
    }
    for lang in ("ko", "en"):
        rows = [*readings(taught, "contradiction", lang, count=50, held_out=False)]
        assert len(rows) == 50
        for row in rows:
            assert row.memory in facts.values() and row.memory != row.answer
            assert not any(re.search(rf"(?<!\w){re.escape(row.memory)}(?!\w)", passage) for passage in row.passages)


def test_facts_to_learn_from_begin_with_the_object_as_often_as_not(taught):
    for lang in ("ko", "en"):
        rows = [*readings(taught, "unknown", lang, count=300, held_out=False)]
        told = [(row, said) for row in rows for said in row.passages if row.subject in said and row.answer in said]
        turned = [said.index(row.answer) < said.index(row.subject) for row, said in told]
        assert 0.4 < sum(turned) / len(turned) < 0.6, lang


def test_made_up_names_are_no_subjects_of_the_world(world, taught):
    known = {fact.subject[lang] for relation in world.values() for fact in relation.facts for lang in ("ko", "en")}
    for lang, pattern in (("ko", r"^([가-힣]+?)(?:의|은|는|이|가|에|사람| )"), ("en", r"\b(?:of|in|does) ([A-Z]\w+)")):
        for row in readings(taught, "unknown", lang, count=40, held_out=False):
            name = re.search(pattern, row.question)
            assert name is None or name[1] not in known


def test_follow_ups_are_answered_about_the_new_subject_of_the_same_relation(taught, made):
    rows = [row for row in made["dialogues"] if row["kind"] == "turns"]
    assert {len([m for m in row["messages"] if m["role"] != "system"]) for row in rows} == {4, 6}
    for row in rows:
        lang, turns = row["lang"], [m["content"] for m in row["messages"] if m["role"] != "system"]
        pairs = [*zip(turns[::2], turns[1::2], strict=True)]
        answered = [
            all(
                any(f.subject[lang].casefold() in asked.casefold() and reply.endswith(f.object[lang]) for f in r.facts)
                for asked, reply in pairs
            )
            for r in taught.relations.values()
        ]
        assert any(answered)


def test_no_question_arguments_or_fact_of_a_trial_occurs_in_training(made):
    training = [*made["dialogues"], *made["preferences"]]
    assert synthesis.leaks(conversations.asked_in(made["trials"]), training) == []
    texts = json.dumps(training, ensure_ascii=False)
    for trial in made["trials"]:
        if isinstance(trial["expected"], dict) and trial["kind"] != "tool-lookup":
            assert json.dumps(trial["expected"]["arguments"], ensure_ascii=False) not in texts
    looked_up = {row["messages"][-3]["tool_calls"][0]["arguments"]["subject"] for row in made["dialogues"]
                 if "/tool/lookup/" in row["id"]}  # fmt: skip
    kept = {trial["expected"]["arguments"]["subject"] for trial in made["trials"] if trial["kind"] == "tool-lookup"}
    assert kept and not kept & {subject for subject in looked_up if subject not in _shared_subjects(made)}


def test_half_of_the_named_subjects_looked_up_in_training_are_made_up_and_none_in_trials(world, made):
    known = {fact.subject[lang] for relation in world.values() for fact in relation.facts for lang in ("ko", "en")}
    calls = [row["messages"][-3]["tool_calls"][0] for row in made["dialogues"] if "/tool/lookup/" in row["id"]]
    named = [call for call in calls if call["arguments"]["relation"] in ("capital", "currency", "language")]
    assert 0.3 < sum(call["arguments"]["subject"] not in known for call in named) / len(named) < 0.7
    asked = [trial["expected"]["arguments"] for trial in made["trials"] if trial["kind"] == "tool-lookup"]
    assert {arguments["subject"] for arguments in asked} <= known


def _shared_subjects(made):
    """Subjects of several relations: kept in one, they may be asked for in another."""
    relations = defaultdict(set)
    for row in made["dialogues"]:
        for message in row["messages"]:
            for call in message.get("tool_calls", ()):
                if call["name"] == "lookup":
                    relations[call["arguments"]["subject"]].add(call["arguments"]["relation"])
    for trial in made["trials"]:
        if trial["kind"] == "tool-lookup":
            relations[trial["expected"]["arguments"]["subject"]].add(trial["expected"]["arguments"]["relation"])
    return {subject for subject, names in relations.items() if len(names) > 1}


def test_there_are_as_many_trials_of_each_kind_and_language_as_asked_for(made):
    counts = Counter((trial["kind"], trial["lang"]) for trial in made["trials"])
    kinds = {*conversations.KINDS, "tool-answer", "tool-none", "passage", "note", "contradiction"}
    assert set(counts) == {(kind, lang) for kind in kinds for lang in ("ko", "en")}
    assert all(count >= NUMBERS.trials for (kind, _), count in counts.items() if kind != "contradiction")
    assert len({trial["id"] for trial in made["trials"]}) == len(made["trials"])
    for trial in made["trials"]:
        assert trial["messages"][-1]["role"] == ("tool" if trial["kind"] == "tool-answer" else "user")
        assert bool(trial.get("memory")) == (trial["kind"] == "contradiction")


def test_preferences_choose_the_calls_own_arguments_and_the_passage_over_memory(made):
    for row in made["preferences"]:
        question = row["prompt"][-1]
        if "/none/" in row["id"]:
            call = json.loads(CALL.fullmatch(row["rejected"])[1])
            assert call["arguments"]["subject"] in question["content"] and not CALL.fullmatch(row["chosen"])
            assert row["tools"] and call["name"] not in {tool["name"] for tool in row["tools"]}
        elif row.get("tools"):
            call = json.loads(CALL.fullmatch(row["chosen"])[1])
            assert any(str(value) in question["content"] for value in call["arguments"].values())
            assert row["rejected"] != row["chosen"]
        else:
            said = re.fullmatch(r".+?: (.+?)(?: \[\d\])?", row["chosen"])[1]
            assert any(said.casefold() in passage.casefold() for passage in question["passages"])
            assert said.casefold() not in row["rejected"].casefold()
    tools = [row for row in made["preferences"] if row.get("tools")]
    calling, answering = (
        [row for row in tools if bool(CALL.fullmatch(row["chosen"])) is side] for side in (True, False)
    )
    over_answers = sum(not CALL.fullmatch(row["rejected"]) for row in calling)
    assert 0.4 < len(answering) / over_answers <= 0.5  # with as many, dpo took calls back (docs/log.md)


def test_conversations_depend_on_the_seed_and_never_on_the_order_of_the_world(world, taught, made):
    turned = synthesis.taught_part(dict(reversed(world.items())), NAMES[::-1], facts_per_relation=12, seed=7)
    assert conversations.records(dict(reversed(world.items())), turned, WORLD / "talk", NUMBERS) == made
    other = synthesis.taught_part(world, NAMES, facts_per_relation=12, seed=8)
    assert conversations.records(world, other, WORLD / "talk", NUMBERS) != made


def test_a_world_of_calculations_alone_has_no_passages_and_loses_nothing_else(world):
    sums = synthesis.taught_part(world, ["sum"], facts_per_relation=12, seed=7)
    assert not any([*readings(sums, sort, "ko", count=5, held_out=False)] for sort in SORTS)


def test_tools_that_nobody_can_run_are_an_error_that_names_the_file(world, taught, tmp_path):
    text = (WORLD / "talk/tools.yaml").read_text().replace("calculator:", "oracle:")
    (tmp_path / "tools.yaml").write_text(text)
    with pytest.raises(WorldError, match=r"tools.yaml: asks for .*oracle.*; the tools are .*calculator"):
        conversations.records(world, taught, tmp_path, NUMBERS)


def test_a_question_that_drops_an_argument_is_an_error_that_names_the_row(world, taught, tmp_path):
    text = (WORLD / "talk/tools.yaml").read_text().replace("Add {days} days to {date}.", "Add days to {date}.")
    (tmp_path / "tools.yaml").write_text(text)
    with pytest.raises(WorldError, match=r"date_after: questions.en row 3 .*use exactly the slots"):
        conversations.records(world, taught, tmp_path, NUMBERS)


def test_one_conversation_in_four_of_every_kind_has_a_system_prompt_of_its_language(made, taught):
    systems = load_lists(WORLD / "talk/system.yaml")
    assert {lang: texts[0] for lang, texts in systems.items()} == SYSTEM_PROMPTS
    alone = {"dialogues": [*synthesis.dialogues(taught, per_fact=4)], "questions": [{"id": "q", "lang": "ko"}]}
    found = conversations.opened(synthesis.joined(made, alone), taught, systems)
    assert found["questions"] == alone["questions"]
    for name, turns in (("dialogues", "messages"), ("trials", "messages"), ("preferences", "prompt")):
        before = [*made[name], *alone.get(name, [])]
        opened = [row[turns][0] for row in found[name] if row[turns][0]["role"] == "system"]
        assert 0.15 < len(opened) / len(before) < 0.35
        bare = [row | {turns: [m for m in row[turns] if m["role"] != "system"]} for row in found[name]]
        assert bare == before
    for kind in ("fact", "passage"):
        said = {(row["lang"], row["messages"][0]["content"]) for row in found["dialogues"] if row["kind"] == kind}
        assert said >= {(lang, text) for lang in systems for text in systems[lang]}
