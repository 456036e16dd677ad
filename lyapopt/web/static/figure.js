// One figure on the page: asked for, drawn, drawn again without losing its zoom, clicked.

import { ask } from "./api.js";
import { make } from "./dom.js";

const CONFIG = {
  responsive: true,
  displaylogo: false,
  modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
};

export class Card {
  /** `panel` as the server describes it; `choose` is called with the number of a clicked trial. */
  constructor(panel, choose) {
    this.panel = panel;
    this.choose = choose;
    this.figure = null;
    this.plot = make("div", { className: "plot" });
    this.said = make("p", { className: "said" }, "…");
    this.element = make("article",
      { className: panel.wide ? "card wide" : "card", ariaLabel: panel.description,
        dataset: { figure: panel.name } },
      make("div", { className: "scroll" }, this.plot), this.said);
    this.asked = null;
  }

  /** Ask for the figure and draw it; an older question that is not answered yet is dropped. */
  async load(params, trial) {
    this.asked?.abort();
    const asked = this.asked = new AbortController();
    try {
      const figure = await ask("api/figure", params, asked.signal);
      this.said.hidden = true;
      await this.draw(figure, trial);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.said.hidden = false;
      this.said.className = "said error";
      this.said.textContent = `${this.panel.name}: ${error.message}`;
      throw error;
    }
  }

  async draw(figure, trial) {
    this.figure = figure;
    this.element.classList.toggle("table", figure.data.some((trace) => trace.type === "table"));
    const traces = [...figure.data, ...(this.panel.of_trial ? [] : rings(figure, trial))];
    const first = !this.plot.on;
    await Plotly.react(this.plot, traces, fitted(figure.layout), CONFIG);
    if (first && !this.panel.of_trial) {
      this.plot.on("plotly_click", (event) => {
        const number = clicked(event.points[0]);
        if (number !== null) this.choose(number);
      });
    }
    this.element.dataset.drawn = String(Number(this.element.dataset.drawn || 0) + 1);
  }

  /** Whether it is on the screen. */
  isNear() {
    const { top, bottom } = this.element.getBoundingClientRect();
    return top < innerHeight && bottom > 0;
  }

  /** Mark another trial. */
  async mark(trial) {
    if (this.figure && !this.panel.of_trial) await this.draw(this.figure, trial);
  }

  remove() {
    this.asked?.abort();
    if (this.plot.on) Plotly.purge(this.plot);
    this.element.remove();
  }
}

const LETTER = 0.52; // how wide letters are, as a share of their size

/** The layout with a title that a phone has room for: plotly breaks no lines. */
function fitted(layout) {
  if (innerWidth > 500 || !layout.title) return layout;
  const { title, margin } = layout;
  const room = (innerWidth - 30) / LETTER;
  const size = Math.max(9, Math.min(15, Math.floor(room / (title.text || "").length)));
  const lines = broken(title.subtitle?.text || "", room / 10);
  return {
    ...layout,
    margin: { ...margin, t: margin.t + 13 * (lines.length - 1) },
    title: {
      ...title, font: { ...title.font, size },
      subtitle: { ...title.subtitle, text: lines.join("<br>"), font: { ...title.subtitle?.font, size: 10 } },
    },
  };
}

/** A text in lines of at most so many letters, broken between words. */
function broken(text, most) {
  const lines = [""];
  for (const word of text.split(" ")) {
    const line = `${lines.at(-1)} ${word}`.trim();
    if (line.length <= most || !lines.at(-1)) lines[lines.length - 1] = line;
    else lines.push(word);
  }
  return lines;
}

/** The number of the trial of a point; other points have other data, or no text of a trial. */
function clicked(point) {
  const number = point?.customdata;
  return point?.data?.hovertext !== undefined && Number.isInteger(number) ? number : null;
}

/** Rings around the points of a trial, one trace for each pair of axes. */
function rings(figure, trial) {
  if (trial === null) return [];
  const places = new Map();
  for (const trace of figure.data) {
    const numbers = trace.customdata;
    if (trace.hovertext === undefined || !Array.isArray(numbers)) continue;
    const at = numbers.lastIndexOf(trial);
    const x = numberAt(trace.x, at), y = numberAt(trace.y, at);
    if (at < 0 || x === null || y === null) continue;
    const axes = `${trace.xaxis || "x"} ${trace.yaxis || "y"}`;
    if (!places.has(axes)) places.set(axes, { x: [], y: [] });
    places.get(axes).x.push(x);
    places.get(axes).y.push(y);
  }
  return [...places].map(([axes, at]) => ({
    type: "scatter", mode: "markers", ...at, hoverinfo: "skip", showlegend: false,
    name: "the chosen trial", uid: `ring ${axes}`,
    xaxis: axes.split(" ")[0], yaxis: axes.split(" ")[1],
    marker: { size: 17, symbol: "circle-open", color: "#7f8c9a", line: { width: 3 } },
  }));
}

function numberAt(values, at) {
  const found = values?.[at];
  return found === undefined ? null : found;
}
