"""The files that a code host looks for: they are valid, and what they say of the project is so."""

import importlib.util
import re
from pathlib import Path

import pytest

from tinycnn.version import __version__

ROOT = Path(__file__).resolve().parents[2]
FORMS = sorted(path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")
VALID = [
    ("vendor.github-issue-forms", FORMS, ("type: textarea", "type: textbox")),
    ("vendor.github-issue-config", [ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml"], (": true", ": perhaps")),
    ("vendor.citation-file-format", [ROOT / "CITATION.cff"], ("authors:", "writers:")),
]


def is_valid(schema: str, files: list[Path]) -> bool:
    if importlib.util.find_spec("check_jsonschema") is None:
        pytest.skip("check_jsonschema is not installed: pip install -e '.[test]'")
    from check_jsonschema import main
    from click.testing import CliRunner

    options = ["--builtin-schema", schema, "--force-filetype", "yaml", *map(str, files)]
    return CliRunner().invoke(main, options).exit_code == 0


@pytest.mark.parametrize(("schema", "files", "slip"), VALID, ids=[schema for schema, *_ in VALID])
def test_a_file_is_valid_and_a_slip_in_it_is_found(schema, files, slip, tmp_path):
    assert is_valid(schema, files)
    planted = tmp_path / files[0].name
    planted.write_text(files[0].read_text("utf-8").replace(*slip))
    assert not is_valid(schema, [planted])


def test_the_citation_is_of_this_version():
    text = (ROOT / "CITATION.cff").read_text("utf-8")
    assert re.findall(r"^version: (.+)$", text, re.MULTILINE) == [__version__]
    assert "license: MIT" in text


def test_there_is_a_form_for_what_was_not_understood():
    assert [path.stem for path in FORMS] == ["bug", "idea", "not_understood"]


def test_the_promises_on_security_are_those_of_the_source():
    """Each has its place there; a promise whose code has gone must go, too."""
    promises = {
        "tinycnn/saving/safetensors_file.py": "Every declared size is compared with the size of the file",
        "tinycnn/data/picture_cost.py": "MAX_MEMORY",
        "tinycnn/data/cifar.py": "not the published archive",
        "tinycnn/web/security.py": "no requests from foreign pages",
        "tinycnn/interchange/onnx/file.py": "EXTERNAL",
        "tinycnn/data/sources.py": "sha256",
    }
    for file, words in promises.items():
        assert words in (ROOT / file).read_text("utf-8"), file
    readers = [
        path for folder in ("data", "saving", "interchange") for path in (ROOT / "tinycnn" / folder).rglob("*.py")
    ]
    assert [
        path.name
        for path in readers
        if re.search(r"^import pickle|allow_pickle=True|pickle\.load", path.read_text("utf-8"), re.M)
    ] == []
