/* The page: draws charts and maps when they come near the screen, switches the theme, and selects the run. */

const drawn = new Map(); // figure to picture

function draw(figure) {
  if (drawn.has(figure) || !figure.querySelector(".plot").clientWidth) return;
  drawn.set(figure, figure.classList.contains("map") ? drawMap(figure) : drawChart(figure));
  resized.observe(figure.querySelector(".plot"));
}

const near = new IntersectionObserver(
  (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => draw(entry.target)),
  { rootMargin: "600px" },
);

const widths = new WeakMap();
const resized = new ResizeObserver((entries) =>
  entries.forEach(({ target }) => {
    const width = target.clientWidth;
    if (!width || widths.get(target) === width) return;
    const known = widths.has(target);
    widths.set(target, width);
    if (known) drawn.get(target.closest("figure"))?.resize();
  }),
);

document.querySelectorAll("figure").forEach((figure) => near.observe(figure));
window.addEventListener("beforeprint", () => document.querySelectorAll("figure").forEach(draw));

const root = document.documentElement;
const darkWanted = window.matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : darkWanted.matches);

function restyle() {
  document.querySelector("#theme span").textContent = isDark() ? "light" : "dark";
  drawn.forEach((picture) => picture.restyle());
}

function remembered(theme) {
  try {
    if (theme) localStorage.setItem("thermotrace-theme", theme);
    return localStorage.getItem("thermotrace-theme");
  } catch {
    return null; // this browser stores nothing for local files
  }
}

document.querySelector("#theme").addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  remembered(root.dataset.theme);
  restyle();
});
darkWanted.addEventListener("change", restyle);
const known = remembered();
if (known === "light" || known === "dark") root.dataset.theme = known;
restyle();

const choice = document.querySelector("#run");

function show(run) {
  document.querySelectorAll("[data-run]").forEach((part) => {
    part.hidden = part.dataset.run !== run;
  });
}

function follow() {
  const found = /^#run-(\d+)-/.exec(window.location.hash);
  if (!found || !choice || !choice.querySelector(`option[value="${found[1]}"]`)) return;
  choice.value = found[1];
  show(found[1]);
  document.getElementById(window.location.hash.slice(1))?.scrollIntoView();
}

if (choice) {
  choice.addEventListener("change", () => show(choice.value));
  window.addEventListener("hashchange", follow);
  show(choice.value);
  follow();
}
