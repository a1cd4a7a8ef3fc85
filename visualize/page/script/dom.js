// Making elements. Text always goes in as text, so names of nodes and files can hold any character.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, props, children) {
  for (const [key, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "style") for (const [name, text] of Object.entries(value)) element.style.setProperty(name, text);
    else if (key === "class")
      element.setAttribute("class", Array.isArray(value) ? value.filter(Boolean).join(" ") : value);
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  for (const child of children.flat(4)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}

function el(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

function svg(tag, props = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function button(label, title, action, props = {}) {
  return el("button", { type: "button", title, onclick: action, ...props }, label);
}

// Thousands are separated by commas; what formats numbers for any language takes a while to be loaded.
function countText(count) {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ",");
}

function plural(count, word) {
  const ending = count === 1 ? "" : /(ss|x|ch)$/.test(word) ? "es" : "s";
  return `${countText(count)} ${word}${ending}`;
}

function bytesText(count) {
  if (count === null || count === undefined) return "size unknown";
  const units = ["B", "KiB", "MiB", "GiB"];
  let number = count,
    unit = 0;
  while (number >= 1024 && unit < 3) {
    number /= 1024;
    unit += 1;
  }
  return `${unit && number < 10 ? number.toFixed(1) : Math.round(number)} ${units[unit]}`;
}

function secondsText(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds >= 10) return `${seconds.toFixed(1)} s`;
  return seconds >= 1 ? `${seconds.toFixed(2)} s` : `${Math.round(seconds * 1000)} ms`;
}

function percentText(part, whole) {
  if (part === whole || part === 0) return part === whole ? "100 %" : "0 %";
  return `${Math.min(99.9, Math.max(0.1, (100 * part) / whole)).toFixed(1)} %`;
}
