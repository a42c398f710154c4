"""Sphinx builds these pages: python -m sphinx -W docs docs/_build"""

import sys
from pathlib import Path

from tinycnn.version import __version__

sys.path.insert(0, str(Path(__file__).parent))  # for api_tables.py, mathml.py and recorded_walk.py

project = "tinycnn"
author = "the tinycnn authors"
project_copyright = "the tinycnn authors; MIT licence"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "api_tables", "mathml", "recorded_walk"]
html_math_renderer = "mathml"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3  # links to headings, as on GitHub
html_theme = "furo"
html_title = f"tinycnn {__version__}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_show_search_summary = False  # it fetches the pages, which a browser refuses for files
exclude_patterns = ["_build"]
autodoc_member_order = "bysource"
