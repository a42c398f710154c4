"""Fuzz one reader with atheris: ``python -m tests.fuzz.run TARGET [SECONDS [libFuzzer options]]``, see docs/trust.md.

Needs ``pip install atheris`` (Linux). An exception that is not ours, more than 100 s or more than 1 GiB end the run and
leave the input in the current folder. ``distil.py`` takes over what was found.
"""

import sys

import atheris

with atheris.instrument_imports(include=["tinycnn", "json", "gzip", "zipfile", "numpy.lib"]):
    from tests.fuzz.fuzz_targets import TARGETS, corpus, scratch_folder

MAX_LENGTH = 4096


def main() -> None:
    name, seconds, *options = [*sys.argv[1:], "60"][: max(len(sys.argv) - 1, 2)]
    target, folder = TARGETS[name], scratch_folder(name)
    for i, data in enumerate([*target.seeds, *corpus(name)]):
        (folder / "found" / f"first-{i}").write_bytes(data)
    quoted = ('"' + word.replace('"', '\\"') + '"\n' for word in target.words)
    (folder / "words").write_text("".join(quoted), encoding="ascii")
    limits = ["-timeout=100", "-rss_limit_mb=1024", f"-max_len={MAX_LENGTH}", f"-max_total_time={seconds}"]
    settings = [*limits, f"-dict={folder / 'words'}", *options, str(folder / "found")]
    atheris.Setup([sys.argv[0], *settings], lambda data: target.run(data, folder))
    atheris.Fuzz()  # never returns


if __name__ == "__main__":
    main()
