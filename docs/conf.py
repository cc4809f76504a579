"""How `make docs` turns these pages into a site, and the docstrings of what ``import fadump`` has into a reference."""

import fadump

project = "fadump"
version = release = fadump.__version__
project_copyright = "the authors of fadump, Apache-2.0"

extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown"}
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"

highlight_language = "text"

html_theme = "furo"
html_title = f"fadump {version}"
html_copy_source = False
