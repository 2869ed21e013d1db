"""The card's figures are those of the files it names, the hub's own library reads it, and the pages are one file."""

import re
from html.parser import HTMLParser

import pytest
from huggingface_hub import ModelCard

from evals import cards, html, report
from tests.figures import ROOT, numbers, stands

SECTIONS = ("Intended use", "Data", "Training", "Evaluation", "Safety", "Limitations", "Licence", "Citation")


@pytest.fixture(scope="module")
def card():
    return cards.page(report.read(ROOT / "reports"))


def test_the_hub_s_library_reads_the_front_matter_and_finds_the_results(card):
    data = ModelCard(card).data
    assert data.language == ["ko", "en"] and data.pipeline_tag == "text-generation" and data.license
    mini = report.read(ROOT / "reports")["evaluate@mini"]
    found = {result.dataset_config: result for result in data.eval_results}
    for lang in ("ko", "en"):
        assert found[lang].metric_value == mini[f"qa_{lang}"]
        assert found[lang].metric_args == {
            "low": mini[f"qa_{lang}_low"], "high": mini[f"qa_{lang}_high"], "n": mini[f"n_qa_{lang}"],
        }  # fmt: skip


def test_the_card_has_the_sections_that_readers_look_for(card):
    assert re.findall(r"(?m)^## (.*)$", card) == list(SECTIONS)


def test_every_number_of_the_card_stands_in_the_file_that_its_row_names(card):
    evidence, seen = report.read(ROOT / "reports"), 0
    body = re.sub(r"```.*?```", "", card.split("\n---\n", 1)[1], flags=re.DOTALL)
    for line in body.splitlines():
        files = re.findall(r"`([\w@.-]+)\.json`", line)
        cells = line.rsplit("|", 2)[0].split("|")[2:]  # between the row's name and its files
        shown = numbers(" ".join(cells)) if files and line.startswith("|") else numbers(re.sub(r"`[^`]*`", "", line))
        if line.startswith("| ---") or not shown:
            continue
        assert files, f"no file is named: {line}"
        strays = [text for text in shown if not any(stands(text, evidence[file]) for file in files)]
        assert not strays, f"{strays} in none of {files}: {line}"
        seen += len(shown)
    assert seen > 200


def test_a_licence_that_no_artifact_states_is_unknown_and_one_that_all_state_is_said():
    evidence = report.read(ROOT / "reports")
    stated = {n: r | {"license": "MIT"} if n.startswith("export@") else r for n, r in evidence.items()}
    assert ModelCard(cards.page(stated)).data.license == "mit"
    stated["export@gguf-f16"] |= {"license": "Apache-2.0"}
    assert ModelCard(cards.page(stated)).data.license == "unknown"


class Addresses(HTMLParser):
    """Every address and every tag of a page."""

    def __init__(self):
        super().__init__()
        self.tags, self.addresses = set(), []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "srcset", "action")]


def test_the_html_file_needs_no_other_and_shows_what_markdown_says(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG picture")
    pages = {
        "One & two": "---\nx: 1\n---\n\n# Head <b>\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n\n![a](a.png)",
        "Two": "x",
    }
    page = html.page("T", pages, tmp_path)
    reader = Addresses()
    reader.feed(page)
    assert "script" not in reader.tags and "link" not in reader.tags
    assert [a for a in reader.addresses if not a.startswith(("#", "data:image/png;base64,"))] == []
    assert "<td>1</td>" in page and "Head &lt;b&gt;" in page and "One &amp; two" in page and "x: 1" not in page
    assert "data:image/png;base64,iVBORyBwaWN0dXJl" in page
