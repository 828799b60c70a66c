"""How the documentation is built: `make docs`. Nothing is loaded from a network, neither here nor by a reader."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE / "extensions")]
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])  # for kernels of notebooks
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("MPLBACKEND", None)  # kernels of notebooks choose their own, which shows the figures

import matplotlib  # noqa: E402

from recorder.version import VERSION  # noqa: E402

matplotlib.use("agg")  # for blocks of code, which are run in this process

project = "thermotrace"
author = "the thermotrace authors"
copyright = author
version = release = VERSION

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_nb",
    "adopted",  # this and the following: docs/extensions
    "commands",
    "docstrings",
    "executed",
    "generated",
]
exclude_patterns = ["_build", "Thumbs.db", "extensions", "templates"]
templates_path = ["templates"]
# Pages that autosummary writes have the first of these suffixes.
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb", ".ipynb": "myst-nb"}
root_doc = "index"
default_role = "code"  # of single backticks in docstrings

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 4
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True

autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "pydata_sphinx_theme"
smartquotes = False
html_title = "thermotrace"
html_static_path = ["_static"]
html_css_files = ["thermotrace.css"]
html_show_sourcelink = False
html_copy_source = False
html_show_search_summary = False  # it would fetch pages, which a browser does not do for files
html_sidebars = {page: [] for page in ("index", "questions", "generated/gallery")}  # parts of one page each
html_context = {"default_mode": "auto"}
html_theme_options = {
    "logo": {"text": "thermotrace"},
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "header_links_before_dropdown": 7,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "show_nav_level": 1,
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
