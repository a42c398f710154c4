"""Fuzz one reader with atheris: ``python tests/fuzz/run.py TARGET [SECONDS [libFuzzer options]]``, see docs/trust.md.

Needs ``pip install atheris`` (Linux). An exception that is not ours, more than 100 s or more than 1 GiB end the run and
leave the input in the current folder. ``python tests/fuzz/run.py TARGET distil`` afterwards keeps in ``corpus/`` the
smallest inputs that together reach all that was reached.
"""

import base64
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["tinycnn", "json", "gzip", "zipfile", "numpy.lib"]):
    from fuzz_targets import CORPUS, TARGETS, Target, corpus

MAX_LENGTH = 4096


def scratch_folder(name: str) -> Path:
    """In memory where that is possible: a fuzzer writes thousands of files a second."""
    memory = Path("/dev/shm")
    folder = (memory if memory.is_dir() else Path(tempfile.gettempdir())) / f"tinycnn-fuzz-{name}"
    for part in ("found", "distilled"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    return folder


def prepare(name: str, target: Target, folder: Path) -> list[str]:
    """Write the first inputs and the dictionary; answer the options that are the same for every run."""
    for i, data in enumerate([*target.seeds, *corpus(name)]):
        (folder / "found" / f"first-{i}").write_bytes(data)
    quoted = ('"' + word.replace('"', '\\"') + '"\n' for word in target.words)
    (folder / "words").write_text("".join(quoted), encoding="ascii")
    return ["-timeout=100", "-rss_limit_mb=1024", f"-max_len={MAX_LENGTH}", f"-dict={folder / 'words'}"]


def keep(name: str, folder: Path) -> None:
    inputs = sorted(
        (path.read_bytes() for path in (folder / "distilled").iterdir()), key=lambda data: (len(data), data)
    )
    lines = (base64.b64encode(data).decode() + "\n" for data in inputs)
    (CORPUS / f"{name}.txt").write_text("".join(lines), encoding="ascii")


def main() -> None:
    name, seconds, *options = [*sys.argv[1:], "60"][: max(len(sys.argv) - 1, 2)]
    target, folder = TARGETS[name], scratch_folder(name)
    settings = prepare(name, target, folder)
    found, distilled = str(folder / "found"), str(folder / "distilled")
    if seconds == "kept":
        keep(name, folder)
        return
    task = ["-merge=1", distilled, found] if seconds == "distil" else [f"-max_total_time={seconds}", *options, found]
    atheris.Setup([sys.argv[0], *settings, *task], lambda data: target.run(data, folder))
    atheris.Fuzz()  # never returns


if __name__ == "__main__":
    main()
