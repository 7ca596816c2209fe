"""How Sphinx builds the site: ``make docs``."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

import external  # noqa: E402
import matplotlib as mpl  # noqa: E402
import rooms  # noqa: E402

from quickstudy.version import __version__  # noqa: E402

project = "quickstudy"
author = "The quickstudy developers"
copyright = author  # noqa: A001
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "docstrings",
    "mathml",
]
exclude_patterns = ["_build", "_ext"]
if tags.has("pages"):  # pyright: ignore
    # A look at the pages alone, in seconds: make docs-pages.
    exclude_patterns.append("api")
    suppress_warnings = ["toc.excluded", "toc.not_readable", "myst.xref_missing"]
else:
    rooms.write(HERE / "api")
# The examples are run when the site is built, each once until it changes. A look at the pages alone
# shows their text.
mpl.use("Agg")
sphinx_gallery_conf = {
    "examples_dirs": str(HERE.parent / "examples"),
    "gallery_dirs": "examples",
    "filename_pattern": "/plot_",
    "plot_gallery": not tags.has("pages"),  # pyright: ignore
    "abort_on_example_error": True,
    "download_all_examples": False,
    "reference_url": {"quickstudy": None},
    "doc_module": ("quickstudy",),
    "backreferences_dir": None,
    "remove_config_comments": True,
    "show_memory": False,
    "write_computation_times": False,
    "image_scrapers": ("matplotlib",),
    "matplotlib_animations": False,
    "thumbnail_size": (320, 224),
    "copyfile_regex": "",
}
templates_path = ["_templates"]
default_role = "py:obj"
html_math_renderer = "mathml"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
# Only links in angle brackets or with a title are links; "e.g." is no host.
myst_linkify_fuzzy_links = False

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autosummary_generate = True
autosummary_ignore_module_all = False
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Shapes", "Paper", "Differs", "Licence", "Source"]
napoleon_use_ivar = True
napoleon_use_rtype = False
viewcode_line_numbers = True

# Where there is no network, the names that our pages use are looked up in the local lists.
intersphinx_mapping = external.mapping(HERE / "_build" / "inventories")
intersphinx_timeout = 5

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = "quickstudy"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {"index": []}
html_theme_options = {
    "logo": {"text": "quickstudy"},
    "navbar_align": "left",
    "header_links_before_dropdown": 8,
    "navigation_depth": 2,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
