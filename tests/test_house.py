"""The plan tells the truth: names, paths, declared code, walls, profiles and pages agree with each other."""

import re
import shlex
import subprocess
import tomllib
from functools import cache
from importlib.metadata import packages_distributions

import pytest
from ruamel.yaml import YAML

from tests import house

ROOT = house.ROOT
STAGES = [path.stem for path in house.stage_files()]
PROFILES = sorted((ROOT / "profiles").glob("*.yaml"))
FORBIDDEN = {
    r"\bimport pickle|\bpickle\.|cloudpickle|joblib": "a pickle runs code when it is read",
    r"torch\.load\(": "safetensors holds weights",
    r"trust_remote_code\s*=\s*True": "a model folder must not bring code",
    r"(?<!\w)yaml\.load\(|full_load|unsafe_load": "YAML(typ='safe') reads YAML",
    r"(?<![\w.])eval\(|(?<![\w.])exec\(": "text is not code",
}

CALLED_OTHERWISE = {  # requirements that no import of ours shows
    "dvc": "a command, and tests",
    "import-linter": "a command",
    "mypy": "a command",
    "ruff": "a command",
    "pytest-xdist": "pytest -n",
    "onnx": "the genai builder and optimum",
    "onnxscript": "torch's ONNX exporter",
    "diskcache": "llama-cpp-python, which is installed without its requirements",
    "jinja2": "transformers' chat templates",
    "typing-extensions": "llama-cpp-python",
}


def load(name):
    return YAML(typ="safe").load(ROOT / name)


def keys(values, prefix=""):
    """Dotted keys of nested mappings; list elements count by their position-free shape."""
    if isinstance(values, dict) and not prefix.endswith(".weights"):  # whose keys are patterns
        return {found for key, inner in values.items() for found in keys(inner, f"{prefix}.{key}")}
    return {prefix}


@cache
def plan():
    """Every stage as DVC itself resolves it, matrix cells one by one: address → (cmd words, deps, outs, params)."""
    from dvc.repo import Repo

    with Repo(str(ROOT)) as repo:
        stages = {}
        for stage in repo.index.stages:
            words = shlex.split(stage.cmd if isinstance(stage.cmd, str) else " ".join(stage.cmd))
            deps = [dep.def_path for dep in stage.deps if not getattr(dep, "params", None)]
            sections = {name.split(".")[0] for dep in stage.deps for name in getattr(dep, "params", None) or []}
            outs = [out.def_path for out in stage.outs]
            stages[stage.addressing.removeprefix("dvc.yaml:")] = (words, deps, outs, sections)
        return stages


def cells(stage):
    return {address: cell for address, cell in plan().items() if address.split("@")[0] == stage}


def under(path, roots):
    return any(path == root or path.startswith(f"{root}/") for root in roots)


def test_stage_names_are_files_are_entries_are_sections():
    entries = load("dvc.yaml")["stages"]
    assert sorted(entries) == STAGES
    assert sorted(load("params.yaml")) == STAGES


def test_every_stage_says_in_one_sentence_what_it_does():
    for name, entry in load("dvc.yaml")["stages"].items():
        desc = (entry.get("do") or entry).get("desc", "")
        assert desc.strip(), f"dvc.yaml: stage {name} has no desc"


@pytest.mark.parametrize("stage", STAGES)
def test_the_command_runs_the_file_of_that_name_and_writes_to_the_folder_of_that_name(stage):
    for address, (words, _, outs, _) in cells(stage).items():
        assert words[:3] == ["python", "-m", f"pipelines.{stage}"]
        axis = address.partition("@")[2]
        out = words[words.index("--out") + 1]
        assert out == f"artifacts/{stage}" + (f"/{axis}" if axis else "")
        assert out in outs
        strangers = [path for path in outs if path != out and not re.match(rf"reports/{re.escape(address)}\.", path)]
        assert not strangers, f"{address} writes {strangers}"


@pytest.mark.parametrize("stage", STAGES)
def test_paths_in_the_command_are_the_declared_data(stage):
    for address, (words, deps, _, _) in cells(stage).items():
        flags = dict(zip(words[3::2], words[4::2], strict=True))
        assert all(flag.startswith("--") for flag in flags), f"{address}: {words}"
        given = {value for flag, value in flags.items() if flag != "--out" and ("/" in value or value == "reports")}
        data = {path for path in deps if not path.endswith(".py")}
        assert all(under(path, given) for path in data), f"{address}: declared but in no flag: {data - given}"
        idle = [root for root in given if not any(under(path, [root]) or under(root, [path]) for path in data)]
        assert not idle, f"{address}: in a flag but not declared: {idle}"


@pytest.mark.parametrize("stage", STAGES)
def test_declared_code_is_the_code_that_is_imported(stage):
    for address, (_, deps, _, _) in cells(stage).items():
        declared = sorted(path for path in deps if path.endswith(".py"))
        assert declared == house.code_deps(stage), f"{address}: paste what `python -m tests.house {stage}` prints"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_its_own_section_only(stage):
    for address, (_, _, _, sections) in cells(stage).items():
        assert sections == {stage}, address


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.stem)
def test_profiles_have_the_same_keys(profile):
    wanted, found = keys(load("profiles/demo.yaml")), keys(load(profile))
    assert found == wanted, f"missing {sorted(wanted - found)}, unknown {sorted(found - wanted)}"


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.stem)
def test_every_profile_passes_the_schema_of_every_stage(profile):
    from pipelines._stage import check_all

    check_all(profile)


def test_the_params_of_the_clone_have_the_profiles_keys():
    assert keys(load("params.yaml")) == keys(load("profiles/demo.yaml"))


def test_the_walls_stand():
    done = subprocess.run(["lint-imports"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]


def test_every_room_stands_in_the_walls():
    rooms = {path.parent.name for path in ROOT.glob("*/*.py")} - {"tests", "tools", "benchmarks"} | {"midm_mini"}
    assert rooms == set(house.HOMES)
    layers = re.search(r"layers =\n((?: +.*\n)+)", (ROOT / ".importlinter").read_text())[1]
    assert set(re.findall(r"\w+", layers)) == rooms


def test_only_the_frame_reads_the_params_file_and_the_clock_has_no_room():
    for path in house.source_files("*.py"):
        name = house.relative(path)
        if not name.startswith(("tools/", "pipelines/_stage.py")):
            assert "params.yaml" not in house.string_constants(path), f"{name} knows params.yaml"
        if name.startswith(("corpus/", "export/", "evals/")):
            assert not re.search(r"datetime\.now|time\.time\(\)", path.read_text()), f"{name} reads the clock"


@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_nothing_in_the_tree_runs_what_it_reads(pattern):
    found = [
        f"{house.relative(path)}:{number}: {line.strip()}"
        for path in house.source_files("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(pattern, line) and house.relative(path) != "corpus/engine.py"  # reads its own scratch and workers
    ]
    assert not found, f"{FORBIDDEN[pattern]}: {found}"


def test_a_file_opens_with_one_sentence_and_fits_its_size():
    for path in house.source_files("*.py"):
        text = path.read_text(encoding="utf-8")
        name, lines = house.relative(path), text.count("\n")
        assert text.startswith(('"""', 'r"""')), f"{name} does not say what it knows"
        most = 80 if path in house.stage_files() else 300
        assert lines <= most, f"{name}: {lines} lines, at most {most}"


def test_the_source_can_be_read_in_an_afternoon():
    """Lines of code: no blanks, comments, docstrings; measurements apart, for each is read alone, beside its claim."""
    lines = {path: house.lines_of_code(path) for path in house.source_files("*.py")}
    measuring = sum(count for path, count in lines.items() if "benchmarks" in path.parts)
    product = sum(lines.values()) - measuring
    assert product <= 16_150 and measuring <= 5_000, (product, measuring)


def test_the_readme_is_short_and_its_picture_is_the_plan():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.count("\n") <= 150
    picture = re.search(r"```mermaid\n(.*?)\n```", readme, flags=re.DOTALL)
    assert picture and picture[1] == house.flow(), "paste the output of `python -m tests.house flow` into README.md"


def test_links_and_file_names_in_the_pages_exist():
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} points to {target}"


def test_every_requirement_is_used_and_every_import_is_required():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    required = {re.split(r"[<>=[]", line)[0].lower() for lines in extras.values() for line in lines} | {
        "llama-cpp-python"
    }
    owners = packages_distributions()
    ours = [path for path in house.python_files() if "benchmarks" not in path.parts]  # those import the peers
    modules = {name for path in ours for name in house.foreign_imports(path)}
    named = {name: {owner.lower().replace("_", "-") for owner in owners.get(name, [name])} for name in modules}
    undeclared = sorted(name for name in modules if not named[name] & required)
    assert not undeclared, f"imported, but in no extra of pyproject.toml: {undeclared}"
    idle = sorted(required - set().union(*named.values()) - set(CALLED_OTHERWISE))
    assert not idle, f"in pyproject.toml, but nobody imports it: {idle}"


def test_imports_are_followed_into_functions_and_packages_on_the_way_only_at_their_top(tmp_path, monkeypatch):
    monkeypatch.setattr(house, "ROOT", tmp_path)
    monkeypatch.setattr(house, "HOMES", {"pipelines": tmp_path, "room": tmp_path})
    files = {
        "pipelines/stage.py": "def main():\n    from room.door import key\n",
        "room/__init__.py": "import room.hall\ndef later():\n    import room.attic\n",
        "room/door.py": "from . import lamp\nif TYPE_CHECKING:\n    import room.cellar\n",
        "room/hall.py": "x = 1\n",
        "room/lamp.py": "import importlib\nimportlib.import_module('room.bulb')\n",
        "room/bulb.py": "x = 1\n",
        "room/attic.py": "x = 1\n",
        "room/cellar.py": "x = 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    expected = ["pipelines/stage.py", *(f"room/{name}.py" for name in ("__init__", "bulb", "door", "hall", "lamp"))]
    assert house.code_deps("stage") == expected
