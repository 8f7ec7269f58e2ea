"use strict";
/* One image at a time: two views with a divider, and all views below. The place (the image's pixel in the middle) and the
   zoom are variables of the root, which every frame's style reads: so all frames show the same. */
{
  const LEVELS = [1, 2, 4, 8]; // CSS pixels for a pixel of the image
  const STEP_PX = 40; // that an arrow key moves the picture by
  const WHEEL = 60; // that the wheel turns for a level
  const root = document.documentElement;
  const of = (id) => document.getElementById(id);
  const viewer = of("viewer"), stage = of("stage"), divider = of("divider");
  const sections = [...document.querySelectorAll(".image")];
  const links = [...document.querySelectorAll("#images a")];
  const picker = of("image"), left = of("left"), right = of("right");
  let section = null, width = 1, height = 1, levels = LEVELS, start = 1;
  let zoom = 1, x = 0, y = 0, split = 50;

  const views = () => [...section.querySelectorAll("figure")];
  const image = (figure) => figure.querySelector(".frame img");
  const set = (name, value) => root.style.setProperty(name, value);

  /* The middle that shows no blank beside the image where it is larger than the stage. */
  const held = (middle, size, room) => {
    const half = Math.min(room / zoom, size) / 2;
    return Math.min(Math.max(middle, half), size - half);
  };

  const draw = () => {
    x = held(x, width, stage.clientWidth);
    y = held(y, height, stage.clientHeight);
    set("--x", x);
    set("--y", y);
    set("--zoom", zoom);
    root.classList.toggle("pixels", zoom > 1);
    root.classList.toggle("movable", width * zoom > stage.clientWidth + 1 || height * zoom > stage.clientHeight + 1);
    of("zoom").textContent = `${+zoom.toFixed(2)}x`;
    of("in").disabled = zoom === levels.at(-1);
    of("out").disabled = zoom === levels[0];
  };

  /* To the level `steps` away; the pixel that lies (dx, dy) from the middle of the stage stays where it is. */
  const zoomBy = (steps, dx = 0, dy = 0) => {
    const at = Math.min(Math.max(levels.indexOf(zoom) + steps, 0), levels.length - 1);
    const before = zoom;
    zoom = levels[at];
    x += dx / before - dx / zoom;
    y += dy / before - dy / zoom;
    draw();
    return zoom !== before;
  };

  const showWhole = () => {
    zoom = start;
    x = width / 2;
    y = height / 2;
    draw();
  };

  /* The stage's size, and the levels: where the image is larger than the stage, the first is the one that shows all of it. */
  const measure = () => {
    const wide = viewer.clientWidth, tall = Math.max(200, window.innerHeight * 0.7);
    const fit = Math.min(wide / width, tall / height);
    levels = fit < 1 ? [fit, ...LEVELS] : LEVELS;
    start = levels.filter((level) => level <= Math.max(fit, levels[0])).at(-1);
    set("--wide", `${Math.min(wide, Math.max(width * start, 640))}px`);
    set("--tall", `${Math.min(tall, Math.max(height * start, 160))}px`);
    if (!levels.includes(zoom)) zoom = start;
  };

  const moveDivider = (percent) => {
    split = Math.min(Math.max(percent, 0), 100);
    viewer.style.setProperty("--divider", `${split}%`);
    divider.setAttribute("aria-valuenow", Math.round(split));
    divider.setAttribute("aria-valuetext", `${Math.round(split)} % of ${left.selectedOptions[0].text}, then ${right.selectedOptions[0].text}`);
  };

  const fill = (side, select) => {
    const figure = views()[select.value];
    const shown = of(`${side}-side`).querySelector("img");
    shown.src = image(figure).src;
    shown.width = width;
    shown.height = height;
    shown.alt = `${side}: ${image(figure).alt}`;
    of(`${side}-tag`).textContent = select.selectedOptions[0].text;
    of(`${side}-caption`).replaceChildren(...[...figure.querySelector("figcaption").childNodes].map((node) => node.cloneNode(true)));
  };

  /* The original over every frame of the image, for the difference; only when it is wanted. */
  const cover = () => {
    if (!of("difference").checked) return;
    for (const side of document.querySelectorAll("#stage .side, .chosen .side")) {
      let over = side.querySelector(".original");
      if (!over) {
        over = document.createElement("img");
        over.className = "original";
        over.alt = "";
        side.append(over);
      }
      over.width = width;
      over.height = height;
      over.src = image(views()[0]).src;
    }
  };

  const refill = () => {
    fill("left", left);
    fill("right", right);
    moveDivider(split);
    cover();
  };

  const choose = (index) => {
    const at = (index + sections.length) % sections.length;
    section = sections[at];
    width = +section.dataset.width;
    height = +section.dataset.height;
    sections.forEach((one) => one.classList.toggle("chosen", one === section));
    links.forEach((link, place) => (place === at ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current")));
    picker.value = at;
    of("shown").textContent = section.querySelector(".shown").textContent;
    set("--image-width", width);
    set("--image-height", height);
    zoom = 0; // no level: the one that shows all of the new image
    measure();
    refill();
    showWhole();
    const strip = of("images"), item = links[at].parentElement;
    strip.scrollLeft = item.offsetLeft - strip.offsetLeft - (strip.clientWidth - item.offsetWidth) / 2;
  };

  /* Calls `move` with the way since the last call while a pointer that went down on `element` is held. */
  const drag = (element, move) => {
    element.addEventListener("pointerdown", (down) => {
      if (down.button !== 0) return;
      down.stopPropagation();
      element.setPointerCapture(down.pointerId);
      let [atX, atY] = [down.clientX, down.clientY];
      const ended = new AbortController();
      const meanwhile = { signal: ended.signal };
      element.addEventListener("pointermove", (event) => {
        move(event, event.clientX - atX, event.clientY - atY);
        [atX, atY] = [event.clientX, event.clientY];
      }, meanwhile);
      for (const end of ["pointerup", "pointercancel"]) element.addEventListener(end, () => ended.abort(), meanwhile);
    });
  };

  const pan = (_, dx, dy) => {
    x -= dx / zoom;
    y -= dy / zoom;
    draw();
  };
  drag(stage, pan);
  document.querySelectorAll(".grid .frame").forEach((frame) => drag(frame, pan));
  drag(divider, (event) => {
    const box = stage.getBoundingClientRect();
    moveDivider((100 * (event.clientX - box.left)) / box.width);
  });

  let turned = 0;
  stage.addEventListener("wheel", (event) => {
    if (event.ctrlKey) return; // the browser's own zoom
    // At the last level the page scrolls on.
    if (zoom === (event.deltaY < 0 ? levels.at(-1) : levels[0])) return;
    event.preventDefault();
    turned += event.deltaMode ? Math.sign(event.deltaY) * WHEEL : event.deltaY;
    if (Math.abs(turned) < WHEEL) return;
    const box = stage.getBoundingClientRect();
    zoomBy(turned < 0 ? 1 : -1, event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2);
    turned = 0;
  }, { passive: false });

  const toggle = () => {
    root.classList.toggle("difference", of("difference").checked);
    cover();
  };
  const keys = {
    "+": () => zoomBy(1),
    "=": () => zoomBy(1),
    "-": () => zoomBy(-1),
    0: showWhole,
    d: () => of("difference").click(),
    n: () => choose(+picker.value + 1),
    p: () => choose(+picker.value - 1),
    ArrowLeft: () => pan(null, STEP_PX, 0),
    ArrowRight: () => pan(null, -STEP_PX, 0),
    ArrowUp: () => pan(null, 0, STEP_PX),
    ArrowDown: () => pan(null, 0, -STEP_PX),
  };
  const dividerKeys = {
    ArrowLeft: () => moveDivider(split - 2),
    ArrowDown: () => moveDivider(split - 2),
    ArrowRight: () => moveDivider(split + 2),
    ArrowUp: () => moveDivider(split + 2),
    Home: () => moveDivider(0),
    End: () => moveDivider(100),
  };
  stage.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const act = (event.target === divider && dividerKeys[event.key]) || keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });

  of("previous").addEventListener("click", () => choose(+picker.value - 1));
  of("next").addEventListener("click", () => choose(+picker.value + 1));
  of("in").addEventListener("click", () => zoomBy(1));
  of("out").addEventListener("click", () => zoomBy(-1));
  of("whole").addEventListener("click", showWhole);
  of("difference").addEventListener("change", toggle);
  picker.addEventListener("change", () => choose(+picker.value));
  left.addEventListener("change", refill);
  right.addEventListener("change", refill);
  links.forEach((link, place) => {
    const thumb = new Image();
    thumb.src = image(sections[place].querySelector("figure")).src;
    thumb.alt = "";
    link.prepend(thumb);
    link.title = link.textContent;
    link.addEventListener("click", (event) => {
      event.preventDefault();
      choose(place);
    });
  });
  new ResizeObserver(() => {
    measure();
    draw();
  }).observe(viewer.parentElement);

  set("--gain", viewer.dataset.gain);
  root.classList.add("with-script");
  viewer.hidden = false;
  of("difference").checked = false;
  choose(0);
}
