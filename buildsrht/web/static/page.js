// What every page has with a script: copy buttons, times of the reader's clock, keys.
//
// Nothing here is needed to act: all of it only shortens the way. A link that a key leads to says
// so itself: <a href="/submit" data-keys="g s">.

import { keys } from "./keys.js";

const COPIED_MILLISECONDS = 1500;

// Also for a part of a page that comes later.
export function enliven(part) {
  for (const button of part.querySelectorAll("button[data-copy]")) {
    // Over plain HTTP only this very machine may write there.
    button.hidden = !navigator.clipboard;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.dataset.copy);
      const words = button.textContent;
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = words), COPIED_MILLISECONDS);
    });
  }
  for (const time of part.querySelectorAll("time[datetime]")) {
    time.title = new Date(time.dateTime).toLocaleString();
  }
}

enliven(document);

const menu = document.querySelector("details.menu");
document.addEventListener("click", (event) => {
  if (menu && !menu.contains(event.target)) menu.open = false;
});
menu?.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  menu.open = false;
  menu.querySelector("summary").focus();
});

for (const link of document.querySelectorAll("a[data-keys]")) {
  const { keys: chord, words = link.textContent } = link.dataset;
  keys("Go to", { [chord]: [words, () => link.click()] });
}

const search = document.querySelector("input[type=search]");
if (search) keys("Everywhere", { "/": ["Search", () => search.select()] });
