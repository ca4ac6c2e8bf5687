// What is found in the logs of a job, and the way from one place to the next.

let search;

export function of(id, tools, logOf) {
  return (search ??= new Search(id, tools.querySelector("output"), logOf));
}

class Search {
  constructor(id, said, logOf) {
    Object.assign(this, { id, said, logOf, matches: [] });
  }

  // The same once more is the next place, but logs may have grown when the last one was shown.
  async find(query) {
    if (query === this.query && this.at < this.matches.length - 1) return this.step(1);
    const answer = await fetch(`/query/log/${this.id}/search?${query}`);
    const found = answer.ok ? await answer.json() : { matches: [] };
    Object.assign(this, { query, matches: found.matches, more: found.more, at: -1 });
    this.step(1);
  }

  step(by) {
    const { length } = this.matches;
    this.said.textContent = "Nothing found";
    if (!length) return;
    this.at = (this.at + by + length) % length;
    this.said.textContent = `${this.at + 1} of ${length}${this.more ? "+" : ""}`;
    const { task, line } = this.matches[this.at];
    this.logOf(task).show(line);
  }
}
