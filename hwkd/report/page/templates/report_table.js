"use strict";
/* The resource table: sorted by the button in a heading (W3C's sortable table pattern), filtered by target and text. */
if (document.getElementById("resource-table")) {
  const table = document.getElementById("resource-table");
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];

  /* n/a stays last, whichever way. Numbers by value, texts as people order them: "4" before "16". */
  const compare = (a, b, sign) => {
    const aIsNone = "none" in a.dataset;
    const bIsNone = "none" in b.dataset;
    if (aIsNone || bIsNone) return aIsNone - bIsNone;
    if (a.dataset.value !== undefined && b.dataset.value !== undefined) {
      return sign * (Number(a.dataset.value) - Number(b.dataset.value));
    }
    return sign * a.textContent.localeCompare(b.textContent, "en", { numeric: true });
  };

  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const isAscending = head.getAttribute("aria-sort") !== "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", isAscending ? "ascending" : "descending");
      const rows = [...body.rows];
      rows.sort((a, b) => compare(a.cells[column], b.cells[column], isAscending ? 1 : -1));
      body.append(...rows);
    });
  });

  const target = document.getElementById("only-target");
  const text = document.getElementById("only-text");
  const status = document.getElementById("rows-shown");
  const filter = () => {
    const wanted = text.value.trim().toLowerCase();
    let count = 0;
    for (const row of body.rows) {
      const fits = !target.value || row.dataset.target === target.value;
      row.hidden = !(fits && row.textContent.toLowerCase().includes(wanted));
      count += !row.hidden;
    }
    status.textContent = `${count} of ${body.rows.length} rows`;
  };
  target.addEventListener("change", filter);
  text.addEventListener("input", filter);
  filter();
}
