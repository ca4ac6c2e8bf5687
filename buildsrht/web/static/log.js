// One log on the page: as many of its lines as are looked at, of however many there are.
//
// The box scrolls as if all lines were in it. Lines come from the server as HTML that it has made
// safe (buildsrht.terminal); nothing else here becomes HTML. A *row* is a line that is not folded.
//
// Where the box is scrolled to is a share of the way, from 0 to 1, and the row at that share of all
// rows is shown at that share of the box. So the first is on top and the last at the bottom, however
// high lines are, and also where the log is higher than a browser can scroll.

const ALL = 300; // so many rows are simply all there
const BLOCK = 500;
const KEPT = 20_000;
const SPARE = 40;
const MOST_PIXELS = 8_000_000;
const PAUSE = 80; // milliseconds in which nobody scrolls on
const SELDOM = 1000;

export class Log {
  // `told.letGo(log)` and `told.caughtUp(log)`: the reader leaves the end of the log, and comes back.
  constructor(details, job, told) {
    Object.assign(this, { details, told, name: details.id });
    this.task = details.dataset.task ?? null;
    this.url = `/query/log/${job}/${this.task === null ? "" : `${this.task}/`}`;
    this.box = details.querySelector(".log");
    this.space = this.box.querySelector(".rows");
    this.rows = document.createElement("div");
    this.lines = new Map();
    this.pending = new Set();
    this.shown = new Map();
    this.folds = [];
    this.total = this.size = this.way = this.top = 0;
    this.complete = this.following = this.ready = this.stale = this.busy = false;
    this.mark = null;
    this.times = "";
    this.wraps = false;
    this.box.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.box.addEventListener("click", (event) => this.clicked(event));
    details.addEventListener("toggle", () => details.open && this.catchUp());
    new ResizeObserver(() => this.ready && this.draw()).observe(this.box);
  }

  // --- lines of the server ------------------------------------------------------------------------

  // The first look at it: from then on the box shows what is asked for. Answers when that is there.
  load() {
    const failed = () => (this.loading = undefined);
    this.loading ??= this.get(-BLOCK).then((found) => {
      this.take(found);
      this.ready = true;
      this.space.replaceChildren(this.rows);
      this.box.classList.add("live");
      this.scrollTo(1);
      if (this.isFolded) this.foldAll(true);
    }, failed);
    return this.loading;
  }

  // What was written while nobody could see it.
  async catchUp() {
    await this.load();
    if (this.stale) this.grow();
  }

  async get(from, count = BLOCK) {
    const answer = await fetch(`${this.url}lines?from=${from}&count=${count}`);
    if (!answer.ok) throw new Error(`${answer.status} ${this.url}`);
    return answer.json();
  }

  take(found) {
    this.total = Math.max(this.total, found.total);
    this.size = Math.max(this.size, found.size);
    this.complete ||= found.complete;
    found.lines.forEach((line, at) => this.lines.set(found.first + at, line));
    if (this.lines.size > KEPT) {
      const here = this.number(this.way * this.count());
      for (const number of this.lines.keys()) {
        if (Math.abs(number - here) > KEPT / 4) this.lines.delete(number);
      }
    }
  }

  // Fetch what is missing of what is shown, in blocks, or between folds only that; with the line
  // before, which tells how long the first one took.
  want(numbers) {
    const blocks = Map.groupBy(numbers, (number) => number - ((number - 1) % BLOCK));
    for (const [block, missing] of blocks) {
      if (this.pending.has(block)) continue;
      this.pending.add(block);
      const [first, end] = this.folds.length ? [missing[0], missing.at(-1) + 1] : [block, block + BLOCK];
      const from = Math.max(1, first - 1);
      const done = () => this.pending.delete(block);
      this.get(from, end - from).then((found) => {
        done();
        this.take(found);
        // What the server has not is not asked for again and again.
        if (this.lines.has(missing[0])) this.draw();
      }, done);
    }
  }

  // It has become longer. What nobody looks at is not fetched, only counted, and that not often.
  grew(size) {
    if (size > this.size) this.grow();
  }

  async grow() {
    this.stale = true;
    if (!this.ready || this.busy || !this.details.open) return;
    this.busy = true;
    while (this.stale && this.details.open) {
      this.stale = false;
      const seen = this.following || this.way > 0.999 || this.count() <= ALL;
      // The last line may not have been whole.
      const found = await this.get(seen ? Math.max(1, this.total) : -1).catch(() => null);
      if (!found) break;
      const top = this.topRow();
      const missed = found.total - found.first - found.lines.length + 1 > 0;
      this.take(found);
      if (seen && missed) this.take(await this.get(-BLOCK));
      if (this.following) this.scrollTo(1);
      else if (this.count() > ALL) this.scrollTo(this.wayTo(top, 0));
      else this.draw();
      if (!seen) await new Promise((done) => setTimeout(done, SELDOM));
    }
    this.busy = false;
  }

  // --- rows and lines -----------------------------------------------------------------------------

  // Of each fold: the line that stays, the last one that is hidden, how many these are, and how many
  // are hidden before it.
  layOut() {
    let before = 0;
    for (const fold of this.folds) {
      fold.count = Math.min(fold.to, this.total) - fold.line;
      fold.before = before;
      before += fold.count;
    }
    this.hidden = before;
    this.foldOf = new Map(this.folds.map((fold) => [fold.line, fold]));
  }

  count() {
    this.layOut();
    return this.total - this.hidden;
  }

  number(row) {
    let number = Math.floor(row) + 1;
    for (const fold of this.folds) {
      if (number <= fold.line) break;
      number += fold.count;
    }
    return number;
  }

  row(number) {
    for (const fold of this.folds) {
      if (number <= fold.line) return number - 1 - fold.before;
      if (number <= fold.to) return fold.line - 1 - fold.before;
    }
    return number - 1 - (this.hidden ?? 0);
  }

  // --- what is in sight ---------------------------------------------------------------------------

  draw() {
    const count = this.count();
    const view = this.box.clientHeight;
    this.height ||= parseFloat(getComputedStyle(this.space).lineHeight);
    const all = count <= ALL;
    const fit = view / this.height;
    const at = this.way * count;
    const from = all ? 0 : Math.max(0, Math.floor(at - this.way * fit) - SPARE);
    const to = all ? count : Math.min(count, Math.ceil(at + (1 - this.way) * fit) + SPARE);
    this.fill(from, to);
    this.rows.style.position = all ? "static" : "absolute";
    const pixels = `${Math.min(count * this.height, MOST_PIXELS)}px`;
    this.space.style.height = all ? "auto" : pixels;
    if (all) this.rows.style.transform = "";
    else {
      const row = Math.min(Math.floor(at), count - 1);
      const part = at - row;
      const node = this.wraps ? this.rows.children[row - from] : null;
      const above = node
        ? node.offsetTop + part * node.offsetHeight
        : (row - from + part) * this.height;
      const y = this.box.scrollTop + this.way * view - above;
      this.rows.style.transform = `translateY(${y}px)`;
    }
  }

  fill(from, to) {
    const wanted = [];
    let number = this.number(from);
    for (let row = from; row < to; row++) {
      wanted.push(number);
      number += 1 + (this.foldOf.get(number)?.count ?? 0);
    }
    const stays = new Set(wanted);
    for (const [number, node] of this.shown) {
      const isSame =
        node.line === this.lines.get(number) && node.folded === this.foldOf.get(number)?.count;
      if (isSame && stays.has(number)) continue;
      node.remove();
      this.shown.delete(number);
    }
    let next = this.rows.firstChild;
    for (const number of wanted) {
      let node = this.shown.get(number);
      if (node && node === next) next = next.nextSibling;
      else {
        node ??= this.make(number);
        this.shown.set(number, node);
        this.rows.insertBefore(node, next);
      }
      node.classList.toggle("marked", this.isMarked(number));
    }
    const missing = wanted.filter((number) => !this.lines.has(number));
    clearTimeout(this.timer);
    if (missing.length) this.timer = setTimeout(() => this.want(missing), this.moving ? PAUSE : 0);
  }

  make(number) {
    const line = this.lines.get(number);
    const row = document.createElement("div");
    row.line = line;
    row.id = `${this.name}-L${number}`;
    const link = row.appendChild(document.createElement("a"));
    link.href = `#${row.id}`;
    link.tabIndex = -1;
    link.textContent = number;
    row.folded = this.foldOf.get(number)?.count;
    const text = document.createElement("span");
    if (line?.command) {
      const sign = row.appendChild(document.createElement("button"));
      sign.tabIndex = -1;
      sign.ariaExpanded = String(!row.folded);
      sign.ariaLabel = `The output of line ${number}`;
      text.className = "command";
    }
    if (this.times) {
      row.appendChild(document.createElement("time")).textContent = this.time(number, line);
    }
    text.innerHTML = line?.html ?? "";
    row.append(text);
    if (row.folded) {
      const said = row.folded === 1 ? "1 line" : `${row.folded} lines`;
      row.append(Object.assign(document.createElement("i"), { textContent: said }));
    }
    return row;
  }

  time(number, line) {
    if (!line || line.time === null) return "";
    if (this.times === "clock") return new Date(line.time).toTimeString().slice(0, 8);
    const since =
      this.times === "start" ? Number(this.details.dataset.began) : this.lines.get(number - 1)?.time;
    if (since == null) return "";
    return `${(Math.max(0, line.time - since) / 1000).toFixed(2)} s`;
  }

  // All is made anew: it is to be shown otherwise.
  redraw() {
    this.box.classList.toggle("wraps", this.wraps);
    if (!this.ready) return;
    this.shown.clear();
    this.rows.replaceChildren();
    this.draw();
    if (this.following) this.scrollTo(1);
  }

  // --- scrolling ----------------------------------------------------------------------------------

  room() {
    return this.box.scrollHeight - this.box.clientHeight;
  }

  scrolled() {
    if (!this.ready) return;
    const { scrollTop, clientHeight } = this.box;
    const moved = scrollTop - this.top;
    if (Math.abs(moved) < 1) return;
    const room = this.room();
    const far = this.count() * this.height - clientHeight;
    // What a hand moves by pixels moves lines by pixels; who drags the bar goes by its share.
    if (far > room + 1 && Math.abs(moved) < clientHeight) this.way += moved / far;
    else this.way = room > 0 ? scrollTop / room : 1;
    if (scrollTop <= 0) this.way = 0;
    if (scrollTop >= room - 1) this.way = 1;
    this.way = Math.min(1, Math.max(0, this.way));
    this.top = scrollTop;
    if (moved < 0 && this.way < 1) this.told.letGo(this);
    else if (this.way === 1) this.told.caughtUp(this);
    this.moving = true;
    clearTimeout(this.rest);
    this.rest = setTimeout(() => this.settle(), PAUSE);
    this.draw();
  }

  // Where the bar does not say any more how far the reader has come, it is put right.
  settle() {
    this.moving = false;
    if (this.count() > ALL) this.scrollTo(this.way);
  }

  scrollTo(way) {
    this.way = way;
    this.draw();
    this.box.scrollTop = way * this.room();
    this.top = this.box.scrollTop;
    this.draw();
  }

  // How far to go until a row is this many pixels below the edge of the box.
  wayTo(row, below) {
    const count = this.count();
    if (this.wraps) return (row + 0.5) / count;
    const view = this.box.clientHeight;
    const way = (row * this.height - below) / (count * this.height - view);
    return Math.min(1, Math.max(0, way));
  }

  topRow() {
    if (this.count() <= ALL) return Math.floor(this.box.scrollTop / this.height);
    return Math.max(0, this.way * this.count() - (this.way * this.box.clientHeight) / this.height);
  }

  // --- lines that are marked ----------------------------------------------------------------------

  isMarked(number) {
    return this.mark !== null && this.mark[0] <= number && number <= this.mark[1];
  }

  // Mark lines, and have the address of the page lead there.
  link(first, last = first) {
    const [from, to] = first < last ? [first, last] : [last, first];
    this.mark = [from, to];
    const hash = `#${this.name}-L${from}${to > from ? `-L${to}` : ""}`;
    history.replaceState(null, "", hash);
    this.told.marked(this);
  }

  // Mark lines, and go there.
  async show(first, last = first) {
    this.details.open = true;
    await this.catchUp();
    if (!this.ready) return;
    this.told.letGo(this);
    const line = Math.min(first, this.total);
    this.mark = [first, last];
    this.told.marked(this);
    this.folds = this.folds.filter((fold) => line <= fold.line || fold.to < line);
    const row = this.row(line, this.layOut());
    if (this.count() > ALL) this.scrollTo(this.wayTo(row, this.box.clientHeight / 3));
    else {
      this.draw();
      const top = this.rows.children[row]?.offsetTop ?? 0;
      this.box.scrollTop = this.top = top - this.box.clientHeight / 3;
    }
    this.redraw();
    this.box.scrollIntoView({ block: "nearest" });
  }

  clicked(event) {
    const row = event.target.closest("[id]");
    const number = this.ready && Number(row?.id.match(/-L(\d+)$/)?.[1]);
    if (!number) return;
    if (event.target.closest("button")) this.fold(number);
    else if (event.target.parentNode === row && event.target.tagName === "A") {
      event.preventDefault();
      this.link(event.shiftKey && this.mark ? this.mark[0] : number, number);
    }
  }

  // --- folds --------------------------------------------------------------------------------------

  // What is seldom asked for is loaded when it is.
  async fold(number) {
    (await import("./folds.js")).fold(this, number);
  }

  // The command around the line on top.
  async foldHere() {
    await this.catchUp();
    if (this.ready) (await import("./folds.js")).foldHere(this);
  }

  async foldAll(folds) {
    this.isFolded = folds;
    if (this.ready) (await import("./folds.js")).foldAll(this, folds);
  }
}
