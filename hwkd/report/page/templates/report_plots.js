"use strict";
/* The plots: drawn when they come into view, in the page's colours, anew when those change and for printing. */
{
  const PRINT_WIDTH_PX = 670;
  const NARROW_PX = 480;
  const drawings = JSON.parse(document.getElementById("drawings").textContent);
  const isCoarse = window.matchMedia("(pointer: coarse)").matches;
  const config = {
    responsive: true,
    displaylogo: false,
    modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
  };
  const drawn = new Set();
  let isPrinting = false;

  const probe = document.createElement("span");
  probe.hidden = true;
  document.body.append(probe);

  /* A plot as Plotly wants it: "var(--name)" replaced by the colour it stands for now. */
  const resolved = (value) => {
    if (typeof value === "string") {
      if (!/^var\(--[a-z0-9-]+\)$/.test(value)) return value;
      probe.style.color = value;
      return getComputedStyle(probe).color;
    }
    if (Array.isArray(value)) return value.map(resolved);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, resolved(each)]));
  };

  const areaOf = (figure) => figure.querySelector(".drawing");

  /* What an axis shows, in lines: a narrow plot would cut it off. */
  const breakTitle = (axis) => {
    if (axis && axis.title && axis.title.text) axis.title.text = axis.title.text.replaceAll(", ", ",<br>");
  };

  const draw = (figure) => {
    const { data, layout } = resolved(drawings[figure.id]);
    for (const box of figure.querySelectorAll(".legend input")) {
      for (const place of box.dataset.traces.split(" ")) data[place].visible = box.checked;
    }
    layout.uirevision = "kept";
    layout.dragmode = isCoarse ? false : "zoom";
    if (isPrinting) layout.width = PRINT_WIDTH_PX;
    else if (areaOf(figure).clientWidth < NARROW_PX) breakTitle(layout.xaxis);
    Plotly.react(areaOf(figure), data, layout, config);
    drawn.add(figure);
  };

  const forget = (figure) => {
    if (drawn.delete(figure)) Plotly.purge(areaOf(figure));
  };

  const figures = [...document.querySelectorAll(".plot")];
  const observer = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        const figure = entry.target.closest(".plot");
        if (entry.isIntersecting && !drawn.has(figure)) draw(figure);
      }
    },
    { rootMargin: "400px" },
  );
  for (const figure of figures) {
    observer.observe(areaOf(figure));
    figure.addEventListener("change", (event) => {
      if (event.target.closest(".legend")) draw(figure);
    });
  }

  document.addEventListener("themechange", () => drawn.forEach(draw));

  const shown = () => figures.filter((figure) => !figure.hidden);
  window.addEventListener("beforeprint", () => {
    isPrinting = true;
    probe.style.colorScheme = "light";
    for (const figure of shown()) {
      forget(figure);
      draw(figure);
    }
  });
  window.addEventListener("afterprint", () => {
    isPrinting = false;
    probe.style.colorScheme = "";
    for (const figure of shown()) {
      forget(figure);
      draw(figure);
    }
  });

  /* Selects: the plot that has what was chosen last, and of the other choices as many as there is one for. */
  for (const group of document.querySelectorAll(".group")) {
    const selects = [...group.querySelectorAll("select[data-choice]")];
    const own = [...group.querySelectorAll(".plot")];
    const choicesOf = (figure) => JSON.parse(figure.dataset.choices);
    group.addEventListener("change", (event) => {
      const name = event.target.dataset.choice;
      if (name === undefined) return;
      const likeness = (figure) =>
        selects.filter((select) => choicesOf(figure)[select.dataset.choice] === select.value).length;
      const fitting = own.filter((figure) => choicesOf(figure)[name] === event.target.value);
      const chosen = fitting.reduce((a, b) => (likeness(b) > likeness(a) ? b : a));
      for (const figure of own) {
        figure.hidden = figure !== chosen;
        if (figure.hidden) forget(figure);
      }
      for (const select of selects) select.value = choicesOf(chosen)[select.dataset.choice];
      group.querySelector("[role=status]").textContent = `Shown: ${chosen.querySelector("h3").textContent}`;
    });
  }
}
