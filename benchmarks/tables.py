"""The tables of docs/performance.md, made from the result files: no figure there is typed by hand.

    python benchmarks/tables.py          # prints them
    python benchmarks/tables.py --write  # puts them into the page, between its marks

A table stands between `<!-- table NAME -->` and `<!-- end of table -->`.
"""

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "benchmarks" / "results", ROOT / "docs" / "performance.md"
MARKED = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
LANES = {16: "AVX-512", 8: "as with AVX2", 4: "as with NEON", 0: "no SIMD kernels"}
Result = dict[str, Any]


def results(name: str) -> list[Result]:
    """Of ``benchmarks/results/<name>.json``."""
    return list(json.loads((RESULTS / f"{name}.json").read_text())["results"])


def title(result: Result) -> str:
    return f"`{result['model']}` ({result['batch_size']})"


def rows(head: str, lines: list[list[str]]) -> str:
    """A Markdown table."""
    names = head.split(" | ")
    return "\n".join(f"| {' | '.join(line)} |" for line in [names, ["---"] * len(names), *lines]) + "\n"


def fastest_torch(result: Result) -> tuple[str, float]:
    """PyTorch's best mode, and its milliseconds."""
    modes = {side: ms for side, ms in result["median_ms"].items() if side.startswith("torch")}
    best = min(modes, key=modes.__getitem__)
    return best.removeprefix("torch "), modes[best]


def compared(*files: str) -> str:
    """Numba beside PyTorch's fastest mode, for every result of some files."""
    lines = []
    for result in (result for file in files for result in results(file)):
        mode, torch_ms = fastest_torch(result)
        memory = result["peak_memory_mib"]
        lines.append(
            [
                title(result),
                f"{result['median_ms']['numba']:.2f}",
                "{:.2f} to {:.2f}".format(*result["quartiles_ms"]["numba"][::2]),
                f"{torch_ms:.2f} ({mode})",
                f"**{result['ratio_to_torch']['numba']:.2f}**",
                f"{memory['numba']:.0f} / {memory[f'torch {mode}']:.0f}",
            ]
        )
    return rows("network (batch) | Numba, ms | quartiles | PyTorch, ms | ratio | peak MiB: Numba / PyTorch", lines)


def with_numpy() -> str:
    """The reference backend beside PyTorch."""
    lines = [
        [title(result), f"{result['median_ms']['numpy']:.1f}", f"{result['ratio_to_torch']['numpy']:.2f}"]
        for result in results("train_step_cpu_2threads")
    ]
    return rows("network (batch) | NumPy, ms | ratio", lines)


def widths() -> str:
    """Ratios to PyTorch with other vector widths; PyTorch keeps its own."""
    files = {16: "train_step_cpu_2threads"} | {lanes: f"train_step_cpu_{lanes}lanes" for lanes in (8, 4, 0)}
    columns = {lanes: results(file) for lanes, file in files.items()}
    names = " | ".join(title(result) for result in columns[16])
    lines = [
        [f"{lanes} ({LANES[lanes]})", *(f"{result['ratio_to_torch']['numba']:.2f}" for result in column)]
        for lanes, column in columns.items()
    ]
    return rows(f"lanes | {names}", lines)


TABLES = {
    "training": lambda: compared("train_step_cpu_2threads", "train_step_cpu_2threads_batch128"),
    "one_thread": lambda: compared("train_step_cpu_1thread"),
    "inference": lambda: compared("inference_cpu_2threads"),
    "inference_one_thread": lambda: compared("inference_cpu_1thread"),
    "numpy": with_numpy,
    "widths": widths,
}


def filled_in(page: str) -> str:
    """The text of the page with every marked table made anew."""
    return MARKED.sub(lambda mark: mark[1] + TABLES[mark[2]]() + mark[3], page)


def marks(page: str) -> Iterator[str]:
    """The names of the tables that the page asks for."""
    return (mark[2] for mark in MARKED.finditer(page))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    if parser.parse_args().write:
        PAGE.write_text(filled_in(PAGE.read_text()))
        return
    for name, table in TABLES.items():
        print(f"{name}\n\n{table()}")


if __name__ == "__main__":
    main()
