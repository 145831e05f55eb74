// The fields of the sampling settings: what they may be comes from the server, and is checked on both sides.

const fields = new Map();

function element(name, properties) {
  return Object.assign(document.createElement(name), properties);
}

/** What is wrong with what stands in a field; empty where nothing is. */
function fault({ setting, input }) {
  const value = input.value.trim() === "" ? NaN : Number(input.value);
  const whole = !setting.whole || Number.isInteger(value);
  const low = setting.above ? value > setting.minimum : value >= setting.minimum;
  return whole && low && value <= setting.maximum ? "" : `Expected ${setting.range}.`;
}

function check(field) {
  const wrong = fault(field);
  field.note.textContent = wrong || field.setting.meaning;
  field.note.classList.toggle("bad", wrong !== "");
  field.input.setAttribute("aria-invalid", String(wrong !== ""));
  return wrong === "";
}

/** Makes a field of each setting in `place`; `changed` is called after each change. */
export function makeFields(place, settings, changed) {
  for (const setting of settings) {
    const id = `setting-${setting.name}`;
    const input = element("input", {
      type: "number", id, name: setting.name, value: String(setting.value), step: "any", inputMode: "decimal",
      min: String(setting.minimum), max: String(setting.maximum), autocomplete: "off",
    });
    if (setting.whole) { input.step = "1"; input.inputMode = "numeric"; }
    const note = element("p", { id: `${id}-note`, className: "quiet" });
    input.setAttribute("aria-describedby", note.id);
    const field = { setting, input, note };
    const box = element("div", { className: "field" });
    box.append(element("label", { htmlFor: id, textContent: setting.name }), input, note);
    place.append(box);
    fields.set(setting.name, field);
    check(field);
    input.addEventListener("input", () => { check(field); changed(); });
    if (!setting.whole) input.addEventListener("keydown", (event) => nudge(event, field, changed));
  }
}

/** Arrow keys change a fraction by the setting's step; the browser's own step would be 1. */
function nudge(event, field, changed) {
  const direction = { ArrowUp: 1, ArrowDown: -1 }[event.key];
  if (!direction) return;
  event.preventDefault();
  const { setting, input } = field;
  const moved = Number((Number(input.value) + direction * setting.step).toFixed(6));
  input.value = String(Math.min(setting.maximum, Math.max(setting.minimum, moved)));
  check(field);
  changed();
}

/** The names of the settings that are out of their range. */
export function faults() {
  return [...fields.values()].filter((field) => fault(field) !== "").map((field) => field.setting.name);
}

export function settingValues() {
  return Object.fromEntries([...fields].map(([name, { input }]) => [name, Number(input.value)]));
}

/** Puts back what was kept; what is not known is left as it is. */
export function restoreSettings(values) {
  for (const [name, field] of fields) {
    if (typeof values?.[name] !== "number") continue;
    field.input.value = String(values[name]);
    check(field);
  }
}
