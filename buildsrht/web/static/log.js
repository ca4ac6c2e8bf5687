// One log in its box: as many lines as are looked at, of however many there are.
//
// The box is as high as all lines would be, and only those in sight are in it. Lines come from the
// server as HTML that it has made safe; nothing else here becomes HTML. Markup, which is complete
// without a script:
//
//     <div class="log" tabindex="0" data-lines="/query/log/1/build/lines" data-name="task-build">
//       <div class="line" id="task-build-L10"><a class="number" href="#task-build-L10">10</a>
//         <span class="text">...</span></div> ...
//     </div>

const LINE_PIXELS = 24;
// Browsers draw nothing further down; beyond it a pixel of the scroll bar is more than a pixel.
const MOST_PIXELS = 8_000_000;
const OVERSCAN = 20;
const BLOCK = 500;
// Lines that are kept at most, around those in sight.
const KEPT = 20_000;
// Only logs of so many lines can wrap: their heights have to be known.
const MOST_WRAPPED = 2000;
// How far the end of a command is looked for.
const MOST_FOLDED = 20_000;

export class LogView {
  constructor(box) {
    this.box = box;
    this.name = box.dataset.name;
    this.address = box.dataset.lines;
    this.total = 0;
    this.complete = false;
    this.follows = false;
    this.folds = [];
    this.marked = null;
    this.times = "off";
    this.wraps = false;
    this.onFollow = () => {};
    this.lines = new Map();
    this.asked = new Set();
    this.height = document.createElement("div");
    this.window = document.createElement("div");
    this.window.className = "window";
    this.height.append(this.window);
    this.height.className = "height";
    this.lastTop = 0;
    this.ready = this.#begin();
  }

  // --- what is shown ----------------------------------------------------------------------------

  async #begin() {
    await this.#load(-BLOCK);
    if (this.total > BLOCK) await this.#load(1);
    this.box.replaceChildren(this.height);
    this.box.classList.add("live");
    this.box.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    new ResizeObserver(() => this.draw()).observe(this.box);
    this.window.addEventListener("click", (event) => this.#clicked(event));
    this.draw();
  }

  draw() {
    if (this.drawing) return;
    this.drawing = requestAnimationFrame(() => {
      this.drawing = 0;
      this.#draw();
    });
  }

  #draw() {
    this.box.classList.toggle("wraps", this.#isWrapped());
    const rows = this.#rows();
    const inSight = Math.ceil(this.box.clientHeight / LINE_PIXELS);
    const height = Math.min(rows * LINE_PIXELS, MOST_PIXELS);
    this.height.style.height = this.#isWrapped() ? "auto" : `${height}px`;
    if (this.follows) this.box.scrollTop = this.box.scrollHeight;
    const top = this.#isWrapped() ? 0 : this.#topRow();
    const first = Math.max(0, Math.floor(top) - OVERSCAN);
    const last = this.#isWrapped() ? rows : Math.min(rows, Math.ceil(top) + inSight + OVERSCAN);
    const drawn = [];
    for (let row = first; row < last; row++) drawn.push(this.#line(this.#numberOf(row)));
    const offset = this.box.scrollTop - (top - first) * LINE_PIXELS;
    this.window.style.transform = this.#isWrapped() ? "" : `translateY(${Math.max(0, offset)}px)`;
    this.window.replaceChildren(...drawn);
    if (this.follows) this.box.scrollTop = this.box.scrollHeight;
    this.lastTop = this.box.scrollTop;
  }

  #isWrapped() {
    return this.wraps && this.total <= MOST_WRAPPED;
  }

  #topRow() {
    const room = this.height.clientHeight - this.box.clientHeight;
    if (room <= 0) return 0;
    const most = this.#rows() - this.box.clientHeight / LINE_PIXELS;
    return Math.max(0, Math.min(1, this.box.scrollTop / room)) * most;
  }

  #line(number) {
    const line = this.lines.get(number);
    if (!line) this.#want(number);
    const row = document.createElement("div");
    row.className = "line";
    row.id = `${this.name}-L${number}`;
    if (this.marked && this.marked.from <= number && number <= this.marked.to) {
      row.classList.add("marked");
    }
    const link = document.createElement("a");
    link.className = "number";
    link.href = `#${row.id}`;
    link.textContent = number;
    row.append(link);
    if (this.times !== "off") row.append(this.#time(number, line));
    if (line?.command) row.append(this.#fold(number));
    const text = document.createElement("span");
    text.className = line?.command ? "text command" : "text";
    text.innerHTML = line ? line.html : "";
    row.append(text);
    return row;
  }

  #time(number, line) {
    const shown = document.createElement("span");
    shown.className = "time";
    const time = line?.time;
    if (time == null) return shown;
    const before = this.lines.get(this.times === "start" ? 1 : number - 1)?.time;
    if (this.times === "clock") shown.textContent = new Date(time).toLocaleTimeString();
    else if (before != null) shown.textContent = `${((time - before) / 1000).toFixed(2)} s`;
    return shown;
  }

  // --- lines of the server ----------------------------------------------------------------------

  #want(number) {
    const first = number - ((number - 1) % BLOCK);
    if (this.asked.has(first)) return;
    this.asked.add(first);
    this.#load(first)
      .then(() => this.draw())
      .finally(() => this.asked.delete(first));
  }

  async #load(first, count = BLOCK) {
    const answer = await fetch(`${this.address}?from=${first}&count=${count}`);
    if (!answer.ok) throw new Error(`${this.address}: ${answer.status}`);
    const found = await answer.json();
    this.total = Math.max(this.total, found.total);
    this.complete = found.complete;
    found.lines.forEach((line, place) => this.lines.set(found.first + place, line));
    this.#forget(found.first);
  }

  #forget(near) {
    if (this.lines.size <= KEPT) return;
    for (const number of this.lines.keys()) {
      if (number > 1 && Math.abs(number - near) > KEPT / 4) this.lines.delete(number);
    }
  }

  // More has been written: fetch what follows the lines that there are, the last one too, which may
  // not have been whole. Of much that comes at once only its end is fetched.
  async grow() {
    this.stale = true;
    if (this.growing) return;
    this.growing = true;
    try {
      while (this.stale) {
        this.stale = false;
        await this.ready;
        const known = this.total;
        await this.#load(Math.max(1, known), BLOCK);
        if (this.total - known > BLOCK) await this.#load(-BLOCK);
        this.draw();
      }
    } finally {
      this.growing = false;
    }
  }

  // --- to the end, and to a line ----------------------------------------------------------------

  follow(follows) {
    if (this.follows !== follows) {
      this.follows = follows;
      this.onFollow(follows);
    }
    if (follows) this.draw();
  }

  #scrolled() {
    const top = this.box.scrollTop;
    const isAtEnd = top + this.box.clientHeight >= this.box.scrollHeight - 2;
    if (top < this.lastTop && !isAtEnd) this.follow(false);
    else if (isAtEnd && top > this.lastTop && !this.complete) this.follow(true);
    this.lastTop = top;
    this.draw();
  }

  async show(from, to = from) {
    await this.ready;
    this.follow(false);
    const number = Math.max(1, Math.min(from, this.total));
    this.marked = { from, to };
    this.folds = this.folds.filter((fold) => number <= fold.from || fold.to < number);
    this.#draw();
    const room = this.height.clientHeight - this.box.clientHeight;
    const most = this.#rows() - this.box.clientHeight / LINE_PIXELS;
    // Not at the very top: what is before it says how it came to this.
    const row = Math.max(0, this.#rowOf(number) - 4);
    if (!this.#isWrapped() && room > 0) {
      this.box.scrollTop = Math.round((Math.min(row, most) / most) * room);
    }
    this.#draw();
    this.box.scrollIntoView({ block: "nearest" });
    if (this.#isWrapped()) this.window.querySelector(".marked")?.scrollIntoView({ block: "center" });
  }

  // --- folds: the output of a command, hidden ---------------------------------------------------

  #fold(number) {
    const button = document.createElement("button");
    const isFolded = this.folds.some((fold) => fold.from === number);
    button.className = "fold";
    button.type = "button";
    button.setAttribute("aria-expanded", String(!isFolded));
    button.setAttribute("aria-label", `Output of the command in line ${number}`);
    button.textContent = isFolded ? "▸" : "▾";
    return button;
  }

  async toggle(number) {
    const folded = this.folds.findIndex((fold) => fold.from === number);
    if (folded >= 0) this.folds.splice(folded, 1);
    else {
      const to = await this.#endOfCommand(number);
      this.folds = this.folds.filter((fold) => fold.from < number || fold.from > to);
      if (to > number) this.folds.push({ from: number, to });
      this.folds.sort((one, other) => one.from - other.from);
    }
    this.draw();
  }

  async foldAll() {
    if (this.folds.length) this.folds = [];
    else {
      let number = 1;
      const most = Math.min(this.total, MOST_FOLDED);
      while (number <= most) {
        const to = await this.#endOfCommand(number);
        if (this.lines.get(number)?.command && to > number) this.folds.push({ from: number, to });
        number = to + 1;
      }
    }
    this.draw();
  }

  async #endOfCommand(number) {
    const most = Math.min(this.total, number + MOST_FOLDED);
    for (let next = number + 1; next <= most; next++) {
      if (!this.lines.has(next)) await this.#load(next);
      if (this.lines.get(next)?.command) return next - 1;
    }
    return most;
  }

  #rows() {
    return this.total - this.folds.reduce((sum, fold) => sum + fold.to - fold.from, 0);
  }

  #numberOf(row) {
    let number = row + 1;
    for (const fold of this.folds) {
      if (fold.from >= number) break;
      number += fold.to - fold.from;
    }
    return number;
  }

  #rowOf(number) {
    let row = number - 1;
    for (const fold of this.folds) {
      if (fold.from >= number) break;
      row -= Math.min(number, fold.to) - fold.from;
    }
    return row;
  }

  // --- clicks -----------------------------------------------------------------------------------

  #clicked(event) {
    const row = event.target.closest(".line");
    const number = Number(row?.id.match(/-L(\d+)$/)?.[1]);
    if (!number) return;
    if (event.target.closest(".fold")) {
      this.toggle(number);
    } else if (event.target.closest(".number")) {
      event.preventDefault();
      const from = event.shiftKey && this.marked ? Math.min(this.marked.from, number) : number;
      const to = event.shiftKey && this.marked ? Math.max(this.marked.from, number) : number;
      this.marked = { from, to };
      history.replaceState(null, "", `#${this.name}-L${from}${to > from ? `-L${to}` : ""}`);
      this.draw();
    }
  }
}
