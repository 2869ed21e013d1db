"""Knows the checks that stand between a stranger's file and native code: pure Python, headers only, before any load."""

from pathlib import Path

from midm_mini.format import artifact_format
from midm_mini.headers import folder, llama


def check(path: Path) -> list[str]:
    """The chat templates that the artifact at `path` carries, as text; MidmError unless every header in it is sound.

    It reads what the libraries will act on (counts, types, shapes, offsets, operators, names of files), not weights: a
    sound file may still hold a bad model. A file that changes after the check is not noticed.
    """
    if artifact_format(path) == "gguf":
        return llama.check(path if path.is_file() else next(path.glob("*.gguf")))
    return folder.check(path)
