"use strict";
// Without this script the report is complete: every view and every sample is shown, one below the other.

function setUpHeat(form) {
  const views = [...document.querySelectorAll("[data-view]")];
  const legend = form.querySelector("[data-legend-max]");
  const [values, differences] = [".values", ".differences"].map((name) => form.querySelector(`.scale${name}`));

  function redraw() {
    const against = form.elements.against.value;
    for (const view of views) {
      view.hidden = view.dataset.view !== form.elements.view.value;
      const table = view.querySelector("table");
      if (!view.hidden) legend.textContent = table.dataset.max;
      for (const row of table.querySelectorAll("tbody tr")) drawRow(row, against, Number(table.dataset.sign));
    }
    values.style.display = against === "" ? "inline" : "none";
    differences.style.display = against === "" ? "none" : "inline";
  }
  form.addEventListener("change", redraw);
  redraw();
}

// Cells of a row come in blocks (one a side of a hub) in which each pool occurs once.
function drawRow(row, against, sign) {
  let block = [];
  const flush = () => {
    const reference = block.find((cell) => cell.dataset.pool === against);
    for (const cell of block) drawCell(cell, against === "" ? null : reference, sign);
    block = [];
  };
  for (const cell of row.querySelectorAll("td[data-pool]")) {
    if (cell.dataset.pool === "0") flush();
    block.push(cell);
  }
  flush();
}

function drawCell(cell, reference, sign) {
  cell.dataset.text ??= cell.textContent;
  cell.dataset.heat ??= cell.style.getPropertyValue("--heat");
  cell.classList.remove("up", "down", "reference");
  if (reference === null || cell === reference || cell.dataset.value === undefined) {
    cell.textContent = cell.dataset.text;
    cell.style.setProperty("--heat", cell.dataset.heat);
    if (cell === reference) cell.classList.add("reference");
    return;
  }
  if (reference.dataset.value === undefined) {
    cell.textContent = "—";
    cell.classList.add("reference");
    return;
  }
  const difference = Number(cell.dataset.value) - Number(reference.dataset.value);
  const shown = Math.abs(difference).toFixed(1);
  cell.textContent = shown === "0.0" ? "0.0" : (difference > 0 ? "+" : "−") + shown;
  cell.classList.add(difference * sign >= 0 ? "up" : "down");
  cell.style.setProperty("--heat", Math.min(1, Math.abs(difference) / 15));
}

function setUpSamples(form) {
  const samples = [...document.querySelectorAll(".sample")];
  const output = form.querySelector("output");

  function filter() {
    const direction = form.elements.direction.value;
    const words = form.elements.words.value.toLowerCase();
    let shown = 0;
    for (const sample of samples) {
      const matches =
        (direction === "" || sample.dataset.direction === direction) &&
        (words === "" || sample.textContent.toLowerCase().includes(words));
      sample.hidden = !matches;
      shown += matches ? 1 : 0;
    }
    output.textContent = `${shown} of ${samples.length} shown`;
  }
  const first = form.elements.direction.options[1];
  if (first) first.selected = true;
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  filter();
}

setUpHeat(document.querySelector("[data-controls=heat]"));
setUpSamples(document.querySelector("[data-controls=samples]"));
