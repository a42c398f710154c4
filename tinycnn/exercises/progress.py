"""The page ``progress.html``: which exercises are right, and the message of each of the others."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from tinycnn.exercises.folder import Outcome
from tinycnn.files import write_atomically

PAGE = "progress.html"
SYMBOLS = {"right": "✓", "part": "◐", "begun": "◔", "wrong": "✗", "empty": "○", "missing": "–"}
CHECKOUT = Path(__file__).parents[2]  # has the chapters, unless the package was installed without them
STYLE = """
:root { color-scheme: light dark; --line: #d0d7de; --right: #1a7f37; --wrong: #c23b22; --muted: #59636e; }
@media (prefers-color-scheme: dark) { :root { --line: #3d444d; --right: #3fb950; --wrong: #ff7b72; --muted: #9198a1; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }
progress { width: 100%; height: 1rem; accent-color: var(--right); }
li { list-style: none; border-top: 1px solid var(--line); padding: 0.6rem 0; }
ol { padding: 0; }
.state { display: inline-block; width: 1.6rem; font-weight: bold; }
.right .state, .part .state { color: var(--right); } .wrong .state { color: var(--wrong); }
small { color: var(--muted); }
pre { overflow-x: auto; white-space: pre-wrap; margin: 0.4rem 0 0 1.6rem; font-size: 0.85rem; }
"""


def write_page(path: Path, outcomes: Sequence[Outcome]) -> Path:
    """Write the page, which needs no other file."""
    write_atomically(path, page(outcomes).encode())
    return path


def page(outcomes: Sequence[Outcome]) -> str:
    """One HTML document."""
    right = sum(outcome.state == "right" for outcome in outcomes)
    items = "\n".join(item(outcome) for outcome in outcomes)
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{right} of {len(outcomes)}: exercises of tinycnn</title><style>{STYLE}</style>
<h1>{right} of {len(outcomes)} exercises are right</h1>
<progress max="{len(outcomes)}" value="{right}">{right} of {len(outcomes)}</progress>
<ol>
{items}
</ol>
<p><small>Check again, then reload this page.{how_to_build()}</small></p>
</html>
"""


def chapter_link(chapter: str) -> str:
    """The name of a chapter, as a link if the built page is on this machine: a browser shows Markdown as plain text."""
    built = (CHECKOUT / "docs/_build" / chapter.removeprefix("docs/")).with_suffix(".html")
    return f'<a href="{escape(built.as_uri())}">{escape(chapter)}</a>' if built.is_file() else escape(chapter)


def how_to_build() -> str:
    """The commands that build the chapters, if their sources are on this machine and the pages are not."""
    if not (CHECKOUT / "docs/conf.py").is_file() or (CHECKOUT / "docs/_build/index.html").is_file():
        return ""
    commands = 'pip install -e ".[docs]"', "python -m sphinx docs docs/_build"
    words = " and ".join(f"<code>{escape(command)}</code>" for command in commands)
    return f" The chapters become links after {words} in the folder of tinycnn."


def item(outcome: Outcome) -> str:
    """The list item of one exercise; the hints of one that is not begun are not shown."""
    is_empty, exercise = outcome.state == "empty", outcome.exercise
    message = "" if is_empty else escape(outcome.message)
    state = ", ".join(filter(None, ["not begun" if is_empty else outcome.state, outcome.progress]))
    return (
        f'<li class="{outcome.state}"><span class="state">{SYMBOLS[outcome.state]}</span>{escape(exercise.title)} '
        f"<small>{exercise.file_name}, {state}; {', '.join(map(chapter_link, exercise.pages))}</small>"
        + (f"<pre>{message}</pre>" if message else "")
        + "</li>"
    )
