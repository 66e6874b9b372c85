"""How Sphinx builds the documents: `sphinx-build -W --keep-going -b html docs docs/_build`, with `pip install '.[docs]'`.

The pages need nothing from the network: formulas are MathML, fonts are the reader's own.
"""

import sys
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.writers.html5 import HTML5Translator

import fastattn

sys.path.insert(0, str(Path(__file__).parent))
import reference

project = "fastattn"
author = "The fastattn authors"
copyright = author
release = version = fastattn.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"fastattn {release}"
html_math_renderer = "mathml"

default_role = "code"  # `name` in a docstring
smartquotes = False
highlight_language = "text"  # of a block that does not say
napoleon_use_rtype = False
autodoc_typehints = "none"  # an array is of any library; docstrings have shapes and dtypes
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False  # `forward` of each layer is told by its class
myst_enable_extensions = ["fieldlist"]
myst_heading_anchors = 3


class Api(SphinxDirective):
    """Every public name of a module, as of `__all__`: new ones appear by themselves."""

    required_arguments = 1
    option_spec: ClassVar = dict.fromkeys(("only", "except"), directives.unchanged)

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(reference.api(self.arguments[0], **reference.selection(self.options)))


class Commands(SphinxDirective):
    """What `fastattn COMMAND --help` says, for every command."""

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(reference.commands(), allow_section_headings=True)


class Record(SphinxDirective):
    """The tables of a record in bench/results."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        path = reference.RECORDS / self.arguments[0]
        self.env.note_dependency(str(path))
        return self.parse_text_to_nodes(reference.record(path))


def visit_math(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def visit_math_block(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>\n')
    raise nodes.SkipNode


def escape(app: Sphinx, what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    lines[:] = reference.escaped(lines)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("autodoc-process-docstring", escape, priority=400)  # before napoleon's
    app.add_directive("api", Api)
    app.add_directive("commands", Commands)
    app.add_directive("record", Record)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
