"use strict";

// As in ludus/report/figures.py.
function figure(value, unit) {
  if (unit === "percent") return (100 * value).toFixed(1) + "%";
  const size = Math.abs(value);
  let text = "0";
  if (size >= 1000) text = Math.round(value).toLocaleString("en-US");
  else if (size >= 0.001) text = value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : size >= 0.01 ? 3 : 4);
  else if (size >= 1e-15) text = value.toExponential(1);
  return text.replace(/-/g, "−") + (unit ? " " + unit : "");
}

const scale = ([low, high, start, end]) => (value) => start + ((value - low) / (high - low)) * (end - start);

const charts = [...document.querySelectorAll("svg.chart")].map((svg) => {
  const data = JSON.parse(svg.dataset.chart);
  const card = svg.closest(".card");
  return {
    svg, data, x: scale(data.x), y: scale(data.y), cursor: svg.querySelector(".cursor"),
    step: card.querySelector(".step"), values: [...card.querySelectorAll(".legend b")],
    latest: [...card.querySelectorAll(".legend b")].map((b) => b.textContent), resting: card.querySelector(".step").textContent,
  };
});

function nearest(sorted, value) {
  let best = 0;
  sorted.forEach((each, i) => { if (Math.abs(each - value) < Math.abs(sorted[best] - value)) best = i; });
  return best;
}

function svgElement(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

// The cursor moves in all charts over the same steps, so that a moment of the run can be read off all.
function point(group, step) {
  for (const chart of charts) {
    if (chart.data.group !== group) continue;
    const marks = chart.data.lines.map((line, i) => {
      const at = nearest(line.at, step);
      chart.values[i].textContent = figure(line.value[at], chart.data.unit);
      return { x: chart.x(line.at[at]), y: chart.y(line.top[at]), colour: line.colour, step: line.at[at] };
    });
    chart.step.textContent = "step " + marks[0].step.toLocaleString("en-US");
    chart.cursor.replaceChildren(
      svgElement("line", { x1: marks[0].x, x2: marks[0].x, y1: chart.data.y[3], y2: chart.data.y[2] }),
      ...marks.map((m) => svgElement("circle", { class: "c-" + m.colour, cx: m.x, cy: m.y, r: 3.5 })),
    );
  }
}

function rest(group) {
  for (const chart of charts) {
    if (chart.data.group !== group) continue;
    chart.cursor.replaceChildren();
    chart.step.textContent = chart.resting;
    chart.values.forEach((b, i) => { b.textContent = chart.latest[i]; });
  }
}

for (const chart of charts) {
  const [low, high, start, end] = chart.data.x;
  const steps = chart.data.lines[0].at;
  let at = steps.length - 1;
  chart.svg.addEventListener("pointermove", (event) => {
    const box = chart.svg.getBoundingClientRect();
    const pixel = ((event.clientX - box.left) / box.width) * chart.svg.viewBox.baseVal.width;
    at = nearest(steps, low + ((pixel - start) / (end - start)) * (high - low));
    point(chart.data.group, steps[at]);
  });
  chart.svg.addEventListener("pointerleave", () => rest(chart.data.group));
  chart.svg.addEventListener("blur", () => rest(chart.data.group));
  chart.svg.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!move) return;
    event.preventDefault();
    at = Math.min(steps.length - 1, Math.max(0, at + move));
    point(chart.data.group, steps[at]);
  });
}

for (const picker of document.querySelectorAll(".picker")) {
  const buttons = [...picker.querySelectorAll("button")];
  const panels = buttons.map((button) => document.getElementById(button.getAttribute("aria-controls")));
  const show = (chosen) => buttons.forEach((button, i) => {
    button.setAttribute("aria-selected", String(i === chosen));
    button.tabIndex = i === chosen ? 0 : -1;
    panels[i].hidden = i !== chosen;
  });
  buttons.forEach((button, i) => {
    button.addEventListener("click", () => show(i));
    button.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!move) return;
      const next = (i + move + buttons.length) % buttons.length;
      show(next);
      buttons[next].focus();
    });
  });
  picker.hidden = false;
  show(0);
}

const tip = document.createElement("div");
tip.id = "tip";
tip.hidden = true;
document.body.append(tip);
function explain(event) {
  const token = event.target.closest(".tokens i");
  tip.hidden = !token;
  if (!token) return;
  const logprob = Number(token.dataset.l.replace(/−/g, "-"));
  tip.textContent = `p = ${figure(Math.exp(logprob), "")}   log-probability ${token.dataset.l}   id ${token.dataset.i}`;
  const box = token.getBoundingClientRect();
  const left = Math.min(box.left, document.documentElement.clientWidth - tip.offsetWidth - 8);
  tip.style.left = `${Math.max(8, left) + scrollX}px`;
  tip.style.top = `${box.top + scrollY - tip.offsetHeight - 6}px`;
}
document.addEventListener("pointerover", explain);
document.addEventListener("click", explain);
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((each) => { each.open = true; }));
