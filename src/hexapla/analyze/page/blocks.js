"use strict";
// Data in the page: JSON as it is, and gzip in base64, unpacked when it is looked at.

const NO_UNPACKING =
  "This browser cannot unpack the data in this page (it lacks DecompressionStream; browsers since 2023 have it). " +
  "The same tables lie in the folder tables/ beside the report, the sentences in the folder of the scores.";

// The blocks come after this script, so that the page can be read while they are still coming in.
const wholePage = new Promise((resolve) => {
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", () => resolve());
  else resolve();
});

async function unpack(packed) {
  if (typeof DecompressionStream !== "function") throw new Error(NO_UNPACKING);
  const letters = atob(packed);
  const bytes = new Uint8Array(letters.length);
  for (let position = 0; position < letters.length; position++) bytes[position] = letters.charCodeAt(position);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

const unpacked = new Map();

// What the element with this id holds; what was unpacked once is kept.
function data(id) {
  if (!unpacked.has(id)) {
    const found = wholePage.then(() => unpack(document.getElementById(id).textContent));
    found.catch(() => unpacked.delete(id));
    unpacked.set(id, found);
  }
  return unpacked.get(id);
}

function save(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  link.download = `${name}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// RFC 4180 but for its line ends, as the files in tables/ are.
function csvText(rows) {
  const field = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return rows.map((row) => `${row.map(field).join(",")}\n`).join("");
}

function setUpDownloads() {
  for (const button of document.querySelectorAll("[data-csv]")) {
    button.hidden = false;
    button.addEventListener("click", () =>
      data("csv").then(
        (tables) => save(button.dataset.csv, tables[button.dataset.csv]),
        (error) => alert(error.message),
      ),
    );
  }
}

function made(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// A figure as people read it: one digit, a real minus.
function shownNumber(value, signed = false) {
  if (value === null || value === undefined) return "—";
  const text = Math.abs(value).toFixed(1);
  if (Number(text) === 0) return text;
  return (value < 0 ? "−" : signed ? "+" : "") + text;
}
