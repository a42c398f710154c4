"""The HTML of ``report.html``: one column, pictures inline, readable on a phone and offline."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from tinycnn.metrics import ClassScores

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --text: #222; --dim: #555; --line: #ddd; --box: #f6f6f6; }
:root { --link: #1b5fc1; --notice: #d55e00; --noticed: #fff5ee; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #12161d; --text: #e7ebf2; --dim: #9da8ba; --line: #343d4c; --box: #1b212b; }
  :root { --link: #7ab2ff; --notice: #ff9d52; --noticed: #2b1f17; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--paper); }
body { margin: 0 auto; padding: 1rem; max-width: 46rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .25rem; border-top: 1px solid var(--line); padding-top: 1rem; }
p { margin: .25rem 0 .75rem; }
a { color: var(--link); }
nav ul { columns: 2 16rem; margin: .25rem 0; padding: 0 0 0 1.2rem; }
img { display: block; max-width: 100%; height: auto; margin: 0 auto; background: #fff; border-radius: .25rem; }
@media (prefers-color-scheme: dark) {
  img { filter: brightness(.85); box-sizing: border-box; padding: .75rem; border-radius: .5rem; }  /* a framed print */
  img.chart { filter: invert(.93) hue-rotate(180deg); padding: 0; }
}
dl.numbers { display: flex; flex-wrap: wrap; gap: .75rem 2rem; margin: 1rem 0; }
dl.numbers dt { font-size: .8rem; color: var(--dim); }
dl.numbers dd { margin: 0; font-size: 1.35rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid var(--line); }
th { white-space: nowrap; font-weight: 600; }
td { overflow-wrap: anywhere; }
td.number, th.number { text-align: right; }
pre { font-size: .72rem; line-height: 1.4; overflow-x: auto; background: var(--box); padding: .6rem; }
.notice { border-left: 4px solid var(--notice); padding: .25rem .75rem; background: var(--noticed); }
.notice { white-space: pre-line; }
"""


CHARTS = (  # pictures without an image: a dark page shows them light on dark, each colour in its hue
    *("curves.png", "confusion_matrix.png", "precision_recall.png", "histograms.png", "class_distribution.png"),
    "graph.svg",
)


@dataclass(frozen=True)
class ReportPicture:
    """A picture on the page: the name of its file, a heading, an explanation, and the content of the file."""

    file: str
    heading: str
    text: str
    content: bytes


def page(
    results: Mapping[str, Any],
    pictures: Sequence[ReportPicture],
    failures: Sequence[str],
    summary: str,
    scores: ClassScores,
    class_names: Sequence[str],
) -> str:
    """The page as HTML; ``results`` is the content of ``metrics.json``. All texts from outside are escaped."""
    title = f"{results['model']} on {results['dataset']}"
    sections = [
        *((picture.heading, _picture(picture)) for picture in pictures),
        ("Scores of every class", _class_table(scores, class_names)),
        ("The network", f"<pre>{escape(summary)}</pre>"),
        ("Settings", _table(_settings(results))),
        ("Versions", _table(results["versions"].items())),
    ]
    parts = [
        f"<h1>{escape(title)}</h1>",
        _headline(results),
        *(f'<p class="notice">Not drawn: {escape(failure)}</p>' for failure in failures),
        _contents([heading for heading, _ in sections]),
        *(f'<h2 id="part-{i}">{escape(heading)}</h2>\n{text}' for i, (heading, text) in enumerate(sections, start=1)),
    ]
    head = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
    )
    return head + "\n".join(parts) + "\n</body>\n</html>\n"


def _headline(results: Mapping[str, Any]) -> str:
    """The most important numbers of the run."""
    numbers = {
        "test accuracy": f"{100 * results['test_accuracy']:.2f} %",
        "test loss": f"{results['test_loss']:.4f} nats",
        "test images": f"{results['test_images']:,}",
        "epochs": f"{len(results['epochs'])}",
        "training": f"{results['training_s']:,.1f} s",
        "backend": results["backend"],
    }
    cells = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in numbers.items())
    return f'<dl class="numbers">{cells}</dl>'


def _contents(headings: Sequence[str]) -> str:
    """The table of contents."""
    items = "".join(f'<li><a href="#part-{i}">{escape(name)}</a></li>' for i, name in enumerate(headings, start=1))
    return f'<nav aria-label="Contents"><ul>{items}</ul></nav>'


def _picture(picture: ReportPicture) -> str:
    """Explanation and picture; a heading is its text where it cannot be seen."""
    kind = "svg+xml" if picture.file.endswith(".svg") else "png"
    data = base64.b64encode(picture.content).decode()
    chart = ' class="chart"' if picture.file in CHARTS else ""
    image = f'<img{chart} alt="{escape(picture.heading)}" src="data:image/{kind};base64,{data}">'
    return f"<p>{escape(picture.text)}</p>\n{image}"


def _class_table(scores: ClassScores, class_names: Sequence[str]) -> str:
    head = "".join(f'<th class="number">{name}</th>' for name in ("precision", "recall", "F1", "images"))
    rows = [
        f"<tr><th>{escape(name)}</th>"
        + "".join(f'<td class="number">{100 * ratio:.2f} %</td>' for ratio in ratios)
        + f'<td class="number">{support:,}</td></tr>'
        for name, *ratios, support in zip(
            class_names, scores.precision, scores.recall, scores.f1, scores.support, strict=True
        )
    ]
    return f'<div class="wide"><table>\n<tr><th>class</th>{head}</tr>\n' + "\n".join(rows) + "\n</table></div>"


def _settings(results: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The options of the run except those that were unset or off, the source of its data, and the image counts."""
    counts = [(f"{part} images", f"{results[f'{part}_images']:,}") for part in ("train", "validation", "test")]
    used = {name: value for name, value in results["options"].items() if value or name == "seed"}
    options = [(name.replace("_", " "), _as_text(value)) for name, value in used.items()]
    return [*options, ("data", results["data_source"]), *counts]


def _as_text(value: Any) -> Any:
    if value is True:
        return "yes"
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _table(rows: Iterable[tuple[str, Any]]) -> str:
    cells = [f"<tr><th>{escape(str(name))}</th><td>{escape(str(value))}</td></tr>" for name, value in rows]
    return '<div class="wide"><table>\n' + "\n".join(cells) + "\n</table></div>"
