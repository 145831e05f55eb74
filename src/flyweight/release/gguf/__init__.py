"""Files for llama.cpp."""

from flyweight.release.gguf.export import GgufExport, export_gguf

__all__ = ["GgufExport", "export_gguf"]
