// Two charts that a reader can query. Where a step fails, and without JavaScript, their pictures stay.
const data = JSON.parse(document.getElementById("live-data").textContent);
const MARGIN = { left: 56, right: 14, top: 10, bottom: 46 };
const LETTER_PX = 7;

function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes))
    if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  made.append(...children);
  return made;
}
const html = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

// Three significant digits, two below 0.1, as in the tables of the report.
function number(value) {
  if (value === 0) return "0";
  const size = Math.abs(Number(value.toPrecision(3)));
  if (size >= 100) return Number(value.toPrecision(3)).toLocaleString("en", { maximumFractionDigits: 0 });
  return value.toPrecision(size >= 0.1 ? 3 : 2);
}

function scale(low, high, start, end, log) {
  const form = log ? Math.log10 : (value) => value;
  const at = (value) => start + (form(value) - form(low)) * (end - start) / (form(high) - form(low));
  return { low, high, log, at, length: Math.abs(end - start) };
}

function ticks(axis, apart) {
  const room = Math.max(2, axis.length / apart), found = [];
  if (axis.log) {
    for (const steps of [[1, 2, 5], [1, 3], [1]]) {
      found.length = 0;
      for (let power = Math.floor(Math.log10(axis.low)); power <= Math.log10(axis.high); power++)
        found.push(...steps.map((step) => step * 10 ** power).filter((each) => each >= axis.low && each <= axis.high));
      if (found.length <= room) break;
    }
    return found;
  }
  const least = (axis.high - axis.low) / room, power = 10 ** Math.floor(Math.log10(least));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= least);
  for (let count = Math.ceil(axis.low / step); count * step <= axis.high; count++) found.push(count * step);
  return found;
}
const plain = (value) => Number(value.toPrecision(6)).toLocaleString("en", { maximumSignificantDigits: 6 });

function axes(root, x, y, { width, height, xLabel, yLabel, yText = plain }) {
  const bottom = height - MARGIN.bottom, right = width - MARGIN.right, group = svg("g", { class: "axes" });
  for (const each of ticks(x, 62))
    group.append(svg("path", { d: `M${x.at(each)} ${MARGIN.top}V${bottom}` }),
      svg("text", { x: x.at(each), y: bottom + 17, "text-anchor": "middle" }, plain(each)));
  for (const each of ticks(y, 36))
    group.append(svg("path", { d: `M${MARGIN.left} ${y.at(each)}H${right}` }),
      svg("text", { x: MARGIN.left - 6, y: y.at(each) + 4, "text-anchor": "end" }, yText(each)));
  group.append(svg("path", { class: "edge", d: `M${MARGIN.left} ${MARGIN.top}V${bottom}H${right}` }),
    svg("text", { x: (MARGIN.left + right) / 2, y: height - 8, "text-anchor": "middle" }, xLabel),
    svg("text", { transform: `translate(12 ${(MARGIN.top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, yLabel));
  root.append(group);
}

// The parts of a chart: controls, the plot with its tip and its legend below, and a panel beside it. `draw` is called for each new width.
function layout(box, label, draw) {
  const controls = html("div", { class: "controls" }), tip = html("div", { class: "tip", role: "status", hidden: true });
  const root = svg("svg", { class: "plot", tabindex: 0, role: "application", "aria-label": label });
  const stage = html("div", { class: "stage" }, root, tip), panel = html("div", { class: "panel" });
  const below = html("div");
  box.append(controls, html("div", {}, stage, below), panel);
  let size = null;
  const redraw = () => {
    size = { width: stage.clientWidth, height: stage.clientWidth < 500 ? 320 : 400 };
    fill(root, { viewBox: `0 0 ${size.width} ${size.height}`, width: size.width, height: size.height }, []);
    root.replaceChildren();
    tip.hidden = true;
    draw(root, size);
  };
  new ResizeObserver(() => { if (size && stage.clientWidth && stage.clientWidth !== size.width) redraw(); }).observe(stage);
  const hint = (x, y, head, ...lines) => {
    tip.replaceChildren(html("strong", {}, head), ...lines.map((line) => html("div", {}, line)));
    tip.hidden = false;
    tip.style.left = `${Math.max(0, Math.min(x + 12, size.width - tip.offsetWidth - 2))}px`;
    tip.style.top = `${y > tip.offsetHeight + 14 ? y - tip.offsetHeight - 12 : y + 14}px`;
  };
  const place = (event) => {
    const edge = root.getBoundingClientRect();
    return [event.clientX - edge.left, event.clientY - edge.top];
  };
  return { controls, below, root, panel, tip, redraw, hint, place };
}

const heads = (...texts) => html("thead", {}, html("tr", {}, ...texts.map((each) => html("th", { scope: "col" }, each))));
// `redis-push`; of two runs, `A: redis-push`.
const name = (each) => (data.runs.length > 1 ? `${"AB"[each.run]}: ` : "") + data.contenders[each.who].name;
const placesOf = (items) => data.places.map((text, place) => [place, text])
  .filter(([place]) => items.some((each) => each.place === place));
const hue = (who) => {
  const { light, dark } = data.contenders[who] ?? { light: "#555", dark: "#bbb" };
  return `--light:${light};--dark:${dark}`;
};
const dash = (run, who) => (data.runs.length > 1 ? ["6 4", ""][run] : data.contenders[who].dash);

function choice(label, options, change) {
  const select = html("select", {}, ...options.map(([value, text]) => html("option", { value }, text)));
  select.addEventListener("change", () => change(select.value));
  return html("label", {}, `${label} `, select);
}

// Buttons that show and hide contenders, and runs where there are two. `swatch` draws what stands for them.
function legend(box, swatch, change) {
  const hidden = { who: new Set(), run: new Set() };
  const group = html("div", { class: "legend", role: "group", "aria-label": "Show or hide" });
  const button = (kind, index, ...inside) => {
    const made = html("button", { type: "button", "aria-pressed": "true" }, ...inside);
    const show = (shown) => {
      hidden[kind][shown ? "delete" : "add"](index);
      made.setAttribute("aria-pressed", String(shown));
    };
    made.addEventListener("click", () => { show(hidden[kind].has(index)); change(); });
    group.append(made);
    return show;
  };
  const sign = (run, who) => svg("svg", { width: 26, height: 10, "aria-hidden": "true" }, swatch(run, who));
  if (data.runs.length > 1) data.runs.forEach((text, run) => button("run", run, sign(run, null), text));
  const each = data.contenders.map((one, who) => button("who", who, sign(data.runs.length - 1, who), one.name));
  for (const [text, shown] of [["Show all", true], ["Hide all", false]]) {
    const made = html("button", { type: "button" }, text);
    made.addEventListener("click", () => { each.forEach((show) => show(shown)); change(); });
    group.append(made);
  }
  box.append(group);
  return ({ who, run }) => !hidden.who.has(who) && !hidden.run.has(run);
}
