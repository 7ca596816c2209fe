"""Equations as MathML, which browsers set themselves: no script and no font from elsewhere."""

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)


def _mathml(node: nodes.Node, *, display: bool) -> str:
    try:
        return str(latex2mathml.tex2mathml(node.astext(), as_block=display))
    except MathError as error:
        logger.warning("%s in the equation %r", error, node.astext(), location=node)
        return node.astext()


def _inline(self: nodes.NodeVisitor, node: nodes.math) -> None:
    self.body.append(_mathml(node, display=False))  # pyright: ignore
    raise nodes.SkipNode


def _block(self: nodes.NodeVisitor, node: nodes.math_block) -> None:
    text = _mathml(node, display=True)
    self.body.append(f'<div class="equation">{text}</div>')  # pyright: ignore
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer as ``mathml``."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
