// The conversation: what is said, sent, shown and kept. Everything shown is set as text, never as HTML.

import { aboutModel, ask, inWords, stop } from "./answers.js";
import { faults, makeFields, restoreSettings, settingValues } from "./settings.js";
import { hide, offerToTab, tokenElement, watchTokens } from "./tokens.js";

const by = (id) => document.getElementById(id);
const [log, message, system, status] = ["log", "message", "system", "status"].map(by);
const KEPT = "flyweight-chat";

let model = null;
let messages = []; // {role, content, article}
let attempt = 0;
let running = null; // the id of the answer that is written

function say(text, bad = false) {
  status.textContent = text;
  status.classList.toggle("bad", bad);
}

function refresh() {
  const answered = messages.at(-1)?.role === "assistant";
  const wrong = faults();
  by("send").hidden = running !== null;
  by("stop").hidden = running === null;
  by("send").disabled = !model || wrong.length > 0;
  by("go-on").disabled = running !== null || !answered || wrong.length > 0;
  by("retry").disabled = running !== null || messages.length === 0 || wrong.length > 0;
  by("undo").disabled = by("save").disabled = running !== null || messages.length === 0;
  by("new").disabled = messages.length === 0;
  if (wrong.length) say(`Out of range: ${wrong.join(", ")}.`, true);
  else if (status.textContent.startsWith("Out of range")) say("");
}

function keep() {
  if (!model) return;
  const said = messages.map(({ role, content }) => ({ role, content }));
  const value = { name: model.name, chat: model.chat, system: system.value, settings: settingValues(), said };
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(value));
  } catch { /* too long to be kept: it only does not outlive a reload */ }
}

function restore() {
  let value = null;
  try {
    value = JSON.parse(sessionStorage.getItem(KEPT));
  } catch { /* nothing that can be read was kept */ }
  if (value?.name !== model.name || value.chat !== model.chat) return;
  system.value = String(value.system ?? "");
  restoreSettings(value.settings);
  for (const { role, content } of value.said ?? []) addMessage(role, content);
}

function atEnd() {
  return log.scrollHeight - log.scrollTop - log.clientHeight < 60;
}

function toEnd() {
  log.scrollTop = log.scrollHeight;
}

/** Adds a message to the conversation and to the page. */
function addMessage(role, content) {
  const article = document.createElement("article");
  article.className = role;
  const heading = document.createElement("h2");
  heading.textContent = role === "user" ? (model.chat ? "You" : "Text") : model.chat ? "Model" : "goes on";
  const words = document.createElement("div");
  words.className = "words";
  words.dir = "auto";
  words.append(content);
  article.append(heading, words);
  log.append(article);
  const added = { role, content, article, words };
  messages.push(added);
  toEnd();
  return added;
}

function addNote(added, text, bad = false) {
  const follow = atEnd();
  const note = document.createElement("p");
  note.className = bad ? "note bad" : "note";
  note.textContent = text;
  added.article.append(note);
  if (follow) toEnd();
}

function takeBack(count) {
  for (const { article } of messages.splice(messages.length - count)) article.remove();
  hide();
}

function requestOf(id) {
  const said = messages.map(({ role, content }) => ({ role, content }));
  const request = { id, settings: settingValues(), attempt };
  if (model.chat) {
    const first = system.value.trim() ? [{ role: "system", content: system.value }] : [];
    return { ...request, messages: [...first, ...said] };
  }
  const begun = said.findLastIndex(({ role }) => role === "user");
  return { ...request, text: said.slice(begun).map(({ content }) => content).join("") };
}

const REASONS = {
  model: "", length: ", cut at max_new_tokens", context: ", cut: the context is full", stopped: ", stopped",
};

function summary({ reason, tokens, bits, seconds }) {
  const count = (number, name) => `${number.toLocaleString("en")} ${name}${number === 1 ? "" : "s"}`;
  const mean = tokens ? `, ${(bits / tokens).toFixed(2)} a token` : "";
  const speed = seconds > 0 ? `, ${(tokens / seconds).toFixed(1)} tokens/s` : "";
  return `${count(tokens, "token")}, surprise ${bits.toFixed(1)} bits${mean}${speed}${REASONS[reason]}`;
}

function addPiece(answer, item) {
  const follow = atEnd();
  answer.content += item.piece;
  const element = item.chosen ? tokenElement(item) : document.createTextNode(item.piece);
  answer.words.append(element);
  if (item.chosen && by("probabilities").checked && !answer.words.querySelector('[tabindex="0"]')) {
    offerToTab(answer.words, element);
  }
  if (follow) toEnd();
}

/** Shows one line of the answer; true once it has come to its end. */
function take(answer, line) {
  if ("waiting" in line) say("Waiting: the model is writing another answer.");
  if ("begin" in line) {
    say("Writing…");
    if (line.begin.left_out) addNote(answer, `Note: ${line.begin.left_out}.`);
  }
  if ("token" in line) addPiece(answer, line.token);
  if ("error" in line) throw new Error(line.error.replace(/\.$/, ""));
  if (!("end" in line)) return false;
  addPiece(answer, line.end);
  addNote(answer, summary(line.end));
  say(line.end.reason === "stopped" ? "Stopped." : "The answer is complete.");
  return true;
}

/** Lets the model answer what the messages say; `earlier`, the answer that was there before, stays where none comes. */
async function answer(earlier = null) {
  const id = crypto.getRandomValues(new Uint32Array(4)).join("-");
  const request = requestOf(id);
  const added = addMessage("assistant", "");
  running = id;
  say("Reading…");
  refresh();
  let complete = false;
  try {
    for await (const line of ask(request)) {
      if (running !== id) return; // the conversation was begun anew
      complete = take(added, line) || complete;
    }
    if (!complete) throw new Error("the connection broke off");
  } catch (error) {
    if (running !== id) return;
    fail(added, inWords(error), earlier);
  } finally {
    if (running === id) running = null;
  }
  if (complete && added.content === "" && added.article.querySelectorAll(".token").length === 0) {
    fail(added, "Stopped.", earlier);
  }
  refresh();
  keep();
}

/** An answer without a word gives way to the earlier one; without one the question stands in the field again. */
function fail(added, reason, earlier) {
  say(reason[0].toUpperCase() + reason.slice(1), true);
  if (added.content !== "") {
    addNote(added, "broken off", true);
    return;
  }
  takeBack(1);
  if (earlier) {
    messages.push(earlier);
    log.append(earlier.article);
    toEnd();
  } else if (messages.at(-1)?.role === "user") undo();
}

function undo() {
  const begun = messages.findLastIndex(({ role }) => role === "user");
  if (begun < 0) return;
  const text = messages[begun].content;
  takeBack(messages.length - begun);
  if (message.value === "") message.value = text;
  attempt = 0;
  refresh();
  keep();
}

function send() {
  if (running !== null || by("send").disabled) return;
  if (model.chat && message.value.trim() === "") return;
  attempt = 0;
  addMessage("user", message.value);
  message.value = "";
  answer();
}

function retry() {
  const last = messages.at(-1);
  const earlier = last.role === "assistant" ? last : null;
  if (earlier) takeBack(1);
  attempt += 1;
  answer(earlier);
}

async function end() {
  const id = running;
  try {
    // A request that has only just left is not known to the server yet.
    while (id !== null && running === id && !(await stop(id))) await new Promise((done) => setTimeout(done, 100));
  } catch (error) {
    say(inWords(error), true);
  }
}

async function clear() {
  await end();
  running = null;
  takeBack(messages.length);
  attempt = 0;
  say("");
  refresh();
  keep();
  message.focus();
}

function save() {
  const first = model.chat && system.value.trim() ? [{ role: "system", content: system.value }] : [];
  const said = [...first, ...messages.map(({ role, content }) => ({ role, content }))];
  const value = { model: model.name, settings: settingValues(), messages: said };
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(value, null, 2)], { type: "application/json" }));
  link.download = "conversation.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function showProbabilities() {
  hide();
  const shown = by("probabilities").checked;
  log.classList.toggle("shown", shown);
  for (const { words } of messages) offerToTab(words, shown ? words.querySelector(".token") : null);
}

function introduce() {
  document.title = `${model.name} – Flyweight chat`;
  by("name").textContent = model.name;
  const kind = model.chat ? "" : model.base
    ? " It is a base model: it knows no conversations and goes on with your text."
    : " It goes on with your text (--raw).";
  const context = model.max_length.toLocaleString("en");
  by("about").textContent = `A context of ${context} tokens, on ${model.device}.${kind}`;
  by("system-field").hidden = !model.chat;
  by("go-on").hidden = model.chat;
  if (!model.chat) {
    by("message-label").textContent = "Text to go on with (empty: from nothing)";
    by("send").textContent = "Write";
  }
}

async function begin() {
  by("options").open = matchMedia("(min-width: 48rem)").matches;
  showProbabilities();
  watchTokens(log);
  try {
    model = await aboutModel();
  } catch (error) {
    say(inWords(error), true);
    return;
  }
  introduce();
  system.value = model.system;
  makeFields(by("settings"), model.settings, () => { refresh(); keep(); });
  restore();
  refresh();
  message.focus();
}

by("composer").addEventListener("submit", (event) => { event.preventDefault(); send(); });
message.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); send(); }
});
for (const [id, act] of Object.entries({ stop: end, retry, undo, new: clear, save })) by(id).addEventListener("click", act);
by("go-on").addEventListener("click", () => { attempt = 0; answer(); });
by("probabilities").addEventListener("change", showProbabilities);
system.addEventListener("input", keep);
refresh();
begin();
