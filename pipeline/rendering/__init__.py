"""Turns files into page images, in processes of their own: no byte of a document is decoded in the caller's process.

The names are looked up when they are used, so that a sandbox process, which runs modules of this package, does not
carry what only its parent needs (pydantic costs it 20 MB).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.rendering.host.pool import OpenDocument, SandboxPool
    from pipeline.rendering.protocol import RENDER_REVISION, RenderLimits

__all__ = ["RENDER_REVISION", "OpenDocument", "RenderLimits", "SandboxPool"]

_HOMES = {
    "OpenDocument": "pipeline.rendering.host.pool",
    "SandboxPool": "pipeline.rendering.host.pool",
    "RENDER_REVISION": "pipeline.rendering.protocol",
    "RenderLimits": "pipeline.rendering.protocol",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
