"use strict";
/* The button for light and dark. Pages listen to "themechange" on document to draw anew. */
{
  const modes = ["auto", "light", "dark"];
  const button = document.getElementById("theme");
  const announce = () => document.dispatchEvent(new Event("themechange"));
  const show = (mode) => {
    document.documentElement.dataset.theme = mode;
    button.textContent = `Theme: ${mode}`;
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    const mode = document.documentElement.dataset.theme;
    show(modes[(modes.indexOf(mode) + 1) % modes.length]);
    announce();
  });
  show("auto");
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", announce);
}
