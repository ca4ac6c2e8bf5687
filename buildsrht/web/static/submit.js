// The manifest while it is being typed: numbers of lines, and what is wrong at which.
//
// The service says what is wrong, as it does when a job is submitted. Tab leaves the field, as it
// does everywhere.

const PAUSE_MILLISECONDS = 400;

const area = document.getElementById("manifest");
const form = area.form;
const state = document.getElementById("manifest-state");
const list = document.getElementById("manifest-faults");
const gutter = document.createElement("pre");
const idle = "A build manifest, in YAML";

let problems = [];
let asked = new AbortController();
let timer;

gutter.className = "gutter";
gutter.setAttribute("aria-hidden", "true");
area.before(gutter);
document.getElementById("submit-key").hidden = false;

area.addEventListener("scroll", () => (gutter.scrollTop = area.scrollTop));
area.addEventListener("input", () => {
  number();
  clearTimeout(timer);
  timer = setTimeout(check, PAUSE_MILLISECONDS);
});
area.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    form.requestSubmit();
  }
});

number();
if (area.value) check();

async function check() {
  asked.abort();
  asked = new AbortController();
  if (!area.value.trim()) return show([], idle);
  try {
    const { signal } = asked;
    const answer = await fetch("/submit/check", { method: "POST", body: question(), signal });
    if (!answer.ok || answer.redirected) throw new Error(answer.statusText);
    const found = (await answer.json()).problems;
    show(found, summary(found));
  } catch (error) {
    if (error.name !== "AbortError") show([], "It cannot be checked now. Submitting checks it.");
  }
}

function question() {
  const body = new FormData();
  for (const name of ["csrf", "manifest"]) body.set(name, form.elements[name].value);
  return body;
}

function summary(found) {
  if (!found.length) return "No problem";
  const count = found.length === 1 ? "1 problem" : `${found.length} problems`;
  const first = found.find(({ line }) => line);
  return first ? `${count}, the first in line ${first.line}` : count;
}

function show(found, words) {
  problems = found;
  number();
  area.setAttribute("aria-invalid", String(found.length > 0));
  if (state.textContent !== words) state.textContent = words;
  list.replaceChildren(...found.map(item));
}

function item({ line, column, path, reason }) {
  const made = document.createElement("li");
  if (line) made.append(placeButton(line, column), " ");
  if (path) made.append(strong(path), ": ");
  made.append(reason);
  return made;
}

function strong(text) {
  const made = document.createElement("strong");
  made.textContent = text;
  return made;
}

function placeButton(line, column) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "place";
  made.textContent = `Line ${line}, column ${column}`;
  made.addEventListener("click", () => goTo(line, column));
  return made;
}

function goTo(line, column) {
  const lines = area.value.split("\n");
  const start = lines.slice(0, line - 1).reduce((sum, each) => sum + each.length + 1, 0);
  // Columns count characters, and selections halves of them.
  const at = start + [...(lines[line - 1] ?? "")].slice(0, column - 1).join("").length;
  area.focus();
  area.setSelectionRange(at, at);
  area.scrollTop = (line - 4) * (area.scrollHeight / lines.length);
}

// One text but for the lines with problems: a manifest may have thousands.
function number() {
  const count = area.value.split("\n").length;
  const bad = new Set(problems.map(({ line }) => line).filter((line) => line && line <= count));
  const parts = [];
  let text = "";
  for (let line = 1; line <= count; line++) {
    if (bad.has(line)) {
      parts.push(text, mark(line));
      text = "\n";
    } else {
      text += `${line}\n`;
    }
  }
  gutter.replaceChildren(...parts, text);
  gutter.scrollTop = area.scrollTop;
}

function mark(line) {
  const made = document.createElement("span");
  made.textContent = `✗ ${line}`;
  made.title = problems
    .filter((each) => each.line === line)
    .map(({ path, reason }) => (path ? `${path}: ${reason}` : reason))
    .join("\n");
  return made;
}
