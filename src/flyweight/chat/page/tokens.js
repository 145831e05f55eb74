// The tokens of an answer, coloured by the model's own probability, and what else each step could have been.

const UNSEEN = /[\u0000-\u001f\u007f-\u00a0\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufe00-\ufe0f\ufeff]/g;
const PICTURES = { "\n": "↵", "\t": "⇥", "\r": "␍", "\u00a0": "⍽" };
const BOUNDS = [0.9, 0.5, 0.2, 0.05, 0.01];

const told = new WeakMap();
const popover = document.getElementById("popover");
let current = null;
let pinned = false;

/** A text in which whitespace and what has no shape can be seen. */
function visible(text) {
  const shown = text.replaceAll(" ", "·").replace(UNSEEN, (one) =>
    PICTURES[one] ?? `U+${one.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`);
  return shown === "" ? "∅" : shown;
}

function labelOf({ label }) {
  return label.kind === "bytes" ? `⟨${label.text}⟩` : visible(label.text);
}

export function percent(probability) {
  if (probability === 0) return "0 %";
  if (probability < 0.001) return `${(100 * probability).toExponential(0)} %`;
  return `${(100 * probability).toFixed(1)} %`;
}

export function bitsOf(probability) {
  return -Math.log2(Math.max(probability, 1e-45));
}

/** A token as an element. What it adds to the text is its own text; marks for what cannot be seen are none of it. */
export function tokenElement(token) {
  const span = document.createElement("span");
  const level = BOUNDS.filter((bound) => token.chosen.probability < bound).length;
  span.className = `token p${level}${token.chosen.label.kind === "special" ? " special" : ""}`;
  span.tabIndex = -1;
  const mark = token.ends ? `■ ${labelOf(token.chosen)}` : token.piece === "" ? labelOf(token.chosen)
    : /^\s+$/.test(token.piece) ? visible(token.piece) : "";
  if (mark) {
    const shown = document.createElement("span");
    shown.className = "mark";
    shown.textContent = mark;
    span.append(shown);
  }
  span.append(token.piece);
  told.set(span, token);
  return span;
}

function cell(row, text, name = "td") {
  const made = document.createElement(name);
  made.textContent = text;
  row.append(made);
  return made;
}

function candidateRow(candidate, chosen) {
  const row = document.createElement("tr");
  row.classList.toggle("chosen", chosen);
  const code = document.createElement("code");
  code.textContent = labelOf(candidate);
  cell(row, chosen ? "✓ " : "").append(code);
  for (const value of [candidate.probability, candidate.sampled]) {
    const bar = document.createElement("div");
    bar.className = "bar";
    bar.style.width = `${100 * value}%`;
    const shown = cell(row, percent(value));
    if (value > 0) shown.append(bar);
  }
  return row;
}

function fill({ chosen, rank, alternatives }) {
  const title = document.createElement("p");
  const code = document.createElement("code");
  code.textContent = labelOf(chosen);
  const place = rank === 1 ? "the likeliest" : `number ${rank.toLocaleString("en")}`;
  title.append(code, ` ${percent(chosen.probability)}, ${place}, ${bitsOf(chosen.probability).toFixed(2)} bits`);
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  for (const name of ["token", "model", "sampling"]) cell(head, name, "th").scope = "col";
  const body = table.createTBody();
  for (const one of alternatives) body.append(candidateRow(one, one.token === chosen.token));
  if (!alternatives.some((one) => one.token === chosen.token)) body.append(candidateRow(chosen, true));
  popover.replaceChildren(title, table);
}

function show(span, pin) {
  if (!told.has(span) || !span.closest(".shown")) return;
  hide();
  current = span;
  pinned = pin;
  span.classList.add("current");
  span.setAttribute("aria-describedby", "popover");
  fill(told.get(span));
  popover.hidden = false;
  place();
}

/** Puts the popover beside its token; where the token has left the page, it goes. */
function place() {
  if (!current) return;
  const token = current.getClientRects()[0] ?? current.getBoundingClientRect();
  const seen = current.closest("#log").getBoundingClientRect();
  if (token.bottom < seen.top || token.top > seen.bottom) return hide();
  const { width, height } = popover.getBoundingClientRect();
  const below = token.bottom + 6 + height <= innerHeight;
  popover.classList.toggle("high", token.top > innerHeight / 2); // for narrow screens: see page.css
  popover.style.left = `${Math.max(8, Math.min(token.left, innerWidth - width - 8))}px`;
  popover.style.top = `${Math.max(8, below ? token.bottom + 6 : token.top - 6 - height)}px`;
}

export function hide() {
  current?.classList.remove("current");
  current?.removeAttribute("aria-describedby");
  current = null;
  pinned = false;
  popover.hidden = true;
}

/** Gives the one stop that Tab makes in each answer to its first token, or to the one that has the focus. */
export function offerToTab(words, span) {
  for (const one of words.querySelectorAll('.token[tabindex="0"]')) one.tabIndex = -1;
  if (span) span.tabIndex = 0;
}

const STEPS = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 10, ArrowUp: -10, Home: -Infinity, End: Infinity };

function move(event) {
  const span = event.target.closest?.(".token");
  if (!span || !(event.key in STEPS)) return;
  const all = [...span.parentElement.querySelectorAll(".token")];
  const place = Math.min(all.length - 1, Math.max(0, all.indexOf(span) + STEPS[event.key]));
  event.preventDefault();
  offerToTab(span.parentElement, all[place]);
  all[place].focus();
}

/** Lets the tokens in `log` show their alternatives when they are pointed at, tapped or focused. */
export function watchTokens(log) {
  const tokenOf = (event) => event.target.closest?.(".token");
  log.addEventListener("pointerover", (event) => {
    if (event.pointerType === "mouse" && !pinned && tokenOf(event)) show(tokenOf(event), false);
  });
  log.addEventListener("pointerout", (event) => { if (event.pointerType === "mouse" && !pinned) hide(); });
  log.addEventListener("click", (event) => { if (tokenOf(event)) show(tokenOf(event), true); });
  log.addEventListener("focusin", (event) => {
    // By the keyboard only: a popover under the pointer before it is released would take the click.
    if (tokenOf(event)?.matches(":focus-visible")) show(tokenOf(event), true);
  });
  log.addEventListener("focusout", hide);
  log.addEventListener("keydown", move);
  log.addEventListener("scroll", place);
  addEventListener("resize", place);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  document.addEventListener("click", (event) => {
    if (!tokenOf(event) && !popover.contains(event.target)) hide();
  });
}
