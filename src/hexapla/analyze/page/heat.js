// The heat map of directions: one figure at a time, differences to a pool, and all about a cell that is pointed at.

const FULL_DIFFERENCE = 15; // points at which the colour of a difference is fullest

function setUpHeat(form) {
  const views = [...document.querySelectorAll(`[data-view="${form.dataset.heat}"]`)];
  const legend = form.querySelector("[data-legend-max]");
  const [values, differences] = [".values", ".differences"].map((name) => form.querySelector(`.scale${name}`));

  function redraw() {
    const against = form.elements.against.value;
    views.forEach((view, number) => {
      view.hidden = String(number) !== form.elements.view.value;
      if (view.hidden) return;
      const table = view.querySelector("table");
      legend.textContent = table.dataset.max;
      for (const row of table.querySelectorAll("tbody tr")) drawRow(row, against, Number(table.dataset.sign));
      if (form.dataset.heat === "quality") markGaps(view, number, against);
    });
    values.hidden = against !== "";
    differences.hidden = against === "";
  }
  form.hidden = false;
  form.addEventListener("change", redraw);
  form.addEventListener("submit", (event) => event.preventDefault());
  views.forEach(setUpPointing);
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

// The interval of the difference of two pools, from the first to the second of them; null where it is not known.
function gapOf(details, view, direction, first, second) {
  const [low, high] = [Math.min(first, second), Math.max(first, second)];
  const found = first === second ? null : details.gaps[view]?.[direction]?.[(high * (high - 1)) / 2 + low];
  return found && first > second ? [-found[1], -found[0]] : (found ?? null);
}

// Differences whose interval leaves out 0 are set in bold.
async function markGaps(view, number, against) {
  view.dataset.against = against;
  view.dataset.number = number;
  const cells = view.querySelectorAll("td[data-direction]");
  for (const cell of cells) cell.classList.remove("sure");
  if (against === "") return;
  const details = await data("details").catch(() => null);
  if (!details || view.dataset.against !== against) return;
  for (const cell of cells) {
    const gap = gapOf(details, number, cell.dataset.direction, Number(against), Number(cell.dataset.pool));
    cell.classList.toggle("sure", gap !== null && (gap[0] > 0 || gap[1] < 0));
  }
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
  cell.textContent = shownNumber(difference, true);
  cell.classList.add(difference * sign >= 0 ? "up" : "down");
  cell.style.setProperty("--heat", Math.min(1, Math.abs(difference) / FULL_DIFFERENCE));
}

// Pointing with the mouse or the keyboard: a single stop of the tab key, arrow keys from cell to cell.
function setUpPointing(view) {
  const cells = [...view.querySelectorAll("td[data-direction]")];
  if (!cells.length) return;
  const rows = [...view.querySelectorAll("tbody tr")].map((row) => [...row.querySelectorAll("td[data-direction]")]);
  const table = rows.filter((row) => row.length);
  cells[0].tabIndex = 0;
  view.addEventListener("mouseover", (event) => point(event.target.closest?.("td[data-direction]")));
  view.addEventListener("mouseleave", () => point(null));
  view.addEventListener("focusin", (event) => point(event.target.closest("td[data-direction]")));
  view.addEventListener("focusout", () => point(null));
  view.addEventListener("click", (event) => open(event.target.closest("td[data-direction]")));
  view.addEventListener("keydown", (event) => {
    const cell = event.target.closest("td[data-direction]");
    if (!cell) return;
    if (event.key === "Enter") open(cell);
    if (event.key === "Escape") point(null);
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const row = table.findIndex((found) => found.includes(cell));
    const [down, right] = steps[event.key];
    const next = table[row + down]?.[Math.min(table[row].indexOf(cell) + right, table[row + down].length - 1)];
    if (!next) return;
    cell.removeAttribute("tabindex");
    next.tabIndex = 0;
    next.focus();
  });
  const open = (cell) => cell && showDirection(cell.dataset.direction);
}

async function point(cell) {
  const box = document.getElementById("detail");
  point.cell?.removeAttribute("aria-describedby");
  point.cell = cell ?? null;
  if (!cell) {
    box.hidden = true;
    return;
  }
  const details = await data("details").catch(() => null);
  if (!details || point.cell !== cell) return;
  const view = cell.closest("[data-view]").dataset;
  const parts = describe(details, cell.dataset.direction, Number(cell.dataset.pool));
  if (view.against) parts.splice(1, 0, ...describeGap(details, cell, view));
  box.replaceChildren(...parts);
  box.hidden = false;
  cell.setAttribute("aria-describedby", "detail");
  const at = cell.getBoundingClientRect();
  const left = Math.min(at.left, document.documentElement.clientWidth - box.offsetWidth - 12);
  const above = at.bottom + box.offsetHeight + 8 > document.documentElement.clientHeight && at.top > box.offsetHeight + 8;
  box.style.left = `${Math.max(8, left + scrollX)}px`;
  box.style.top = `${scrollY + (above ? at.top - box.offsetHeight - 6 : at.bottom + 6)}px`;
}

function describeGap(details, cell, { against, number }) {
  const gap = gapOf(details, number, cell.dataset.direction, Number(against), Number(cell.dataset.pool));
  if (gap === null) return [];
  const ends = gap.map((end) => shownNumber(end, true)).join(", ");
  return [made("p", {}, `difference to ${details.pools[against]}: ${cell.textContent}, 95 % interval [${ends}]`)];
}

function describe(details, direction, pool) {
  const parts = [made("p", { className: "title" }, `${details.pools[pool]}, ${details.labels[direction]}`)];
  for (const entry of details.cells[direction][pool]) {
    parts.push(made("p", {}, `${entry.test}, ${entry.rows.toLocaleString("en")} sentences`));
    const body = made("tbody");
    entry.figures.forEach((figure, number) => {
      const metric = details.metrics[number];
      const interval = figure && figure[1] !== null ? `${shownNumber(figure[1])} – ${shownNumber(figure[2])}` : "";
      const value = figure ? shownNumber(figure[0]) + (metric.isFailure ? " %" : "") : "—";
      const cells = [made("th", { scope: "row" }, metric.title), made("td", {}, value), made("td", {}, interval)];
      body.append(made("tr", { className: metric.isFailure ? "failure" : "" }, ...cells));
    });
    parts.push(made("table", {}, body));
    const signatures = entry.figures.filter((figure, number) => figure && !details.metrics[number].isFailure);
    for (const figure of signatures) {
      parts.push(made("p", { className: "signature" }, details.signatures[figure[3]] + (entry.context ?? "")));
    }
  }
  return parts;
}
