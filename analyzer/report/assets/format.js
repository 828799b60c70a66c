"use strict";
/* Numbers, colours and elements for charts and maps. Text is set as text, never as HTML. */

const RAISED = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };

const raised = (power) => [...String(power)].map((sign) => RAISED[sign]).join("");

/** Four significant digits: 0.001234, 5.488×10⁻⁸. */
function numberText(value, digits = 4) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) {
    const [mantissa, power] = value.toExponential(digits - 1).split("e");
    return `${Number(mantissa)}×10${raised(Number(power))}`;
  }
  return Number(value.toPrecision(digits)).toLocaleString("en-US", { maximumFractionDigits: 12 });
}

const integerText = (value) => value.toLocaleString("en-US", { maximumFractionDigits: 3 });

const withUnits = (title, units, power = 0) => {
  const scale = power ? `10${raised(power)}` : "";
  const inside = [scale, units].filter(Boolean).join(" ");
  return inside ? `${title} (${inside})` : title;
};

/** The power of ten to divide by, so that a value is between 1 and 10; 0 if it is readable as it is. */
function powerOf(value) {
  const power = value > 0 ? Math.floor(Math.log10(value)) : 0;
  return Math.abs(power) > 2 ? power : 0;
}

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const COLOURS = 7;
const DASHES = [[], [8, 4], [2, 3], [9, 3, 2, 3]];
const BORDERS = ["solid", "dashed", "dotted", "double"];
const colourOf = (n) => css(`--c${n % COLOURS}`);
const dashOf = (n) => DASHES[Math.floor(n / COLOURS) % DASHES.length];

function make(tag, parent, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  parent.append(element);
  return element;
}

function swatch(parent, n) {
  const mark = make("span", parent, "swatch");
  mark.style.borderTop = `3px ${BORDERS[Math.floor(n / COLOURS) % BORDERS.length]} ${colourOf(n)}`;
}

/** Adds a button to a figure's heading; the keyboard reaches it too. */
function tool(figure, text, title, act) {
  const caption = figure.querySelector("figcaption");
  const tools = caption.querySelector(".tools") ?? make("span", caption, "tools");
  const button = make("button", tools, "", text);
  button.type = "button";
  button.title = title;
  button.setAttribute("aria-label", `${title}: ${caption.firstChild.textContent}`);
  button.addEventListener("click", act);
}

/** Ticks of a logarithmic axis: 1, 2, 5 over few decades, powers of ten over many, evenly spaced if these are too few. */
function logarithmicTicks(low, high, room) {
  const decades = Math.log10(high / low);
  const steps = decades < 0.8 ? [1, 1.5, 2, 3, 4, 5, 7] : decades < 3 ? [1, 2, 5] : [1];
  const apart = Math.max(1, Math.ceil(decades / Math.max(room, 2)));
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    if (steps.length === 1 && power % apart) continue;
    for (const step of steps) {
      const tick = Number(`${step}e${power}`);
      if (tick >= low && tick <= high) ticks.push(tick);
    }
  }
  return ticks.length >= 2 ? ticks : evenTicks(low, high);
}

/** About four round numbers above low, and up to high. */
function evenTicks(low, high) {
  const width = (high - low) / 4;
  const unit = 10 ** Math.floor(Math.log10(width));
  const step = [1, 2, 5, 10].map((n) => n * unit).find((one) => one >= width);
  const even = [];
  for (let tick = (Math.floor(low / step) + 1) * step; tick <= high; tick += step) even.push(Number(tick.toPrecision(12)));
  return even;
}

/** Keeps a tooltip inside its box, beside the pointer. */
function placeTip(tip, box, left, top) {
  tip.hidden = false;
  const wide = box.clientWidth;
  const x = left + 14 + tip.offsetWidth > wide ? left - 14 - tip.offsetWidth : left + 14;
  tip.style.left = `${Math.max(0, Math.min(x, wide - tip.offsetWidth))}px`;
  tip.style.top = `${Math.max(0, Math.min(top - tip.offsetHeight - 8, box.clientHeight - tip.offsetHeight))}px`;
}
