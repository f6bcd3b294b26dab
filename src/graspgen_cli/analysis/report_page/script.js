"use strict";
const charts = JSON.parse(document.getElementById("charts").textContent);
const options = { displaylogo: false, responsive: true, displayModeBar: false };
for (const [id, figure] of Object.entries(charts)) {
  Plotly.newPlot(id, figure.data, figure.layout, options);
}

const table = document.getElementById("objects");
const body = table.tBodies[0];
const headings = Array.from(table.tHead.rows[0].cells);

function compare(a, b) {
  const x = Number(a), y = Number(b);
  return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
}

function sortBy(column) {
  const heading = headings[column];
  const falling = heading.getAttribute("aria-sort") === "ascending";
  const rows = Array.from(body.rows);
  rows.sort((a, b) => compare(a.cells[column].dataset.key, b.cells[column].dataset.key) * (falling ? -1 : 1));
  for (const other of headings.slice(1)) other.setAttribute("aria-sort", "none");
  heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
  body.append(...rows);
}

headings.forEach((heading, column) => {
  const button = heading.querySelector("button");
  if (button) button.addEventListener("click", () => sortBy(column));
});

document.getElementById("find").addEventListener("input", (event) => {
  const wanted = event.target.value.toLowerCase();
  for (const row of body.rows) row.hidden = !row.cells[1].textContent.toLowerCase().includes(wanted);
});

window.addEventListener("beforeprint", () => {
  for (const id of Object.keys(charts)) Plotly.Plots.resize(id);
});
