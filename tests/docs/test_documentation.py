"""README and docs are run, not just written: their Python, their links, their options, their numbers of lines."""

import ast
import importlib.util
import inspect
import json
import re
import shlex
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

import pytest

import tinycnn
from tinycnn import backends
from tinycnn.commands import main, make_parser

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]
PAGES += [ROOT / "SECURITY.md", ROOT / "CODE_OF_CONDUCT.md"]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
URL = re.compile(r"https?:[^\s)>\]`'\"}|]*")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def blocks(page: Path, language: str) -> list[str]:
    return [code for kind, code in BLOCK.findall(page.read_text()) if kind == language]


def commands(page: Path) -> list[list[str]]:
    """The words of every shell command on the page."""
    lines = "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


TUTORIAL = ROOT / "docs" / "tutorial.md"


@pytest.mark.parametrize("page", [page for page in PAGES if page != TUTORIAL], ids=lambda page: page.name)
def test_python_blocks_run(page: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, as one program per page; what a comment at the end of a line promises is printed."""
    monkeypatch.setattr(backends, "_LOADERS", dict(backends._LOADERS))  # a page may register a backend of its own
    names: dict[str, object] = {}
    with tinycnn.use_backend("numpy"):
        for code in blocks(page, "python"):
            exec(compile(code, str(page), "exec"), names)
    promised = re.findall(r"print\(.*\)  # (.+)$", "\n".join(blocks(page, "python")), re.MULTILINE)
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if line in promised] == promised


def test_the_tutorial_can_be_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Step by step in an empty folder; in the place of two epochs of MNIST, a network that has learned nothing."""
    monkeypatch.chdir(tmp_path)
    steps = {words[1]: words[1:] for words in commands(TUTORIAL) if words[0] == "tinycnn"}
    assert list(steps) == ["doctor", "train", "predict", "serve"]
    trained = make_parser()[0].parse_args(steps["train"])
    Path(trained.output).mkdir(parents=True)
    with tinycnn.use_backend("numpy"):
        tinycnn.save(tinycnn.models.create("keras_cnn"), Path(trained.output) / "model.safetensors")
        test_python_blocks_run(TUTORIAL, capsys, monkeypatch)  # draws my_digit.png
    assert main([*steps["predict"], "--backend", "numpy"]) == 0
    printed, header = capsys.readouterr().out.splitlines(), "picture        class       0     1"
    assert printed[0].startswith(header)
    assert printed[1].startswith("my_digit.png")
    assert header in TUTORIAL.read_text("utf-8")


def test_an_installation_is_described_with_its_environment() -> None:
    """Debian's pip refuses to install without one, and a new terminal is outside of it; `cmd` keeps single quotes."""
    activate = ["python3 -m venv .venv", ". .venv/bin/activate"]
    for page in PAGES:
        text = page.read_text("utf-8")
        shell = "\n".join(blocks(page, "sh"))
        if "pip install -e" in shell:
            assert "-m venv .venv" in shell or "tutorial.md#1-install" in text, page
    for page in (TUTORIAL, ROOT / "docs" / "teaching.md"):
        text, shell = page.read_text("utf-8"), "\n".join(blocks(page, "sh"))
        places = [shell.index(one) for one in (*activate, "pip install")]
        assert places == sorted(places), page
        for words in ("py -m venv .venv", r".venv\Scripts\activate", "apt install python3-venv"):
            assert words in text, (page, words)
        assert re.search(r"new\s+terminal\s+needs\s+the\s+second\s+line\s+again", text, re.IGNORECASE), page
        assert "'.[" not in shell, page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_tinycnn_are_understood(page: Path) -> None:
    parser = make_parser()[0]
    for words in commands(page):
        line = " ".join(words)
        if words[0] == "tinycnn" and len(words) > 1 and not set("|&>$") & set(line):
            parser.parse_args(words[1:])


def anchors(page: Path) -> set[str]:
    """What a link may name behind ``#``: the headings, as GitHub and Sphinx spell them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    """Links to files that are not there, to headings that are not in them, and URLs without a host or with a slip."""
    broken = []
    for link in LINK.findall(page.read_text()):
        if URL.match(link):
            continue
        target, _, anchor = link.partition("#")
        file = page.parent / target if target else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(link)
    return broken + [url for url in URL.findall(page.read_text()) if not well_formed(url)]


def well_formed(url: str) -> bool:
    """No network: whether it has a host with a dot (or is this machine), and no template is left in it."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return bool(re.fullmatch(r"[\w-]+(\.[\w-]+)+|localhost", host)) and not set(url) & set("{}<>\\^ ")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# A heading: with `code`\n\n```sh\n# no heading\n```\n")
    page = tmp_path / "page.md"
    page.write_text(
        "## Here\n[a](other.md#a-heading-with-code) [b](#here) [c](https://example.org/x#y) [d](other.md)\n"
        "[e](gone.md) [f](other.md#no-heading) [g](#there) [h](https:///nowhere) <http://host/x>\n"
    )
    assert broken_links(page) == ["gone.md", "other.md#no-heading", "#there", "https:///nowhere", "http://host/x"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_name_files_and_options_that_exist(page: Path) -> None:
    for words in commands(page):
        scripts = [word for word in words if word.endswith(".py")]
        assert all((ROOT / script).exists() for script in scripts), words
        options = [word for word in words if word.startswith("--") and word != "--"]  # "--": the rest is passed on
        for script in scripts:
            assert all(f'"{option}"' in source_of_options(ROOT / script) for option in options), words


def source_of_options(script: Path) -> str:
    """The script, and the module that it may have its options from."""
    source = script.read_text()
    is_command = "commands.main(" in source
    return source + (ROOT / "tinycnn" / "run" / "options.py").read_text() if is_command else source


def test_a_missing_file_or_option_would_be_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```sh\npython examples/train_mnist.py --no-such-option\n```\n[gone](nowhere.md)\n")
    with pytest.raises(AssertionError):
        test_commands_name_files_and_options_that_exist(page)
    with pytest.raises(AssertionError):
        test_links_lead_somewhere(page)


README = (ROOT / "README.md").read_text("utf-8")


def test_the_two_commands_stand_on_top() -> None:
    """A training, then the tests; `.ci/run` takes the last from there. No command has a gap that must be filled in."""
    first, second = (" ".join(words) for words in commands(ROOT / "README.md")[:2])
    assert "`git clone ADDRESS`" in README
    assert "ADDRESS" not in "\n".join(blocks(ROOT / "README.md", "sh"))
    assert first.endswith("examples/train_mnist.py")
    assert second.endswith("python scripts/check")
    assert "<!-- test command -->" in (ROOT / ".ci" / "run").read_text()


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < 120


def test_the_readme_tells_the_truth_about_the_minimal_example() -> None:
    lines = len((ROOT / "examples" / "minimal.py").read_text().splitlines())
    (told,) = re.findall(r"minimal\.py` implements the training loop itself in (\d+) lines", README)
    assert int(told) - 5 <= lines <= int(told)


def test_the_speed_in_the_readme_is_the_one_that_was_measured() -> None:
    """Its two bounds hold every ratio of a training step to PyTorch that the page of measurements lists."""
    page = (ROOT / "docs" / "performance.md").read_text("utf-8")
    tables = re.findall(r"<!-- table (?:training|one_thread) -->\n(.*?)<!-- end", page, re.DOTALL)
    ratios = [float(ratio) for table in tables for ratio in re.findall(r"\*\*(\d\.\d+)\*\*", table)]
    sentence = r"A training step .* takes \*\*(\d\.\d+) to (\d\.\d+)\*\* times as long as PyTorch's"
    (bounds,) = re.findall(sentence, README)
    assert len(ratios) >= 10
    assert float(bounds[0]) <= min(ratios) <= max(ratios) <= float(bounds[1])


def test_the_accuracy_in_the_readme_is_that_of_its_picture() -> None:
    figures = json.loads((ROOT / "docs" / "_static" / "run.json").read_text())
    assert f"the loss of {figures['steps']} training steps" in README
    assert "**99 % of MNIST's test images" in README
    assert figures["accuracy"] >= 0.99
    for theme in ("light", "dark"):
        assert f"docs/_static/run_{theme}.png" in README


def for_the_index(address: str = "") -> str:
    """What the package index shows: the README, as the hook of the build changes it."""
    spec = importlib.util.spec_from_file_location("readme_hook", ROOT / "scripts" / "readme_hook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.for_the_index(README, address)


def test_the_package_index_gets_no_address_that_leads_nowhere() -> None:
    """There, a relative link or picture would be one on the server of the index."""
    page = for_the_index()
    assert [link for link in LINK.findall(page) if not URL.match(link)] == []
    assert "<picture" not in page
    assert "src" not in page
    assert "](" in README
    assert "tinycnn train" in page
    assert "twelve chapters with" in " ".join(page.split())
    assert "Contributing ·" not in page  # a row of links that lead nowhere
    assert page.count("\n## ") == README.count("\n## ")


def test_with_the_address_of_the_repository_links_and_pictures_lead_there() -> None:
    page = for_the_index("https://code.example/tinycnn")
    assert '<img src="https://code.example/tinycnn/raw/HEAD/docs/_static/run_light.png"' in page
    assert 'srcset="https://code.example/tinycnn/raw/HEAD/docs/_static/run_dark.png"' in page
    assert "](https://code.example/tinycnn/blob/HEAD/docs/tutorial.md)" in page
    assert all(URL.match(link) for link in LINK.findall(page))
    assert len(LINK.findall(page)) == len(LINK.findall(README))


def test_the_package_says_which_python_it_needs() -> None:
    assert sys.version_info >= (3, 11)
    assert "Python 3.11 or newer" in README


# ------------------------------------------------------------------------------------------------------- the picture


def architecture_script() -> ModuleType:
    path = ROOT / "docs" / "picture_of_the_architecture.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_is_that_of_its_script() -> None:
    script = architecture_script()
    assert script.TARGET.read_text() == script.draw(), "run python docs/picture_of_the_architecture.py"


def test_the_picture_shows_every_room_once() -> None:
    script = architecture_script()
    shown = [room for _, _, rooms, _ in script.ROWS for room in rooms]
    assert sorted(shown) == sorted(script.rooms_of_package()), "edit ROWS in docs/picture_of_the_architecture.py"


def test_imports_point_down_or_sideways_in_the_picture() -> None:
    script = architecture_script()
    row_of = {room: i for i, (_, _, rooms, _) in enumerate(script.ROWS) for room in rooms}
    found = [
        (room, target)
        for room, path in script.rooms_of_package().items()
        for target in imported_rooms(path)
        if target in row_of and room != target
    ]
    assert len(found) > 50
    assert [(room, target) for room, target in found if row_of[target] < row_of[room]] == []


def imported_rooms(path: Path) -> set[str]:
    """The rooms that a room at ``path`` imports, inside functions too."""
    files = path.rglob("*.py") if path.is_dir() else [path]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [
        f"{node.module}.{alias.name}"
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    ]
    words = [name.split(".") for name in names]
    return {parts[1] for parts in words if parts[0] == "tinycnn" and len(parts) > 1}


def test_an_import_inside_a_function_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import tinycnn.run\n\ndef f():\n    from tinycnn import layers\n")
    (tmp_path / "b.py").write_text("import numpy\nfrom tinycnn.train.step import Step\n")
    assert imported_rooms(tmp_path) == {"run", "layers", "train"}
    assert imported_rooms(tmp_path / "b.py") == {"train"}


def missing_files(page: str) -> list[str]:
    """The files and folders in backticks that are not there; a row of a table may name a file inside of its room."""
    missing = []
    for line in BLOCK.sub("", page).splitlines():
        room = re.match(r"\| `(\w+/)`", line)
        places = [ROOT, ROOT / "tinycnn", *([ROOT / "tinycnn" / room[1]] if room else [])]
        names = re.findall(r"`((?:\w+/)+|[\w/]+\.(?:py|md))`", line)
        missing += [name for name in names if not any((place / name).exists() for place in places)]
    return missing


def test_the_files_that_the_architecture_names_are_there() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    assert missing_files(page) == []
    moved = page.replace("`layers/fusion.py`", "`fusion.py`").replace("`saving/`", "`io/`")
    assert missing_files(moved) == ["io/", "fusion.py", "io/", "fusion.py"]


def test_the_steps_in_the_picture_call_what_exists() -> None:
    words = " ".join(words for *_, words in architecture_script().STEPS)
    for name in ("Sequential.logits", "Optimizer.step"):
        assert name in words
        kind, method = name.split(".")
        assert hasattr(getattr(tinycnn, kind, None) or getattr(tinycnn.optim, kind), method)
    kernels = re.search(r"kernels: (\w+), (\w+),", words)
    assert kernels is not None
    assert all(hasattr(tinycnn.get_backend(), kernel) for kernel in kernels.groups())


# ------------------------------------------------------------------------------------------------------- the reference


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the pages, built without a warning."""
    pytest.importorskip("sphinx", reason="building the pages needs: pip install 'tinycnn[docs]'")
    folder = tmp_path_factory.mktemp("pages")
    # Looking for garbage takes a third of the time of Sphinx.
    sphinx = "import gc, sys; gc.disable(); from sphinx.cmd.build import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", sphinx, "-q", "-W", "--keep-going", str(ROOT / "docs"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_pages_build_without_warnings(built: Path) -> None:
    assert "conv2d" in (built / "api.html").read_text()


def public_names() -> Iterator[tuple[str, str]]:
    """``(module, name)`` of what a user may call: ``tinycnn.__all__``, and the same of the modules named there."""
    modules = [tinycnn, *(getattr(tinycnn, name) for name in tinycnn.__all__)]
    for module in filter(inspect.ismodule, modules):
        own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
        for name in getattr(module, "__all__", own):
            if inspect.isclass(getattr(module, name)) or inspect.isfunction(getattr(module, name)):
                yield module.__name__, name


def test_every_public_name_is_in_the_reference(built: Path) -> None:
    head, compressed = (built / "objects.inv").read_bytes().split(b"using zlib.\n")
    assert b"Sphinx inventory version 2" in head
    entries = [line.split(" ") for line in zlib.decompress(compressed).decode().splitlines()]
    described = {name for name, kind, *_ in entries if kind in ("py:function", "py:class", "py:exception")}
    names = [(module, name) for module, name in public_names() if not name.startswith("_")]
    assert len(names) > 70
    assert [f"{module}.{name}" for module, name in names if described.isdisjoint(places(module, name))] == []


def api_tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("api_tables", ROOT / "docs" / "api_tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_lists_every_public_name_as_plain_markdown() -> None:
    """With the first sentence of its docstring: a code host shows nothing of what Sphinx adds."""
    script = api_tables()
    page = script.PAGE.read_text("utf-8")
    assert script.filled_in(page) == page, "run python docs/api_tables.py"
    rows = dict(re.findall(r"^\| \[`([\w.]+)`\]\(\.\./tinycnn/\S+\) \| (.+) \|$", page, re.MULTILINE))
    listed = {id(value) for block in script.BLOCK.findall(page) for _, value in script.described(f"{block}\n")}
    names = [(module, name) for module, name in public_names() if not name.startswith("_")]
    values = [(f"{module}.{name}", getattr(importlib.import_module(module), name)) for module, name in names]
    assert [name for name, value in values if id(value) not in listed] == []
    assert rows["ops.relu"] == "`max(x, 0)` of each element, any shape → the same shape."
    assert rows["ops.abs"].startswith("`\\|x\\|` of each element")
    assert rows["optim.Optimizer"].startswith("Base class. `lr`: learning rate")
    changed = page.replace("`max(x, 0)` of each element", "something else")
    assert script.filled_in(changed) == page


def test_the_names_of_the_reference_lead_to_their_descriptions(built: Path) -> None:
    html = (built / "api.html").read_text("utf-8")
    anchors = re.findall(r'<a href="#(tinycnn\.[\w.]+)"><code>', html)
    assert len(anchors) > 150
    assert [anchor for anchor in anchors if f'id="{anchor}"' not in html] == []


def places(module: str, name: str) -> set[str]:
    """The names by which the reference may call it: where it is offered, where it is defined, or the top."""
    value = getattr(importlib.import_module(module), name)
    top = {f"tinycnn.{name}"} if getattr(tinycnn, name, None) is value else set()
    return {f"{module}.{name}", f"{value.__module__}.{name}"} | top


def test_the_tables_of_the_pages_are_those_of_the_result_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    tables = importlib.import_module("tables")
    pages = [page.read_text() for page in tables.PAGES]
    assert sorted(mark for page in pages for mark in tables.marks(page)) == sorted(tables.TABLES)
    for page in pages:
        assert tables.filled_in(page) == page, "python benchmarks/tables.py --write"
        typed = tables.MARKED.sub(r"\1| a typed figure |\n\3", page)
        assert typed != page
        assert tables.filled_in(typed) == page


def test_the_page_lists_the_onnx_operators_that_are_read() -> None:
    from tinycnn.interchange.onnx.merging import JOINING
    from tinycnn.interchange.onnx.operators import STEPS

    page = (ROOT / "docs" / "interoperation.md").read_text()
    (listed,) = re.findall(r"\*\*Supported\*\*: (.*?); opset", page, re.DOTALL)
    assert set(re.split(r",\s+", listed)) == {*STEPS, *JOINING}


# ----------------------------------------------------------------------------------------------------- the built pages


def shown_from_elsewhere(html: str) -> list[str]:
    """Addresses of other servers that a browser would fetch to show the page: scripts, styles, pictures, fonts."""
    fetched = re.findall(r"<(?:script|img|iframe|source)\b[^>]*?\b(?:src|srcset)=[\"'](https?:[^\"']+)", html)
    return fetched + re.findall(r"<link\b[^>]*?\bhref=[\"'](https?:[^\"']+)", html)


def test_the_pages_need_no_other_server(built: Path) -> None:
    pages = list(built.rglob("*.html"))
    assert len(pages) > 30
    assert [address for page in pages for address in shown_from_elsewhere(page.read_text("utf-8"))] == []
    assert shown_from_elsewhere('<script async src="https://cdn.x.org/m.js"></script>') == ["https://cdn.x.org/m.js"]


CUT_OFF = """() => {
    const width = document.documentElement.clientWidth;
    const scrolls = element => element.tagName !== "ARTICLE" && (
        /auto|scroll/.test(getComputedStyle(element).overflowX) || scrolls(element.parentElement));
    const wide = [...document.querySelectorAll("article *")].filter(
        element => element.getBoundingClientRect().right > width + 1 && !scrolls(element.parentElement));
    return wide.map(element => element.outerHTML.slice(0, 80));
}"""


LEADS_AWAY = """() => {
    const those = "aside, header, footer, .back-to-top, .content-icon-container, .headerlink, .skip-to-content";
    return [...document.querySelectorAll(those)].filter((one) => one.checkVisibility()).map((one) => one.className);
}"""
MM = 96 / 25.4  # pixels
PRINTED = int((210 - 2 * 14) * MM)  # A4 without the margins of pages.css
PAST_THE_PAPER = """() => [...document.querySelectorAll("article *")].filter(
    element => element.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5).map(
    element => element.outerHTML.slice(0, 80))"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt install chromium")
def test_nothing_is_cut_off_on_a_desktop_or_a_phone(built: Path) -> None:
    """Only tables, formulas and sources scroll, each by itself; no script fails, without a network."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="a browser needs: pip install 'tinycnn[test]'")
    failed: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_context(offline=True).new_page()
        page.on("pageerror", lambda error: failed.append(str(error)))
        for name in ("index", "teaching", "path/steps/index", "api"):
            page.goto((built / f"{name}.html").as_uri())
            for width in (1280, 390):
                page.set_viewport_size({"width": width, "height": 900})
                assert page.evaluate(CUT_OFF) == [], (name, width)
        page.evaluate("document.querySelector('article').append(document.createElement('p'))")
        page.evaluate("document.querySelector('article > p:last-child').style.width = '2000px'")
        assert page.evaluate(CUT_OFF) != []
        page.goto((built / "worksheet.html").as_uri())
        for paper in ("A4", "Letter"):  # "It fits on one page of A4 or Letter"
            assert len(re.findall(rb"/Type\s*/Page\b", page.pdf(format=paper))) == 1, paper
        page.emulate_media(media="print")
        page.set_viewport_size({"width": PRINTED, "height": 900})
        assert page.evaluate(PAST_THE_PAPER) == []
        assert page.evaluate(LEADS_AWAY) == []
        cells = page.locator("#worksheet tbody td").evaluate_all("cells => cells.map((one) => one.clientHeight)")
        assert min(cells) >= 26  # 7 mm, to write in by hand
        losses = page.locator("th", has_text=re.compile("^loss$")).bounding_box()
        assert losses is not None
        assert losses["width"] > 30 * MM  # 4.012009, by hand
        assert not page.get_by_text("The answers are in the").is_visible()
        page.emulate_media(media="screen")
        assert page.evaluate(LEADS_AWAY) != []
        for width, beside in (
            (1280 / 1.25, True),
            (1920 / 1.75, True),
            (1280 / 1.5, False),
            (1920 / 2, False),
        ):  # docs/teaching.md: a projector
            page.set_viewport_size({"width": int(width), "height": 600})
            page.goto((built / "_static" / "walk.html").as_uri() + "#layer=dense_1&pass=backward")
            pictures, words = (page.locator(name).first.bounding_box() for name in (".panels", ".sum"))
            assert pictures is not None
            assert words is not None
            assert (words["x"] >= pictures["x"] + pictures["width"]) == beside, width
        page.goto(f"{(built / 'search.html').as_uri()}?q=im2col")
        page.locator("#search-results a", has_text="im2col").first.wait_for(timeout=20_000)
        browser.close()
    assert failed == [], failed


def test_formulas_are_in_the_pages(built: Path) -> None:
    """As MathML, complete: no formula is left as TeX, and none was refused."""
    for page in sorted((ROOT / "docs" / "path").glob("[0-9]*.md")):
        html = (built / "path" / f"{page.stem}.html").read_text("utf-8")
        assert html.count("<math") == html.count("</math>") > 10, page.stem
        assert "merror" not in html
        assert re.findall(r"<m[a-z]+[^>]*>[^<]*\\[a-z]+[^<]*<", html) == [], page.stem


def test_names_of_the_source_and_frames_in_formulas() -> None:
    """What TeX has and MathML has not: a monospaced name, a space behind a function, a frame around a formula."""
    pytest.importorskip("latex2mathml", reason="the formulas of the pages need: pip install 'tinycnn[docs]'")
    spec = importlib.util.spec_from_file_location("mathml", ROOT / "docs" / "mathml.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = module.mathml(r"\mathtt{grad\_x}_i = \log p_i", "inline")
    assert '<mtext class="name">grad_x</mtext>' in text
    assert '<mi>log</mi><mspace width="0.17em" /><msub>' in text
    text += module.mathml(r"t_i \ln p_i", "inline")
    assert '</msub><mspace width="0.17em" /><mi>ln</mi><mspace width="0.17em" /><msub>' in text
    assert "§" not in text
    assert module.BOX.fullmatch("\\boxed{a\n= b}")[1] == "a\n= b"
    page = (ROOT / "docs" / "path" / "07_batch_norm_and_dropout.md").read_text("utf-8")
    assert page.count("\\boxed{") == 1 == len(re.findall(r"\$\$ \\boxed\{.*\} \$\$", page))


def test_every_page_is_behind_one_of_the_doors() -> None:
    """And on one list only, so that the side bar keeps tutorial, guides, explanation and reference apart."""
    docs = ROOT / "docs"
    listed = []
    for page in docs.rglob("index.md"):
        trees = re.findall(r"^```\{toctree\}\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
        names = [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]
        listed += [(page.parent / f"{name}.md").resolve() for name in names]
    assert sorted(listed) == sorted(set(docs.rglob("*.md")) - {docs / "index.md"})


def test_the_front_page_says_for_whom_it_is() -> None:
    """In the words of the README."""
    readme, index = (" ".join((ROOT / name).read_text("utf-8").split()) for name in ("README.md", "docs/index.md"))
    words = re.sub(r"\[(\w+)\]\([^)]*\)", r"\1", readme)  # without links
    (whom,) = re.findall(r"It is (for students and teachers .*?, and for practitioners .*?)\.", words)
    assert f"It is {whom}." in index.partition("## ")[0]


@pytest.mark.parametrize("door", ["train", "learn", "build", "reference"])
def test_a_door_leads_to_every_page_behind_it(door: str) -> None:
    """The page of the door links every page that the side bar shows below it, with a line that says when to read it."""
    index, page = ((ROOT / "docs" / f"{name}.md").read_text("utf-8") for name in ("index", door))
    (behind,) = re.findall(rf"```\{{toctree\}}\n(?::.*\n)*\n{door}\n((?:.+\n)*)```", index)
    assert [name for name in behind.split() if f"]({name}.md" not in page] == []
