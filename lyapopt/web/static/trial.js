// The chosen trial: what is known of it, its decisions, its parameters ready to paste.

import { make, one } from "./dom.js";

export function showFacts(facts) {
  const verdict = one("#verdict");
  verdict.textContent = facts.verdict || facts.state;
  verdict.style.setProperty("--chip", facts.colour || "var(--soft)");
  const rows = [["state", facts.state], ...facts.facts, ...facts.attributes];
  one("#facts").replaceChildren(
    table(rows), ...decisions(facts.decisions), ...parameters(facts));
}

export function showNothing(text) {
  one("#verdict").textContent = "";
  one("#facts").replaceChildren(make("p", { className: "said" }, text));
}

function table(rows) {
  return make("table", {}, make("tbody", {},
    ...rows.map(([name, value]) => make("tr", {}, make("th", {}, name), make("td", {}, value)))));
}

function decisions(rows) {
  if (!rows.length) return [];
  const head = make("tr", {}, ...["step", "decision", "reason"].map((name) => make("th", {}, name)));
  const body = rows.map((row) => make("tr", {}, make("td", {}, row.step),
    make("td", {}, `${row.pruned ? "pruned" : "kept"} by ${row.rule}`),
    make("td", {}, row.reason)));
  return [make("table", { id: "decisions" }, make("tbody", {}, head, ...body))];
}

function parameters(facts) {
  if (!facts.params.length) return [];
  const text = make("pre", { id: "parameters", tabIndex: 0 }, facts.yaml);
  const said = make("span", { role: "status" });
  const copy = (what, name) => make("button", {
    type: "button",
    onclick: async () => {
      text.textContent = what;
      said.textContent = (await copied(what, text)) ? " copied" : " selected";
    },
  }, name);
  return [make("div", { className: "bar" }, make("strong", {}, "parameters"),
    copy(facts.yaml, "copy as YAML"), copy(facts.python, "copy as Python"), said), text];
}

/** Whether the text went to the clipboard; otherwise it is selected, to be copied by hand. */
async function copied(what, element) {
  try {
    await navigator.clipboard.writeText(what);
    return true;
  } catch {
    getSelection().selectAllChildren(element);
    return false;
  }
}
