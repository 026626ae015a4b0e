"use strict";
// Light and dark: as the system has it, until somebody chooses.
const root = document.documentElement;
document.getElementById("theme").addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
// On paper nothing can be unfolded.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((each) => { each.open = true; }));
// Tiles: one picture holds all of them, and each shows its part.
for (const strip of document.querySelectorAll(".pictures")) {
  const tiles = [...strip.querySelectorAll(".tile img")];
  for (const tile of tiles) {
    tile.src = tiles[0].src;
    tile.style.left = `${-56 * Number(tile.dataset.offset)}px`;
  }
}
// What a point of a figure stands for, at once and next to it; its title would come late, and not on a touch screen.
const tip = document.createElement("div");
tip.id = "tip";
tip.hidden = true;
tip.setAttribute("role", "status");
document.body.append(tip);
for (const marked of document.querySelectorAll(".tip")) {
  const title = marked.querySelector("title");
  marked.dataset.tip = title.textContent;
  title.remove();
}
function point(event) {
  const marked = event.target.closest ? event.target.closest(".tip") : null;
  tip.hidden = !marked;
  if (!marked) return;
  tip.textContent = marked.dataset.tip;
  const right = event.clientX > innerWidth / 2;
  tip.style.left = right ? "auto" : `${event.clientX + 14}px`;
  tip.style.right = right ? `${innerWidth - event.clientX + 14}px` : "auto";
  tip.style.top = `${Math.min(event.clientY + 14, innerHeight - 40)}px`;
}
document.addEventListener("pointermove", point);
document.addEventListener("pointerdown", point);  // a finger does not move before it taps
