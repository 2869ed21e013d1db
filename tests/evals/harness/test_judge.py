"""The judge is right: torch equals lm-eval's own backend on ten tasks, files equal torch, a broken one is flagged."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from lm_eval.evaluator import evaluate
from midm_mini.format import BOS

from evals.harness import catalogue, judge, results
from evals.harness.adapter import ChatLM, SubjectLM
from evals.subject import open_subject
from export import checkpoint, gguf, manifest, optimum_box
from tests.evals.harness.benchmarks import TASKS, write_all
from tests.export.parents import CARD, save_parent

HOW = {"shots": 0, "limit": 0, "seed": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_all(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, data) -> Path:
    """A parent that has learnt one benchmark by heart, so that damage can show; F16 holds its weights exactly."""
    import torch
    from tokenizers import Tokenizer
    from transformers import LlamaForCausalLM

    torch.set_num_threads(1)
    place = save_parent(tmp_path_factory.mktemp("models") / "parent", hidden=128, ffn=256)
    tokenizer = Tokenizer.from_file(str(place / "tokenizer.json"))
    model = LlamaForCausalLM.from_pretrained(place)
    (task,) = drawn("klue_nli", data).tasks.values()
    task.build_all_requests()
    right = [task.doc_to_target(doc) for doc in task.eval_docs]
    texts = ["".join(it.args) for it in task.instances if it.idx == right[it.doc_id]]
    rows = [[0, *tokenizer.encode(text, add_special_tokens=False).ids] for text in texts]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(90):
        batch = [torch.tensor(rows[(step * 4 + i) % len(rows)]) for i in range(4)]
        ids = torch.nn.utils.rnn.pad_sequence(batch, batch_first=True, padding_value=1)
        loss = model(input_ids=ids, labels=ids.masked_fill(ids == 1, -100)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.half().float().save_pretrained(place)
    return place


def drawn(name: str, data: Path, **how: int) -> catalogue.Drawn:
    file = catalogue.local_file(catalogue.catalogue()[name], data)
    assert file, name
    return catalogue.draw(name, file, **HOW | how)


def bundle(parent: Path, out: Path, make, precision: str) -> Path:
    out.mkdir()
    read = checkpoint.read(parent)
    make(read, CARD, precision, out)
    manifest.write(out, name=out.name, parent=read, card=CARD, lineage={})
    return out


class Kept(SubjectLM):
    """Keeps what it scored."""

    def loglikelihood(self, requests, disable_tqdm=True):
        self.scores = super().loglikelihood(requests)
        return self.scores


def asked(lm, tasks):
    for task in tasks.values():
        task.set_fewshot_seed(1)
    return evaluate(lm, {"tasks": tasks, "groups": {}, "group_map": {}}, bootstrap_iters=0)


@pytest.fixture(scope="module")
def theirs(folder, tmp_path_factory):
    """lm-eval's own Hugging Face backend; as our tokenizer adds no BOS by itself, it gets one that does."""
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    pieces = [{"SpecialToken": {"id": BOS, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    opened = {BOS: {"id": BOS, "ids": [0], "tokens": [BOS]}}
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": pieces,
        "pair": pieces,
        "special_tokens": opened,
    }
    place = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    place.write_text(json.dumps(tokenizer))
    fast = PreTrainedTokenizerFast(
        tokenizer_file=str(place), bos_token=BOS, eos_token="<|end_of_text|>", pad_token="<pad>"
    )
    model = AutoModelForCausalLM.from_pretrained(folder)
    return HFLM(pretrained=model, tokenizer=fast, batch_size=1, add_bos_token=True, device="cpu", max_length=256)


@pytest.mark.parametrize("name", TASKS)
def test_scores_equal_those_of_lm_evals_own_backend(folder, theirs, data, name):
    ours, tasks = Kept(open_subject(folder), max_tokens=24), drawn(name, data, shots=1 if name == "nsmc" else 0).tasks
    for task in tasks.values():
        if task.OUTPUT_TYPE == "generate_until":
            task.config.generation_kwargs["max_gen_toks"] = 24
    mine, reference = asked(ours, tasks), asked(theirs, tasks)
    assert mine["results"] == {name: row | {"alias": row["alias"]} for name, row in reference["results"].items()}
    for task in tasks:
        for a, b in zip(mine["samples"][task], reference["samples"][task], strict=True):
            if task in ("gsm8k", "bbh_zeroshot_boolean_expressions"):
                assert a["resps"] == b["resps"]
            else:
                values = [[score for ((score, _),) in row["resps"]] for row in (a, b)]
                assert np.allclose(*values, atol=1e-3, rtol=1e-5), (task, values)
                assert [same for ((_, same),) in a["resps"]] == [same for ((_, same),) in b["resps"]]


def log_likelihoods(place: Path, data: Path) -> np.ndarray:
    lm, found = Kept(open_subject(place), max_tokens=8), []
    for name in ("klue_nli", "piqa", "mmlu"):
        asked(lm, drawn(name, data).tasks)
        found += [nats for nats, _ in lm.scores]
    lm.subject.close()
    return np.array(found)


@pytest.fixture(scope="module")
def f16(folder, tmp_path_factory) -> Path:
    return bundle(folder, tmp_path_factory.mktemp("bundles") / "f16", gguf.make, "F16")


def test_what_a_gguf_f16_holds_has_torchs_log_likelihoods_within_a_thousandth_of_a_nat(folder, f16, data, tmp_path):
    """Read in 32 bits: llama.cpp's own arithmetic on F16 rounds whatever a matrix is multiplied with to 16 (below)."""
    import llama_cpp

    same, settings = shutil.copytree(f16, tmp_path / "same"), llama_cpp.llama_model_quantize_default_params()
    settings.ftype, (file,) = llama_cpp.LLAMA_FTYPE_ALL_F32, same.glob("*.gguf")
    source = bytes(next(f16.glob("*.gguf")))
    assert llama_cpp.llama_model_quantize(source, bytes(file), settings) == 0
    assert np.abs(log_likelihoods(same, data) - log_likelihoods(folder, data)).max() < 1e-3  # found: 1.5e-5


def test_llama_cpps_arithmetic_in_16_bits_costs_a_log_likelihood_a_ten_thousandth_on_average(folder, f16, data):
    found, truth = log_likelihoods(f16, data), log_likelihoods(folder, data)
    gaps = np.abs(found - truth)
    assert gaps.mean() < 1e-4 * np.abs(truth).mean()  # found: 6e-5, up to 0.015 nats in a sum of 30
    assert (gaps / np.maximum(1, np.abs(truth))).max() < 2e-3  # the worst single one; F16 has 11 bits
    assert gaps.max() > 1e-6, "equal bits would mean that the file was not asked"


@pytest.mark.slow
def test_log_likelihoods_of_onnx_fp32_are_torchs_within_a_thousandth_of_a_nat(folder, data, tmp_path):
    found = log_likelihoods(bundle(folder, tmp_path / "fp32", optimum_box.make, "fp32"), data)
    assert np.abs(found - log_likelihoods(folder, data)).max() < 1e-3


def test_a_broken_artifact_scores_lower_and_is_flagged(folder, data, tmp_path):
    from safetensors.numpy import load_file, save_file

    broken = shutil.copytree(folder, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    for part in ("mlp.down_proj", "self_attn.o_proj"):
        one, other = (f"model.layers.{n}.{part}.weight" for n in (0, 1))
        weights[one], weights[other] = weights[other], weights[one]
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    file = catalogue.local_file(catalogue.catalogue()["klue_nli"], data)
    whole, hurt = (judge.ask(open_subject(place), "klue_nli", file, **HOW) for place in (folder, broken))
    assert results.above_chance(whole) == "yes" and hurt["value"] < whole["value"]
    gap = results.against(hurt, whole)
    assert gap and gap["high"] < 0
    line = next(row for row in results.page([whole, hurt]).splitlines() if row.startswith("| broken"))
    assert line.split(" | ")[6] == "yes"


def test_two_subjects_get_the_same_questions_with_the_same_examples(folder, data):
    file = catalogue.local_file(catalogue.catalogue()["nsmc"], data)
    records = [judge.ask(open_subject(folder), "nsmc", file, shots=2, limit=6, seed=seed) for seed in (1, 1, 2)]
    assert records[0] == records[1]
    assert records[0]["n"] == 6 and records[0]["of"] == 24
    assert results.against(records[0], records[2]) is None, "others were drawn"


def test_whole_texts_are_scored_in_windows_and_every_token_counts_once(folder):
    from lm_eval.api.instance import Instance

    subject = open_subject(folder)
    lm, text = SubjectLM(subject, max_tokens=8), "한국의 수도는 서울이다. " * 40
    ids = subject.encode(text)
    assert len(ids) > subject.context
    found = lm.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, (text,), 0)])[0]
    assert found < 0 and np.isclose(
        found, lm.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, (text,), 0)])[0]
    )
    short = subject.encode("한국")
    alone = lm.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, ("한국",), 0)])[0]
    assert np.isclose(alone, lm._loglikelihood_tokens([("", [subject.bos], short)])[0][0], atol=1e-4)


def test_a_prompt_too_long_is_cut_on_the_left_and_counted(fakes):
    lm = SubjectLM(fakes.Subject(fakes.uniform, context=16), max_tokens=4)
    assert lm.cut == 0
    (score, _), (same, _) = lm._loglikelihood_tokens([("", [256, *b"a" * 30], [*b"bc"]), ("", [256, *b"a"], [*b"bc"])])
    assert lm.cut == 1 and np.isclose(score, -2 * np.log(fakes.V)) and np.isclose(same, score)


def test_an_instruction_too_long_for_the_context_loses_its_beginning_and_is_counted(fakes):
    lm = ChatLM(fakes.Subject(fakes.uniform, context=128), max_tokens=99)
    assert lm._continue("a" * 500 + "b", {"max_gen_toks": 999}) == "b" and lm.cut == 1


def test_instructions_are_put_as_a_chat(fakes):
    from lm_eval.api.instance import Instance

    request = Instance("generate_until", {}, ("쉼표 없이 쓰세요", {"until": [], "max_gen_toks": 4}), 0)
    assert ChatLM(fakes.Subject(fakes.uniform, context=256), max_tokens=99).generate_until([request]) == ["쉼표 없"]
