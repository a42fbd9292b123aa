"""Environments of their own for peer packages: made once, kept in a cache folder, called as subprocesses."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

DEFAULT_FOLDER = Path.home() / ".cache" / "mofa_bayes_peers"
_POOLS = ("OMP", "OPENBLAS", "MKL", "NUMBA", "NUMEXPR")
ONE_THREAD = {f"{pool}_NUM_THREADS": "1" for pool in _POOLS} | {"VECLIB_MAXIMUM_THREADS": "1"}


def prepare(name: str, requirements: Sequence[str], folder: Path = DEFAULT_FOLDER) -> Path:
    """Return the Python of an environment that has `requirements`, making it when it is not there yet.

    Peers lag behind Python's releases: `python3.11` is taken when the machine has it, else the running interpreter.
    """
    home = folder / name
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    marker = home / "requirements.txt"
    wanted = "\n".join(requirements) + "\n"
    if marker.is_file() and marker.read_text() == wanted and python.exists():
        return python
    print(f"making an environment for {' '.join(requirements)} in {home}", flush=True)
    shutil.rmtree(home, ignore_errors=True)
    home.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([_find_python(), "-m", "venv", str(home)], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", *requirements], check=True)
    marker.write_text(wanted)
    return python


def call(python: Path, script: Path, arguments: Sequence[str], environment: Mapping[str, str] = ONE_THREAD) -> None:
    """Run a script with the environment's Python; what it prints is shown only when it fails."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [str(python), str(script), *arguments], env={**own, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{script.name} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


def _find_python() -> str:
    found = shutil.which("python3.11")
    if found:
        tried = subprocess.run([found, "-c", "import venv"], capture_output=True, check=False)
        if tried.returncode == 0:
            return found
    return sys.executable
