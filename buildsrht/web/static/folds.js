// What commands in a log printed, hidden behind the lines that show them.
//
// A fold has the line that stays, and the last one that is hidden: Infinity, if the log may go on.

export async function fold(log, number) {
  const top = log.number(log.topRow());
  if (log.foldOf.has(number)) {
    log.folds = log.folds.filter((each) => each.line !== number);
  } else {
    const found = (await outputs(log)).find((each) => each.line === number);
    if (found) log.folds = [...log.folds, found].sort((a, b) => a.line - b.line);
  }
  show(log, top);
}

export async function foldHere(log) {
  const top = log.number(log.topRow());
  const here = (await outputs(log)).findLast((each) => each.line <= top);
  if (here) await fold(log, here.line);
}

export async function foldAll(log, folds) {
  const top = log.number(log.topRow());
  log.folds = folds ? await outputs(log) : [];
  show(log, top);
}

// All that could be folded. A log that grows has more later.
async function outputs(log) {
  if (log.known?.size !== log.size || !log.complete) {
    const answer = await fetch(`${log.url}commands`);
    log.known = answer.ok ? { ...(await answer.json()), size: log.size } : { commands: [] };
  }
  const { commands, more } = log.known;
  return commands.flatMap((line, at) => {
    const to = commands[at + 1] ? commands[at + 1] - 1 : Infinity;
    return to === line || (to === Infinity && more) ? [] : [{ line, to }];
  });
}

// Anew, with the line on top where it was, as far as it is seen.
function show(log, top) {
  log.layOut();
  log.way = log.following ? 1 : log.wayTo(log.row(top), 0);
  log.redraw();
  log.settle();
}
