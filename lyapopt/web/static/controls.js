// What is above the figures: which study and page, which trials, where the study stands.

import { make, one } from "./dom.js";
import { shown } from "./address.js";

export function fillSelect(select, entries, chosen) {
  select.replaceChildren(...entries.map(([value, text]) =>
    make("option", { value, selected: value === chosen }, text)));
}

/** Boxes for the studies that stand beside each other. */
export function fillBeside(names, changed) {
  const choices = names.map((name) => {
    const box = make("input", { type: "checkbox", checked: shown.studies.includes(name) });
    box.onchange = () => {
      shown.studies = box.checked
        ? [...shown.studies, name] : shown.studies.filter((each) => each !== name);
      changed();
    };
    return make("label", {}, box, name);
  });
  one("#beside .choices").replaceChildren(...choices);
  one("#beside summary").textContent = `${shown.studies.length} of ${names.length} studies`;
}

/** A box for each value of each filter; those that were open stay open. */
export function fillFilters(filters, changed) {
  const open = new Set([...document.querySelectorAll("#filters details[open]")]
    .map((each) => each.dataset.name));
  one("#filters").replaceChildren(...filters.map((filter) => {
    const found = make("details", { open: open.has(filter.name), dataset: { name: filter.name } });
    const on = () => shown.only[filter.name] ?? filter.choices.map((choice) => choice.value);
    const summary = make("summary");
    const say = () => {
      const few = shown.only[filter.name];
      summary.textContent = few ? `${filter.name}: ${few.join(", ") || "none"}` : filter.name;
      found.toggleAttribute("data-narrow", few !== undefined);
    };
    const choices = filter.choices.map(({ value, count }) => {
      const box = make("input", { type: "checkbox", checked: on().includes(value) });
      box.onchange = () => {
        const kept = filter.choices.map((choice) => choice.value).filter((each) =>
          each === value ? box.checked : on().includes(each));
        if (kept.length === filter.choices.length) delete shown.only[filter.name];
        else shown.only[filter.name] = kept;
        say();
        changed();
      };
      return make("label", {}, box, value,
        make("span", { className: "count" }, count.toLocaleString("en")));
    });
    say();
    found.append(summary, make("div", { className: "choices" }, ...choices));
    return found;
  }));
}

export function showSummary(page, choose) {
  document.title = `${page.title} · ${page.studies.map((each) => each.name).join(", ")}`.slice(0, 120);
  one("#title").textContent = page.title;
  one("#description").textContent = page.description;
  const notes = page.studies.flatMap((study) => study.notes.map((note) =>
    page.several ? `${study.name}: ${note}` : note));
  one("#notes").replaceChildren(...notes.map((note) => make("li", {}, note)));
  one("#summary").replaceChildren(...page.studies.flatMap((study) =>
    facts(study, page.several ? study.name : null, choose)));
}

function facts(study, name, choose) {
  const entry = (title, ...content) => make("div", {}, make("small", {}, title), ...content);
  const chips = (counts) => counts.map((each) => make("span",
    { className: "chip", colour: each.colour }, `${each.name} ${each.count.toLocaleString("en")}`));
  const best = study.best.map((each) => make("button",
    { className: "link", type: "button", onclick: () => choose(each.number, study.name) },
    `${each.value} (trial ${each.number})`));
  const full = study.promoted;
  const trained = study.trained ? ` of those ${study.trained}` : "";
  const saved = study.saving ? ` · ${study.saving}` : "";
  const more = study.front > study.best.length ? ` and ${study.front - study.best.length} more` : "";
  return [
    name === null ? null : entry("study", name),
    entry("trials", ...chips(study.states)),
    study.verdicts.length ? entry("verdicts", ...chips(study.verdicts)) : null,
    full?.best ? entry("best, trained in full", make("a",
      { href: `?study=${encodeURIComponent(full.study)}` },
      `${full.best.value} (trial ${full.best.number} of ${full.study})`)) : null,
    best.length ? entry(study.front > 1 ? "Pareto front" : `best${trained}`, ...spaced(best), more)
      : null,
    study.spent
      ? entry("gradient evaluations", Math.round(study.spent).toLocaleString("en") + saved) : null,
  ].filter((each) => each !== null);
}

function spaced(elements) {
  return elements.flatMap((each, i) => (i ? [" · ", each] : [each]));
}

export function say(text, state) {
  const live = one("#live");
  live.textContent = text;
  live.dataset.state = state;
}
