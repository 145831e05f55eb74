"""The words of TinyDSL, and how names keep clear of them."""

from __future__ import annotations

import ast
import keyword

BUILTINS = {
    "abs": "absolute",
    "bin": "binary",
    "bool": "boolean",
    "bytearray": "byte_array",
    "chr": "character",
    "classmethod": "class_method",
    "delattr": "delete_attribute",
    "dict": "dictionary",
    "eval": "evaluate",
    "exec": "execute",
    "frozenset": "frozen_set",
    "getattr": "get_attribute",
    "hasattr": "has_attribute",
    "hex": "hexadecimal",
    "id": "identity",
    "int": "integer",
    "isinstance": "is_instance",
    "issubclass": "is_subclass",
    "iter": "iterator",
    "len": "length",
    "max": "maximum",
    "memoryview": "memory_view",
    "min": "minimum",
    "oct": "octal",
    "ord": "code_point",
    "pow": "power",
    "repr": "representation",
    "setattr": "set_attribute",
    "staticmethod": "static_method",
    "str": "string",
    "vars": "variables",
}
"""Builtins that are abbreviations, and the English words for them. The others (print, range, sorted,
list, ...) are English already."""

KEYWORDS = frozenset({"begin", "end", "function", "call", "comprehension", "decorator", "delete"})
"""Words of the grammar that Python would allow as a name."""

PYTHON_NAMES = {word: name for name, word in BUILTINS.items()}

RESERVED = KEYWORDS | PYTHON_NAMES.keys()

PYTHON_KEYWORDS = frozenset(keyword.kwlist)

# Levels of precedence. A rule of the walk is given the least level that may stand unparenthesised
# where its text will go. Two low bits say what may stay open to the right there (see OPEN_CALL).
TOP = 0  # yield and bare tuples too
TUPLE = 4  # bare tuples too
NAMED = 8  # := too, and no bare tuples
TERNARY = 12  # lambda, and x if c else y
OR = 16
AND = 20
NOT = 24
COMPARISON = 28
BIT_OR = 32
BIT_XOR = 36
BIT_AND = 40
SHIFT = 44
SUM = 48
PRODUCT = 52
UNARY = 56
POWER = 60
AWAIT = 64
PRIMARY = 68

BITS = 3
OPEN_CALL = 1
"""A call reaches as far to the right as it can. With this bit nothing follows that would belong to it."""
OPEN = 3
"""Nothing follows that would belong to a call or to a comprehension, which `for` would prolong."""

BINARY: dict[type, tuple[str, int, int, int]] = {
    ast.BitOr: ("|", BIT_OR, BIT_OR, BIT_XOR),
    ast.BitXor: ("^", BIT_XOR, BIT_XOR, BIT_AND),
    ast.BitAnd: ("&", BIT_AND, BIT_AND, SHIFT),
    ast.LShift: ("<<", SHIFT, SHIFT, SUM),
    ast.RShift: (">>", SHIFT, SHIFT, SUM),
    ast.Add: ("+", SUM, SUM, PRODUCT),
    ast.Sub: ("-", SUM, SUM, PRODUCT),
    ast.Mult: ("*", PRODUCT, PRODUCT, UNARY),
    ast.MatMult: ("@", PRODUCT, PRODUCT, UNARY),
    ast.Div: ("/", PRODUCT, PRODUCT, UNARY),
    ast.FloorDiv: ("//", PRODUCT, PRODUCT, UNARY),
    ast.Mod: ("%", PRODUCT, PRODUCT, UNARY),
    ast.Pow: ("**", POWER, AWAIT, UNARY),  # to the right it takes a sign: 2 ** -1
}
"""Per operator: symbol, its level, the levels of its left and right operands."""

UNARY_OPERATORS: dict[type, tuple[str, int]] = {
    ast.Not: ("not ", NOT),
    ast.USub: ("-", UNARY),
    ast.UAdd: ("+", UNARY),
    ast.Invert: ("~", UNARY),
}

BOOLEAN: dict[type, tuple[str, int]] = {ast.And: (" and ", AND), ast.Or: (" or ", OR)}

COMPARISONS: dict[type, str] = {
    ast.Eq: " == ",
    ast.NotEq: " != ",
    ast.Lt: " < ",
    ast.LtE: " <= ",
    ast.Gt: " > ",
    ast.GtE: " >= ",
    ast.Is: " is ",
    ast.IsNot: " is not ",
    ast.In: " in ",
    ast.NotIn: " not in ",
}


def disguise(name: str) -> str:
    """A spelling of `name` that the tokenizer of Python does not take for a keyword.

    Python folds compatibility characters in names (PEP 3131), so a source can have a variable whose
    name is `def`: its first letter is a bold one there, and here.
    """
    first = ord(name[0])
    return chr(0x1D400 + first - ord("A") if first < ord("a") else 0x1D41A + first - ord("a")) + name[1:]


def escape(name: str) -> str:
    """The exact dialect's spelling of a Python name; `unescape` is its inverse.

    A builtin becomes its word. A name that is one of our words, or one with underscores after it,
    gets one underscore more.
    """
    if name in BUILTINS:
        return BUILTINS[name]
    if name.rstrip("_") in RESERVED:
        return name + "_"
    if name in PYTHON_KEYWORDS:
        return disguise(name)
    return name


def unescape(name: str) -> str:
    """The Python name of a name of the exact dialect."""
    if name in PYTHON_NAMES:
        return PYTHON_NAMES[name]
    if name[-1] == "_" and name.rstrip("_") in RESERVED:
        return name[:-1]
    return name


class Names(dict[str, str]):
    """Python names to those of the exact dialect, each worked out once.

    It forgets them all at `largest`, so that a corpus with any number of names fits into memory.
    """

    largest = 1 << 16

    def __missing__(self, name: str) -> str:
        if len(self) >= self.largest:
            self.clear()
        self[name] = escaped = escape(name)
        return escaped


class Words(Names):
    """Python names to those of the compact dialect: builtins become words, nothing is escaped."""

    def __missing__(self, name: str) -> str:
        if len(self) >= self.largest:
            self.clear()
        self[name] = word = BUILTINS.get(name, name)
        return word
