// Elements are made of texts: nothing of a study is ever read as markup.

/** An element with properties and children; a child that is a string is text. */
export function make(name, properties = {}, ...children) {
  const found = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "dataset") Object.assign(found.dataset, value);
    else if (key === "colour") { if (value) found.style.setProperty("--chip", value); }
    else found[key] = value;
  }
  found.append(...children.filter((child) => child !== null && child !== undefined));
  return found;
}

export const one = (selector) => document.querySelector(selector);
