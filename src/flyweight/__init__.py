"""Flyweight: one recipe file in, one finished, measured, released small language model out."""

__version__ = "0.1.0"
