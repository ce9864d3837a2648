
// The browser of episodes. Whatever an episode says becomes a text node, never HTML.

const PAGE = 60; // rows that are listed at a time

// The same as ludus/report/figures.py writes: characters that are unseen or deceptive, made visible.
function visible(text) {
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, (character) => {
    const code = character.charCodeAt(0);
    if (code < 0x20) return String.fromCharCode(0x2400 + code);
    if (code === 0x7f) return "␡";
    return code < 0xa0 ? "�" : `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
  });
}

function element(name, css, ...children) {
  const made = document.createElement(name);
  if (css) made.className = css;
  for (const child of children) {
    if (child === null || child === undefined || child === "") continue;
    made.append(typeof child === "object" ? child : visible(String(child)));
  }
  return made;
}

const holder = document.getElementById("episodes-index");
if (holder) browse(JSON.parse(holder.textContent));

function browse({ fields, rows }) {
  const packed = [...document.querySelectorAll("script.chunk")];
  const unpacked = new Map();
  const episodes = rows.map((row, number) => {
    const episode = Object.fromEntries(fields.map((field, i) => [field, row[i]]));
    return { ...episode, number, text: [...row].slice(0, 12).join("\n").toLowerCase() };
  });
  const controls = Object.fromEntries(
    ["search", "environment", "kind", "verdict", "deep"].map((name) => [name, document.getElementById(`find-${name}`)]),
  );
  const list = document.getElementById("episode-list");
  const count = document.getElementById("episode-count");
  const more = document.getElementById("episode-more");
  const pane = document.getElementById("episode-pane");
  let found = episodes;
  let listed = 0;
  let chosen = null;
  let asked = 0;

  async function chunk(number) {
    if (!unpacked.has(number)) unpacked.set(number, unpack(packed[number].textContent));
    return unpacked.get(number);
  }

  async function unpack(text) {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return JSON.parse(await new Response(stream).text());
  }

  function choices(select, name, members) {
    const before = select.value;
    const counts = new Map();
    for (const member of members) counts.set(member[name], (counts.get(member[name]) || 0) + 1);
    const values = [...counts.keys()].sort();
    select.replaceChildren(
      new Option(`all (${members.length.toLocaleString("en-US")})`, "*"),
      ...values.map((value) => new Option(`${visible(value || "–")} (${counts.get(value).toLocaleString("en-US")})`, value)),
    );
    select.value = before === "*" || counts.has(before) ? before : "*";
    if (select.selectedIndex < 0) select.value = "*";
    select.closest("label").hidden = name === "kind" && values.length < 2;
  }

  const passes = (name) => (episode) => controls[name].value === "*" || episode[name] === controls[name].value;

  async function search() {
    const mine = (asked += 1);
    const terms = controls.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    choices(controls.environment, "environment", episodes);
    const within = episodes.filter(passes("environment"));
    choices(controls.kind, "kind", within);
    const ofKind = within.filter(passes("kind"));
    choices(controls.verdict, "verdict", ofKind);
    let members = ofKind.filter(passes("verdict"));
    const deep = controls.deep.checked && terms.length > 0;
    if (!deep) {
      members = members.filter((episode) => terms.every((term) => episode.text.includes(term)));
    } else {
      const kept = [];
      const texts = new Map();
      for (const [i, episode] of members.entries()) {
        if (!texts.has(episode.chunk)) {
          texts.clear();
          count.textContent = `searching, ${Math.round((100 * i) / members.length)}%`;
          texts.set(episode.chunk, (await chunk(episode.chunk)).map((each) => JSON.stringify(each).toLowerCase()));
          if (mine !== asked) return;
        }
        const text = texts.get(episode.chunk)[episode.place];
        if (terms.every((term) => episode.text.includes(term) || text.includes(term))) kept.push(episode);
      }
      members = kept;
    }
    found = members;
    listed = 0;
    list.replaceChildren();
    extend();
    if (found.length && !found.includes(chosen)) choose(found[0], false);
    if (!found.length) pane.replaceChildren(element("p", "unsure", "No episode is like that."));
  }

  function extend() {
    const next = found.slice(listed, listed + PAGE);
    listed += next.length;
    list.append(...next.map(row));
    more.hidden = listed >= found.length;
    more.textContent = `${Math.min(PAGE, found.length - listed).toLocaleString("en-US")} more`;
    count.textContent = `${found.length.toLocaleString("en-US")} of ${episodes.length.toLocaleString("en-US")} episodes`;
  }

  const colour = (verdict) => (verdict === "success" ? "good" : /^(fault|refused)/.test(verdict) ? "flag" : "bad");

  function row(episode) {
    const button = element(
      "button", "row",
      element("span", "row-top", element("b", "", `#${episode.number + 1}`), element("span", `badge ${colour(episode.verdict)}`, episode.verdict),
        element("span", "row-return", episode.return)),
      element("span", "row-task", episode.task),
      element("span", "row-meta", [episode.environment, episode.kind, `${episode.turns} turns`].filter(Boolean).join(" · ")),
    );
    button.type = "button";
    button.dataset.number = episode.number;
    button.setAttribute("aria-current", String(episode === chosen));
    button.addEventListener("click", () => choose(episode, true));
    return button;
  }

  async function choose(episode, byHand) {
    chosen = episode;
    for (const button of list.children) button.setAttribute("aria-current", String(button.dataset.number === String(episode.number)));
    const transcript = (await chunk(episode.chunk))[episode.place];
    if (chosen !== episode) return;
    pane.replaceChildren(show(episode, transcript));
    document.documentElement.dataset.shown ||= String(Math.round(performance.now()));
    if (byHand) {
      history.replaceState(null, "", `#episode-${episode.number + 1}`);
      if (getComputedStyle(list.parentElement).position !== "sticky") pane.scrollIntoView({ block: "start" });
    }
  }

  for (const name of ["environment", "kind", "verdict", "deep"]) controls[name].addEventListener("change", search);
  let waiting = 0;
  controls.search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(search, controls.deep.checked ? 400 : 80);
  });
  more.addEventListener("click", extend);
  document.getElementById("episode-browser").addEventListener("keydown", (event) => {
    const move = { j: 1, k: -1 }[event.key];
    if (!move || event.target.matches("input, select")) return;
    const next = found[found.indexOf(chosen) + move];
    if (!next) return;
    while (listed <= found.indexOf(next)) extend();
    choose(next, false);
    list.children[found.indexOf(next)].scrollIntoView({ block: "nearest" });
  });
  for (const mark of document.querySelectorAll(".marks a")) {
    mark.addEventListener("click", () => open(Number(mark.dataset.number)));
  }
  function open(number) {
    for (const name of ["environment", "kind", "verdict"]) controls[name].value = "*";
    controls.search.value = "";
    controls.environment.value = episodes[number].environment;
    search();
    while (listed <= found.indexOf(episodes[number])) extend();
    choose(episodes[number], false);
    list.children[found.indexOf(episodes[number])].scrollIntoView({ block: "nearest" });
  }
  for (const select of [controls.environment, controls.kind, controls.verdict]) select.append(new Option("all", "*"));
  const linked = /^#episode-(\d+)$/.exec(location.hash);
  if (linked && episodes[Number(linked[1]) - 1]) {
    open(Number(linked[1]) - 1);
    document.getElementById("episodes").scrollIntoView();
  } else {
    search();
  }
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
}

function show(episode, transcript) {
  const facts = [];
  for (const [label, text] of [["task", episode.task], ["expected", episode.expected], ["answered", episode.answer], ["why it failed", episode.failure]]) {
    if (text) facts.push(element("dt", "", label), element("dd", "", text));
  }
  const turns = transcript.turns.map((turn, i) => showTurn(turn, i + 1, transcript.turns.length));
  return element(
    "article", "episode c-blue",
    element("div", "top", element("h3", "", `Episode ${episode.number + 1}`),
      element("span", `badge ${episode.verdict === "success" ? "good" : "bad"}`, episode.verdict),
      element("span", "return", `return ${episode.return}`)),
    element("p", "meta", `${episode.environment}${episode.kind ? ` · ${episode.kind}` : ""} · seed ${episode.seed} · repeat ${episode.sample + 1} · ${episode.turns} turns · ended by ${transcript.stop}`),
    facts.length ? element("dl", "about", ...facts) : null,
    transcript.terms.length ? element("ul", "chips", ...transcript.terms.map(([name, value, form]) => element("li", form ? "form" : "", `${name} `, element("b", "", value)))) : null,
    transcript.fault ? element("p", "event", `no score, and never counted as a reward: ${transcript.fault}`) : null,
    ...turns,
    ...transcript.closing.map(showMessage),
  );
}

function showTurn(turn, number, total) {
  const reply = element("div", "said agent c-blue", element("div", "who", `agent, turn ${number} of ${total}`), says(turn.reply, "(empty reply)"));
  const earned = element("div", "earned", element("span", "", "reward ", element("b", "", turn.reward)),
    ...turn.terms.map(([name, value, form]) => element("span", form ? "form" : "", `${name} ${value}`)),
    turn.tokens ? element("span", "", `${turn.tokens} tokens in ${turn.seconds} s`) : null);
  const events = { length: "cut off: the reply reached the token limit before it ended", malformed: "the server refused this reply of its own model as malformed" };
  return element("div", "turn", ...turn.observed.map(showMessage), reply,
    events[turn.finish] ? element("p", "event", events[turn.finish]) : null, earned);
}

// Long messages begin folded, so that forty turns can be read.
function showMessage(message) {
  const length = message.blocks.reduce((sum, [text]) => sum + text.length, 0);
  const lines = message.blocks.reduce((sum, [text]) => sum + text.split("\n").length, 0);
  if (message.role !== "system" && length < 900 && lines < 16) {
    return element("div", "said", element("div", "who", message.role), says(message, "(empty)"));
  }
  const begin = message.blocks.length ? message.blocks[0][0].trim().slice(0, 120).replace(/\s+/g, " ") : "";
  const details = element("details", "said", element("summary", "who", `${message.role} · `, element("span", "begin", `${begin} …`), ` · ${length.toLocaleString("en-US")} characters`));
  details.addEventListener("toggle", () => { if (details.open && details.children.length === 1) details.append(says(message, "(empty)")); });
  return details;
}

function says(message, nothing) {
  const parts = message.blocks.map(([text, board]) => element(board ? "code" : "p", board ? "board" : "", text));
  for (const [name, args, raw] of message.calls || []) {
    const pairs = args.flatMap(([key, value]) => [element("dt", "", key), element("dd", "", value)]);
    parts.push(element("div", "call", element("b", "", name), raw ? element("pre", "", raw) : null, pairs.length ? element("dl", "", ...pairs) : null));
  }
  for (const source of message.images || []) {
    const image = element("img");
    image.alt = "an image of the episode";
    if (/^data:image\/(png|jpeg|webp|gif);base64,/.test(source)) image.src = source;
    parts.push(image);
  }
  return element("div", "says", ...(parts.length ? parts : [element("p", "unsure", nothing)]));
}
