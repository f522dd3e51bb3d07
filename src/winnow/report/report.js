// Draws the charts from the JSON beside this script. It keeps nothing, because a sandboxed frame has no storage.
"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const coarse = matchMedia("(pointer: coarse)").matches;
  const probe = document.body.appendChild(document.createElement("span"));
  probe.hidden = true;

  // plotly takes colors, not CSS variables: replace each by what the page shows for it now.
  const color = (name) => { probe.style.color = name; return getComputedStyle(probe).color; };
  const themed = (value) => {
    if (typeof value === "string") return /^var\(--[a-z0-9-]+\)$/.test(value) ? color(value) : value;
    if (Array.isArray(value)) return typeof value.at(-1) === "number" ? value : value.map(themed);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, themed(each)]));
  };

  const config = {
    responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
    // Without a pointer that hovers the buttons would stay and cover the legend.
    displayModeBar: matchMedia("(hover: none)").matches ? false : "hover",
  };
  const order = { heat_map: "number" };

  function draw(id) {
    const element = document.getElementById(id);
    if (!element || !charts[id]) return;
    const { data, layout, meta } = themed(charts[id]);
    // A finger on a chart scrolls the page; a mouse zooms.
    layout.dragmode = coarse ? false : "zoom";
    if (meta) Object.assign(layout.xaxis, { categoryarray: meta[order[id]], nticks: Math.floor(element.clientWidth / 34) });
    Plotly.react(element, data, layout, config);
  }

  for (const button of document.querySelectorAll("button[data-order]")) {
    button.addEventListener("click", () => {
      order.heat_map = button.dataset.order;
      for (const each of document.querySelectorAll("button[data-order]")) {
        each.setAttribute("aria-pressed", String(each === button));
      }
      draw("heat_map");
    });
  }

  // ---- parallel coordinates -------------------------------------------------------------------------------------

  const svg = (name, attributes, parent) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return parent ? parent.appendChild(element) : element;
  };

  // The color of a share between 0 and 1, on the same scale as the heat map.
  function ramp(stops, share) {
    const place = share * (stops.length - 1), below = Math.min(Math.floor(place), stops.length - 2);
    return `color-mix(in srgb, ${stops[below + 1]} ${Math.round((place - below) * 100)}%, ${stops[below]})`;
  }

  function parallel(element, { axes, lines }) {
    const longest = Math.max(...axes[0].ticks.map(([, label]) => Math.min(label.length, 22)));
    const top = 34, bottom = 14, height = 360, left = Math.max(66, 18 + 7 * longest), right = 74;
    const width = Math.max(element.clientWidth, left + right + (axes.length - 1) * 104);
    const x = (index) => left + ((width - left - right) * index) / Math.max(axes.length - 1, 1);
    const y = (share) => top + (1 - share) * (height - top - bottom);
    const stops = [0, 1, 2, 3, 4, 5, 6].map((step) => color(`var(--scale-${step})`));
    const brushes = new Map();
    const readout = document.getElementById("parallel-readout");
    element.replaceChildren();
    const root = svg("svg", { width, height, "aria-hidden": "true" }, element);
    const strokes = svg("g", {}, root);

    const rank = (line) => (line.winner ? 3 : 0) + (line.state === "complete" ? 1 : 0) + (line.places.at(-1) ?? 0);
    const drawn = [...lines].sort((a, b) => rank(a) - rank(b)).map((line) => {
      const points = line.places.flatMap((place, index) => (place === null ? [] : [`${x(index).toFixed(1)},${y(place).toFixed(1)}`]));
      const worth = line.places.at(-1);
      const stroke = line.state === "failed" ? "var(--failed)" : line.state === "pruned" ? "var(--pruned)" : ramp(stops, worth ?? 0);
      const path = svg("path", { d: `M${points.join("L")}`, class: line.state }, strokes);
      path.style.stroke = stroke;
      path.classList.toggle("many", lines.length > 150);
      path.classList.toggle("winner", line.winner);
      return { line, path };
    });

    const passes = ({ places }) => [...brushes].every(([index, [low, high]]) => places[index] !== null && places[index] >= low && places[index] <= high);
    let passing = "";
    function filter() {
      let kept = 0;
      for (const each of drawn) { each.on = passes(each.line); each.path.classList.toggle("off", !each.on); kept += each.on; }
      passing = brushes.size ? `${kept} of ${lines.length} trials pass; double-click an axis to clear its range. ` : "";
      readout.textContent = passing;
    }

    axes.forEach((axis, index) => {
      const group = svg("g", { transform: `translate(${x(index)},0)` }, root);
      svg("line", { y1: y(0), y2: y(1), class: "axis" }, group);
      const isLast = index === axes.length - 1, anchor = isLast ? "start" : "end", side = isLast ? 1 : -1;
      const name = svg("text", { y: 16, class: "name", "text-anchor": "middle" }, group);
      name.textContent = shorten(axis.name, 16);
      svg("title", {}, name).textContent = axis.name;
      for (const [place, label] of axis.ticks) {
        svg("line", { x2: 5 * side, y1: y(place), y2: y(place), class: "axis" }, group);
        const tick = svg("text", { x: 8 * side, y: y(place) + 4, "text-anchor": anchor }, group);
        tick.textContent = shorten(label, index ? 14 : 22);
        svg("title", {}, tick).textContent = label;
      }
      const brush = svg("rect", { x: -7, width: 14, class: "brush", visibility: "hidden" }, group);
      const grip = svg("rect", { x: -12, width: 24, y: y(1) - 4, height: y(0) - y(1) + 8, class: "grip" }, group);
      const share = (event) => Math.min(Math.max(1 - (event.clientY - root.getBoundingClientRect().top - top) / (height - top - bottom), 0), 1);
      let from = null;
      grip.addEventListener("pointerdown", (event) => { from = share(event); grip.setPointerCapture(event.pointerId); });
      grip.addEventListener("pointermove", (event) => {
        if (from === null) return;
        const to = share(event), low = Math.min(from, to), high = Math.max(from, to);
        if (high - low < 0.01) return;
        brushes.set(index, [low, high]);
        for (const [key, value] of Object.entries({ y: y(high), height: y(low) - y(high), visibility: "visible" })) brush.setAttribute(key, value);
        filter();
      });
      grip.addEventListener("pointerup", () => { from = null; });
      grip.addEventListener("dblclick", () => { brushes.delete(index); brush.setAttribute("visibility", "hidden"); filter(); });
    });

    // The line nearest to the pointer, measured upright at the pointer's place between two axes.
    let near = null;
    root.addEventListener("pointermove", (event) => {
      if (event.buttons) return;
      const box = root.getBoundingClientRect(), px = event.clientX - box.left, py = event.clientY - box.top;
      const place = ((px - left) / (width - left - right)) * (axes.length - 1);
      const index = Math.min(Math.max(Math.floor(place), 0), axes.length - 2);
      let found = null, least = 14;
      for (const each of drawn) {
        const a = each.line.places[index], b = each.line.places[index + 1];
        if (each.on === false || a === null || b === null) continue;
        const distance = Math.abs(y(a + (b - a) * (place - index)) - py);
        if (distance <= least) { least = distance; found = each; }
      }
      if (found === near) return;
      near?.path.classList.remove("near");
      near = found;
      near?.path.classList.add("near");
      readout.textContent = passing + (near ? near.line.text : "");
    });
    filter();
  }

  const shorten = (text, longest) => (text.length > longest ? `${text.slice(0, longest - 1)}…` : text);

  // ---- table ----------------------------------------------------------------------------------------------------

  for (const button of document.querySelectorAll("thead button")) {
    button.addEventListener("click", () => {
      const header = button.parentElement, body = header.closest("table").tBodies[0];
      const down = header.getAttribute("aria-sort") === "ascending";
      const value = (row) => row.cells[header.cellIndex].dataset.sort;
      const rows = [...body.rows].sort((a, b) => {
        const [p, q] = [value(a), value(b)];
        if (p === q) return 0;
        if (p === "" || q === "") return p === "" ? 1 : -1; // nothing stands last either way
        const numbers = Number.isFinite(+p) && Number.isFinite(+q);
        return (down ? -1 : 1) * (numbers ? p - q : p < q ? -1 : 1);
      });
      for (const each of header.parentElement.cells) each.removeAttribute("aria-sort");
      header.setAttribute("aria-sort", down ? "descending" : "ascending");
      body.append(...rows);
    });
  }

  // ---- all of it ------------------------------------------------------------------------------------------------

  function drawAll() {
    for (const id of ["history", "importances", "heat_map", "timeline"]) draw(id);
    const element = document.getElementById("parallel");
    if (element && charts.parallel) parallel(element, charts.parallel);
  }

  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", drawAll);
  const theme = document.getElementById("theme");
  theme.addEventListener("click", () => {
    const shown = document.documentElement.style.colorScheme || (dark.matches ? "dark" : "light");
    document.documentElement.style.colorScheme = shown === "dark" ? "light" : "dark";
    drawAll();
  });
  let width = innerWidth, timer = 0;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(timer);
    timer = setTimeout(drawAll, 150);
  });
  drawAll();
})();
