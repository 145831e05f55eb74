"""The page's style: light and dark, phone and desktop, nothing loaded from anywhere."""

from __future__ import annotations

CSS = """
:root {
  color-scheme: light dark;
  --page: #ffffff; --soft: #f4f5f7; --line: #d9dce1; --ink: #1d2126; --quiet: #5b6169; --accent: #1f6fb2;
}
@media (prefers-color-scheme: dark) {
  :root { --page: #14171a; --soft: #1d2226; --line: #343a41; --ink: #e4e7ea; --quiet: #9aa2ab; --accent: #6db3f2; }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 72rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; overflow-wrap: anywhere;
}
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .8rem; padding-top: .8rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
p { margin: .4rem 0; max-width: 46rem; }
.quiet, figcaption, caption, dt { color: var(--quiet); }
.warning { border-left: 3px solid #e28100; padding-left: .7rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .6rem; margin: 1.2rem 0; }
.tile { background: var(--soft); border-radius: .5rem; padding: .6rem .8rem; }
.tile b { display: block; font-size: 1.25rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.tile span { font-size: .82rem; color: var(--quiet); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 1.2rem 1.6rem; }
.small { grid-template-columns: repeat(auto-fit, minmax(min(100%, 17rem), 1fr)); }
figure { margin: 0; min-width: 0; color: var(--quiet); }
figure svg { display: block; max-width: 36rem; }
figcaption { font-size: .85rem; }
.table { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; margin: .6rem 0; }
caption { text-align: left; font-size: .85rem; padding-bottom: .2rem; }
th, td {
  padding: .25rem .9rem .25rem 0; text-align: right; vertical-align: top; overflow-wrap: normal;
  border-bottom: 1px solid var(--line);
}
th:first-child, td:first-child { text-align: left; }
thead th { font-weight: 500; color: var(--quiet); }
tbody th { font-weight: 500; }
dl { margin: .6rem 0; font-size: .92rem; }
dl div {
  display: grid; grid-template-columns: minmax(6rem, 11rem) 1fr; gap: .8rem; padding: .2rem 0;
  border-bottom: 1px solid var(--line);
}
dd { margin: 0; }
blockquote, pre {
  margin: .4rem 0 1rem; padding: .7rem .9rem; background: var(--soft); border-radius: .5rem; white-space: pre-wrap;
  font: .85rem/1.45 ui-monospace, SFMono-Regular, Menlo, monospace; overflow-wrap: anywhere;
}
blockquote em { font-style: normal; color: var(--accent); }
details summary { cursor: pointer; color: var(--accent); margin: .5rem 0; }
article { margin-top: 3rem; }
article > header { border-top: 3px solid var(--accent); padding-top: 1rem; }
a { color: var(--accent); }
@media print { details { display: block; } }
"""
