"use strict";
// Tabs, and tables that sort: the page works without this, as one long text.

const DATA = JSON.parse(document.getElementById("data").textContent);
const TABS = [...document.querySelectorAll('[role="tab"]')];

function showTab(key, focus) {
  for (const tab of TABS) {
    const chosen = tab.getAttribute("aria-controls") === key;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    document.getElementById(tab.getAttribute("aria-controls")).hidden = !chosen;
    if (chosen && focus) tab.focus();
  }
  drawAll();
}

function moveTab(event) {
  const at = TABS.indexOf(event.currentTarget);
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: TABS.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  showTab(TABS[(to + TABS.length) % TABS.length].getAttribute("aria-controls"), true);
}

// Set which column a header row says it is sorted by, and return whether that is now ascending.
function turnOrder(header, firstAscending) {
  const before = header.getAttribute("aria-sort");
  const ascending = before ? before === "descending" : firstAscending;
  for (const other of header.parentNode.children) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  return ascending;
}

function sortTable(header) {
  const body = header.closest("table").tBodies[0];
  const column = header.cellIndex;
  const isNumber = header.classList.contains("number");
  const direction = turnOrder(header, !isNumber) ? 1 : -1;
  const valueOf = (row) => row.cells[column].dataset.value;
  const compare = (a, b) => {
    const [x, y] = [valueOf(a), valueOf(b)];
    if (x === "" || y === "") return (x === "") - (y === ""); // what is absent comes last either way
    return direction * (isNumber ? Number(x) - Number(y) : x.localeCompare(y, undefined, { numeric: true }));
  };
  body.append(...[...body.rows].sort(compare));
}

function startPage() {
  document.documentElement.classList.add("js");
  for (const tab of TABS) {
    tab.addEventListener("click", () => showTab(tab.getAttribute("aria-controls"), true));
    tab.addEventListener("keydown", moveTab);
  }
  for (const button of document.querySelectorAll(".sortable th button")) {
    button.addEventListener("click", () => sortTable(button.parentNode));
  }
  showTab(TABS[0].getAttribute("aria-controls"), false);
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth !== width) drawAll();
    width = window.innerWidth;
  });
}
