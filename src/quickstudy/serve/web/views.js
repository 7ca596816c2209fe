// Pieces of the page that are drawn from data.

const SVG = "http://www.w3.org/2000/svg";

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "on") for (const [event, call] of Object.entries(value)) made.addEventListener(event, call);
    else if (key === "class") made.className = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

const busy = new Map();

// Marks a region as busy until all that was begun in it has ended.
export async function whileBusy(region, call) {
  busy.set(region, (busy.get(region) ?? 0) + 1);
  region.setAttribute("aria-busy", "true");
  try {
    await call();
  } finally {
    busy.set(region, busy.get(region) - 1);
    if (!busy.get(region)) region.removeAttribute("aria-busy");
  }
}

export function svg(name, attributes = {}, text = "") {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  return made;
}

export function showBars(list, scores, { most = 6, scale = 1 } = {}) {
  const sorted = Object.entries(scores).sort((a, b) => b[1] - a[1]).slice(0, most);
  list.replaceChildren(
    ...sorted.map(([name, share], i) => {
      const fill = element("div", { class: "fill" });
      fill.style.width = `${Math.max(0, Math.min(1, share / scale)) * 100}%`;
      return element(
        "li",
        { class: i ? "" : "first" },
        element("span", { class: "name", title: name }, name),
        element("div", { class: "track" }, fill),
        element("span", { class: "share" }, scale === 1 ? percent(share) : share.toFixed(2)),
      );
    }),
  );
}

// As quickstudy.core.words.percent: halves go up, also those that binary numbers miss; two digits
// below a tenth, and 100 % only where it is all.
export function percent(share) {
  const of = Number((100 * share).toFixed(9));
  if (share > 0.99 && share < 1) return `${Math.min(Number(of.toFixed(1)), 99.9).toFixed(1)} %`;
  return `${share > 0 && share < 0.1 ? Number(of.toPrecision(2)) : of.toFixed(0)} %`;
}

function path(values, width, height) {
  return values
    .map((y, i) => `${i ? "L" : "M"}${(40 + (i * width) / (values.length - 1)).toFixed(1)} ${(10 + height * (1 - y)).toFixed(1)}`)
    .join("");
}

export function showCurve(target, curve, index) {
  const x = 40 + (index * 350) / (curve.thresholds.length - 1);
  const parts = [
    svg("line", { class: "axis", x1: 40, x2: 390, y1: 120, y2: 120 }),
    svg("line", { class: "axis", x1: 40, x2: 40, y1: 10, y2: 120 }),
    svg("text", { x: 4, y: 18 }, "100 %"),
    svg("text", { x: 16, y: 122 }, "0 %"),
    svg("path", { class: "accepts", d: path(curve.false_accept, 350, 110) }),
  ];
  if (curve.false_reject.length) parts.push(svg("path", { class: "rejects", d: path(curve.false_reject, 350, 110) }));
  parts.push(svg("line", { class: "mark", x1: x, x2: x, y1: 8, y2: 122 }));
  parts.push(svg("line", { class: "accepts", x1: 60, x2: 84, y1: 138, y2: 138 }), svg("text", { x: 90, y: 142 }, "unknowns let in"));
  parts.push(svg("line", { class: "rejects", x1: 220, x2: 244, y1: 138, y2: 138 }), svg("text", { x: 250, y: 142 }, "examples refused"));
  target.replaceChildren(...parts);
}

const shapes = [
  (x, y, c) => svg("circle", { class: c, cx: x, cy: y, r: 6 }),
  (x, y, c) => svg("rect", { class: c, x: x - 5.5, y: y - 5.5, width: 11, height: 11 }),
  (x, y, c) => svg("path", { class: c, d: `M${x} ${y - 7}L${x + 7} ${y + 6}H${x - 7}Z` }),
  (x, y, c) => svg("path", { class: c, d: `M${x} ${y - 8}L${x + 8} ${y}L${x} ${y + 8}L${x - 8} ${y}Z` }),
];
const mark = (i, x, y) => shapes[Math.floor(i / 8) % 4 || i % 4](x, y, `c${i % 8}`);

export function showMap(plane, legend, map) {
  const all = [...map.examples, ...map.asked];
  const xs = all.map((p) => p.x);
  const ys = all.map((p) => p.y);
  const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  // As wide as it is shown, so that marks and words are of the same size on a phone.
  const width = Math.max(300, Math.min(640, plane.clientWidth || 640));
  plane.setAttribute("viewBox", `0 0 ${width} 420`);
  const scale = Math.min((width - 80) / (right - left || 1), 340 / (high - low || 1));
  const at = (p) => [width / 2 + (p.x - (left + right) / 2) * scale, 210 - (p.y - (low + high) / 2) * scale];
  const names = [...new Set(map.examples.map((p) => p.label))];
  const parts = map.examples.map((p) => {
    const made = mark(names.indexOf(p.label), ...at(p));
    made.append(svg("title", {}, p.label));
    return made;
  });
  for (const p of map.asked) {
    const [x, y] = at(p);
    parts.push(svg("circle", { class: "asked", cx: x, cy: y, r: 11 }));
    const isRight = x > width / 2;
    parts.push(svg("text", { x: isRight ? x - 16 : x + 16, y: y + 4, "text-anchor": isRight ? "end" : "start" }, `yours: ${p.label}`));
  }
  plane.replaceChildren(...parts);
  legend.replaceChildren(
    ...names.map((name, i) => {
      const icon = svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" });
      icon.append(mark(i, 8, 8));
      return element("li", {}, icon, name);
    }),
  );
}
