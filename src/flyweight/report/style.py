"""The page's style: light and dark, phone and desktop and paper, nothing loaded from anywhere."""

from __future__ import annotations

CSS = """
:root {
  color-scheme: light dark;
  --page: #ffffff; --soft: #f3f5f8; --line: #d9dce1; --ink: #1d2126; --quiet: #565c64; --accent: #1a62a0;
  --warn: #b35900; --warn-soft: #fdf3e7;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171a; --soft: #1d2226; --line: #343a41; --ink: #e4e7ea; --quiet: #a3abb3; --accent: #7cbcf5;
    --warn: #f0a44b; --warn-soft: #2b2319;
  }
}
* { box-sizing: border-box; }
html { scroll-padding-top: .5rem; -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 76rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; overflow-wrap: anywhere;
}
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0 0 .3rem; letter-spacing: -.01em; }
h2 {
  font-size: 1.25rem; line-height: 1.3; margin: 2.4rem 0 .8rem; padding-top: .9rem; border-top: 1px solid
  var(--line);
}
h3 { font-size: 1.05rem; margin: 1.5rem 0 .4rem; }
h4 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
p { margin: .4rem 0; max-width: 46rem; }
.quiet, figcaption, caption, dt { color: var(--quiet); }
.warning {
  border-left: 3px solid var(--warn); background: var(--warn-soft); padding: .4rem .7rem;
  border-radius: 0 .3rem .3rem 0;
}
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: .2rem; }
nav ul {
  display: flex; flex-wrap: wrap; gap: .3rem .5rem; margin: 1rem 0 0; padding: 0; list-style: none;
  font-size: .9rem;
}
nav a {
  display: block; padding: .25rem .7rem; background: var(--soft); border-radius: 1rem; text-decoration: none;
}
nav a:hover { text-decoration: underline; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.4rem, 1fr)); gap: .6rem; margin: 1.2rem 0; }
.tile { background: var(--soft); border-radius: .5rem; padding: .6rem .8rem; }
.tile b { display: block; font-size: 1.25rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.tile span { font-size: .82rem; color: var(--quiet); }
.figures {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20.5rem), 1fr));
  gap: 1.4rem 1.6rem; align-items: start;
}
.figures + .figures, .figures + .table, .table + .figures, .table + .side { margin-top: 1.2rem; }
.small { grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)); }
figure { margin: 0; min-width: 0; color: var(--quiet); }
figure svg { display: block; max-width: 30rem; }
figcaption { font-size: .85rem; }
.table { overflow-x: auto; max-width: 100%; margin: .6rem 0; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-size: .9rem; padding-bottom: .2rem; }
th, td {
  padding: .28rem 1.1rem .28rem 0; text-align: right; vertical-align: top; overflow-wrap: normal; white-space: nowrap;
  border-bottom: 1px solid var(--line);
}
th:first-child, td:first-child { text-align: left; }
tbody th { font-weight: 500; white-space: normal; min-width: 7rem; max-width: 22rem; }
thead th {
  font-weight: 500; color: var(--quiet); vertical-align: bottom; white-space: normal; overflow-wrap: break-word;
  max-width: 13rem; min-width: min-content;
}
td.words, th.words { text-align: left; white-space: normal; min-width: 10rem; max-width: 34rem; }
dl { margin: .6rem 0; font-size: .92rem; }
dl div {
  display: grid; grid-template-columns: minmax(6rem, 11rem) 1fr; gap: .8rem; padding: .2rem 0;
  border-bottom: 1px solid var(--line);
}
dd { margin: 0; }
blockquote, pre {
  margin: .2rem 0 1rem; padding: .7rem .9rem; background: var(--soft); border-radius: .5rem; white-space: pre-wrap;
  font: .85rem/1.45 ui-monospace, SFMono-Regular, Menlo, monospace; overflow-wrap: anywhere;
}
blockquote em { font-style: normal; font-weight: 600; color: var(--accent); }
.sample { max-width: 60rem; }
.sample p { font-size: .85rem; }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 18rem), 1fr)); gap: .2rem 1.2rem; }
.bar {
  display: flex; height: 1.1rem; max-width: 46rem; background: var(--soft); border-radius: .3rem;
  overflow: hidden;
}
.bar span { flex: none; min-width: 1px; }
.key {
  display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; margin: .4rem 0 .8rem; padding: 0; list-style: none;
  font-size: .85rem;
}
.key i { display: inline-block; width: .75em; height: .75em; border-radius: .15em; margin-right: .4em; }
details { margin: .5rem 0; }
summary { cursor: pointer; color: var(--accent); padding: .2rem 0; }
article { margin-top: 3.5rem; }
article > header { border-top: 3px solid var(--accent); padding-top: 1rem; }
article > header h2 { font-size: 1.6rem; margin: 0 0 .3rem; padding: 0; border: 0; }
article h3 { font-size: 1.2rem; margin: 2rem 0 .6rem; padding-top: .8rem; border-top: 1px solid var(--line); }
a { color: var(--accent); }
@media (min-width: 56rem) {
  .side { display: grid; grid-template-columns: 25rem minmax(0, 1fr); gap: 1.6rem 2rem; align-items: start; }
  .side .table:first-child { margin-top: 0; }
  dl.long { columns: 2; column-gap: 2.5rem; }
  dl.long div { break-inside: avoid; }
}
@media (max-width: 30rem) {
  th, td { padding-right: .8rem; }
  table { font-size: .88rem; }
  tbody th { min-width: 9rem; max-width: 11rem; }
}
@media print {
  :root {
    color-scheme: light; --page: #ffffff; --soft: #f3f5f8; --line: #c8ccd2; --ink: #000000; --quiet: #444444;
    --accent: #1a4f80; --warn: #8a4500; --warn-soft: #ffffff;
  }
  body { max-width: none; padding: 0; font-size: 11pt; }
  nav { display: none; }
  figure, .tile, tr, .sample { break-inside: avoid; }
  h1, h2, h3, h4 { break-after: avoid; }
  .table { overflow: visible; }
  table { font-size: 8.5pt; }
  td { white-space: normal; }
  .bar, .bar span, .key i, .tile { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
