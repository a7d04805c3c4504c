"use strict";
// Headings become buttons that sort; without JavaScript the table stays in the order of the run.
const table = document.querySelector("table");
const keyOf = (row, column) => row.cells[column].dataset.key;
const compare = (a, b) => {
  if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
  return isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
};
[...table.tHead.rows[0].cells].forEach((heading, column) => {
  const button = document.createElement("button");
  button.textContent = heading.textContent;
  heading.replaceChildren(button);
  button.addEventListener("click", () => {
    const down = heading.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...table.tBodies[0].rows];
    const known = rows.filter((row) => keyOf(row, column) !== undefined);
    known.sort((a, b) => (down ? -1 : 1) * compare(keyOf(a, column), keyOf(b, column)));
    table.tBodies[0].append(...known, ...rows.filter((row) => !known.includes(row)));
  });
});
document.documentElement.classList.add("scripted");
// A link to a setting opens it.
const openTarget = () => document.getElementById(location.hash.slice(1))?.setAttribute("open", "");
addEventListener("hashchange", openTarget);
openTarget();
