"""The autograd graph of a tensor as text for Graphviz or Mermaid, and as SVG where Graphviz is installed.

Boxes are functions, with the shape of their output. Rounded boxes are leaves: parameters and data. Arrows point in the
direction of the forward pass; ``backward()`` follows them in reverse.
"""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tinycnn.errors import SettingError
from tinycnn.tensor import Function, Tensor

DOT_SECONDS = 20


@dataclass
class Graph:
    """Nodes: key → (name, shape, whether a function); edges from key to key."""

    nodes: dict[str, tuple[str, str, bool]] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)


def graph_of(result: Tensor, names: Mapping[str, Tensor] | None = None) -> Graph:
    """Every function and leaf that ``result`` was computed from; ``names`` maps names to leaves.

    Raises SettingError for a tensor without a graph: no input needs a gradient, or ``backward()`` has freed the graph.
    """
    if result.creator is None or not result.creator.inputs:
        raise SettingError("graph: the tensor has no graph; draw it before backward(), which frees the graph")
    name_of_leaf = {id(tensor): name for name, tensor in (names or {}).items()}
    keys: dict[Tensor | Function, str] = {}
    graph, to_visit = Graph(), [result]

    def key(tensor: Tensor) -> str:
        return keys.setdefault(tensor.creator or tensor, f"n{len(keys)}")

    while to_visit:
        y = to_visit.pop()
        if key(y) in graph.nodes:
            continue
        name = y.creator.name if y.creator else name_of_leaf.get(id(y), "leaf" if y.requires_grad else "data")
        graph.nodes[key(y)] = name, "×".join(map(str, y.shape)) or "a number", y.creator is not None
        for x in y.creator.inputs if y.creator else ():
            graph.edges.append((key(x), key(y)))
            to_visit.append(x)
    return graph


def graph_dot(result: Tensor, names: Mapping[str, Tensor] | None = None) -> str:
    """The graph in Graphviz' DOT language; ``names`` maps names to leaves, as in ``dict(named_parameters())``."""
    graph = graph_of(result, names)
    return "\n".join(["digraph autograd {", *_dot_lines(graph), "}\n"])


def _dot_lines(graph: Graph) -> Iterator[str]:
    yield '  graph [rankdir=TB, nodesep=0.15, ranksep=0.22, bgcolor="white"]'
    yield '  node [fontname="Helvetica", fontsize=13, margin="0.08,0.03", height=0.3, shape=box]'
    yield "  edge [arrowsize=0.6, color=gray40]"
    for key, (name, shape, is_function) in graph.nodes.items():
        look = 'style=filled, fillcolor="#cfe6f5"' if is_function else 'style="rounded,filled", fillcolor=white'
        yield f"  {key} [label={_quoted(name)} + {_quoted(chr(10) + shape)}, {look}]"
    for start, end in graph.edges:
        if graph.nodes[start][2]:
            yield f"  {start} -> {end} [weight=9]"  # a function below the previous one
        else:
            yield f"  {{rank=same; {start} -> {end}}}"  # a leaf beside the function that uses it


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def graph_mermaid(result: Tensor, names: Mapping[str, Tensor] | None = None) -> str:
    """The graph as Mermaid text, which GitHub and many editors display as a picture."""
    graph = graph_of(result, names)
    lines = ["flowchart TD"]
    for key, (name, shape, is_function) in graph.nodes.items():
        text = f"{name.replace(chr(34), '#quot;')}<br/>{shape}"
        lines.append(f'  {key}["{text}"]' if is_function else f'  {key}(["{text}"])')
    return "\n".join([*lines, *(f"  {start} --> {end}" for start, end in graph.edges)]) + "\n"


def graph_svg(result: Tensor, names: Mapping[str, Tensor] | None = None) -> bytes | None:
    """The graph as SVG, drawn by Graphviz; None where its program ``dot`` is not installed."""
    program = shutil.which("dot")
    if program is None:
        return None
    text = graph_dot(result, names).encode()
    result_of_dot = subprocess.run([program, "-Tsvg"], input=text, capture_output=True, timeout=DOT_SECONDS, check=True)
    return result_of_dot.stdout
