"""Puts into a folder what another machine installs without a compiler: the wheels of midm-mini and llama-cpp-python."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools import environment


def main(folder: Path) -> None:
    """Fills `folder` and says what to type on the other machine."""
    with tempfile.TemporaryDirectory() as scratch:
        source = shutil.copytree(environment.ROOT / "runtime", Path(scratch, "runtime"))  # setuptools builds in place
        command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
        subprocess.run([*command, "-w", str(folder), str(source)], check=True)
    shutil.copy(environment.llama_wheel(), folder)
    print(f'There: pip install --only-binary :all: --find-links {folder.name} "midm-mini[gguf,onnx]"')


if __name__ == "__main__":
    main(Path(sys.argv[1]))
