"""Generates the tables of docs/performance.md and docs/distributed.md from the result files.

    python benchmarks/tables.py          # prints the tables
    python benchmarks/tables.py --write  # replaces the tables in the pages

In a page, a table is between `<!-- table NAME -->` and `<!-- end of table -->`.
"""

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scaling_model import NETWORKS, RANKS, network_ms, speedup

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = [ROOT / "docs" / "performance.md", ROOT / "docs" / "distributed.md"]
MARKED = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
LANES = {16: "AVX-512", 8: "as with AVX2", 4: "as with NEON", 0: "no SIMD kernels"}
Result = dict[str, Any]


def results(name: str) -> list[Result]:
    """The list ``results`` in ``benchmarks/results/<name>.json``."""
    return list(json.loads((RESULTS / f"{name}.json").read_text())["results"])


def title(result: Result) -> str:
    return f"`{result['model']}` ({result['batch_size']})"


def rows(head: str, lines: list[list[str]]) -> str:
    """A Markdown table."""
    names = head.split(" | ")
    return "\n".join(f"| {' | '.join(line)} |" for line in [names, ["---"] * len(names), *lines]) + "\n"


def fastest_torch(result: Result) -> tuple[str, float]:
    """PyTorch's fastest mode and its median milliseconds."""
    medians = result["median_ms"].items()
    modes = {side: ms for side, ms in medians if side.startswith("torch") and side != "torch bfloat16"}
    best = min(modes, key=modes.__getitem__)
    return best.removeprefix("torch "), modes[best]


def compared(*files: str) -> str:
    """A table of Numba and PyTorch's fastest mode, with a line for every result in ``files``."""
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
    """A table of the NumPy backend's times and their ratio to PyTorch."""
    lines = [
        [title(result), f"{result['median_ms']['numpy']:.1f}", f"{result['ratio_to_torch']['numpy']:.2f}"]
        for result in results("train_step_cpu_2threads")
    ]
    return rows("network (batch) | NumPy, ms | ratio", lines)


def widths() -> str:
    """A table of the ratios to PyTorch by vector width of the Numba backend; PyTorch's width does not change."""
    files = {16: "train_step_cpu_2threads"} | {lanes: f"train_step_cpu_{lanes}lanes" for lanes in (8, 4, 0)}
    columns = {lanes: results(file) for lanes, file in files.items()}
    names = " | ".join(title(result) for result in columns[16])
    lines = [
        [f"{lanes} ({LANES[lanes]})", *(f"{result['ratio_to_torch']['numba']:.2f}" for result in column)]
        for lanes, column in columns.items()
    ]
    return rows(f"lanes | {names}", lines)


def scaling(name: str = "scaling_cpu") -> Result:
    """The contents of a result file of ``scaling.py``."""
    return dict(json.loads((RESULTS / f"{name}.json").read_text()))


def ranks_here() -> dict[str, dict[tuple[int, int], Result]]:
    """Step times of ranks on one machine: network → ``(ranks, threads per rank)`` → result."""
    found: dict[str, dict[tuple[int, int], Result]] = {}
    for row in scaling()["ranks"]:
        found.setdefault(row["model"], {})[row["ranks"], row["threads"]] = row
    return found


def shared_cores() -> str:
    """A table of milliseconds per step of one process and of two ranks on the same two cores."""
    lines = [
        [f"`{model}`", *(f"{found[setup]['step_ms']:.2f}" for setup in found), f"{found[2, 1]['sums_ms']:.2f}"]
        for model, found in ranks_here().items()
    ]
    return rows("ms per step | one thread | two threads | two ranks, one thread each | of which all-reduces", lines)


def more_machines() -> str:
    """A table of the speed-ups that the model predicts."""
    here = ranks_here()
    lines = []
    for part in scaling()["parts"]:
        waiting_ms = here[part["model"]][2, 1]["sums_ms"]
        found = [speedup(ranks, part, waiting_ms, network) for network in NETWORKS for ranks in RANKS]
        lines.append([f"`{part['model']}`", *(f"{times:.1f}" for times in found)])
    return rows("speed-up of | 2 ranks | " + " | ".join(map(str, [*RANKS[1:], "2 ranks", *RANKS[1:]])), lines)


def over_a_cable() -> str:
    """A table of two ranks over 1 Gbit/s, of which TCP can use 94 %: predicted and measured."""
    here, lines = ranks_here(), []
    for part, cable in zip(scaling()["parts"], scaling("scaling_cable")["ranks"], strict=True):
        alone_ms = here[part["model"]][2, 1]["step_ms"]
        model_ms = alone_ms + network_ms(2, part, 0.0, 0.94 * 0.125e9)
        lines.append([f"`{part['model']}`", f"{alone_ms:.1f}", f"{model_ms:.1f}", f"{cable['step_ms']:.1f}"])
    return rows("ms per step of two ranks | without the cable | with it, predicted | with it, measured", lines)


TABLES = {
    "over_a_cable": over_a_cable,
    "shared_cores": shared_cores,
    "more_machines": more_machines,
    "training": lambda: compared("train_step_cpu_2threads", "train_step_cpu_2threads_batch128"),
    "one_thread": lambda: compared("train_step_cpu_1thread"),
    "inference": lambda: compared("inference_cpu_2threads"),
    "inference_one_thread": lambda: compared("inference_cpu_1thread"),
    "numpy": with_numpy,
    "widths": widths,
}


def filled_in(page: str) -> str:
    """The text of the page with every marked table generated again."""
    return MARKED.sub(lambda mark: mark[1] + TABLES[mark[2]]() + mark[3], page)


def marks(page: str) -> Iterator[str]:
    """The names of the tables marked in the page."""
    return (mark[2] for mark in MARKED.finditer(page))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--write", action="store_true", help="replace the tables in the pages")
    if parser.parse_args().write:
        for page in PAGES:
            page.write_text(filled_in(page.read_text()))
        return
    for name, table in TABLES.items():
        print(f"{name}\n\n{table()}")


if __name__ == "__main__":
    main()
