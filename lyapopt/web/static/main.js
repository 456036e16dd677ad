// The page: opens with what its address says, follows the study, and links figures by trial.

import { Gone, ask } from "./api.js";
import { onlyParams, readAddress, shown, studyParams, writeAddress } from "./address.js";
import { fillBeside, fillFilters, fillSelect, say, showSummary } from "./controls.js";
import { one } from "./dom.js";
import { Card } from "./figure.js";
import { showFacts, showNothing } from "./trial.js";

const POLL = 4000; // milliseconds
const PLACE = 10 ** 8; // in numbers of trials of several studies, as pages/beside.py makes them
const AT_ONCE = 2; // figures that are asked for at the same time

let start = null; // which studies and pages there are
let page = null; // the page that is shown
let cards = [];
let loading = 0; // counts what was begun, so that an older one notices that it is old

async function open() {
  start = await ask("api/start");
  readAddress();
  const layouts = start.layouts.map((each) => each.name);
  if (!layouts.includes(shown.layout)) shown.layout = layouts[0];
  shown.studies = shown.studies.filter((name) => start.studies.includes(name));
  if (!shown.studies.length && start.study !== null) shown.studies = [start.study];
  fillSelect(one("#layout"), start.layouts.map((each) => [each.name, each.title]), shown.layout);
  await arrange();
}

/** The study of the chosen trial. */
const ofTrial = () => page.studies.find((each) => each.name === shown.of) ?? page.studies[0];

/** The number of the chosen trial as figures have it. */
const mark = () =>
  shown.trial === null ? null : page.studies.indexOf(ofTrial()) * PLACE + shown.trial;

const isSeveral = () => start.layouts.find((each) => each.name === shown.layout).several;

/** Show another study or page. */
async function arrange() {
  const first = shown.studies.includes(shown.of) ? shown.of : shown.studies[0];
  if (!isSeveral()) shown.studies = shown.studies.length ? [first] : [];
  else if (shown.studies.length < 2) {
    shown.studies = [...new Set([...shown.studies, ...start.studies.slice(-6)])];
  }
  fillSelect(one("#study"), start.studies.map((name) => [name, name]), shown.studies[0]);
  one("#study").parentElement.hidden = isSeveral();
  one("#beside").hidden = !isSeveral();
  fillBeside(start.studies, () => renew(arrange));
  cards.forEach((card) => card.remove());
  cards = [];
  page = null;
  if (!shown.studies.length) {
    one("#title").textContent = start.studies.length ? "No study is chosen" : "No study yet";
    one("#description").textContent = start.studies.length
      ? "" : "This storage holds no study yet; reload the page once there is one.";
    return say("nothing to show", "idle");
  }
  await refresh();
}

/** Ask for all that is shown, and draw it; what is there already keeps its zoom. */
async function refresh() {
  const turn = ++loading;
  say("reading", "busy");
  const next = await ask("api/page", [...studyParams(), ["layout", shown.layout]]);
  if (turn !== loading) return;
  const isFirst = page === null;
  page = next;
  const study = page.studies[0];
  if (isFirst && !page.several) {
    for (const filter of study.filters) {
      if (filter.only.length && !(filter.name in shown.only)) shown.only[filter.name] = filter.only;
    }
  }
  shown.of = ofTrial().name;
  if (!ofTrial().numbers.includes(shown.trial)) shown.trial = ofTrial().first;
  writeAddress();
  showSummary(page, choose);
  fillFilters(page.several ? [] : study.filters, () => renew(loadFigures));
  if (isFirst) makeCards();
  const facts = loadFacts();
  const isNear = cards.map((card) => card.isNear());
  await load(cards.filter((_, i) => isNear[i]));
  await facts;
  if (turn !== loading) return;
  say(`as of ${new Date().toLocaleTimeString()}`, "idle");
  await load(cards.filter((_, i) => !isNear[i]), 1); // what is seen comes first
}

function makeCards() {
  cards = page.panels.map((panel) => new Card(panel,
    (point) => choose(point % PLACE, page.studies[Math.floor(point / PLACE)].name)));
  one("#figures").replaceChildren(
    ...cards.filter((card) => !card.panel.of_trial).map((card) => card.element));
  one("#of-trial").replaceChildren(
    ...cards.filter((card) => card.panel.of_trial).map((card) => card.element));
  one("#trial").hidden = false;
}

async function load(some, atOnce = AT_ONCE) {
  const waiting = [...some];
  const work = async () => {
    for (let card = waiting.shift(); card; card = waiting.shift()) {
      const params = [...studyParams(), ["layout", shown.layout], ["index", card.panel.index]];
      if (card.panel.of_trial) {
        if (shown.trial !== null) params.push(["trial", shown.trial]);
      } else params.push(...onlyParams());
      try {
        await card.load(params, mark());
      } catch (error) {
        if (error instanceof Gone) throw error; // others are said in the figure's place
      }
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
}

async function loadFigures() {
  writeAddress();
  await load(cards.filter((card) => !card.panel.of_trial));
}

async function loadTrial() {
  await loadFacts();
  await load(cards.filter((card) => card.panel.of_trial));
}

async function loadFacts() {
  const field = one("#number");
  // What is being typed stays, whatever comes in meanwhile.
  if (document.activeElement !== field || field.value === "") field.value = shown.trial ?? "";
  one("#of").textContent = page.several ? `trial of ${shown.of}` : "trial";
  if (shown.trial === null) return showNothing("There is no trial yet.");
  const [number, study] = [shown.trial, shown.of];
  const facts = await ask("api/trial", [["study", study], ["number", number]]);
  if (number !== shown.trial || study !== shown.of) return;
  showFacts(facts);
}

/** Show another trial, here and in every figure. */
async function choose(number, name = shown.of) {
  const isThere = () => page.studies.some((each) => each.name === name
    && each.numbers.includes(number));
  if (!isThere()) await renew(refresh); // it may have begun since the page was read
  if (!isThere()) return showNothing(`There is no trial ${number}.`);
  shown.trial = number;
  shown.of = name;
  writeAddress();
  one("#jump").hidden = false;
  one("#jump").textContent = `trial ${number} ↓`;
  await renew(async () => {
    await Promise.all([loadTrial(), ...cards.map((card) => card.mark(mark()))]);
  });
}

function step(by) {
  const numbers = page ? ofTrial().numbers : [];
  const next = numbers[numbers.indexOf(shown.trial) + by];
  if (next !== undefined) choose(next);
}

/** Do something that asks the server; if that is away, say so and go on. */
async function renew(work) {
  try {
    await work();
  } catch (error) {
    say(error instanceof Gone ? `${error.message}; trying again` : error.message, "away");
  }
}

async function follow() {
  let pause = POLL;
  if (!document.hidden && start === null) await renew(open);
  else if (!document.hidden && shown.studies.length && start !== null) {
    const began = performance.now();
    await renew(async () => {
      if (page === null) return refresh();
      const { stamp } = await ask("api/state", studyParams());
      if (stamp !== page.stamp || one("#live").dataset.state === "away") await refresh();
    });
    pause = Math.max(POLL, 2 * (performance.now() - began)); // a large study is drawn less often
  }
  setTimeout(follow, pause);
}

one("#study").onchange = (event) => {
  shown.studies = [event.target.value];
  shown.only = {};
  shown.trial = null;
  renew(arrange);
};
one("#layout").onchange = (event) => {
  shown.layout = event.target.value;
  shown.only = {};
  renew(arrange);
};
one("#before").onclick = () => step(-1);
one("#after").onclick = () => step(1);
one("#number").onchange = (event) => choose(Number(event.target.value));
document.addEventListener("click", (event) => {
  for (const each of document.querySelectorAll("#filters details[open]")) {
    if (!each.contains(event.target)) each.open = false;
  }
});

await renew(open);
setTimeout(follow, POLL);
