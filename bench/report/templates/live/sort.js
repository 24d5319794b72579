// A click on the head of a column sorts its table by it: up, then down. A cell without a figure comes last.
const figure = (cell) => {
  const found = cell.textContent.replaceAll(",", "").match(/-?\d+(\.\d+)?/);
  return found ? Number(found[0]) : null;
};
for (const table of document.querySelectorAll("table:not(.text)")) {
  for (const [column, head] of [...table.tHead.rows[0].cells].entries()) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.ariaSort !== "ascending";
      for (const each of table.tHead.rows[0].cells) each.ariaSort = null;
      head.ariaSort = up ? "ascending" : "descending";
      const sign = up ? 1 : -1;
      const compare = (a, b) => {
        const [one, other] = [a.cells[column], b.cells[column]];
        if (column === 0) return sign * one.textContent.localeCompare(other.textContent, "en", { numeric: true });
        const [x, y] = [figure(one), figure(other)];
        if (x === null || y === null) return (x === null) - (y === null); // without a figure: always last
        return sign * (x - y);
      };
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
    });
  }
}
