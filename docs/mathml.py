"""Formulas as MathML, which every current browser draws by itself: no script, and nothing from another server.

A Sphinx extension: it registers the renderer ``mathml``, which `html_math_renderer` in ``conf.py`` selects.
"""

import re

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

NAME = re.compile(r"\\mathtt\{((?:[^{}\\]|\\_)*)\}")  # \mathtt{grad\_x}: a name of the source
FUNCTION, SPACE = "<mi>(?:log|ln|exp|max|min)</mi>", '<mspace width="0.17em" />'
BOX = re.compile(r"\\boxed\{(.*)\}", re.DOTALL)  # a whole formula in a frame, which MathML does not have


def mathml(formula: str, display: str) -> str:
    """TeX → MathML; names of the source are upright and monospaced, and a function stands apart from its neighbours."""
    named = NAME.sub(lambda name: rf"\text{{§{name[1]}}}".replace(r"\_", "_"), formula)
    text = convert(named, display=display).replace("<mtext>§", '<mtext class="name">')
    text = re.sub(rf"({FUNCTION})(?!<mo|</)", rf"\1{SPACE}", text)
    return re.sub(rf"(</(?:mi|mn|msub|msup)>)({FUNCTION})", rf"\1{SPACE}\2", text)


def visit_inline(self: HTML5Translator, node: nodes.math) -> None:
    """Write ``$...$``."""
    self.body.append(mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def visit_block(self: HTML5Translator, node: nodes.math_block) -> None:
    """Write ``$$...$$``, in a box of its own that scrolls where the window is too narrow."""
    formula = node.astext()
    boxed = BOX.fullmatch(formula.strip())
    formula, kind = (boxed[1], "formula boxed") if boxed else (formula, "formula")
    self.body.append(f'<div class="{kind}">{mathml(formula, "block")}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
