"""Trees to compare, and programs with every kind of node, for the tests of TinyDSL."""

# ruff: noqa: E501 - a line is one case of one rule

from __future__ import annotations

import ast
import sys
import warnings


def tree(source: str) -> str:
    """A source's tree as text, without what TinyDSL drops.

    Dropped are the strings that a module, class or function begins with (`pass` stands in a suite that
    would be empty), the `u` of a string, and empty text in f-strings, which only some parsers put there.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = ast.parse(source)
    for node in ast.walk(module):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            while node.body and is_string_statement(node.body[0]):
                del node.body[0]
            if not node.body and not isinstance(node, ast.Module):
                node.body = [ast.Pass()]
        elif isinstance(node, ast.Constant):
            node.kind = None
            if isinstance(node.value, int) and node.value > 1 << 10_000:
                node.value = hex(node.value)  # Python refuses to write it in decimal
        elif isinstance(node, ast.JoinedStr):
            node.values = [value for value in node.values if getattr(value, "value", None) != ""]
    return ast.dump(module)


def is_string_statement(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


STATEMENTS = r'''
import os.path as p, string, a.b.c
from . import length as len, begin
from ...a.b import *
from .string import x
global_ = yield_ = await_ = class_ = 1
def f(a, b=1, /, c: int = 2, *args: int, d, e=f(1), **kw: str) -> dict[str, int]:
    "doc"
    global g, length
    def inner(x, *, y):
        """only a docstring"""
    def other():
        nonlocal a, d
        yield
        x = yield a, b
        x = y = yield from c
        x += yield
        return *a, b
    return
async def h(*, a=1):
    async with a as b, c: pass
    async with f(a), f(b) as (c, d): pass
    async for x, in y: await z
    else: continue
    return [x async for x in y if a if b for z in w], (await f(x)).y ** -await z, await f(a) + 1
@f(x).y
@(a := b)
@c
class C(A, f(x), *b, metaclass=M, **k):
    """doc"""
    "and one more that would become one"
    x: int
    y: f(x) = g(y), 1
    (z): int = 3
    z.a: int
    z[0]: f(int) = yield
class D():
    "doc"
if (n := f(x)) > 1: pass
elif y: pass
else:
    if z: pass
    q
if a:
    pass
else:
    for b in c: break
while x: pass
else: break
while n := f(x): continue
for x, (y, *z) in f(x), *g(y): pass
for x[0], y.z in w: pass
try: pass
except: pass
try: pass
except (A, B) as end: pass
except f(C): pass
else: pass
finally: pass
try: pass
finally: pass
try: pass
except* (A, B) as e: pass
except* C: pass
with f(a), f(b) as c, f(d): pass
with (yield): pass
with a as b.c, d as e[0], f as (g, h), i as [j]: pass
assert a
assert (a, b), f(x)
raise
raise E
raise f(x) from g(y)
del a, (b, c), [d], e.f, g[0]
x += 1; x -= 1; x *= 1; x /= 1; x //= 1; x %= 1; x @= 1; x **= 1; x <<= 1; x >>= 1; x &= 1; x |= 1; x ^= 1
x.y = z[0] = *a, [b, *c] = (d, e), = f(x)
f(x).y = f(y)[0] = 1
'''

MATCHES = r"""
match x, *y:
    case {"a": 1, -1: z, a.b: [], **rest} if (q := 1): pass
    case {}: pass
    case {1: _, None: end}: pass
    case [1, *_, (2 | 3 as v), *length] | None | True: pass
    case Point(1, x=-1.5+2j, y=a.b) | Point(): pass
    case a.b.Point(len=len): pass
    case "text" "more" | b"bytes": pass
    case (a as b), c: pass
    case begin: pass
    case _:
        match f(x):
            case 1: pass
match = type = case = _ = 1
match.x; match[x]; match(x); type(x); type[x]; type in x; case
"""

EXPRESSIONS = r"""
len.str = string = length_ = length__ = x.len = x.length = 1
begin = end = function = call = comprehension = decorator = delete = end_ = 1
end; begin; call; function
f(begin=1, call=f(2), len=3, x=f(3))
𝐝𝐞𝐟 = x.𝐢𝐟 = f(𝐢𝐧=1)
naïve = µ = ℘ = 变量
f(*a, b, **k, x=1)(lambda x: x, (yield x), (a, b))
f(x)(y)(z).w[f(x)](f(y), f(z))
f(a, f(b, f(c)), d); f([1], [2])[3]; f((1, 2)); f(-1); f(*-a); f(~b); f(()); f([])
f(g(x), h=g(y), **g(z)); f(*g(x), *a or b, **(c or d))
f(x for x in y); f((x for x in y), z); f(a)(x for x in y)
[f(x) for x in g(y) if h(z)] + [sum(f(i) for i in range(3)) for x in y]
[[f(x) for x in y] for y in z]; [(x for x in y) for y in z for w in [v for v in y] if [u for u in v] for t in s]
{x for x in f(y)}; {f(k): f(v) for k, v in f(x) if f(k) if v}; [*a, *f(b)]; {*a, f(x)}; [x for x, in y]
[lambda: x for x in (lambda: y, z)]; [x for x in (a if b else c) if (d if e else f)]; [(yield), (x := 1)]
{**f(a), 'b': f(x), **b}; {f(x): f(y), f(z): 1}; {}; {a: lambda: x}
x[1:2, ..., ::3, *b]; x[()]; x[a,]; x[:]; x[b:c:d], x[f(a):f(b):f(c), f(d)]; x[f(a):]; x[:f(b)]; x[(a := 1)]
x[a][b].c[d]; (a, b)[0]; [a][0]; {a: b}[c]; "a"[0]; (lambda: x)(); (a + b).c; (not a).b; (-1).x; (await_ if a else b)[c]
1 .real; 1.5.hex; 1j.imag; (...).x; 1e999; 1e999j; -1e-5; 0xfff; 1_000.5e10; 0.1 + 1e300; True.x; None; False
a or b and not c; (a or b) and c; not (a or b); not a == b; (not a) == b; (a and b) and c; a and (b and c)
a < b < c; (a < b) < c; a < (b < c); a is not b; a not in b; not a in b; a is (not b); a == f(x) == f(y); a >= b <= c > d != e
a + b + c; a + (b + c); a - b * c; (a - b) * c; a ** b ** c; (a ** b) ** c; -a ** b; (-a) ** b; a ** -b; 2 ** ~f(x) ** g(y)
a | b ^ c & d << e >> f + g - h * i / j // k % l @ m; ((((a @ b) % c) + d) << e) & f; ~-+a; - -a; not not a; -f(x) + f(y) * f(z)
a if b else c if d else e; (a if b else c) if d else e; a if (b if c else d) else e; f(a) if f(b if c else d) else f(e)
lambda: (yield); lambda *, a=1, **k: 0; lambda a, /, b=f(1), *c: lambda: a; lambda x: (x, y); lambda: f(x), 1; (lambda: x) if a else b
(a := 1); f(a := 1); [a := 1, b]; (a := (b := 2)); (a := f(x), 1); x = (a := 1)
(yield) + 1; f((yield)); (yield a), b
()
a,
*a, b
*a
"""

STRINGS = r'''
"plain"; 'it"s'; "it's"; "both ' and \""; "\n\t\r\\ \x00 \x7f \x85 \u2028 \ud800 \U0001f600 é"; r"\d"; ""; "a" "b"; u"u"
"""lines
of 'text' and "text" \
"""
b"plain"; b'it"s'; b"it's"; b"\x00\xff\n'\""; b""; "'t" "'s"
f""; f"plain"; f"{{}}"; f"{a}{b}"; f"{a!r}{b!s}{c!a}"; f"{a:>10}"; f"{a!r:{width}.{precision}}"; f"{a=}"; f"{a = !s:>{b}}"
f"{a}" "{b}" f"{c}"; f"\n{a}\"'{b}\\"; f"{ {1: 2}[1] }"; f"{ {1, 2} }"; f"{ {x for x in y} }"; f"{(lambda: 1)()}"; f"{(lambda x: x)}"
f"{x if y else z!a:\x7b}"; f"{a != b}"; f"{(y := 3)}"; f"{x:=5}"; f"{a, b}"; f"{f(x)}{f(x, y)!r:>{f(z)}}"; f"{x[1:2]}"; f"{'a' 'b'}"
f"""{"it's" + '"'} {x!r:\n}"""; f'{a["b"]}'; f"{a['b']['c']}"; f'{f"{a}"}'; f"""{f'{f"{a}"}'}"""; f"{b'x'}"; f"{yield_}{(yield)}"
fQQQ{"""
""".join(x)} {f"""it's
{{}}{a}"""}QQQ
f"{x:%Y-%m}{x:'}"; f"{'#'}"; f"{''}"; f'{""}'; f"{x:{'a'}}"; f"{call}{length}{end!r}"; f"{not a}{-a}{await_}"; rf"\d{a}\w"
'''.replace("QQQ", "'''")

NEWER = {
    (3, 12): r'''
type X = int
type X[T: int, *Ts, **P] = dict[T, f(x)]
type length[begin] = end
def f[T: (int, f(x)), *Ts](a: T) -> T: "doc"
class A[T](B): pass
class A[T: f(x)]: pass
f"{f"{"\n".join(x)!r:{f"{y}"}}"}"
f"{'"'}{"'"}{'\\'}{"""
"""}{f"{f"{f"{1}"}"}"}"
f"{x:{y:{z}}}"
f"{b'\xff'}{'\ud800'}{f'\n{a}\''}"
''',
    (3, 13): r'''
type X[T: int = f(x), *Ts = *tuple[int], **P = [int]] = dict[T]
def f[T = int](a: T) -> T: "doc"
''',
}  # fmt: skip

PROGRAMS = {"statements": STATEMENTS, "matches": MATCHES, "expressions": EXPRESSIONS, "strings": STRINGS} | {
    f"python {version[0]}.{version[1]}": source
    for version, source in NEWER.items()
    if sys.version_info >= version
}
