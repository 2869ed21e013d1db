"""Proves that every backend gives the same ids, logits, pieces and refusals."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from midm_mini import MidmError, Model, backend, load
from midm_mini.format import BOS, EOT, PII_PLACEHOLDERS, render_chat

MESSAGES = [{"role": "user", "content": "한국의 수도는 어디야?"}]
STRINGS = ["안녕하세요 👩‍🚀", "각\u200b cafe\u0301", "The 12345 don't\r\n\n tabs\t", " ", "漢字 ½", "꿻뷁"]


def encode(parent: Path, text: str) -> list[int]:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(parent / "tokenizer.json")).encode(text, add_special_tokens=False).ids


def test_logits_of_every_backend_equal_torch(model: Model, reference) -> None:
    ids = [model.bos, *model.tokenize("한국의 수도는 서울이다. The capital of Korea " * 3, special=False)]
    found = model.logits(ids)
    assert found.dtype == np.float32 and found.shape == (len(ids), model.vocab_size)
    assert np.abs(found - reference(ids)).max() < 1e-3


def test_a_long_text_read_in_chunks_scores_as_one(artifacts: dict[str, Path], reference, monkeypatch) -> None:
    from midm_mini import gguf_backend

    monkeypatch.setattr(gguf_backend, "CHUNK", 8)
    with load(artifacts["gguf"], threads=1) as model:
        ids = model.chat_ids(MESSAGES)
        assert len(ids) > 16 and len(ids) % 8
        assert np.abs(model.logits(ids) - reference(ids)).max() < 1e-3
        assert next(model.stream(ids, max_tokens=1)).token == reference(ids)[-1].argmax()


def test_greedy_tokens_of_every_backend_equal_torch(model: Model, reference) -> None:
    ids = model.chat_ids(MESSAGES)
    expected = list(ids)
    for _ in range(12):
        expected.append(int(reference(expected)[-1].argmax()))
    found = [piece.token for piece in model.stream(ids, max_tokens=12)]
    assert found == expected[len(ids) :][: len(found)]


@pytest.mark.parametrize("text", STRINGS)
def test_plain_text_has_the_ids_of_the_parent_tokenizer(model: Model, parent: Path, text: str) -> None:
    assert model.tokenize(text, special=False) == encode(parent, text)
    assert model.detokenize(model.tokenize(text, special=False)) == text


def test_a_rendered_chat_has_exactly_one_bos(model: Model, parent: Path) -> None:
    assert model.chat_ids(MESSAGES).count(model.bos) == 1
    assert (
        model.tokenize(render_chat(MESSAGES), special=True)
        == model.chat_ids(MESSAGES)
        == encode(parent, render_chat(MESSAGES))
    )


@pytest.mark.parametrize("content", ["", "\n\n줄", " \n x", "\t", "끝\n\n"])
@pytest.mark.parametrize("role", ["system", "user", "tool"])
def test_chat_ids_are_the_ids_of_the_rendered_text(model: Model, parent: Path, role: str, content: str) -> None:
    messages = [{"role": role, "content": content}, {"role": "assistant", "content": "네."}, *MESSAGES]
    assert model.chat_ids(messages) == encode(parent, render_chat(messages))


TALKS = [  # messages, tools, and passages for the last user's turn
    (MESSAGES, [], ["서울은 한국의 수도이다.", "\n둘째 글"]),
    ([{"role": "system", "content": "짧게."}, *MESSAGES], [{"name": "날씨", "parameters": {"type": "object"}}], []),
    (
        [
            *MESSAGES,
            {
                "role": "assistant",
                "content": "잠깐.",
                "tool_calls": [{"name": "f", "arguments": {"도시": "서울 <|eot_id|>"}}],
            },
            {"role": "tool", "content": '{"n": 3}'},
            {"role": "assistant", "content": "3도입니다."},
            {"role": "user", "content": f"{PII_PLACEHOLDERS[0]} and in English?"},
        ],
        [{"type": "function", "function": {"name": "f", "description": "x"}}],
        ["Seoul: 3 degrees"],
    ),
]


@pytest.mark.parametrize(("messages", "tools", "passages"), TALKS)
def test_a_chat_has_the_ids_that_training_sees(model: Model, parent: Path, messages, tools, passages) -> None:
    from tokenizers import Tokenizer

    from models.chat import conversation_row

    *before, last = messages
    trained = [*before, last | {"passages": passages}] if passages else messages
    ids, bears = conversation_row(trained, Tokenizer.from_file(str(parent / "tokenizer.json")), tools)
    assert model.chat_ids(messages, tools, passages) == ids and len(bears) == len(ids)


def test_passages_need_a_users_turn(model: Model) -> None:
    with pytest.raises(MidmError, match="no user's turn"):
        model.chat_ids([{"role": "assistant", "content": "네"}], passages=["글"])
    with pytest.raises(MidmError, match="list of texts"):
        model.chat_ids(MESSAGES, passages="글")


def test_control_tokens_in_a_content_stay_plain_text(model: Model) -> None:
    ids = model.chat_ids([{"role": "user", "content": f"hi{EOT}{BOS}<pad>"}])
    assert ids.count(model.bos) == 1 and 1 not in ids
    assert sum(map(model._backend.ends, ids)) == 1
    assert f"hi{EOT}{BOS}<pad>" in model.detokenize(ids)


def test_placeholders_are_one_id_in_content_and_show_in_text(model: Model) -> None:
    ids = model.tokenize(f"저는 {PII_PLACEHOLDERS[0]}입니다", special=False)
    (one,) = model.tokenize(PII_PLACEHOLDERS[0], special=True)
    assert one in ids and model.detokenize(ids) == f"저는 {PII_PLACEHOLDERS[0]}입니다"


def test_a_syllable_split_over_tokens_never_shows_a_replacement_character(model: Model, monkeypatch) -> None:
    ids = model.tokenize("뷁꿻 뷁", special=False)
    assert len(ids) > 6
    pieces = forced(model, monkeypatch, ids)
    assert "".join(piece.text for piece in pieces) == "뷁꿻 뷁" and not any("\ufffd" in piece.text for piece in pieces)
    assert "\ufffd" not in "".join(piece.text for piece in forced(model, monkeypatch, ids[:4]))


def test_a_reply_stops_at_the_end_of_turn(model: Model, monkeypatch) -> None:
    (eot,) = model.tokenize(EOT, special=True)
    pieces = forced(model, monkeypatch, [*model.tokenize("서울", special=False), eot, 5, 5])
    assert "".join(piece.text for piece in pieces) == "서울"
    assert [piece.finish_reason for piece in pieces][-2:] == [None, "stop"] and pieces[-1].token == eot


def test_a_stop_string_is_never_shown_even_when_split(model: Model, monkeypatch) -> None:
    ids = [token for letter in "one two three" for token in model.tokenize(letter, special=False)]
    pieces = forced(model, monkeypatch, ids, stop=("two",))
    assert "".join(piece.text for piece in pieces) == "one " and pieces[-1].finish_reason == "stop"
    assert "".join(piece.text for piece in forced(model, monkeypatch, ids[:5], stop="two")) == "one t"


def forced(model: Model, monkeypatch, ids: list[int], **options) -> list:
    """The pieces of a reply whose model can only say `ids`."""
    monkeypatch.setattr(model._opened, "write", lambda prompt, choose: iter(ids))
    return list(model.stream("x", max_tokens=len(ids), **options))


def test_a_greedy_reply_takes_the_best_scores_and_no_config_sways_it(model: Model, tmp_path: Path) -> None:
    """Also past the end of turn, and past the row that onnxruntime-genai is told to end at."""
    folder = tmp_path / model.path.name
    shutil.copytree(model.path, folder)
    if (file := folder / "genai_config.json").is_file():
        said = json.loads(file.read_text("utf-8"))
        said["search"] |= {"repetition_penalty": 9.0, "min_length": 99, "do_sample": True, "num_beams": 4, "top_k": 1}
        file.write_text(json.dumps(said), encoding="utf-8")
    with load(folder, threads=1) as other:
        other._opened.ends = lambda _: False  # type: ignore[method-assign]
        for start in range(20, 60):
            prompt = list(range(start, start + 9))
            path = [piece.token for piece in other.stream(prompt, max_tokens=24)]
            assert len(path) == 24 and model.follow(prompt, path).argmax(axis=1).tolist() == path


def test_max_tokens_ends_a_reply_with_length(model: Model) -> None:
    pieces = list(model.stream("한국", max_tokens=3))
    assert pieces[-1].finish_reason in ("length", "stop") and len(pieces) <= 3
    assert 0 < pieces[0].seconds <= pieces[-1].seconds


def test_without_max_tokens_a_reply_fills_the_context_at_most(artifacts: dict[str, Path]) -> None:
    for path in artifacts.values():
        with load(path, threads=1, context=32) as model:
            reply = model.stream("한국")
            assert reply.text is not None and reply.finish_reason in ("length", "stop")
            assert len(reply._seen) <= 32


def test_the_same_seed_gives_the_same_sample_on_every_backend(artifacts: dict[str, Path]) -> None:
    options = {"max_tokens": 8, "temperature": 0.8, "top_p": 0.9, "seed": 7}
    said = []
    for path in artifacts.values():
        with load(path, threads=1) as model:
            said += [[piece.token for piece in model.stream("수도", **options)] for _ in range(2)]
    assert all(tokens == said[0] for tokens in said)


def test_text_collects_what_iteration_left(model: Model) -> None:
    whole = model.stream("서울", max_tokens=6).text
    reply = model.stream("서울", max_tokens=6)
    next(reply)
    assert reply.text == whole == reply.text


def test_an_unknown_option_is_a_type_error(model: Model) -> None:
    with pytest.raises(TypeError, match="temprature"):
        model.chat(MESSAGES, temprature=1.0)
    with pytest.raises(TypeError):
        model.chat(MESSAGES, max_tokens=2.5)


@pytest.mark.parametrize(
    "options", [{"temperature": -1}, {"temperature": float("nan")}, {"top_p": 0}, {"max_tokens": 0}, {"stop": ("",)}]
)
def test_an_option_out_of_range_is_refused_before_any_work(model: Model, options: dict) -> None:
    with pytest.raises(ValueError):
        model.stream("x", **options)


def test_context_overflow_names_both_numbers_and_a_remedy(model: Model) -> None:
    with pytest.raises(MidmError, match=r"prompt tokens.*context of 256.*shorten"):
        model.stream("가나다라" * 100)
    with pytest.raises(MidmError, match="max_tokens=256"):
        model.stream("가", max_tokens=256)
    with pytest.raises(MidmError, match="exceed the context"):
        model.logits([5] * 257)


@pytest.mark.parametrize("ids", [[], [-1], [448]])
def test_ids_outside_the_vocabulary_never_reach_native_code(model: Model, ids: list[int]) -> None:
    with pytest.raises(MidmError, match="token ids"):
        model.logits(ids)


def test_an_older_reply_says_that_it_was_ended(model: Model) -> None:
    old = model.stream("서울", max_tokens=50)
    next(old)
    model.stream("수도", max_tokens=1).text  # noqa: B018
    with pytest.raises(MidmError, match="newer request"):
        list(old)


def test_a_closed_model_says_so(model: Model) -> None:
    model.close()
    with pytest.raises(MidmError, match="closed"):
        model.logits([1])
    with pytest.raises(MidmError, match="closed"):
        model.stream("x").text  # noqa: B018
    with pytest.raises(MidmError, match="closed"):
        model.tokenize("x", special=False)


def test_a_rendered_chat_as_prompt_is_refused_with_the_way_out(model: Model) -> None:
    with pytest.raises(MidmError, match="special=True"):
        model.stream(render_chat(MESSAGES))


def test_a_context_beyond_the_trained_one_is_refused(artifacts: dict[str, Path]) -> None:
    for path in artifacts.values():
        with pytest.raises(MidmError, match="trained for 1 to 256"):
            load(path, context=257)


def test_logits_between_pieces_do_not_disturb_other_scores(model: Model) -> None:
    ids = [model.bos, *model.tokenize("서울은 한국의 수도", special=False)]
    first = model.logits(ids)
    model.stream("다른 글", max_tokens=4).text  # noqa: B018
    assert np.array_equal(first, model.logits(ids))


def test_broken_files_are_refused_in_one_sentence(tmp_path: Path, artifacts: dict[str, Path]) -> None:
    whole = next(artifacts["gguf"].glob("*.gguf")).read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "cut").mkdir()
    for name in ("tokenizer.json", "config.json"):
        (tmp_path / "cut" / name).write_bytes((artifacts["onnx"] / name).read_bytes())
    (tmp_path / "cut" / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(MidmError, match=r"cut\.gguf: tensor .+ export"):
        load(tmp_path / "cut.gguf")
    with pytest.raises(MidmError, match=r"model\.onnx: "):
        load(tmp_path / "cut")
    for name, content in {"config.json": "{}", "tokenizer.json": "{"}.items():
        (tmp_path / "cut" / name).write_text(content)
        with pytest.raises(MidmError, match=rf"{name}: .+"):
            load(tmp_path / "cut")
        (tmp_path / "cut" / name).write_bytes((artifacts["onnx"] / name).read_bytes())
    with pytest.raises(MidmError, match=r"genai_config\.json"):
        load(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MidmError, match=r"no \.gguf"):
        load(tmp_path / "empty")


def test_what_the_cache_holds_never_changes_an_answer(model: Model, artifacts: dict[str, Path]) -> None:
    """Prompts that share beginnings, in any order, among abandoned replies and scorings, answer as a fresh model's."""
    choose = random.Random(0)
    trunk = [choose.randrange(3, 400) for _ in range(60)]
    with load(model.path, threads=1) as fresh:
        for turn in range(40):
            prompt = trunk[: choose.choice([1, 2, 20, 59, 60])] + [choose.randrange(3, 400) for _ in range(turn % 4)]
            if turn % 5 == 1:
                model.logits(prompt)
            reply = model.stream(prompt, max_tokens=6)
            for _ in range(choose.choice([1, 2, 9])):
                next(reply, None)
            fresh._opened._cached = []
            assert np.abs(model._opened.start(prompt) - fresh._opened.start(prompt)).max() < 1e-4
            trunk = choose.choice([trunk, [*prompt, *(piece.token for piece in reply._seen)]])


READS = {"gguf": "_decode", "onnx": "_next", "onnx-genai": "_read"}  # the methods that read


def test_a_prompt_is_read_only_from_where_it_differs(model: Model, monkeypatch) -> None:
    name = READS[model.format]
    read, real = [], getattr(model._opened, name)
    monkeypatch.setattr(model._opened, name, lambda ids, **rest: (read.append(len(ids)), real(ids, **rest))[1])
    first = list(range(10, 50))
    for prompt in (first, first, [*first[:30], 5, 6], [*first[:30], 5, 6, 7], first[:10]):
        next(model.stream(prompt, max_tokens=1))
    assert read == [40, 1, 12 - 10, 1, 1]


def test_an_interrupted_reading_leaves_no_lie_behind(model: Model, monkeypatch) -> None:
    prompt, fresh = list(range(10, 50)), model.logits(list(range(10, 50)))[-1]
    real = getattr(model._opened, READS[model.format])
    for moment in (0, 1):
        with monkeypatch.context() as patch:

            def fails(ids, moment=moment, **rest):
                if moment:
                    real(ids, **rest)
                raise KeyboardInterrupt

            patch.setattr(model._opened, real.__name__, fails)
            with pytest.raises(KeyboardInterrupt):
                next(model.stream([*prompt[:20], 7, 8, 9], max_tokens=1))
        assert np.abs(model._opened.start(prompt) - fresh).max() < 1e-4


def test_an_embedding_is_the_mean_of_the_last_states_and_spares_the_answers(
    artifacts: dict[str, Path], parent: Path
) -> None:
    import torch
    from transformers import LlamaModel

    text = "한국의 수도는 서울이다. " * 20
    with load(artifacts["gguf"], threads=1) as model:
        before = model.stream(text, max_tokens=6).text
        ids = [model.bos, *model.tokenize(text, special=False)]
        with torch.no_grad():
            states = LlamaModel.from_pretrained(parent, dtype=torch.float32)(torch.tensor([ids])).last_hidden_state[0]
        mean, found = states[1:].mean(dim=0).numpy(), model.embed(text)
        assert found.dtype == np.float32 and np.abs(found - mean / np.linalg.norm(mean)).max() < 1e-4
        assert model.stream(text, max_tokens=6).text == before
        for wrong in ("", text * 9):
            with pytest.raises(MidmError, match="to embed"):
                model.embed(wrong)


def test_a_format_that_cannot_embed_says_which_can(artifacts: dict[str, Path]) -> None:
    with load(artifacts["onnx"], threads=1) as model, pytest.raises(MidmError, match="GGUF"):
        model.embed("서울")


def test_the_number_of_threads_changes_no_bit_of_a_gguf_answer(artifacts: dict[str, Path]) -> None:
    scores = []
    for threads in (1, 2):
        with load(artifacts["gguf"], threads=threads) as model:
            read = model.logits(range(3, 253))
            scores.append([*read, *(model._opened.step(token).copy() for token in range(5))])
    assert np.array_equal(scores[0], scores[1])


def test_the_fastest_number_of_threads_stays(monkeypatch) -> None:
    monkeypatch.setattr(backend, "cores", lambda: 8)
    cost = {1: 3.0, 4: 1.0, 8: 2.0}
    for weights, first in {1_000: 1, 10**9: 8}.items():
        trial = backend.Trial(weights)
        assert trial.threads == first
        for _ in range(backend.TRIES * (3 if weights == 1_000 else 2) - 1):
            assert not trial.add(cost[trial.threads])
        assert trial.add(cost[trial.threads]) and trial.threads == 4


def test_threads_are_tried_on_real_steps_and_then_left_alone(artifacts: dict[str, Path], monkeypatch) -> None:
    monkeypatch.setattr(backend, "cores", lambda: 2)
    with load(artifacts["gguf"]) as model, load(artifacts["gguf"], threads=1) as fixed:
        options = {"max_tokens": 3 * backend.TRIES, "temperature": 0.8, "seed": 1}
        assert model.stream("수도", **options).text == fixed.stream("수도", **options).text
        assert model._opened._trial is None
