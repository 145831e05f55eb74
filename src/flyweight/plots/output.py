"""Figures as bytes: PNG for model cards, SVG text that lies inside a page."""

from __future__ import annotations

import hashlib
import html
import io
import re
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from flyweight.base import UserError, atomic_write
from flyweight.plots.style import INK, styled

PNG_DPI = 180


def to_png(figure: Figure, dpi: int = PNG_DPI) -> bytes:
    """The figure as a PNG on white, which every reader of Markdown shows well."""
    buffer = io.BytesIO()
    with styled():
        figure.savefig(buffer, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def write_figure(figure: Figure, path: Path, description: str) -> None:
    """Write a figure as .png or .svg, whole or not at all.

    Args:
        figure: the figure.
        path: where; its ending says which.
        description: what it shows, for readers who cannot see it.

    Raises:
        UserError: `path` is neither .png nor .svg.
    """
    suffix = path.suffix.lower()
    if suffix not in (".png", ".svg"):
        ending = repr(suffix) if suffix else "a file without an ending"
        raise UserError(f"{path}: figures are drawn as .png or .svg, not as {ending}.")
    if suffix == ".png":
        with atomic_write(path, "wb") as file:
            file.write(to_png(figure))
    else:
        with atomic_write(path) as file:
            file.write(to_svg_text(figure, description) + "\n")


def to_svg_text(figure: Figure, description: str) -> str:
    """The figure as one `<svg>` element to be put inside HTML.

    Background transparent; text and axes in the page's `currentColor`, so that a light and a dark
    page both show them; as wide as its container. The same figure gives the same text.

    Args:
        figure: the figure.
        description: what it shows, for readers who cannot see it.
    """
    buffer = io.StringIO()
    with styled(), matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "flyweight"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r'\bd="[^"]*"', _shorter_numbers, text)
    text = _own_names(text)
    text = text.replace(INK, "currentColor")
    text = re.sub(r"'DejaVu Sans'(, [^;\"]*)?", "system-ui, sans-serif", text)
    label = html.escape(description, quote=True)
    opening = f'<svg role="img" aria-label="{label}" style="width:100%;height:auto" '
    text = re.sub(r'<svg (.*?)\bwidth="[^"]*"', r"<svg \1", text, count=1, flags=re.DOTALL)
    text = re.sub(r'<svg (.*?)\bheight="[^"]*"', r"<svg \1", text, count=1, flags=re.DOTALL)
    return re.sub(r"\n\s*", "\n", text.replace("<svg ", opening, 1)).strip()


def _shorter_numbers(path: re.Match[str]) -> str:
    """Coordinates to a hundredth of a point: nobody sees more, and pages get half as large."""
    return re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", path[0])


def _own_names(text: str) -> str:
    """Give definitions names that no other figure of the page has."""
    prefix = "f" + hashlib.blake2b(text.encode(), digest_size=4).hexdigest() + "-"
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}\1)", text)
    return re.sub(r'href="#([^"]+)"', rf'href="#{prefix}\1"', text)
