// What the page asks of its server.

export class Gone extends Error {}

/** The answer to a question, as data. `params` is a list of [name, value]. */
export async function ask(path, params = [], signal = undefined) {
  const query = new URLSearchParams(params).toString();
  let response;
  try {
    response = await fetch(query ? `${path}?${query}` : path, { cache: "no-cache", signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Gone("the server does not answer");
  }
  const type = response.headers.get("Content-Type") || "";
  const data = type.includes("json") ? await response.json() : { error: await response.text() };
  if (!response.ok) throw new Error(data.error || `error ${response.status}`);
  return data;
}
