// The table of loadings: filtered, sorted and shown a page at a time, with two plots of the same rows.

const F = DATA.features;
const PAGE = 50;
const MOST_POINTS = 1500;
const N_LARGEST = 300;
const MOST_BARS = 20;
const COLUMNS = [
  { name: "view", of: (i) => DATA.views[F.view[i]] },
  { name: "factor", of: (i) => DATA.factors[F.factor[i]], button: true },
  { name: "feature", of: nameOf },
  { name: "mean", number: true, of: (i) => F.mean[i], show: (v) => short(v * F.unit) },
  { name: "lower", number: true, of: (i) => F.lower[i], show: (v) => short(v * F.unit) },
  { name: "upper", number: true, of: (i) => F.upper[i], show: (v) => short(v * F.unit) },
  { name: "surety", number: true, of: (i) => F.surety[i], show: share },
  { name: "fdr", number: true, ascending: true, of: (i) => F.fdr[i], show: share },
];
const state = { factor: -1, view: -1, fdr: 10000, search: "", page: 0, order: null, rows: [] };
const lowered = Object.fromEntries(DATA.views.map((view) => [view, F.names[view].map((name) => name.toLowerCase())]));

function nameOf(i) {
  return F.names[DATA.views[F.view[i]]][F.feature[i]];
}

function share(value) {
  return value === 0 ? "<0.0001" : value === 10000 ? ">0.9999" : (value / 10000).toFixed(4);
}

const element = (id) => document.getElementById(id);

function filterRows() {
  const wanted = state.search.trim().toLowerCase();
  const rows = [];
  for (let i = 0; i < F.view.length; i++) {
    if (state.factor >= 0 && F.factor[i] !== state.factor) continue;
    if (state.view >= 0 && F.view[i] !== state.view) continue;
    if (F.fdr[i] > state.fdr) continue;
    if (wanted && !lowered[DATA.views[F.view[i]]][F.feature[i]].includes(wanted)) continue;
    rows.push(i);
  }
  if (state.order) {
    const { of, number } = COLUMNS[state.order.column];
    const direction = state.order.ascending ? 1 : -1;
    const key = rows.map(of);
    const at = key.map((_, i) => i);
    const collator = new Intl.Collator(undefined, { numeric: true });
    at.sort((a, b) => direction * (number ? key[a] - key[b] : collator.compare(key[a], key[b])) || a - b);
    state.rows = at.map((i) => rows[i]);
  } else {
    state.rows = rows;
  }
}

function fillTable() {
  const last = Math.max(0, Math.ceil(state.rows.length / PAGE) - 1);
  state.page = Math.min(Math.max(state.page, 0), last);
  const body = element("loadings").tBodies[0];
  const shown = state.rows.slice(state.page * PAGE, (state.page + 1) * PAGE);
  body.replaceChildren(
    ...shown.map((i) => {
      const row = document.createElement("tr");
      for (const column of COLUMNS) {
        const cell = row.insertCell();
        const content = column.show ? column.show(column.of(i)) : column.of(i);
        if (column.number) cell.className = "number";
        if (column.button) {
          const button = document.createElement("button");
          button.type = "button";
          button.textContent = content;
          button.setAttribute("aria-label", `show only ${content}`);
          button.addEventListener("click", () => chooseFeatures({ factor: F.factor[i] }));
          cell.append(button);
        } else {
          cell.textContent = content;
        }
      }
      return row;
    }),
  );
  const from = state.rows.length ? state.page * PAGE + 1 : 0;
  element("page").textContent = `${from} to ${state.page * PAGE + shown.length} of ${state.rows.length}`;
  element("previous").disabled = state.page === 0;
  element("next").disabled = state.page === last;
  element("count").textContent = `${state.rows.length.toLocaleString("en")} loading${state.rows.length === 1 ? "" : "s"}`;
}

function drawFeatures() {
  for (const plot of document.querySelectorAll('#features [data-plot="forest"], #features [data-plot="ranks"]')) {
    PLOTS[plot.dataset.plot](plot);
  }
}

function update() {
  filterRows();
  fillTable();
  for (const chip of element("chips").children) {
    chip.setAttribute("aria-pressed", String(Number(chip.dataset.factor) === state.factor));
  }
  if (!element("features").hidden) drawFeatures();
}

// Show some features: of a factor, a view, or with a text in their names; what is not said stays as it is.
function chooseFeatures(wanted) {
  Object.assign(state, wanted, { page: 0 });
  element("view").value = String(state.view);
  element("search").value = state.search;
  if (element("features").hidden) showTab("features", true);
  update();
}

PLOTS.forest = (holder) => {
  const rows = state.rows.slice(0, MOST_BARS).map((i) => ({
    label: `${nameOf(i)} (${DATA.factors[F.factor[i]]})`,
    mean: F.mean[i] * F.unit,
    lower: F.lower[i] * F.unit,
    upper: F.upper[i] * F.unit,
    search: nameOf(i),
  }));
  if (rows.length) drawForest(holder, rows, "First loadings", (row) => chooseFeatures({ search: row.search, factor: -1 }));
  else holder.replaceChildren("No loading is like this.");
};

// Of many loadings the largest are drawn, and of the rest every so many.
function thin(rows) {
  if (rows.length <= MOST_POINTS) return rows;
  const step = Math.ceil(rows.length / (MOST_POINTS - 2 * N_LARGEST));
  return rows.filter((_, k) => k < N_LARGEST || k >= rows.length - N_LARGEST || k % step === 0);
}

PLOTS.ranks = (holder) => {
  const ranked = [...state.rows].sort((a, b) => F.mean[a] - F.mean[b]);
  const place = new Map(ranked.map((i, k) => [i, k + 1]));
  const box = frameOf(holder, 340);
  const svg = picture(holder, box.width, box.height, `${ranked.length} loadings in order of size`);
  if (!ranked.length) return;
  const valueOf = (i) => F.mean[i] * F.unit;
  const x = scale(0, ranked.length + 1, box.left, box.right);
  const y = scale(Math.min(0, valueOf(ranked[0])), Math.max(0, valueOf(ranked.at(-1))), box.bottom, box.top);
  axes(svg, x, y, box);
  for (const i of thin(ranked)) {
    const at = { cx: x(place.get(i)).toFixed(1), cy: y(valueOf(i)).toFixed(1) };
    const point = node("circle", { class: "mark", ...at, r: 3, opacity: 0.15 + (0.85 * F.surety[i]) / 10000, "data-row": i }, [
      node("title", {}, [`${nameOf(i)}, ${DATA.factors[F.factor[i]]}: ${short(valueOf(i))}`]),
    ]);
    svg.append(point);
  }
  svg.onclick = (event) => {
    const point = event.target.closest("[data-row]");
    if (point) chooseFeatures({ search: nameOf(Number(point.dataset.row)), factor: -1 });
  };
  svg.append(text(box.right, box.bottom + 32, "rank", "end"));
};

function startFeatures() {
  const head = element("loadings").tHead.rows[0];
  COLUMNS.forEach((column, k) => {
    const header = document.createElement("th");
    const button = document.createElement("button");
    header.scope = "col";
    if (column.number) header.className = "number";
    button.type = "button";
    button.textContent = column.name;
    button.addEventListener("click", () => {
      state.order = { column: k, ascending: turnOrder(header, column.ascending || !column.number) };
      state.page = 0;
      update();
    });
    header.append(button);
    head.append(header);
  });
  element("chips").addEventListener("click", (event) => {
    if (event.target.dataset.factor !== undefined) chooseFeatures({ factor: Number(event.target.dataset.factor) });
  });
  element("view").addEventListener("change", (event) => chooseFeatures({ view: Number(event.target.value) }));
  element("fdr").addEventListener("change", (event) => chooseFeatures({ fdr: Number(event.target.value) }));
  element("search").addEventListener("input", (event) => chooseFeatures({ search: event.target.value }));
  for (const [id, step] of [["previous", -1], ["next", 1]]) {
    element(id).addEventListener("click", () => {
      state.page += step;
      fillTable();
    });
  }
  update();
}

startFeatures();
startPage();
document.documentElement.dataset.ready = String(Math.round(performance.now())); // ms since the page was asked for
