// What is shown, as the address of the page says it (`of`: the study of the trial, of several): so it can be kept, shared and gone back to.

export const shown = { studies: [], layout: null, trial: null, of: null, only: {} };

export function readAddress() {
  const query = new URLSearchParams(location.search);
  shown.studies = query.getAll("study");
  shown.layout = query.get("layout");
  const trial = query.get("trial");
  shown.trial = trial !== null && /^\d{1,9}$/.test(trial) ? Number(trial) : null;
  shown.of = query.get("of");
  shown.only = {};
  for (const text of query.getAll("only")) {
    try {
      const [name, value] = JSON.parse(text);
      (shown.only[name] ??= []).push(value);
    } catch { /* an address that somebody has cut */ }
  }
}

export function studyParams() {
  return shown.studies.map((name) => ["study", name]);
}

export function onlyParams() {
  return Object.entries(shown.only).flatMap(([name, values]) =>
    values.map((value) => ["only", JSON.stringify([name, value])]));
}

export function writeAddress() {
  const params = [...studyParams(), ["layout", shown.layout], ...onlyParams()];
  if (shown.trial !== null) params.push(["trial", String(shown.trial)]);
  if (shown.trial !== null && shown.studies.length > 1) params.push(["of", shown.of]);
  history.replaceState(null, "", `?${new URLSearchParams(params)}`);
}
