"""The autograd graph of a tensor as an SVG picture, and as text for Graphviz or Mermaid.

Boxes are functions, with the shape of their output. Rounded boxes are leaves: parameters and data. Arrows point in the
direction of the forward pass; ``backward()`` follows them in reverse.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from tinycnn.errors import SettingError
from tinycnn.tensor import Function, Tensor

BOX, HEIGHT, GAP, ROW = 148, 38, 26, 58  # of a node, and between rows, in pixels


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


def graph_svg(result: Tensor, names: Mapping[str, Tensor] | None = None) -> bytes:
    """The graph as an SVG picture: functions below each other, leaves to the right of the function that uses them."""
    graph = graph_of(result, names)
    places = _places(graph)
    width = GAP + (1 + max(column for column, _ in places.values())) * (BOX + GAP)
    height = GAP + (1 + max(row for _, row in places.values())) * ROW
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="13">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#666"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        *(_arrow(places[start], places[end]) for start, end in graph.edges),
        *(_box(places[key], *node) for key, node in graph.nodes.items()),
    ]
    return "\n".join([*lines, "</svg>\n"]).encode()


def _places(graph: Graph) -> dict[str, tuple[int, int]]:
    """``(column, row)`` of each node: a function in the row after its last input, a leaf in the row of its user."""
    inputs: dict[str, list[str]] = {key: [] for key in graph.nodes}
    for start, end in graph.edges:
        inputs[end].append(start)
    functions = [key for key, (_, _, is_function) in graph.nodes.items() if is_function]
    rows: dict[str, int] = {}
    waiting = list(reversed(functions))
    while waiting:
        key = waiting.pop()
        missing = [one for one in inputs[key] if graph.nodes[one][2] and one not in rows]
        if missing:
            waiting += [key, *missing]
        else:
            rows[key] = max((rows[one] + 1 for one in inputs[key] if graph.nodes[one][2]), default=0)
    for start, end in graph.edges:
        if not graph.nodes[start][2]:
            rows[start] = min(rows.get(start, rows[end]), rows[end])
    places, used = {}, dict.fromkeys(rows.values(), 0)
    for key in [*functions, *(key for key in graph.nodes if not graph.nodes[key][2])]:
        places[key] = used[rows[key]], rows[key]
        used[rows[key]] += 1
    return places


def _corner(place: tuple[int, int]) -> tuple[int, int]:
    column, row = place
    return GAP + column * (BOX + GAP), GAP + row * ROW


def _box(place: tuple[int, int], name: str, shape: str, is_function: bool) -> str:
    (x, y), radius = _corner(place), 3 if is_function else HEIGHT // 2
    fill, middle = "#cfe6f5" if is_function else "white", x + BOX // 2
    return (
        f'<rect x="{x}" y="{y}" width="{BOX}" height="{HEIGHT}" rx="{radius}" fill="{fill}" stroke="#444"/>'
        f'<text x="{middle}" y="{y + 16}" text-anchor="middle">{escape(name)}</text>'
        f'<text x="{middle}" y="{y + 31}" text-anchor="middle" fill="#555" font-size="11">{escape(shape)}</text>'
    )


def _arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    """From node to node: down to the next row, across within a row, in an arc on the left past other functions."""
    (x1, y1), (x2, y2) = _corner(start), _corner(end)
    if start[1] == end[1]:
        path = f"M{x1} {y1 + HEIGHT // 2}L{x2 + BOX} {y2 + HEIGHT // 2}"
        if start[0] - end[0] > 1:  # over the leaves between them
            path = f"M{x1 + BOX // 2} {y1}Q{(x1 + x2 + BOX) // 2} {y1 - 24} {x2 + BOX - 12} {y2}"
    elif end[1] - start[1] == 1:
        path = f"M{x1 + BOX // 2} {y1 + HEIGHT}L{x2 + BOX // 2} {y2}"
    else:
        path = f"M{x1} {y1 + HEIGHT // 2}C{x1 - 22} {y1 + HEIGHT} {x2 - 22} {y2} {x2} {y2 + HEIGHT // 2}"
    return f'<path d="{path}" fill="none" stroke="#666" marker-end="url(#tip)"/>'
