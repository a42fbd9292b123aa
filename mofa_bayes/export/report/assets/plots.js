// Drawings, by name of the element's data-plot: each fills its element from DATA, at the width that it has.

const SPACE = "http://www.w3.org/2000/svg";

function node(name, attributes, children = []) {
  const made = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function text(x, y, content, anchor = "start") {
  return node("text", { x, y, "text-anchor": anchor }, [content]);
}

function picture(element, width, height, label) {
  const svg = node("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  element.replaceChildren(svg);
  return svg;
}

// A scale from [low, high] to [start, end], with about n round ticks inside.
function scale(low, high, start, end) {
  if (!(high > low)) [low, high] = [low - 1, high + 1];
  const at = (value) => start + ((value - low) / (high - low)) * (end - start);
  at.ticks = (n) => {
    const rough = (high - low) / n;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough * (1 - 1e-9));
    const first = Math.ceil(low / step - 1e-9);
    const decimals = Math.min(12, Math.max(0, -Math.floor(Math.log10(step) + 1e-9)));
    const label = (v) => v.toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
    const count = Math.floor(high / step + 1e-9) - first + 1;
    return Array.from({ length: count }, (_, i) => [(first + i) * step, label((first + i) * step)]);
  };
  return at;
}

const short = (value) => Number(value.toPrecision(3)).toLocaleString("en", { maximumSignificantDigits: 6 });

function axes(svg, x, y, box) {
  for (const [tick, label] of x ? x.ticks(box.right - box.left < 320 ? 3 : 5) : []) {
    svg.append(node("line", { class: "axis", x1: x(tick), x2: x(tick), y1: box.top, y2: box.bottom }));
    svg.append(text(x(tick), box.bottom + 15, label, "middle"));
  }
  for (const [tick, label] of y ? y.ticks(5) : []) {
    svg.append(node("line", { class: "axis", x1: box.left, x2: box.right, y1: y(tick), y2: y(tick) }));
    svg.append(text(box.left - 5, y(tick) + 4, label, "end"));
  }
}

function frameOf(element, height) {
  const width = Math.max(260, element.clientWidth || 600);
  return { width, height, left: 58, right: width - 12, top: 10, bottom: height - 36 };
}

const path = (points, x, y, key) =>
  points
    .filter((p) => p[key] !== null)
    .map((p, i) => `${i ? "L" : "M"}${x(p.x).toFixed(1)} ${y(p[key]).toFixed(1)}`)
    .join("");

function band(points, x, y) {
  const known = points.filter((p) => p.lower !== null && p.upper !== null);
  const there = known.map((p) => `${x(p.x).toFixed(1)} ${y(p.upper).toFixed(1)}`);
  const back = known.map((p) => `${x(p.x).toFixed(1)} ${y(p.lower).toFixed(1)}`).reverse();
  return known.length ? `M${[...there, ...back].join("L")}Z` : "";
}

// Points with intervals, one below the other: rows of {label, mean, lower, upper}.
function drawForest(element, rows, title, onChoose) {
  const width = Math.max(260, element.clientWidth || 600);
  const height = 20 * rows.length + 34;
  const left = Math.min(190, width * 0.4);
  const svg = picture(element, width, height, `${title}: ${rows.map((r) => `${r.label} ${short(r.mean)}`).join(", ")}`);
  const low = Math.min(0, ...rows.map((r) => r.lower));
  const high = Math.max(0, ...rows.map((r) => r.upper));
  const x = scale(low, high, left + 8, width - 12);
  axes(svg, x, null, { left: left + 8, right: width - 12, top: 4, bottom: height - 26 });
  svg.append(node("line", { class: "other", x1: x(0), x2: x(0), y1: 4, y2: height - 26 }));
  const fits = Math.floor(left / 6.6);
  rows.forEach((row, i) => {
    const y = 16 + 20 * i;
    const name = row.label.length > fits ? `${row.label.slice(0, fits - 1)}…` : row.label;
    const group = node("g", onChoose ? { "data-row": i } : {}, [
      node("title", {}, [`${row.label}: ${short(row.mean)} (${short(row.lower)} to ${short(row.upper)})`]),
      text(left, y + 4, name, "end"),
      node("line", { class: "line", x1: x(row.lower), x2: x(row.upper), y1: y, y2: y }),
      node("circle", { class: "mark", cx: x(row.mean), cy: y, r: 4 }),
    ]);
    if (onChoose) group.addEventListener("click", () => onChoose(row));
    svg.append(group);
  });
}

function drawCurves(element, curves, title, draw) {
  const pictures = curves.map((curve) => {
    const holder = document.createElement("div");
    element.append(holder);
    return [holder, curve];
  });
  for (const [holder, curve] of pictures) draw(holder, curve, curve.place ? `${title}: ${curve.place}` : title);
}

function drawLines(holder, curve, title, lines, square) {
  const box = frameOf(holder, 240);
  const svg = picture(holder, box.width, box.height, title);
  const values = lines.flatMap(([, key]) => curve.points.map((p) => p[key])).filter((v) => v !== null);
  const bounds = [...curve.points.flatMap((p) => [p.lower, p.upper])].filter((v) => v !== null);
  const top = Math.max(...values, ...bounds, 0);
  const x = scale(0, square ? 1 : Math.max(...curve.points.map((p) => p.x)), box.left, box.right);
  const y = scale(square ? 0 : Math.max(Math.min(...values, 0), -0.3 * top), square ? 1 : top, box.bottom, box.top);
  axes(svg, x, y, box);
  const clip = (p) => ({ ...p, lower: floor(p.lower), upper: floor(p.upper), treat_all: floor(p.treat_all) });
  const floor = (v) => (v === null || v === undefined ? null : Math.max(v, square ? 0 : -0.3 * top));
  svg.append(node("path", { class: "band", d: band(curve.points.map(clip), x, y) }));
  if (square) svg.append(node("path", { class: "other", d: `M${x(0)} ${y(0)}L${x(1)} ${y(1)}` }));
  for (const [kind, key] of lines) svg.append(node("path", { class: kind, d: path(curve.points.map(clip), x, y, key) }));
  svg.append(text(box.right, box.bottom + 32, curve.place && `time ${curve.place}`, "end"));
}

const PLOTS = {
  bound(element, title) {
    const box = frameOf(element, 220);
    const svg = picture(element, box.width, box.height, `${title}: ${short(DATA.bound.at(-1)[1])} at the end`);
    const shown = DATA.bound.slice(Math.floor(DATA.bound.length / 20)); // the first climb hides all that follows
    const values = shown.map((p) => p[1]);
    box.left = 90;
    const x = scale(shown[0][0], shown.at(-1)[0], box.left, box.right);
    const y = scale(Math.min(...values), Math.max(...values), box.bottom, box.top);
    axes(svg, x, y, box);
    svg.append(node("path", { class: "line", d: path(shown.map(([k, v]) => ({ x: k, v })), x, y, "v") }));
    svg.append(text(box.right, box.bottom + 32, "pass", "end"));
  },
  heatmap(element) {
    const table = document.createElement("table");
    table.className = "heat";
    const head = table.createTHead().insertRow();
    for (const name of ["", ...DATA.factors]) {
      const cell = document.createElement(name ? "th" : "td");
      if (name) cell.scope = "col";
      cell.textContent = name;
      head.append(cell);
    }
    const largest = Math.max(1e-9, ...DATA.heatmap.flat());
    const body = table.createTBody();
    DATA.heatmap.forEach((shares, view) => {
      const row = body.insertRow();
      const name = document.createElement("th");
      name.scope = "row";
      name.textContent = DATA.views[view];
      row.append(name);
      shares.forEach((share, factor) => {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = `${(100 * share).toFixed(1)} %`;
        button.style.setProperty("--share", `${Math.max(0, (50 * share) / largest).toFixed(0)}%`);
        button.setAttribute("aria-label", `${DATA.views[view]}, ${DATA.factors[factor]}: ${button.textContent}`);
        button.addEventListener("click", () => chooseFeatures({ view, factor }));
        row.insertCell().append(button);
      });
    });
    element.replaceChildren(table);
  },
  effects(element, title) {
    drawForest(element, DATA.effects, title);
  },
  calibration(element, title) {
    element.replaceChildren();
    drawCurves(element, DATA.calibration, title, (...own) => drawLines(...own, [["line", "observed"]], true));
  },
  decision(element, title) {
    element.replaceChildren();
    const lines = [["line", "net_benefit"], ["other", "treat_all"]];
    drawCurves(element, DATA.decision, `${title} (broken line: treat all)`, (...own) => drawLines(...own, lines, false));
  },
  scores(element, title) {
    element.replaceChildren();
    drawCurves(element, DATA.scores, title, (holder, curve, name) => {
      const box = frameOf(holder, 180);
      const svg = picture(holder, box.width, box.height, `${name}: ${curve.counts.join(", ")} subjects in 20 ranges`);
      const x = scale(curve.low, curve.high, box.left, box.right);
      const edge = (i) => x(curve.low + (i / curve.counts.length) * (curve.high - curve.low));
      const y = scale(0, Math.max(1, ...curve.counts), box.bottom, box.top);
      axes(svg, x, y, box);
      curve.counts.forEach((count, i) => {
        const [from, to] = [edge(i) + 1, edge(i + 1) - 1];
        svg.append(node("rect", { class: "mark", x: from, y: y(count), width: to - from, height: y(0) - y(count) }));
      });
      svg.append(text(box.right, box.bottom + 32, curve.place, "end"));
    });
  },
};

function drawAll() {
  for (const element of document.querySelectorAll(".plot")) {
    if (element.closest("[hidden]")) continue;
    const draw = PLOTS[element.dataset.plot];
    if (draw) draw(element, element.dataset.title || "");
  }
}
