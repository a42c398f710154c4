"""The page that compares runs: a table, their curves over each other, and the options in which they differ."""

import base64
from collections.abc import Iterable, Sequence
from html import escape

from tinycnn.report.page import STYLE
from tinycnn.run.comparison import COLUMNS, FoundRun, differences, rows


def comparison_page(title: str, runs: Sequence[FoundRun], failures: Sequence[str], curves: bytes | None) -> str:
    """The page as HTML; ``curves`` is a PNG file. All texts from outside are escaped."""
    differing = differences(runs)
    names = [run.name for run in runs]
    parts = [
        f"<h1>{escape(title)}</h1>",
        *(f'<p class="notice">Not read: {escape(failure)}</p>' for failure in failures),
        _table(COLUMNS, rows(runs)),
    ]
    if curves:
        picture = base64.b64encode(curves).decode()
        parts += [
            "<h2>Learning</h2>",
            "<p>Of the validation images, or of the training images where there are none.</p>",
        ]
        parts += [f'<img alt="loss and accuracy of the runs" src="data:image/png;base64,{picture}">']
    parts += ["<h2>Options that differ</h2>"]
    parts += [_table(["option", *names], differing) if differing else "<p>None.</p>"]
    head = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
    )
    return head + "\n".join(parts) + "\n</body>\n</html>\n"


def _table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    lines = ["<tr>" + "".join(f"<th>{escape(text)}</th>" for text in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{escape(text)}</td>" for text in line) + "</tr>" for line in body]
    return '<div class="wide"><table>\n' + "\n".join(lines) + "\n</table></div>"
