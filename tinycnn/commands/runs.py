"""Compare the runs in a folder: a table, and a page with their curves and the options in which they differ.

Reads metrics.json of every run in the folder and the folders inside it. Exit codes: 0 success, 1 if a run could not be
read (each is reported on stderr), 2 error.
"""

import argparse
import sys
from pathlib import Path

from tinycnn.files import write_atomically
from tinycnn.run.comparison import COLUMNS, differences, find_runs, rows, table
from tinycnn.saving.endings import HTML, check_ending


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options for the folder and the page."""
    add = parser.add_argument
    add(
        "folder",
        type=Path,
        nargs="?",
        default=Path("runs"),
        metavar="FOLDER",
        help="the outputs of runs (default: runs)",
    )
    page = parser.add_mutually_exclusive_group().add_argument
    page("--page", type=Path, metavar="FILE", help="the page (default: runs.html in the folder)")
    page("--no-page", action="store_true", help="print the table only")


def run(options: argparse.Namespace) -> int:
    """Print the table, and write the page."""
    if options.page:
        check_ending(options.page, HTML, "--page")
    runs, failures = find_runs(options.folder)
    print(table(COLUMNS, rows(runs)))
    differing = differences(runs)
    if differing:
        print("\n" + table(["option", *(run.name for run in runs)], differing))
    for failure in failures:
        print(f"not read: {failure}", file=sys.stderr)
    if not options.no_page:
        from tinycnn import plots
        from tinycnn.run.comparison_page import comparison_page

        curves = {run.name: run.history for run in runs}
        picture = plots.to_png(plots.compared_runs(curves)) if any(curves.values()) else None
        path = options.page or options.folder / "runs.html"
        page = comparison_page(f"Runs in {options.folder}", runs, failures, picture)
        write_atomically(path, page.encode(errors="backslashreplace"))
        print(f"\nwritten   {path}")
    return 1 if failures else 0
