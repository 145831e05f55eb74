"""A trained checkpoint leaves the house: what others can load, checked before it is kept."""

from flyweight.release.checks import Checks, ExportError
from flyweight.release.gguf import GgufExport, export_gguf
from flyweight.release.huggingface import Export, export
from flyweight.release.publish import Publication, look_at_target, plan_publication, publish
from flyweight.release.record import EXPORT_FILE

__all__ = [
    "EXPORT_FILE",
    "Checks",
    "Export",
    "ExportError",
    "GgufExport",
    "Publication",
    "export",
    "export_gguf",
    "look_at_target",
    "plan_publication",
    "publish",
]
