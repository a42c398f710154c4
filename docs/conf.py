"""Sphinx builds these pages: python -m sphinx -W docs docs/_build"""

from tinycnn.version import __version__

project = "tinycnn"
author = "the tinycnn authors"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3  # links to headings, as on GitHub
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
exclude_patterns = ["_build"]
autodoc_member_order = "bysource"
