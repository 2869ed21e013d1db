"""Knows the command line: `midm-mini <command> <path>`, one function a command, its options beside it."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from midm_mini import headers
from midm_mini.calls import Malformed, Part, ToolCall, schemas
from midm_mini.format import MANIFEST, SYSTEM_PROMPTS, Message, MidmError
from midm_mini.manifest import compare
from midm_mini.model import load

Options = Mapping[str, Callable[[str], Any]]
SAMPLING: Options = {"max_tokens": int, "temperature": float, "top_p": float, "seed": int}  # options of Model.stream
HELP = {
    "system": "the system's turn",
    "preset": "ko or en: our own short system's turn",
    "tools": "a file with the JSON schemas of functions that may be called",
    "passages": "a text file to answer from; may be given several times",
}
OPENING: Options = {"threads": int, "context": int}  # options of load


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; errors are one line on stderr and exit code 2."""
    parser = argparse.ArgumentParser(prog="midm-mini", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="|".join(COMMANDS))
    for name, (run, kinds) in COMMANDS.items():
        command = commands.add_parser(name, help=run.__doc__)
        command.add_argument("path", type=Path, help="a .gguf file or an exported folder")
        for option, kind in kinds.items():
            many = "append" if option == "passages" else "store"
            text = HELP.get(option, "as in Python, with the same default")
            command.add_argument(f"--{option.replace('_', '-')}", type=kind, action=many, help=text)
        command.set_defaults(run=run)
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def chat(options: argparse.Namespace) -> None:
    """One answer to --prompt, or a conversation until an empty line or the end of input. A call is shown, never run:
    its result is typed, and an empty line gives none."""
    given = {name: value for name, value in vars(options).items() if value is not None}
    tools = _tools(options.tools) if options.tools else []
    passages = [file.read_text("utf-8").strip() for file in options.passages or ()]
    sampling = {name: given[name] for name in SAMPLING if name in given}
    with load(options.path, **{name: given[name] for name in OPENING if name in given}) as model:
        print(f"{model.path} · {model.format} · {model.details['model']} · context {model.context}", file=sys.stderr)
        system = options.system or options.preset
        messages: list[Message] = [{"role": "system", "content": system}] if system else []
        while line := options.prompt or _ask("> "):
            messages.append({"role": "user", "content": line})
            while messages[-1]["role"] != "assistant":
                reply = model.chat(messages, tools, passages=passages, **sampling)
                for part in reply.parts():
                    print(_shown(part), end="", flush=True)
                print("" if reply.finish_reason == "stop" else " […]", flush=True)
                messages.append({"role": "assistant", "content": reply.text})
                results = [_ask(f"{call.name} = ") for call in reply.tool_calls if not options.prompt]
                messages += [{"role": "tool", "content": result} for result in results if result]
            if options.prompt:
                return


def info(options: argparse.Namespace) -> None:
    """Prints format, size, tokenizer, context and what the manifest says, one fact a line."""
    path = options.path
    folder, files = (path, path.rglob("*")) if path.is_dir() else (path.parent, [path])
    with load(path) as model:
        size = sum(file.stat().st_size for file in files if file.is_file())
        facts = {"format": model.format, "bytes": size, **model.details}
        facts |= {"vocabulary": f"{model.vocab_size} rows", "context": f"{model.context} tokens"}
    print(path, *(f"  {key:10}  {value}" for key, value in facts.items()), sep="\n")
    if (folder / MANIFEST).is_file():
        try:
            print(json.dumps(json.loads((folder / MANIFEST).read_text("utf-8")), indent=2, ensure_ascii=False))
        except ValueError as error:
            raise MidmError(f"{folder / MANIFEST}: not JSON ({error}); export the bundle again") from error


def bench(options: argparse.Namespace) -> None:
    """Measures loading, first token, reading, writing and memory at 1, 2, 4 … all cores, or at --threads."""
    from midm_mini import measure

    found = measure.bench(options.path, [options.threads] if options.threads else ())
    print(measure.table(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def serve(options: argparse.Namespace) -> None:
    """Answers over HTTP as OpenAI's API does; beyond this machine only with a key, by --key-file or MIDM_MINI_KEY."""
    try:
        from midm_mini import server
    except ImportError as error:
        raise MidmError(f"{error}; run: pip install 'midm-mini[server]'") from error
    given = {name: value for name, value in vars(options).items() if value is not None}
    key = given["key_file"].read_text("utf-8").strip() if "key_file" in given else os.environ.get("MIDM_MINI_KEY")
    places = {name: given[name] for name in ("host", "port") if name in given}
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    with load(options.path, **{name: given[name] for name in OPENING if name in given}) as model:
        server.run(model, key=key, hosts=given.get("hosts", "").split(","), **places)


def verify(options: argparse.Namespace) -> None:
    """Compares every file with manifest.json, offline, and checks the headers; one line a file, then a verdict."""
    folder = options.path if options.path.is_dir() else options.path.parent
    wrong = 0
    for row in compare(folder):
        wrong += bool(row.fault)
        print(f"{'WRONG' if row.fault else 'ok':5}  {row.bytes:>13,} bytes  {row.path}  {row.fault}".rstrip())
    if wrong:
        raise MidmError(f"{folder}: {wrong} files are not as the manifest says; get the bundle again")
    headers.check(options.path)
    print(f"{folder}: whole, as its manifest says; headers sound")


def _ask(prompt: str) -> str:
    try:
        return input(prompt)
    except EOFError:
        return ""


def _shown(part: Part) -> str:
    if isinstance(part, ToolCall):
        return f"→ {part.name}({', '.join(f'{name}={value!r}' for name, value in part.arguments.items())}) "
    return f"{part.raw} [no call: {part.why}]" if isinstance(part, Malformed) else part


def _tools(file: Path) -> list[dict[str, Any]]:
    """The JSON schemas of functions in a file, one or a list of them."""
    try:
        found = json.loads(file.read_text("utf-8"))
        tools = found if isinstance(found, list) else [found]
        schemas(tools)
    except (ValueError, AttributeError) as error:
        raise MidmError(
            f"{file}: must hold JSON schemas of functions, {{name, description, parameters}} ({error})"
        ) from None
    return tools


def _preset(language: str) -> str:
    if language not in SYSTEM_PROMPTS:
        raise argparse.ArgumentTypeError(f"{language!r}: there are {', '.join(SYSTEM_PROMPTS)}")
    return SYSTEM_PROMPTS[language]


TALK: Options = {"prompt": str, "system": str, "preset": _preset, "tools": Path, "passages": Path}
COMMANDS: Mapping[str, tuple[Callable[[argparse.Namespace], None], Options]] = {  # name → run, its options
    "chat": (chat, {**TALK, **SAMPLING, **OPENING}),
    "info": (info, {}),
    "bench": (bench, {"threads": int, "json": Path}),
    "serve": (serve, {"host": str, "port": int, "hosts": str, "key_file": Path, **OPENING}),
    "verify": (verify, {}),
}
