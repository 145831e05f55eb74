"""A trained checkpoint leaves the house: a folder that others can load, checked before it is kept."""

from flyweight.release.checks import Checks, ExportError
from flyweight.release.huggingface import EXPORT_FILE, Export, export

__all__ = ["EXPORT_FILE", "Checks", "Export", "ExportError", "export"]
