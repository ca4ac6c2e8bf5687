// Keys: what they do, and the list of them that `?` shows.
//
//     keys("Log", {"f": ["Follow the log", () => follow()], "g h": ["Home", () => goHome()]})
//
// A key alone, or two one after the other. Nothing happens while somebody writes into a field,
// holds Ctrl, Alt or Meta, or has a dialog open. Who speaks to the computer, or strikes keys by
// accident, switches them off in the list, and this browser remembers.

const SEQUENCE_MILLISECONDS = 1500;
const OFF = "keys-off";
const FIELDS = "input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]";

const bound = new Map();
let before = { key: "", at: 0 };
let help;

export function keys(section, bindings) {
  for (const [chord, [words, act]] of Object.entries(bindings)) {
    bound.set(chord, { section, words, act });
  }
}

keys("Everywhere", { "?": ["This list", showHelp] });

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
  if (event.key === "Shift" || event.defaultPrevented || areOff()) return;
  if (event.target.closest?.(FIELDS) || document.querySelector("dialog[open]")) return;
  const isSecond = event.timeStamp - before.at < SEQUENCE_MILLISECONDS;
  const found = (isSecond && bound.get(`${before.key} ${event.key}`)) || bound.get(event.key);
  before = { key: found ? "" : event.key, at: event.timeStamp };
  if (found) {
    event.preventDefault();
    found.act();
  }
});

for (const button of document.querySelectorAll("button[data-shows=keys]")) {
  button.hidden = false;
  button.addEventListener("click", showHelp);
}

// --- the list -----------------------------------------------------------------------------------

function showHelp() {
  help ??= document.body.appendChild(element("dialog", { className: "keys" }));
  help.setAttribute("aria-labelledby", "keys-title");
  help.replaceChildren(
    element("h2", { id: "keys-title", textContent: "Keys" }),
    ...sections().flatMap(([name, rows]) => [
      element("h3", { textContent: name }),
      element("dl", {}, ...rows.map(([chord, { words }]) => row(chord, words))),
    ]),
    element("p", {}, theSwitch()),
    element("form", { method: "dialog" }, theWayOut()),
  );
  help.showModal();
}

function sections() {
  return [...Map.groupBy(bound, ([, { section }]) => section)];
}

function row(chord, words) {
  const caps = chord.split(" ").map((key) => element("kbd", { textContent: key }));
  return element("div", {}, element("dt", {}, ...caps), element("dd", { textContent: words }));
}

function theSwitch() {
  const box = element("input", { type: "checkbox", checked: !areOff() });
  box.addEventListener("change", () => switchOff(!box.checked));
  return element("label", { className: "choice" }, box, " These keys work in this browser");
}

function theWayOut() {
  return element("button", { textContent: "Close", autofocus: true });
}

// A browser that keeps nothing refuses to be asked. Then the keys are on.
function areOff() {
  try {
    return localStorage.getItem(OFF) !== null;
  } catch {
    return false;
  }
}

function switchOff(off) {
  try {
    off ? localStorage.setItem(OFF, "") : localStorage.removeItem(OFF);
  } catch {}
}

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}
