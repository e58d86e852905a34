// What two texts have in common, character by character as people see characters.

const MAX_CELLS = 400_000; // of the table below; about two texts of 630 characters
const MIN_COMMON = 3; // fewer characters in common between two differences are chance, and hard to read

function characters(text) {
  if (typeof Intl === "object" && Intl.Segmenter) {
    characters.segmenter ??= new Intl.Segmenter(undefined, { granularity: "grapheme" });
    return Array.from(characters.segmenter.segment(text), (part) => part.segment);
  }
  return Array.from(text);
}

// [kind, text] in order; kind is "same", "del" (only in the first) or "ins" (only in the second).
function difference(first, second) {
  let [one, other] = [characters(first), characters(second)];
  if (one.length * other.length > MAX_CELLS) [one, other] = [first, second].map((text) => text.split(/(?<=\s)/u));
  let start = 0;
  while (start < one.length && start < other.length && one[start] === other[start]) start++;
  let end = 0;
  const room = Math.min(one.length, other.length) - start;
  while (end < room && one[one.length - 1 - end] === other[other.length - 1 - end]) end++;
  const middle = aligned(one.slice(start, one.length - end), other.slice(start, other.length - end));
  const pieces = [
    ...one.slice(0, start).map((text) => ["same", text]),
    ...middle,
    ...one.slice(one.length - end).map((text) => ["same", text]),
  ];
  return joined(withoutChance(joined(pieces)));
}

// The longest common subsequence; texts that are too long for it have nothing in common.
function aligned(one, other) {
  const [rows, columns] = [one.length, other.length];
  if (rows * columns > MAX_CELLS) return [...one.map((text) => ["del", text]), ...other.map((text) => ["ins", text])];
  const width = columns + 1;
  const lengths = new Uint16Array((rows + 1) * width);
  for (let row = rows - 1; row >= 0; row--) {
    for (let column = columns - 1; column >= 0; column--) {
      const place = row * width + column;
      lengths[place] =
        one[row] === other[column]
          ? lengths[place + width + 1] + 1
          : Math.max(lengths[place + width], lengths[place + 1]);
    }
  }
  const pieces = [];
  let [row, column] = [0, 0];
  while (row < rows && column < columns) {
    if (one[row] === other[column]) {
      pieces.push(["same", one[row++]]);
      column++;
    } else if (lengths[(row + 1) * width + column] >= lengths[row * width + column + 1]) pieces.push(["del", one[row++]]);
    else pieces.push(["ins", other[column++]]);
  }
  while (row < rows) pieces.push(["del", one[row++]]);
  while (column < columns) pieces.push(["ins", other[column++]]);
  return pieces;
}

// Neighbours in one piece; between two that are the same first what is only in the first text.
function joined(pieces) {
  const found = [];
  let [del, ins] = ["", ""];
  const flush = () => {
    if (del) found.push(["del", del]);
    if (ins) found.push(["ins", ins]);
    [del, ins] = ["", ""];
  };
  for (const [kind, text] of pieces) {
    if (kind === "del") del += text;
    else if (kind === "ins") ins += text;
    else {
      flush();
      if (found.length && found[found.length - 1][0] === "same") found[found.length - 1][1] += text;
      else found.push(["same", text]);
    }
  }
  flush();
  return found;
}

function withoutChance(pieces) {
  return pieces.flatMap(([kind, text], position) => {
    const inside = position > 0 && position < pieces.length - 1;
    if (kind !== "same" || !inside || characters(text).length >= MIN_COMMON) return [[kind, text]];
    return [["del", text], ["ins", text]];
  });
}
