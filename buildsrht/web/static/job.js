// The page of a job, while the job goes on: what has changed is put in its place, logs grow.
//
// What is said about the job the server writes, here as everywhere: the parts that may change are
// marked by `data-live`, and when the stream of events says so they are taken from the page anew.
// Logs are looked at by log.js.

import { keys } from "./keys.js";
import { LogView } from "./log.js";

const SWAP_MILLISECONDS = 150;
// Without a stream, which may be all taken.
const POLL_MILLISECONDS = 3000;
const TIMES = ["off", "clock", "start", "last"];

const job = document.querySelector("[data-job]");
const views = new Map();
for (const box of job.querySelectorAll(".log[data-lines]")) {
  const view = new LogView(box);
  views.set(box.dataset.task ?? null, view);
  const button = box.parentElement.querySelector("button[data-does=follow]");
  if (!button) continue;
  button.hidden = false;
  button.addEventListener("click", () => view.follow(!view.follows));
  view.onFollow = (follows) => button.setAttribute("aria-pressed", String(follows));
}

// --- what has changed -----------------------------------------------------------------------------

let swapping = 0;

function swapSoon() {
  swapping ||= setTimeout(swap, SWAP_MILLISECONDS);
}

async function swap() {
  swapping = 0;
  const answer = await fetch(location.pathname, { headers: { Accept: "text/html" } });
  if (!answer.ok) return;
  const now = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const fresh = now.getElementById(part.id);
    if (fresh && fresh.innerHTML !== part.innerHTML) part.replaceChildren(...fresh.childNodes);
  }
  for (const link of document.querySelectorAll("link[rel=icon]")) {
    const fresh = now.querySelector("link[rel=icon]");
    if (fresh && fresh.href !== link.href) link.href = fresh.href;
  }
  document.title = now.title;
}

// --- the stream of events -------------------------------------------------------------------------

let stream;
let polling = 0;

function watch() {
  stream = new EventSource(`${job.dataset.events}?text=no`);
  for (const kind of ["status", "task", "artifact"]) stream.addEventListener(kind, swapSoon);
  stream.addEventListener("task", (event) => {
    const { task, status } = JSON.parse(event.data);
    if (status === "running") turnTo(views.get(task));
  });
  stream.addEventListener("log", (event) => views.get(JSON.parse(event.data).task)?.grow());
  stream.addEventListener("end", end);
  stream.addEventListener("error", () => {
    if (stream.readyState === EventSource.CLOSED) polling ||= setInterval(poll, POLL_MILLISECONDS);
  });
}

function poll() {
  swap();
  for (const view of views.values()) if (!view.complete) view.grow();
  if (document.getElementById("status")?.dataset.over === "yes") end();
}

function end() {
  stream?.close();
  clearInterval(polling);
  for (const view of views.values()) {
    if (!view.complete) view.grow();
    view.follow(false);
  }
  swapSoon();
}

// The task that runs is what one wants to see, unless one looks at another just now.
function turnTo(view) {
  const follower = [...views.values()].find((each) => each.follows);
  if (!view || (!follower && [...views.values()].some((each) => each.marked))) return;
  if (follower && follower !== view) follower.follow(false);
  view.box.closest("details")?.setAttribute("open", "");
  view.follow(true);
}

if (job.dataset.over !== "yes") {
  const running = job.querySelector(".log[data-runs=yes]");
  if (running) turnTo(views.get(running.dataset.task ?? null));
  watch();
  // A browser has few connections to one server: a page that nobody sees gives its own back.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) stream.close();
    else if (stream.readyState === EventSource.CLOSED) {
      swap();
      watch();
    }
  });
}

// --- a line, by its address -----------------------------------------------------------------------

function showAddressed() {
  const found = location.hash.match(/^#(setup|task-.+?)-(?:L(\d+)(?:-L(\d+))?|(\d+))$/);
  if (!found) return;
  const [, name, from, to, old] = found;
  const view = [...views.values()].find((each) => each.name === decodeURIComponent(name));
  view?.box.closest("details")?.setAttribute("open", "");
  const first = Number(from ?? old);
  view?.show(first, Math.max(first, Number(to ?? first)));
}

addEventListener("hashchange", showAddressed);
showAddressed();

// --- search ---------------------------------------------------------------------------------------

const bar = document.getElementById("log-search");
const said = document.getElementById("log-search-said");
let matches = [];
let place = -1;

async function find(query) {
  const answer = await fetch(`${job.dataset.search}?${query}`);
  const found = answer.ok ? await answer.json() : { matches: [], more: false };
  matches = found.matches;
  place = -1;
  if (matches.length) step(1, found.more);
  else said.textContent = "Nothing was found.";
}

function step(by, more = false) {
  if (!matches.length) return;
  place = (place + by + matches.length) % matches.length;
  const { task, line } = matches[place];
  const view = views.get(task);
  view.box.closest("details")?.setAttribute("open", "");
  view.show(line);
  const where = task === null ? "setup" : task;
  const least = more ? "at least " : "";
  said.textContent = `${place + 1} of ${least}${matches.length}: ${where}, line ${line}`;
}

const acts = {
  next: () => step(1),
  previous: () => step(-1),
  error: () => find("errors=1"),
  times: () => {
    const mode = TIMES[(TIMES.indexOf(recalled("log-times", "off")) + 1) % TIMES.length];
    remember("log-times", mode);
    showAs();
  },
  wrap: () => {
    remember("log-wrap", recalled("log-wrap", "no") === "yes" ? "no" : "yes");
    showAs();
  },
  fold: () => views.forEach((view) => view.foldAll()),
  follow: () => {
    const open = [...views.values()].filter((view) => view.box.closest("details")?.open !== false);
    const view = open.find((each) => each.follows) ?? open.at(-1);
    view?.follow(!view.follows);
  },
};

if (bar) {
  bar.hidden = false;
  bar.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = new FormData(bar).get("q");
    if (text) find(`q=${encodeURIComponent(text)}`);
  });
  for (const button of document.querySelectorAll("button[data-act]")) {
    button.addEventListener("click", acts[button.dataset.act]);
  }
  keys("Logs", {
    s: ["Search in the logs", () => bar.elements.q.select()],
    n: ["The next that was found", acts.next],
    p: ["The one before", acts.previous],
    e: ["The first error", acts.error],
    f: ["Follow the log, or stop", acts.follow],
    t: ["Times: none, the clock's, since the start, since the line before", acts.times],
    w: ["Wrap long lines, or not", acts.wrap],
    c: ["Fold the output of commands, or unfold it", acts.fold],
  });
}

// --- how logs are shown, which this browser remembers ---------------------------------------------

function showAs() {
  const times = recalled("log-times", "off");
  const wraps = recalled("log-wrap", "no") === "yes";
  for (const view of views.values()) {
    Object.assign(view, { times, wraps });
    view.draw();
  }
  const names = { off: "off", clock: "clock", start: "since start", last: "since last line" };
  const button = document.querySelector("button[data-act=times]");
  if (button) button.textContent = `Times: ${names[times]}`;
  document.querySelector("button[data-act=wrap]")?.setAttribute("aria-pressed", String(wraps));
}

// A browser that keeps nothing refuses to be asked.
function recalled(name, otherwise) {
  try {
    return localStorage.getItem(name) ?? otherwise;
  } catch {
    return otherwise;
  }
}

function remember(name, word) {
  try {
    localStorage.setItem(name, word);
  } catch {}
}

showAs();
