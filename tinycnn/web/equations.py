"""Equations as the docstrings write them, ``y[n, f] = Σ_{c} x[n, c] · weight[c, f]``, as MathML.

Browsers typeset it themselves. Understood: words in ``"…"``, indices ``x[…]``, ``Σ_{…}``, ``max_{…}``, ``p_i``,
``e^{…}``, ``√(…)``, ``ᵀ ² ⁰``, Greek letters and the usual signs. Anything else is shown as it is.
"""

import re
from collections.abc import Iterator
from html import escape

LETTER = r"(?![ᵀ²³⁰¹Σ])[^\W\d_]"
TOKEN = re.compile(
    rf"(?P<words>\"[^\"]*\")|(?P<name>{LETTER}(?:{LETTER}|\d|_(?!\{{))*\u0302?)|(?P<number>\d[\d.]*\d|\d)|(?P<space>\s+)|(?P<raised>[ᵀ²³⁰¹]+)|(?P<sign>.)",
    re.DOTALL,
)
NO_BREAK = "\u00a0"  # a plain space at the edge of <mtext> is not shown
RAISED = {"ᵀ": "<mi>T</mi>", "²": "<mn>2</mn>", "³": "<mn>3</mn>", "⁰": "<mn>0</mn>", "¹": "<mn>1</mn>"}
SIGNS = {"*": "·", "-": "−"}
CLOSING = {"[": "]", "{": "}", "(": ")"}
GAP = '<mspace width="0.17em"></mspace>'  # between a function and its argument, and between two factors
FUNCTIONS = ("exp", "log", "max", "min", "mean")  # set upright, with what is below them below


def mathml(equation: str) -> str:
    """One equation as a ``<math>`` element."""
    tokens = [(match.lastgroup or "sign", match.group()) for match in TOKEN.finditer(equation)]
    return f'<math display="block">{"".join(_row(tokens))}</math>'


def _row(tokens: list[tuple[str, str]]) -> Iterator[str]:
    """The elements of a row, each with its indices and powers."""
    i = 0
    while i < len(tokens):
        kind, text = tokens[i]
        i += 1
        if kind == "space":
            if i < len(tokens) and tokens[i][0] == "name" and _ends_factor(tokens[: i - 1]):
                yield GAP
            continue
        element, is_large = _element(kind, text), text in ("Σ", *FUNCTIONS)
        if text == "√" and i < len(tokens) and tokens[i][1] == "(":
            inner, i = _inside(tokens, i)
            element = f"<msqrt>{inner}</msqrt>"
        elif text in CLOSING:
            inner, i = _inside(tokens, i - 1)
            element = f"<mrow><mo>{text}</mo>{inner}<mo>{CLOSING[text]}</mo></mrow>"
        elif kind == "name" and re.fullmatch(r"[^\W\d_]+_[a-z]{1,2}", text) and len(text.split("_")[0]) == 1:
            base, index = text.split("_")
            element = f"<msub><mi>{escape(base)}</mi><mi>{escape(index)}</mi></msub>"
        while i < len(tokens):  # what follows directly: an index, something below, a power
            if tokens[i][1] == "[" and kind == "name":
                inner, i = _inside(tokens, i)
                element = f"<msub>{element}<mrow>{inner}</mrow></msub>"
            elif tokens[i][1] == "_" and i + 1 < len(tokens):
                inner, i = _argument(tokens, i + 1)
                tag = "munder" if is_large else "msub"
                element = f"<{tag}>{element}<mrow>{inner}</mrow></{tag}>"
            elif tokens[i][1] == "^" and i + 1 < len(tokens):
                inner, i = _argument(tokens, i + 1)
                element = f"<msup>{element}<mrow>{inner}</mrow></msup>"
            elif tokens[i][0] == "raised":
                element = f"<msup>{element}{''.join(RAISED[sign] for sign in tokens[i][1])}</msup>"
                i += 1
            else:
                break
        if text in FUNCTIONS and i < len(tokens) and tokens[i][0] == "space":
            element += GAP
        yield element


def _ends_factor(tokens: list[tuple[str, str]]) -> bool:
    """Whether a product may go on behind these tokens with nothing but a space between: ``xᵀ grad_y``, ``W[f] x``."""
    if not tokens or (len(tokens) > 1 and tokens[-2][1] in ("_", "^")):
        return False
    kind, text = tokens[-1]
    return (kind == "name" and text not in FUNCTIONS) or kind == "raised" or text in ("]", ")")


def _argument(tokens: list[tuple[str, str]], i: int) -> tuple[str, int]:
    """What an ``_`` or ``^`` before token ``i`` applies to, and the token after it."""
    return _inside(tokens, i) if tokens[i][1] == "{" else (_element(*tokens[i]), i + 1)


def _inside(tokens: list[tuple[str, str]], i: int) -> tuple[str, int]:
    """The elements within the bracket at token ``i``, and the token after the closing one."""
    opening, depth, end = tokens[i][1], 0, i
    while end < len(tokens):
        depth += (tokens[end][1] == opening) - (tokens[end][1] == CLOSING[opening])
        if depth == 0:
            break
        end += 1
    return "".join(_row(tokens[i + 1 : end])), end + 1


def _element(kind: str, text: str) -> str:
    """One token: a name in italics if it is one letter, a number, or a sign."""
    if kind == "words":
        inner = text[1:-1]
        padded = inner.startswith(" ") * NO_BREAK + inner.strip() + inner.endswith(" ") * NO_BREAK
        return f"<mtext>{escape(padded)}</mtext>"
    if kind == "name" and text.endswith("\u0302"):
        return f"<mover><mi>{escape(text[:-1])}</mi><mo>^</mo></mover>"
    if kind == "name":
        upright = ' mathvariant="normal"' if len(text) > 1 else ""
        return f"<mi{upright}>{escape(text)}</mi>"
    if kind == "number":
        return f"<mn>{text}</mn>"
    return f"<mo>{escape(SIGNS.get(text, text))}</mo>"
