"""The HTML of ``report.html``: one column, pictures inline, readable on a phone and offline."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from tinycnn.metrics import ClassScores

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; }
body { margin: 0 auto; padding: 1rem; max-width: 46rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .25rem; border-top: 1px solid #ddd; padding-top: 1rem; }
p { margin: .25rem 0 .75rem; }
img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
dl.numbers { display: flex; flex-wrap: wrap; gap: .75rem 2rem; margin: 1rem 0; }
dl.numbers dt { font-size: .8rem; color: #555; }
dl.numbers dd { margin: 0; font-size: 1.35rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #eee; }
th { white-space: nowrap; font-weight: 600; }
td { overflow-wrap: anywhere; }
td.number, th.number { text-align: right; }
pre { font-size: .72rem; line-height: 1.4; overflow-x: auto; background: #f6f6f6; padding: .6rem; }
.notice { border-left: 4px solid #d55e00; padding: .25rem .75rem; background: #fff5ee; white-space: pre-line; }
"""


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
    parts = [
        f"<h1>{escape(title)}</h1>",
        _headline(results),
        *(f'<p class="notice">Not drawn: {escape(failure)}</p>' for failure in failures),
        *map(_section, pictures),
        "<h2>Scores of every class</h2>",
        _class_table(scores, class_names),
        f"<h2>The network</h2>\n<pre>{escape(summary)}</pre>",
        f"<h2>Settings</h2>\n{_table(_settings(results))}",
        f"<h2>Versions</h2>\n{_table(results['versions'].items())}",
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


def _section(picture: ReportPicture) -> str:
    """Heading, picture (or Mermaid text), explanation."""
    head = f"<h2>{escape(picture.heading)}</h2>\n<p>{escape(picture.text)}</p>"
    if picture.file.endswith(".mmd"):
        return f"{head}\n<pre>{escape(picture.content.decode())}</pre>"
    kind = "svg+xml" if picture.file.endswith(".svg") else "png"
    data = base64.b64encode(picture.content).decode()
    return f'{head}\n<img alt="{escape(picture.heading)}" src="data:image/{kind};base64,{data}">'


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
