"""Knows the plan and the code behind it: which files a stage really imports, and the flow as a picture.

`python -m tests.house distill` prints code deps to paste into dvc.yaml, `python -m tests.house flow` the README flow.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOMES = dict.fromkeys(("pipelines", "corpus", "models", "export", "evals"), ROOT) | {"midm_mini": ROOT / "runtime/src"}
FRAME = {f"pipelines/_{name}.py" for name in ("stage", "journal", "relay", "tracking")}  # change no byte of an out


def stage_files() -> list[Path]:
    """The stages: every file in pipelines/ without a leading underscore."""
    return sorted(path for path in (ROOT / "pipelines").glob("*.py") if not path.name.startswith("_"))


def code_deps(stage: str) -> list[str]:
    """Repo-relative paths of every first-party file that the stage imports, directly or not, itself included."""
    seen: set[tuple[Path, bool]] = set()
    waiting = [(ROOT / "pipelines" / f"{stage}.py", True)]
    while waiting:
        path, whole = waiting.pop()
        if (path, whole) not in seen and relative(path) not in FRAME:
            seen.add((path, whole))
            waiting += imports(path, whole)
    return sorted({relative(path) for path, _ in seen if says_something(path)})


def relative(path: Path) -> str:
    """The path as dvc.yaml writes it."""
    return path.relative_to(ROOT).as_posix()


def imports(path: Path, whole: bool) -> list[tuple[Path, bool]]:
    """First-party files that a file imports; of a package that only lies on the way, what it imports by being run."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    idle = {id(inner) for node in ast.walk(tree) if is_idle(node, whole) for inner in ast.walk(node)}
    names = [name for node in ast.walk(tree) if id(node) not in idle for name in imported_names(node, path)]
    return [found for name in names for found in files_of(name)]


def is_idle(node: ast.AST, whole: bool) -> bool:
    """True for code that does not run: for type checkers only, or functions of a package that only lies on the way."""
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.unparse(node.test)
    return isinstance(node, ast.FunctionDef) and not whole


def imported_names(node: ast.AST, path: Path) -> Iterator[str]:
    """Modules that an import statement loads: for `from a import b` a.b if that is a module, else a."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            home = next(home for name, home in HOMES.items() if path.is_relative_to(home / name))
            package = path.relative_to(home).parts[: -node.level]
            base = ".".join([*package, *([node.module] if node.module else [])])
        for name in (f"{base}.{alias.name}" for alias in node.names):
            yield name if any(whole for _, whole in files_of(name)) else base
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        yield from (str(word.value) for word in node.args[:1] if isinstance(word, ast.Constant))


def files_of(name: str) -> Iterator[tuple[Path, bool]]:
    """A first-party module's file, to be followed whole, and the __init__ files on the way to it."""
    parts = name.split(".")
    if parts[0] not in HOMES:
        return
    for length in range(1, len(parts) + 1):
        stem = HOMES[parts[0]].joinpath(*parts[:length])
        for path in (stem.with_suffix(".py"), stem / "__init__.py"):
            if path.is_file():
                yield path, length == len(parts)


@cache
def says_something(path: Path) -> bool:
    """False for an empty file or one with only a docstring: nothing in it can change an output."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in body)


def string_constants(path: Path) -> Iterator[str]:
    """Every string in the code of a file, docstrings left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value


def source_files(*patterns: str) -> list[Path]:
    """The source that a reader has to understand: tests, data and docs left out."""
    files = tree(*(patterns or ("*.py", "Makefile", ".ci/run")))
    return [path for path in files if not {"tests", "data", "docs"} & set(path.relative_to(ROOT).parts)]


def lines_of_code(path: Path) -> int:
    """Lines that hold code: no blank, no comment, no docstring."""
    lines = path.read_text(encoding="utf-8").splitlines()
    idle = {number for number, line in enumerate(lines, 1) if not line.strip() or line.lstrip().startswith("#")}
    if path.suffix == ".py":
        for node in ast.walk(ast.parse("\n".join(lines))):
            if (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                idle |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines) - len(idle)


def tree(*patterns: str) -> list[Path]:
    """Files of the clone, tracked or new, that git does not ignore."""
    command = ["git", "ls-files", "-co", "--exclude-standard", *patterns]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    return [ROOT / name for name in sorted(set(names)) if name and (ROOT / name).is_file()]


def python_files() -> list[Path]:
    """Every Python file, tests included."""
    return [path for path in tree("*.py") if "data" not in path.relative_to(ROOT).parts]


def foreign_imports(path: Path) -> set[str]:
    """Top-level names that a file imports from neither the standard library nor this tree."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names - {*HOMES, "tests", "tools", "environment"} - set(sys.stdlib_module_names)


def flow() -> str:
    """`dvc dag --mermaid` with the cells of a matrix drawn as one box and one line per stage."""
    dag = subprocess.run(["dvc", "dag", "--mermaid"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    label = {node: name.split(":")[-1].split("@")[0] for node, name in re.findall(r'(node\d+)\["([^"]+)"\]', dag)}
    order = list(dict.fromkeys(name for name in plan_order() if name in label.values()))
    feeds: dict[str, set[str]] = {name: set() for name in order}
    for left, right in re.findall(r"(node\d+)-->(node\d+)", dag):
        if label[left] != label[right] and label[left] in order:
            feeds[label[right]].add(label[left])
    busy = set().union(*(feeds[name] for name in order[:-1]))
    feeds[order[-1]] -= busy  # the report reads everybody's evidence: only those that feed nobody else are drawn
    rows = [f"  {' & '.join(sorted(feeds[name], key=order.index))} --> {name}" for name in order if feeds[name]]
    return "\n".join(["flowchart TD", *rows])


def plan_order() -> list[str]:
    """Stage names in the order in which dvc.yaml tells them."""
    from ruamel.yaml import YAML

    return list(YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"])


if __name__ == "__main__":
    for word in sys.argv[1:] or [path.stem for path in stage_files()]:
        print(flow() if word == "flow" else "\n".join([f"# {word}", *(f"      - {path}" for path in code_deps(word))]))
