"""Generates the tables of PAGES from the result files.

    python benchmarks/tables.py          # prints the tables
    python benchmarks/tables.py --write  # replaces the tables in the pages

In a page, a table is between `<!-- table NAME -->` and `<!-- end of table -->`.
"""

import argparse
import json
import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scaling_model import NETWORKS, RANKS, network_ms, speedup

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = [ROOT / "docs" / f"{name}.md" for name in ("performance", "distributed", "networks", "records")]
MARKED = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
LANES = {16: "AVX-512", 8: "as with AVX2", 4: "as with NEON", 0: "no SIMD kernels"}
LEAST = {  # mean accuracy in % that is required of the author's training and of the best recipe
    "lenet": (98.5, 99.0),
    "keras_cnn": (98.9, 99.3),
    "batchnorm_cnn": (99.2, 99.6),
    "single_conv": (98.5, 98.9),
    "three_conv": (98.6, 99.1),
}
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


def second_core() -> str:
    """A table of recorded steps with one thread and with two, and of the same steps run from Python."""
    one, two = results("train_step_cpu_1thread"), results("train_step_cpu_2threads")
    lines = []
    for alone, both in zip(one, two, strict=True):
        alone_ms, both_ms = alone["median_ms"]["numba"], both["median_ms"]["numba"]
        all_ms = alone_ms, both_ms, both["median_ms"]["numba-python"]
        lines.append([title(both), *(f"{ms:.2f}" for ms in all_ms), f"{alone_ms / both_ms:.2f}"])
    return rows("ms per step | one thread | two threads | two threads, from Python | gain of the second core", lines)


def all_modes() -> str:
    """A table of all modes of PyTorch; bfloat16 has less precision than the others."""
    found = results("train_step_cpu_modes")
    modes = list(found[0]["median_ms"])
    lines = [[title(one), *(f"{one['median_ms'][mode]:.2f}" for mode in modes)] for one in found]
    return rows(f"ms per step | {' | '.join(mode.replace('torch', 'PyTorch') for mode in modes)}", lines)


def busy() -> str:
    """A table of mean steps beside N other processes. A fair share is one of N + 1 equal shares of all cores."""
    contents = json.loads((RESULTS / "train_step_cpu_busy.json").read_text())
    alone = {title(one): one["median_ms"]["numba"] for one in results("train_step_cpu_1thread")}
    lines = []
    for result in contents["results"]:
        means = result["mean_ms"]
        fair = alone[title(result)] * (result["busy_processes"] + 1) / contents["machine"]["cores"]
        torch_ms = min(ms for side, ms in means.items() if side.startswith("torch"))
        ours_ms = means["numba"]
        lines.append([title(result), f"{fair:.2f}", f"{ours_ms:.2f}", f"{ours_ms / fair:.2f}", f"{torch_ms:.0f}"])
    return rows("mean ms per step | with a fair share | measured | ratio | PyTorch", lines)


def hand_over() -> str:
    """A table of what a row of a recorded step costs."""
    lines = [[str(one["threads"]), f"{one['ns_per_row']:.0f}"] for one in results("step_table_cpu")]
    return rows("threads | ns per row", lines)


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


def groups(name: str, key: str) -> dict[str, list[Result]]:
    """The runs in a result file, by their value of ``key``."""
    found: dict[str, list[Result]] = {}
    for run in json.loads((RESULTS / f"{name}.json").read_text())["runs"]:
        found.setdefault(run[key], []).append(run)
    return found


def accuracy(runs: list[Result]) -> str:
    """Mean ± standard deviation over the seeds, in %."""
    values = [100 * run["accuracy"] for run in runs]
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{deviation} %" if values else "–"


def accuracies() -> str:
    """A table of the accuracies of the published networks with both recipes, beside the least that is required."""
    lines = []
    for model, runs in groups("networks", "model").items():
        cells = [f"`{model}`"]
        for recipe, least in zip(("author", "best"), LEAST[model], strict=True):
            part = [run for run in runs if run["recipe"] == recipe]
            cells += [accuracy(part), f"{len(part)}", f"{least}"]
        lines.append(cells)
    return rows("network | author's training | seeds | minimum | best recipe | seeds | minimum", lines)


def speedrun() -> str:
    """A table of the race to 99 %; with times only where PyTorch was timed in the same run."""
    runs = groups("speedrun", "library")
    medians = {library: statistics.median(run["seconds"] for run in own) for library, own in runs.items()}
    lines = []
    for library, own in runs.items():
        reached = sum(run["accuracy"] >= 0.99 for run in own)
        time = [f"{medians[library]:.2f}", f"{medians['tinycnn'] / medians[library]:.2f}"] if len(runs) > 1 else []
        lines.append([library, accuracy(own), f"{reached} of {len(own)}", *time])
    timed = " | median s | tinycnn's share of it" if len(runs) > 1 else ""
    return rows(f"library | test images read correctly | seeds at 99 % or more{timed}", lines)


def ablation() -> str:
    """A table of the variants of the recipe for 99 %."""
    runs = groups("ablation", "variant")
    medians = {name: statistics.median(run["cpu_seconds"] for run in own) for name, own in runs.items()}
    full = statistics.mean(run["accuracy"] for run in runs["the recipe"])
    lines = []
    for name, own in runs.items():
        difference = 100 * (statistics.mean(run["accuracy"] for run in own) - full)
        change = "" if name == "the recipe" else f"{difference:+.2f}".replace("-", "−")
        lines.append([name, accuracy(own), change, f"{len(own)}", f"{medians[name] / medians['the recipe']:.1f}"])
    return rows("variant | held-out images read correctly | change | seeds | CPU time", lines)


def digits_ablation() -> str:
    """A table of the recipe of `digit_cnn` without one trick at a time."""
    found = json.loads((RESULTS / "digit_cnn_ablation.json").read_text())["left out"]
    kinds = ("accuracy", "accuracy_of_5_views", "accuracy_of_9_views", "loss")
    lines = []
    for trick, own in found.items():
        *shares, loss = (statistics.mean(run[kind] for run in own) for kind in kinds)
        name = "nothing: the whole recipe" if trick == "nothing" else trick
        lines.append([name, *(f"{100 * share:.2f}" for share in shares), f"{loss:.4f}", f"{len(own)}"])
    return rows("left out | plain | 5 views | 9 views | loss | seeds", lines)


def recipe_choice() -> str:
    """A table of the recipes that were compared on held-out images: accuracy in percent, and loss."""
    files = {name: RESULTS / f"recipes_{name}.json" for name in LEAST}
    found = {name: json.loads(file.read_text())["candidates"] for name, file in files.items() if file.exists()}
    lines = []
    for recipe in next(iter(found.values())):
        line = [recipe]
        for candidates in found.values():
            accuracy, loss = (statistics.mean(run[kind] for run in candidates[recipe]) for kind in ("accuracy", "loss"))
            best = max(candidates, key=lambda name: statistics.mean(run["accuracy"] for run in candidates[name]))
            shown = f"{100 * accuracy:.2f}, {loss:.4f}"
            line.append(f"**{shown}**" if recipe == best else shown)
        lines.append(line)
    counts = [f"{len(next(iter(candidates.values())))}" for candidates in found.values()]
    return rows(f"recipe | {' | '.join(f'`{name}`' for name in found)}", [*lines, ["seeds", *counts]])


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
    "second_core": second_core,
    "all_modes": all_modes,
    "busy": busy,
    "hand_over": hand_over,
    "networks": accuracies,
    "recipe_choice": recipe_choice,
    "speedrun": speedrun,
    "ablation": ablation,
    "digits_ablation": digits_ablation,
}
NOT_MEASURED = "Not measured yet: `sh benchmarks/measure_cpu.sh`.\n"


def table(name: str) -> str:
    """The table of this name; a sentence instead where its figures have not been measured."""
    try:
        return TABLES[name]()
    except (FileNotFoundError, KeyError):
        return NOT_MEASURED


def filled_in(page: str) -> str:
    """The text of the page with every marked table generated again."""
    return MARKED.sub(lambda mark: mark[1] + table(mark[2]) + mark[3], page)


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
    for name in TABLES:
        print(f"{name}\n\n{table(name)}")


if __name__ == "__main__":
    main()
