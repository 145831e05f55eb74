"""Statements of the exact dialect to lines of Python."""

from __future__ import annotations

from bisect import bisect_right

from flyweight.corpus.tinydsl.errors import NotTinyDSL
from flyweight.corpus.tinydsl.parsing_patterns import PatternParser

INDENT = "    "
_AUGMENTED = frozenset({"+=", "-=", "*=", "/=", "//=", "%=", "@=", "&=", "|=", "^=", "<<=", ">>=", "**="})
_ALONE = frozenset({"pass", "break", "continue"})


class StatementParser(PatternParser):
    """A whole text. `output` are Python statements; `origins` say which line each came from."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.lines = text.removesuffix("\n").split("\n") if text else []
        self.output: list[str] = []
        self.origins: list[tuple[int, int]] = []
        self.written = 0

    def line_of(self, python_line: int) -> int:
        """The line of our text that a line of the Python text came from."""
        found = bisect_right(self.origins, python_line, key=lambda origin: origin[0]) - 1
        return self.origins[max(0, found)][1] if self.origins else 1

    def _put(self, text: str, depth: int) -> None:
        self.origins.append((self.written + 1, self.number))
        self.output.append(INDENT * depth + text)
        self.written += 1 + text.count("\n")

    def _next_line(self) -> None:
        if self.number >= len(self.lines):
            raise NotTinyDSL(len(self.lines), "expected 'begin' or 'end', found the end of the text")
        self.open(self.lines[self.number], self.number + 1)

    def _next_line_is(self, text: str) -> bool:
        return self.number < len(self.lines) and self.lines[self.number] == text

    def module(self) -> None:
        """Read all lines."""
        while self.number < len(self.lines):
            self._next_line()
            self.statement(0)

    def _suite(self, depth: int, end: str = "end") -> None:
        """From `begin` to `end`; `depth` is that of the statements inside."""
        self._next_line()
        if self.line != "begin":
            self.fail(f"expected 'begin', found {self.line!r}")
        if self._next_line_is(end):
            self.fail("an empty suite: write 'pass' in it")
        while not self._next_line_is(end):
            self._next_line()
            if self.is_word("end"):
                self.fail(f"expected a statement or {end!r}, found {self.line!r}")
            self.statement(depth)
        self._next_line()

    def _headed_suite(self, head: str, depth: int, end: str = "end") -> None:
        self.expect_end()
        self._put(head + ":", depth)
        self._suite(depth + 1, end)

    def statement(self, depth: int) -> None:
        """The statement that begins with the current line, and its suites."""
        if self.kind == "name":
            rule = _STATEMENTS.get(self.text)
            if rule is not None:
                return rule(self, depth)
            if self.text == "match" and self._next_line_is("begin"):
                return self._match(depth)
            if self.text == "type":
                self.advance()
                if self.is_name:
                    return self._type_alias(depth)
                self.jump(0)
        return self.assignment(depth)

    def _line_end(self, text: str, depth: int) -> None:
        self.expect_end()
        self._put(text, depth)

    def assignment(self, depth: int) -> None:
        """An expression, or what is assigned to it."""
        text = self.whole()
        if self.kind == "mark" and self.text in _AUGMENTED:
            text += f" {self.advance()} {self.whole()}"
        elif self.take_mark(":"):
            text += ": " + self.single()
            if self.take_mark("="):
                text += " = " + self.whole()
        else:
            while self.take_mark("="):
                text += " = " + self.whole()
        self._line_end(text, depth)

    def _alone(self, depth: int) -> None:
        self._line_end(self.advance(), depth)

    def _return(self, depth: int) -> None:
        self.advance()
        self._line_end("return" if self.kind == "end" else "return " + self.several(), depth)

    def _delete(self, depth: int) -> None:
        self.advance()
        self._line_end("del " + self.several(), depth)

    def _raise(self, depth: int) -> None:
        text = self.advance()
        if self.kind != "end":
            text += " " + self.single()
            if self.take_word("from"):
                text += " from " + self.single()
        self._line_end(text, depth)

    def _assert(self, depth: int) -> None:
        self.advance()
        text = "assert " + self.single()
        if self.take_mark(","):
            text += ", " + self.single()
        self._line_end(text, depth)

    def _import(self, depth: int) -> None:
        self.advance()
        self._line_end("import " + self.several(self._imported), depth)

    def _import_from(self, depth: int) -> None:
        self.advance()
        dots = ""
        while self.kind == "mark" and self.text in (".", "..."):
            dots += self.advance()
        module = "" if self.is_word("import") else self.dotted()
        self.expect_word("import")
        names = self.advance() if self.is_mark("*") else self.several(self._imported)
        self._line_end(f"from {dots}{module} import {names}", depth)

    def _imported(self) -> str:
        text = self.dotted()
        return f"{text} as {self.expect_name()}" if self.take_word("as") else text

    def scope(self, depth: int) -> None:
        """global and nonlocal."""
        self._line_end(f"{self.advance()} {self.several(self.expect_name)}", depth)

    def _if(self, depth: int) -> None:
        self.advance()
        self._headed_suite("if " + self._named(), depth)
        while self.number < len(self.lines) and self.lines[self.number].startswith("else if "):
            self._next_line()
            self.advance()
            self.advance()
            self._headed_suite("elif " + self._named(), depth)
        self._optional_suite("else", "else", depth)

    def _optional_suite(self, line: str, head: str, depth: int) -> None:
        if self._next_line_is(line):
            self._next_line()
            self._put(head + ":", depth)
            self._suite(depth + 1)

    def _for(self, depth: int, prefix: str = "") -> None:
        self.advance()
        target = self.target()
        self.expect_word("in")
        self._headed_suite(f"{prefix}for {target} in {self.several()}", depth)
        self._optional_suite("for else", "else", depth)

    def _while(self, depth: int) -> None:
        self.advance()
        self._headed_suite("while " + self._named(), depth)
        self._optional_suite("while else", "else", depth)

    def _with(self, depth: int, prefix: str = "") -> None:
        self.advance()
        self._headed_suite(f"{prefix}with {self.several(self._context)}", depth)

    def _context(self) -> str:
        text = self.single()
        return f"{text} as {self.primary()}" if self.take_word("as") else text

    def _try(self, depth: int) -> None:
        self.advance()
        self._headed_suite("try", depth)
        while self.number < len(self.lines) and self.lines[self.number].split(" ", 1)[0] == "except":
            self._next_line()
            self.advance()
            head = "except*" if self.take_mark("*") else "except"
            if self.kind != "end":
                head += " " + self.single()
                if self.take_word("as"):
                    head += " as " + self.expect_name()
            self._headed_suite(head, depth)
        self._optional_suite("try else", "else", depth)
        self._optional_suite("finally", "finally", depth)

    def _match(self, depth: int) -> None:
        self.advance()
        head = f"match {self.several()}"
        self.expect_end()
        self._put(head + ":", depth)
        self._next_line()
        while not self._next_line_is("end"):
            self._next_line()
            if not self.is_word("case"):
                self.fail_expecting("'case' or 'end'")
            self.advance()
            head = "case " + self.pattern()
            if self.take_word("if"):
                head += " if " + self._named()
            self._headed_suite(head, depth + 1)
        self._next_line()

    def _asynchronous(self, depth: int) -> None:
        self.advance()
        rules = {"function": self._function, "for": self._for, "with": self._with}
        rule = rules.get(self.text) if self.kind == "name" else None
        if rule is None:
            self.fail_expecting("'function', 'for' or 'with'")
        rule(depth, "async ")

    def _decorator(self, depth: int) -> None:
        self.advance()
        self._line_end("@" + self._named(), depth)
        if not (self.number < len(self.lines) and self.lines[self.number].startswith(_DECORATED)):
            self.fail("a function, a class or another decorator must follow")

    def _function(self, depth: int, prefix: str = "") -> None:
        self.advance()
        head = f"{prefix}def {self.expect_name()}{self._type_parameters()}"
        head += f"({self.parameters(annotated=True)})"
        if self.take_mark("->"):
            head += " -> " + self.single()
        self._headed_suite(head, depth, "end function")

    def _class(self, depth: int) -> None:
        self.advance()
        head = f"class {self.expect_name()}{self._type_parameters()}"
        arguments = self.arguments()
        self._headed_suite(f"{head}({arguments})" if arguments else head, depth, "end class")

    def _type_parameters(self) -> str:
        if not (self.is_mark("[") and self.glued):
            return ""
        self.advance()
        text = self.several(self._type_parameter)
        self.expect_mark("]")
        return f"[{text}]"

    def _type_parameter(self) -> str:
        stars = self.advance() if self.is_mark("*") or self.is_mark("**") else ""
        text = stars + self.expect_name()
        if self.take_mark(":"):
            text += ": " + self.single()
        if self.take_mark("="):
            text += " = " + self.element()
        return text

    def _type_alias(self, depth: int) -> None:
        head = f"type {self.expect_name()}{self._type_parameters()}"
        self.expect_mark("=")
        self._line_end(f"{head} = {self.single()}", depth)


_DECORATED = ("decorator ", "function ", "async function ", "class ")

_STATEMENTS = {
    **dict.fromkeys(_ALONE, StatementParser._alone),
    "return": StatementParser._return,
    "delete": StatementParser._delete,
    "raise": StatementParser._raise,
    "assert": StatementParser._assert,
    "import": StatementParser._import,
    "from": StatementParser._import_from,
    "global": StatementParser.scope,
    "nonlocal": StatementParser.scope,
    "if": StatementParser._if,
    "for": StatementParser._for,
    "while": StatementParser._while,
    "with": StatementParser._with,
    "try": StatementParser._try,
    "async": StatementParser._asynchronous,
    "decorator": StatementParser._decorator,
    "function": StatementParser._function,
    "class": StatementParser._class,
}
