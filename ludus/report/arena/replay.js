
// --- games, replayed move by move

const replay = JSON.parse(document.getElementById("replay-data").textContent);
const [chooser, board, slider, about, plies] = ["game", "board", "at", "about", "plies"].map((name) => document.getElementById("replay-" + name));
let played = null;

function element(name, className, text) {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

function result(game) {
  if (game.outcome === null) return game.ending + " (" + game.fault + ")";
  return game.outcome.join(" : ") + (game.ending ? ", " + game.ending : "");
}

function moveTo(at) {
  at = Math.min(played.plies.length, Math.max(0, at));
  slider.value = at;
  board.src = "data:image/png;base64," + replay.pictures[played.boards[at]];
  const last = at === played.plies.length;
  board.alt = `The board after ${at} of ${played.plies.length} moves`;
  about.textContent = `${board.alt}${last ? ". " + played.players.join(" against ") + ": " + result(played) : ""}`;
  [...plies.children].forEach((line, number) => {
    const current = number + 1 === at;
    line.firstChild.setAttribute("aria-current", String(current));
    if (current) plies.scrollTop = line.offsetTop - plies.offsetTop - plies.clientHeight / 2;
  });
}

function open(number) {
  played = replay.games[number];
  chooser.value = number;
  slider.max = played.plies.length;
  plies.replaceChildren(...played.plies.map(([seat, said, move, legal], at) => {
    const line = document.createElement("li");
    const button = element("button", seat ? "c-ochre" : "c-blue", "");
    button.type = "button";
    const what = element("span", legal ? "" : "wrong", move === null ? "no move to be read" : legal ? move : move + ", which is illegal");
    if (said !== `<action>${move}</action>`) what.append(element("small", "", said));
    button.append(element("span", "at", String(at + 1)), element("span", "by", played.players[seat]), what);
    button.addEventListener("click", () => moveTo(at + 1));
    line.append(button);
    return line;
  }));
  moveTo(0);
}

if (replay.games.length) {
  chooser.append(...replay.games.map((game, number) => {
    const choice = element("option", "", `${game.players.join(" against ")}, pair ${game.number}: ${result(game)}`);
    choice.value = number;
    return choice;
  }));
  chooser.addEventListener("change", () => open(Number(chooser.value)));
  slider.addEventListener("input", () => moveTo(Number(slider.value)));
  const steps = { first: () => 0, back: (at) => at - 1, on: (at) => at + 1, last: () => Infinity };
  for (const button of document.querySelectorAll(".controls button")) {
    button.addEventListener("click", () => moveTo(steps[button.dataset.to](Number(slider.value))));
  }
  document.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || event.target.closest("input, select, .scroll")) return;
    event.preventDefault();
    moveTo(Number(slider.value) + step);
  });
  document.getElementById("replay").hidden = false;
  open(0);
}
