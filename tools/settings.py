"""Puts a profile and a text folder into params.yaml, and touches nothing when neither is asked for."""

import argparse
import re
import sys
from pathlib import Path

PARAMS, BEFORE = Path("params.yaml"), Path(".scratch/params.before.yaml")
TEXT_LINE = re.compile(r"""(?m)^(ingest:.*\n(?:(?:[ #].*)?\n)*?  text: *)('(?:[^']|'')*'|"[^"]*"|[^\s#]+)""")


def main() -> None:
    """`--profile NAME` copies a profile to params.yaml, `--text FOLDER` sets ingest.text; says what changed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="")
    parser.add_argument("--text", default="")
    asked = parser.parse_args()
    now = PARAMS.read_text(encoding="utf-8") if PARAMS.exists() else ""
    wanted = profile_text(asked.profile) if asked.profile or not now else now
    if asked.text:
        wanted = with_text(wanted, asked.text)
    if wanted == now:
        print(f"params.yaml: {name_of(now)}, unchanged")
        return
    if now:
        BEFORE.parent.mkdir(exist_ok=True)
        BEFORE.write_text(now, encoding="utf-8")
    draft = PARAMS.with_name(".params.yaml.draft")
    draft.write_text(wanted, encoding="utf-8")
    draft.replace(PARAMS)
    print(f"params.yaml: was {name_of(now) or 'missing'}, now {name_of(wanted)}; the old one is in {BEFORE}")


def profile_text(name: str) -> str:
    """The content of profiles/<name>.yaml; demo when no name is given."""
    file = Path("profiles", f"{name or 'demo'}.yaml")
    if not file.exists():
        known = ", ".join(sorted(path.stem for path in Path("profiles").glob("*.yaml")))
        sys.exit(f"error: no profile {name!r}; there are: {known}")
    return file.read_text(encoding="utf-8")


def with_text(params: str, folder: str) -> str:
    """The same params, byte for byte, but for the value of ingest.text."""
    if not Path(folder).exists():
        sys.exit(f"error: TEXT={folder} does not exist; name a folder of .jsonl[.gz|.zst], .parquet, .txt or .md")
    quoted = folder if re.fullmatch(r"[\w./-]+", folder) else "'" + folder.replace("'", "''") + "'"
    changed, count = TEXT_LINE.subn(lambda found: found[1] + quoted, params, count=1)
    if count != 1:
        sys.exit("error: params.yaml has no 'text:' line under 'ingest:'; copy the section from profiles/demo.yaml")
    return changed


def name_of(params: str) -> str:
    """'profile demo', 'profile laptop with text ../corpus', or 'own values' for params that equal no profile."""
    for file in sorted(Path("profiles").glob("*.yaml")):
        profile = file.read_text(encoding="utf-8")
        if params == profile:
            return f"profile {file.stem}"
        if (value := TEXT_LINE.search(params)) and TEXT_LINE.sub(r"\1", params) == TEXT_LINE.sub(r"\1", profile):
            return f"profile {file.stem} with text {value[2]}"
    return "own values" if params else ""


if __name__ == "__main__":
    main()
