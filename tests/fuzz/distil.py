"""Reduce the inputs found by fuzzing: ``python -m tests.fuzz.distil TARGET`` writes ``corpus/TARGET.txt``.

Inputs are tried in order of size; an input is kept if it runs a line of code that no earlier input has run.
"""

import base64
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz.fuzz_targets import CORPUS, TARGETS, Target, corpus, scratch_folder

MOST = 120  # inputs per target


def lines_run(target: Target, data: bytes, folder: Path) -> set[tuple[str, int]]:
    """The lines of Python that run while ``data`` is read."""
    lines = set()

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        lines.add((frame.f_code.co_filename, frame.f_lineno))
        return trace

    sys.settrace(trace)
    try:
        target.run(data, folder)
    finally:
        sys.settrace(None)
    return lines


def main() -> None:
    name = sys.argv[1]
    target, folder, recorded = TARGETS[name], scratch_folder(name), corpus(name)
    found = {path.read_bytes() for path in (folder / "found").iterdir()} - set(recorded) - set(target.seeds)
    seen = set().union(*(lines_run(target, data, folder) for data in (*target.seeds, *recorded)))
    for data in sorted(found, key=lambda data: (len(data), data)):
        lines = lines_run(target, data, folder)
        if not lines <= seen and len(recorded) < MOST:
            recorded.append(data)
            seen |= lines
    text = "".join(base64.b64encode(data).decode() + "\n" for data in recorded)
    (CORPUS / f"{name}.txt").write_text(text, encoding="ascii")
    print(f"{name}: {len(recorded)} inputs")


if __name__ == "__main__":
    main()
