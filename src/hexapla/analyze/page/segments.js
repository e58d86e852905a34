// The browser of sentences: one direction or all of a test set, filtered, sorted, a page at a time.

const PAGE_SIZE = 20;
const ALL = "*";
const TYPING_MS = 150; // after the last key before the list is made anew

// Returns a function that shows a direction.
function setUpSegments(form) {
  const index = JSON.parse(document.getElementById("index").textContent);
  const state = { index, rows: [], page: 0, asked: 0 };
  fillControls(form, index);
  const list = () => listRows(form, state);
  let waiting = null;
  form.addEventListener("input", (event) => {
    if (event.target.name === "test") fillDirections(form, index);
    clearTimeout(waiting);
    waiting = setTimeout(list, event.target.matches("[type=search], [type=number]") ? TYPING_MS : 0);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const button of document.querySelectorAll("[data-pager] [data-step]")) {
    button.addEventListener("click", () => {
      state.page += Number(button.dataset.step);
      showPage(form, state);
      if (button.closest("[data-pager]").nextElementSibling === null) form.scrollIntoView();
    });
  }
  document.querySelector("[data-listed]").addEventListener("click", () => save("sentences", listedCsv(state)));
  form.hidden = false;
  if (index.directions.length) whenNear(document.getElementById("segments"), list);
  return (direction) => {
    const test = index.directions.find((entry) => entry.direction === direction)?.test;
    if (test === undefined) return;
    if (!index.directions.some((entry) => entry.test === form.elements.test.value && entry.direction === direction)) {
      form.elements.test.value = test;
      fillDirections(form, index);
    }
    form.elements.direction.value = direction;
    list();
    document.getElementById("segments").scrollIntoView();
  };
}

// Nothing is unpacked before its section comes into sight.
function whenNear(element, act) {
  const observer = new IntersectionObserver(
    (entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      act();
    },
    { rootMargin: "600px" },
  );
  observer.observe(element);
}

function options(select, entries) {
  select.replaceChildren(...entries.map(([value, text]) => new Option(text, value)));
}

function fillControls(form, index) {
  const { test, mark, failure, scope, metric, first, second } = form.elements;
  const pools = index.pools.map((name, position) => [position, name]);
  const tests = [...new Set(index.directions.map((entry) => entry.test))];
  options(test, tests.map((name) => [name, name]));
  test.parentElement.hidden = tests.length < 2;
  fillDirections(form, index);
  options(mark, [
    ...index.withErrors.map(({ name, title }) => [`errors ${name}`, `errors, by ${title}`]),
    ["reference", "differences from the reference"],
    ...pools.map(([n, name]) => [n, `differences from ${name}`]),
    ["", "nothing"],
  ]);
  options(failure, [
    ["", "all sentences"],
    ["any", "failed in any way"],
    ["none", "did not fail"],
    ...index.failures.map(({ title }, position) => [position, title]),
    ["finish", "cut off"],
    ...index.withErrors.flatMap(({ name, title }) =>
      ["critical", "major", "minor"].map((severity) => [`${severity} ${name}`, `${severity} errors, by ${title}`]),
    ),
  ]);
  options(scope, [["", "any pool"], ...pools]);
  options(metric, index.metrics.map(({ title }, position) => [position, title]));
  options(first, pools);
  options(second, pools);
  second.value = pools.length > 1 ? "1" : "0";
  const boxes = pools.map(([position, name]) =>
    made("label", {}, made("input", { type: "checkbox", name: "pool", value: position, checked: true }), ` ${name}`),
  );
  form.querySelector(".pools").append(...boxes);
}

function fillDirections(form, index) {
  const { test, direction } = form.elements;
  const entries = index.directions.filter((entry) => entry.test === test.value);
  const name = (code) => index.languages[code].name;
  const chosen = direction.value;
  options(direction, entries.map((e) => [e.direction, `${name(e.source)} → ${name(e.target)} (${e.rows})`]));
  if (entries.length > 1) direction.append(new Option("all directions", ALL));
  if (entries.some((entry) => entry.direction === chosen)) direction.value = chosen;
}

// A direction's block with its texts beside it.
async function loaded(index, entry) {
  const [block, sources, targets] = await Promise.all(
    [entry.block, entry.sourceBlock, entry.targetBlock].map((number) => data(`block-${number}`)),
  );
  return {
    ...block,
    entry,
    sources: block.source ?? block.ids.map((id) => sources[id]),
    references: block.reference ?? block.ids.map((id) => targets[id]),
    sourceTag: index.languages[entry.source].tag,
    targetTag: index.languages[entry.target].tag,
    label: `${index.languages[entry.source].name} → ${index.languages[entry.target].name}`,
  };
}

function asked(form) {
  const { elements } = form;
  const number = (name) => (elements[name].value === "" ? null : Number(elements[name].value));
  const [mark, errors] = elements.mark.value.split(" ");
  return {
    test: elements.test.value,
    direction: elements.direction.value,
    words: elements.words.value.toLowerCase(),
    failure: elements.failure.value,
    low: number("low"),
    high: number("high"),
    scope: number("scope"),
    metric: number("metric"),
    sort: elements.sort.value,
    first: number("first"),
    second: number("second"),
    order: number("order"),
    errors, // of this metric are marked; undefined: differences are, or nothing
    compare: errors === undefined ? mark : "",
    pools: [...form.querySelectorAll("[name=pool]:checked")].map((box) => Number(box.value)),
  };
}

async function listRows(form, state) {
  const wish = asked(form);
  const turn = ++state.asked;
  const outputs = document.querySelector("#segments output");
  const listed = document.getElementById("listed");
  for (const label of form.querySelectorAll("[data-sort]")) {
    label.hidden = !label.dataset.sort.split(" ").includes(wish.sort);
  }
  const entries = state.index.directions.filter(
    (entry) => entry.test === wish.test && [entry.direction, ALL].includes(wish.direction),
  );
  listed.setAttribute("aria-busy", "true");
  const rows = [];
  let total = 0;
  try {
    for (const [number, entry] of entries.entries()) {
      const direction = await loaded(state.index, entry);
      if (turn !== state.asked) return; // somebody asked for something else meanwhile
      total += direction.ids.length;
      for (let row = 0; row < direction.ids.length; row++) {
        if (wanted(state.index, direction, row, wish)) rows.push({ direction, row });
      }
      if (entries.length > 1) outputs.textContent = `${number + 1} of ${entries.length} directions read`;
    }
  } catch (error) {
    listed.replaceChildren(made("p", { className: "bad", role: "alert" }, error.message));
    return;
  } finally {
    listed.setAttribute("aria-busy", "false");
  }
  sortRows(state.index, rows, wish);
  Object.assign(state, { rows, total, wish, page: 0 });
  showPage(form, state);
}

function scoreOf(index, { direction, row }, metric, pool) {
  const name = index.metrics[metric]?.name;
  return name === undefined ? null : direction.scores[name][pool][row];
}

// Null where they were not looked for, or not kept.
function errorsOf(direction, metric, pool, row) {
  return direction.errors?.[metric]?.[pool][row] ?? null;
}

function wanted(index, direction, row, wish) {
  const pools = wish.scope === null ? wish.pools : [wish.scope];
  if (wish.words !== "") {
    const texts = [direction.sources[row], direction.references[row], direction.ids[row]];
    for (const pool of wish.pools) texts.push(direction.outputs[row][pool] ?? "");
    if (!texts.some((text) => text.toLowerCase().includes(wish.words))) return false;
  }
  if (wish.failure !== "") {
    const [severity, metric] = wish.failure.split(" ");
    const failed = pools.some((pool) => {
      if (wish.failure === "finish") return String(row) in direction.finish[pool];
      if (metric !== undefined) return errorsOf(direction, metric, pool, row)?.some((error) => error.severity === severity);
      const bits = direction.failed[pool][row];
      return ["any", "none"].includes(wish.failure) ? bits !== 0 : (bits >> Number(wish.failure)) & 1;
    });
    if (failed === (wish.failure === "none")) return false;
  }
  if (wish.low === null && wish.high === null) return true;
  return pools.some((pool) => {
    const score = scoreOf(index, { direction, row }, wish.metric, pool);
    return score !== null && (wish.low === null || score >= wish.low) && (wish.high === null || score <= wish.high);
  });
}

function sortKey(index, item, wish) {
  const first = scoreOf(index, item, wish.metric, wish.first);
  if (wish.sort === "score" || first === null) return first;
  const second = scoreOf(index, item, wish.metric, wish.second);
  return second === null ? null : first - second;
}

// Those without a figure come last in either order; equal ones stay in the order of the test set.
function sortRows(index, rows, wish) {
  if (wish.sort === "") return;
  for (const item of rows) item.key = sortKey(index, item, wish);
  rows.sort((one, other) => {
    if (one.key === null || other.key === null) return (one.key === null) - (other.key === null);
    return (one.key - other.key) * wish.order;
  });
}

function showPage(form, state) {
  const { index, rows, wish } = state;
  const numPages = Math.max(1, Math.ceil(rows.length / PAGE_SIZE));
  state.page = Math.min(Math.max(state.page, 0), numPages - 1);
  const shown = rows.slice(state.page * PAGE_SIZE, (state.page + 1) * PAGE_SIZE);
  const number = (value) => value.toLocaleString("en");
  document.querySelector("#segments output").textContent = `${number(rows.length)} of ${number(state.total)} sentences`;
  for (const pager of document.querySelectorAll("[data-pager]")) {
    pager.hidden = false;
    pager.querySelector("[data-page]").textContent = `page ${number(state.page + 1)} of ${number(numPages)}`;
    pager.querySelector("[data-step='-1']").disabled = state.page === 0;
    pager.querySelector("[data-step='1']").disabled = state.page === numPages - 1;
  }
  showKey(index, rows.length === 0 ? "" : wish.errors !== undefined ? "errors" : wish.compare && "differences", wish);
  document.getElementById("listed").replaceChildren(...shown.map((item) => sentence(index, item, wish)));
}

// What the marks mean; kind is "differences", "errors" or "".
function showKey(index, kind, wish) {
  for (const key of document.querySelectorAll("[data-key]")) key.hidden = key.dataset.key !== kind;
  const metric = index.withErrors.find(({ name }) => name === wish.errors);
  document.querySelector("[data-key=errors] > span").textContent = metric?.title ?? "";
}

function sentence(index, item, wish) {
  const { direction, row } = item;
  const where = wish.direction === ALL ? `${direction.label} ` : "";
  const body = made("tbody");
  const given = (name, text, tag) =>
    body.append(
      made(
        "tr",
        { className: "given" },
        made("th", { scope: "row" }, name),
        made("td", { colSpan: 1 + index.metrics.length, dir: "auto", lang: tag }, text),
      ),
    );
  given("source", direction.sources[row], direction.sourceTag);
  given("reference", direction.references[row], direction.targetTag);
  for (const pool of wish.pools) body.append(translation(index, item, wish, pool));
  const titles = index.metrics.map(({ title }) => made("th", { scope: "col", className: "number" }, title));
  const head = made("tr", {}, made("th", { scope: "col" }, ""), made("th", { scope: "col" }, ""), ...titles);
  const heading = made("h3", {}, where, made("small", {}, direction.ids[row]));
  if (wish.sort === "difference" && item.key !== null) {
    heading.append(made("small", { className: "gap" }, ` difference ${shownNumber(item.key, true)}`));
  }
  const table = made("table", {}, made("caption", { className: "hidden" }, `${direction.label}, ${direction.ids[row]}`));
  table.append(made("thead", {}, head), body);
  return made("article", { className: "sentence" }, heading, table);
}

function translation(index, item, wish, pool) {
  const { direction, row } = item;
  const text = direction.outputs[row][pool];
  const line = made("tr", {}, made("th", { scope: "row" }, index.pools[pool]));
  if (text === null) {
    line.append(made("td", { className: "missing", colSpan: 1 + index.metrics.length }, "— not translated"));
    return line;
  }
  const compared = wish.compare === "reference" ? direction.references[row] : direction.outputs[row][wish.compare];
  const written = made("span", { className: "text", dir: "auto", lang: direction.targetTag });
  const errors = errorsOf(direction, wish.errors, pool, row);
  if (errors !== null) written.append(...markedErrors(text, errors));
  else if (wish.compare === "" || compared === null || Number(wish.compare) === pool) written.append(text);
  else {
    for (const [kind, part] of difference(compared, text)) {
      written.append(kind === "same" ? part : made(kind, {}, part));
    }
  }
  const lacking = wish.errors !== undefined && errors === null ? [made("small", {}, "errors were not kept ")] : [];
  line.append(made("td", {}, written, ...lacking, ...badges(index, item, pool)));
  index.metrics.forEach((metric, number) => {
    const values = wish.pools.map((other) => scoreOf(index, item, number, other)).filter((value) => value !== null);
    const value = scoreOf(index, item, number, pool);
    const best = metric.higherIsBetter ? Math.max(...values) : Math.min(...values);
    const isBest = value !== null && value === best && values.some((other) => other !== best);
    line.append(made("td", { className: isBest ? "number best" : "number", "data-title": metric.title }, shownNumber(value)));
  });
  return line;
}

// A text in pieces, of which the errors are marked. Places count code points, as Python does.
function markedErrors(text, errors) {
  const letters = Array.from(text);
  const pieces = [];
  let place = 0;
  for (const { start, end, severity, confidence } of errors) {
    const first = Math.max(start, place); // errors can share a letter that the tokenizer splits
    const last = Math.max(end, first);
    const title = `${severity} error, ${Math.round(confidence * 100)} % sure`;
    pieces.push(letters.slice(place, first).join(""));
    pieces.push(made("mark", { className: severity, title }, letters.slice(first, last).join("")));
    place = last;
  }
  return [...pieces, letters.slice(place).join("")];
}

function badges(index, { direction, row }, pool) {
  const found = [];
  const notes = direction.notes[pool][row] ?? {};
  index.failures.forEach(({ name, title }, position) => {
    if (!((direction.failed[pool][row] >> position) & 1)) return;
    found.push(name in notes ? `${title}: ${index.languages[notes[name]]?.name ?? notes[name]}` : title);
  });
  const finish = direction.finish[pool][row];
  if (finish !== undefined) found.push(`ended by: ${finish}`);
  return found.map((text) => made("span", { className: "badge" }, text));
}

function listedCsv({ index, rows, wish }) {
  const head = ["test set", "direction", "id", "source", "reference"];
  for (const pool of wish.pools) {
    const name = index.pools[pool];
    head.push(name, ...index.metrics.map(({ title }) => `${name} ${title}`), `${name} failures`);
  }
  const lines = rows.map((item) => {
    const { direction, row } = item;
    const line = [direction.entry.test, direction.entry.direction, direction.ids[row]];
    line.push(direction.sources[row], direction.references[row]);
    for (const pool of wish.pools) {
      line.push(direction.outputs[row][pool]);
      line.push(...index.metrics.map((_, number) => scoreOf(index, item, number, pool)));
      line.push(badges(index, item, pool).map((badge) => badge.textContent).join("; "));
    }
    return line;
  });
  return csvText([head, ...lines]);
}
