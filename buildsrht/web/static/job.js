// The page of a job while it is looked at: what has changed is put in its place, and logs grow.
//
// What is said about the job the server says. Parts that may change are marked by `data-live`; when
// something has happened the page is asked for anew, and those parts of it are taken.

import { keys } from "./keys.js";
import { Log } from "./log.js";
import { enliven } from "./page.js";

const SOON = 30; // milliseconds in which several events are one
const OFTEN = 300;
const SELDOM = 10_000;
const WITHOUT_STREAM = 3000;

const page = document.getElementById("job");
const tools = document.getElementById("tools");
const tool = (name) => tools.querySelector(`[data-does=${name}]`);
const isOver = () => "over" in page.dataset;
const id = page.dataset.id;

// --- logs ---------------------------------------------------------------------------------------

let follows = !isOver();
const told = {
  letGo: (log) => log.following && follow(false),
  caughtUp: (log) => !isOver() && !log.complete && newest() === log && !follows && follow(true),
  marked: (log) => {
    for (const each of logs) {
      if (each !== log) each.mark = null;
      if (each.ready) each.draw();
    }
  },
};
const logs = [...page.querySelectorAll("details.task")].map((each) => new Log(each, id, told));
const logOf = (task) => logs.find((log) => log.task === task);

// The log that grows now: that of the machine until a task has begun.
function newest() {
  const done = (log) => ["success", "failed"].includes(stateOf(log));
  return logs.find((log) => stateOf(log) === "running") ?? logs.findLast(done) ?? logs[0];
}

function stateOf(log) {
  return document.querySelector(`#state-${log.name} .status`)?.textContent;
}

function follow(yes) {
  follows = yes;
  tool("follow")?.setAttribute("aria-pressed", String(yes));
  for (const log of logs) log.following = false;
  if (yes) goAlong();
}

// To the end of the log that grows now. Where the reader looks at another part of the page, it stays.
function goAlong() {
  const before = logs.find((log) => log.following);
  const log = newest();
  if (before === log) return;
  if (before) before.following = false;
  log.following = true;
  const isSeen = !before || isInSight(before.box);
  log.details.open = true;
  log.load().then(() => {
    if (log.ready) log.scrollTo(1);
    log.grow();
  });
  if (before && isSeen) log.details.scrollIntoView({ block: "nearest" });
}

function isInSight(box) {
  const { top, bottom } = box.getBoundingClientRect();
  return bottom > 0 && top < innerHeight;
}

// --- what has changed ---------------------------------------------------------------------------

let refreshing, again, last = 0;

function refresh() {
  if (refreshing) return (again = true);
  const wait = Math.max(SOON, OFTEN - (performance.now() - last));
  refreshing = setTimeout(async () => {
    await takeState().catch(() => {});
    last = performance.now();
    refreshing = undefined;
    if (again) again = refresh();
  }, wait);
}

async function takeState() {
  const answer = await fetch(`${location.pathname}?only=state`);
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of page.querySelectorAll("[data-live]")) {
    const now = fresh.getElementById(part.id);
    if (!now || now.isEqualNode(part.fresh ?? part)) continue;
    part.fresh = now.cloneNode(true);
    const copy = document.importNode(now, true);
    copy.fresh = part.fresh;
    part.replaceWith(copy);
    enliven(copy);
    startTicking(copy);
  }
  const icon = document.querySelector("link[rel=icon]");
  if (document.title !== fresh.title) icon.href = `${icon.href.split("?")[0]}?${fresh.title}`;
  document.title = fresh.title;
  if (follows) goAlong();
  if ("over" in fresh.getElementById("job").dataset && !isOver()) end();
}

function startTicking(part) {
  const now = performance.now();
  for (const each of part.querySelectorAll("[data-ticks]")) {
    each.begun = now - 1000 * each.dataset.ticks;
  }
}

function tick() {
  for (const each of page.querySelectorAll("[data-ticks]")) {
    const text = duration((performance.now() - each.begun) / 1000);
    if (each.textContent !== text) each.textContent = text;
  }
}

// As the server says it (buildsrht.web.rows).
function duration(seconds) {
  const whole = Math.round(seconds);
  const units = whole < 3600 ? [60, "min", 1, "s"] : whole < 86400 ? [3600, "h", 60, "min"] : [86400, "d", 3600, "h"];
  const [large, word, small, rest] = units;
  if (whole < 60) return `${whole} s`;
  const left = Math.floor((whole % large) / small);
  return `${Math.floor(whole / large)} ${word}${left ? ` ${left} ${rest}` : ""}`;
}

// --- events -------------------------------------------------------------------------------------

let stream, polling, ticking, looking;

function watch() {
  clearInterval(polling);
  stream = new EventSource(`/api/jobs/${id}/events?text=no`);
  for (const kind of ["status", "task", "artifact", "end"]) stream.addEventListener(kind, refresh);
  stream.addEventListener("log", ({ data }) => {
    const { task, size } = JSON.parse(data);
    logOf(task)?.grew(size);
  });
  stream.addEventListener("error", () => {
    // There is none to be had: then without one.
    if (stream.readyState === EventSource.CLOSED && !isOver()) {
      clearInterval(polling);
      polling = setInterval(poll, WITHOUT_STREAM);
    }
  });
}

function poll() {
  refresh();
  for (const log of logs) {
    if (log.details.open && !log.ready) log.catchUp();
    else if (!log.complete) log.grow();
  }
}

function end() {
  page.dataset.over = "";
  for (const timer of [polling, ticking, looking]) clearInterval(timer);
  stream.close();
  follow(false);
  tool("follow").hidden = true;
  for (const log of logs) if (!log.complete) log.grow();
}

// --- lines by their addresses -------------------------------------------------------------------

// #task-build-L10-L20 are lines of ours, #task-build-9 is one of the original service's.
function goToHash() {
  const hash = decodeURIComponent(location.hash.slice(1));
  const found = hash.match(/^(setup|task-[a-z0-9_-]+?)-(?:L(\d+)(?:-L?(\d+))?|(\d+))$/);
  const whole = logs.find((log) => log.name === hash);
  if (whole) whole.details.open = true;
  else if (found) {
    const first = Number(found[2] ?? found[4]);
    logs.find((log) => log.name === found[1])?.show(first, Number(found[3] ?? first));
  }
}

// --- how logs are shown -------------------------------------------------------------------------

// A browser that keeps nothing refuses to be asked.
function kept(name, value) {
  try {
    if (value !== undefined) localStorage.setItem(name, value);
    return localStorage.getItem(name) ?? "";
  } catch {
    return value ?? "";
  }
}

function show() {
  const [times, wraps] = [kept("log-times"), kept("log-wraps") === "yes"];
  tool("times").value = times;
  tool("wrap").setAttribute("aria-pressed", String(wraps));
  for (const log of logs) {
    Object.assign(log, { times, wraps });
    log.redraw();
  }
}

function wrap() {
  kept("log-wraps", kept("log-wraps") === "yes" ? "" : "yes");
  show();
}

function nextTimes() {
  const values = [...tool("times").options].map((option) => option.value);
  kept("log-times", values[(values.indexOf(kept("log-times")) + 1) % values.length]);
  show();
}

function foldAll() {
  const folds = tool("fold").ariaPressed !== "true";
  tool("fold").ariaPressed = String(folds);
  for (const log of logs) log.foldAll(folds);
}

// The log that keys are about: which has the focus, or lines that are marked, or is in sight.
function current() {
  return (
    logs.find((log) => log.details.contains(document.activeElement)) ??
    logs.find((log) => log.mark) ??
    logs.find((log) => log.ready && log.details.open && isInSight(log.box)) ??
    newest()
  );
}

function goOn(by) {
  const here = logs.indexOf(current());
  const log = logs[Math.min(logs.length - 1, Math.max(0, here + by))];
  log.details.querySelector("summary").focus();
}

async function linkLines(by) {
  const log = current();
  await log.catchUp();
  if (!log.ready) return;
  if (!by || !log.mark) return log.link(log.number(Math.ceil(log.topRow())));
  log.link(log.mark[0], Math.max(log.mark[0], log.mark[1] + by));
}

// --- from here on -------------------------------------------------------------------------------

tools.hidden = false;
// What is seldom asked for is loaded when it is.
const search = async (act) => act((await (searching ??= import("./search.js"))).of(id, tools, logOf));
let searching;
tools.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = tools.q.value.trim();
  if (text) search((found) => found.find(`q=${encodeURIComponent(text)}`));
});
const acts = {
  next: () => search((found) => found.step(1)),
  previous: () => search((found) => found.step(-1)),
  error: () => search((found) => found.find("errors=1")),
  fold: foldAll,
  wrap,
  follow: () => follow(!follows),
};
for (const [name, act] of Object.entries(acts)) {
  if (name !== "next") tool(name)?.addEventListener("click", act);
}
tool("times").addEventListener("change", ({ target }) => {
  kept("log-times", target.value);
  show();
});
keys("Logs", {
  ...(isOver() ? {} : { f: ["Follow the log that grows", acts.follow] }),
  e: ["The first error", acts.error],
  n: ["The next thing that was found", acts.next],
  N: ["The one before", acts.previous],
  j: ["The next log", () => goOn(1)],
  k: ["The log before", () => goOn(-1)],
  l: ["A link to the line on top", () => linkLines(0)],
  "]": ["More lines in the link", () => linkLines(1)],
  "[": ["Fewer", () => linkLines(-1)],
  c: ["Fold the command on top", () => current().foldHere()],
  C: ["Fold all commands", foldAll],
  t: ["Times of lines", nextTimes],
  w: ["Wrap long lines", wrap],
});
// Without a script that is another page.
page.querySelector(".end a")?.addEventListener("click", (event) => {
  event.preventDefault();
  location.hash = event.target.hash;
});
show();
for (const log of logs) if (log.details.open) log.catchUp();
if (location.hash) goToHash();
addEventListener("hashchange", goToHash);
if (!isOver()) {
  if (!location.hash) goAlong();
  watch();
  startTicking(page);
  ticking = setInterval(tick, 1000);
  looking = setInterval(refresh, SELDOM);
}
