"""A fitted model or a patch memory as one graph that other programs run: ONNX, or torch.export."""

from typing import TYPE_CHECKING

from quickstudy.core.lazy import attach

if TYPE_CHECKING:
    from quickstudy.export.write import export_graph as export_graph
    from quickstudy.export.write import export_model as export_model
    from quickstudy.export.write import export_patch_memory as export_patch_memory
else:
    __getattr__, __dir__, __all__ = attach(__name__)
