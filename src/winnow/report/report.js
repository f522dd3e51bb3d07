// Draws the charts and the table from the data beside this script. It keeps nothing: a sandboxed frame has no storage.
"use strict";
(async () => {
  const packed = Uint8Array.from(atob(document.getElementById("data").textContent), (each) => each.charCodeAt(0));
  const data = await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"))).json();
  const { columns, means, numbers, scores, notes } = data;
  const count = numbers.length, states = columns[1].texts;
  const number = (value) => String(Number(value.toPrecision(6)));

  const svg = (name, attributes, parent, text) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return parent ? parent.appendChild(element) : element;
  };
  const shorten = (text, longest) => (text.length > longest ? `${text.slice(0, longest - 1)}…` : text);

  // A text on a chart; where it is shortened, the whole of it shows under the pointer.
  const label = (parent, x, y, text, attributes = {}, longest = 22) => {
    const element = svg("text", { x, y, ...attributes }, parent, shorten(text, longest));
    if (text.length > longest) svg("title", {}, element, text);
  };

  // Round values between two ends, about as many as asked for.
  function ticks(low, high, wanted) {
    const rough = (high - low) / wanted || 1, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough);
    return Array.from({ length: Math.floor(high / step) - Math.ceil(low / step) + 1 }, (_, index) => (Math.ceil(low / step) + index) * step);
  }

  // The color of a share between 0 (worst) and 1 (best), in steps too small to see.
  function ramp(share) {
    const place = (Math.round(Math.min(Math.max(share, 0), 1) * 48) / 48) * 6, below = Math.min(Math.floor(place), 5);
    return `color-mix(in srgb, var(--scale-${below + 1}) ${Math.round((place - below) * 100)}%, var(--scale-${below}))`;
  }

  // Collects shapes of one look into one path each: thousands of elements would be slow.
  function paths(parent) {
    const found = new Map();
    return {
      add(shape, color, kind = "") {
        const key = `${kind}|${color}`;
        if (!found.has(key)) found.set(key, { shapes: [], color, kind });
        found.get(key).shapes.push(shape);
      },
      draw() {
        for (const { shapes, color, kind } of found.values()) svg("path", { d: shapes.join(""), class: kind, style: `--color: ${color}` }, parent);
      },
    };
  }
  const box = (x, y, width, height) => `M${x.toFixed(2)} ${y.toFixed(2)}h${width.toFixed(2)}v${height.toFixed(2)}h${(-width).toFixed(2)}z`;

  // What is known of a trial, as lines of text.
  function about(index) {
    const cell = (place) => columns[place].texts[index];
    const value = means[index] === null ? [] : [`${cell(2)} ± ${cell(3)} over ${cell(4 + data.parameters)} folds`];
    const parameters = columns.slice(4, 4 + data.parameters).map(({ name, texts }) => `${name} = ${texts[index]}`);
    return [`trial ${numbers[index]}: ${states[index]}`, ...value, ...parameters, ...notes[index]].map((line) => shorten(line, 80)).join("\n");
  }

  const tip = document.getElementById("tip");
  function show(text, event) {
    tip.hidden = !text;
    if (!text) return;
    tip.textContent = text;
    tip.style.left = `${Math.max(Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8), 4)}px`;
    tip.style.top = `${event.clientY + 14 + tip.offsetHeight > innerHeight ? Math.max(event.clientY - tip.offsetHeight - 10, 4) : event.clientY + 14}px`;
  }

  // ---- charts along an x axis: a mouse zooms, a finger scrolls the page -----------------------------------------

  const redraws = [];

  // `draw` returns (x, y) → the text to show there. It gets: `under`, a group for the axes; `plot`, the area right of
  // `left` that clips its marks; `x` and its inverse `value`; the range `shown`; whether to show `all` of the y axis; the
  // keys of the legend that are `hidden`.
  function chart(id, height, full, draw) {
    const element = document.getElementById(id);
    if (!element) return null;
    let shown = full, all = false, textAt = null, from = null, left = 0, width = 0;
    const hidden = new Set();
    const value = (px) => shown[0] + (px / width) * (shown[1] - shown[0]);
    function redraw() {
      const whole = Math.max(element.clientWidth, 240);
      left = Math.min(id === "timeline" ? 24 + 7 * Math.max(...data.timeline.lanes.map((lane) => Math.min(lane.length, 22))) : 64, whole / 3);
      width = whole - left - 12;
      const root = svg("svg", { width: whole, height, "aria-hidden": "true" });
      const under = svg("g", {}, root), plot = svg("svg", { x: left, width, height }, root);
      const x = (value) => ((value - shown[0]) / (shown[1] - shown[0])) * width;
      textAt = draw({ under, plot, x, left, width, shown, all, hidden, value });
      element.replaceChildren(root);
    }
    const place = (event) => {
      const bounds = element.getBoundingClientRect();
      return [Math.min(Math.max(event.clientX - bounds.left - left, 0), width), event.clientY - bounds.top];
    };
    const selection = svg("rect", { class: "brush", y: 0, height });
    element.addEventListener("pointerdown", (event) => {
      if (event.pointerType !== "mouse") return show(textAt(...place(event)), event);
      if (event.button !== 0) return;
      from = place(event)[0];
      element.setPointerCapture(event.pointerId);
    });
    element.addEventListener("pointermove", (event) => {
      const [px, py] = place(event);
      if (from === null) return show(event.clientX < element.getBoundingClientRect().left + left ? null : textAt(px, py), event);
      show(null);
      selection.setAttribute("x", left + Math.min(from, px));
      selection.setAttribute("width", Math.abs(px - from));
      element.firstChild.append(selection);
    });
    element.addEventListener("pointerup", (event) => {
      if (from === null) return;
      const ends = [from, place(event)[0]].sort((a, b) => a - b);
      from = null;
      if (ends[1] - ends[0] < 6) return;
      shown = ends.map(value);
      redraw();
    });
    element.addEventListener("mousedown", (event) => event.preventDefault()); // a double click selects no text
    element.addEventListener("pointercancel", () => { from = null; });
    element.addEventListener("pointerleave", () => show(null));
    element.addEventListener("dblclick", () => {
      all = shown[0] === full[0] && shown[1] === full[1] ? !all : all;
      shown = full;
      redraw();
    });
    for (const button of element.closest("section").querySelectorAll("button[data-key]")) {
      button.addEventListener("click", () => {
        const key = button.dataset.key;
        if (!hidden.delete(key)) hidden.add(key);
        button.setAttribute("aria-pressed", String(!hidden.has(key)));
        redraw();
      });
    }
    redraws.push(redraw);
    return redraw;
  }

  function xAxis({ under, x, left, width }, places, title, y) {
    for (const [value, text] of places) label(under, left + x(value), y + 16, text, { "text-anchor": "middle" });
    label(under, left + width / 2, y + 36, title, { "text-anchor": "middle", class: "title" }, 60);
  }
  const numbered = (shown, width) => ticks(...shown, width / 70).filter(Number.isInteger).map((value) => [value, String(value)]);

  // ---- history --------------------------------------------------------------------------------------------------

  const shapes = {
    complete: (x, y, r) => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`,
    pruned: (x, y, r) => `M${x} ${y - r - 1}l${r + 1} ${r + 1}l${-r - 1} ${r + 1}l${-r - 1} ${-r - 1}z`,
    failed: (x, y, r) => `M${x - r} ${y - r}l${2 * r} ${2 * r}m0 ${-2 * r}l${-2 * r} ${2 * r}`,
  };
  shapes.running = shapes.complete;
  const star = (x, y, r) => `M${Array.from({ length: 10 }, (_, corner) => {
    const angle = (corner * Math.PI) / 5, out = corner % 2 ? r * 0.42 : r;
    return `${(x + out * Math.sin(angle)).toFixed(1)} ${(y - out * Math.cos(angle)).toFixed(1)}`;
  }).join("L")}z`;

  chart("history", 380, [-0.6, Math.max(...numbers, 0) + 0.6], (place) => {
    const { under, plot, x, left, width, shown, all, hidden } = place;
    const top = 12, bottom = 332, known = means.filter((mean, index) => mean !== null && states[index] !== "failed");
    let [low, high] = data.historyFrame ?? [0, 1];
    if (all && known.length) {
      const room = (Math.max(...known) - Math.min(...known)) * 0.05;
      [low, high] = [Math.min(low, ...known.map((mean) => mean - room)), Math.max(high, ...known.map((mean) => mean + room))];
    }
    const y = (value) => top + ((high - value) / (high - low)) * (bottom - top);
    for (const value of data.historyFrame ? ticks(low, high, 6) : []) {
      svg("path", { d: `M${left} ${y(value).toFixed(1)}h${width}`, class: "grid" }, under);
      label(under, left - 8, y(value) + 4, number(value), { "text-anchor": "end" });
    }
    svg("path", { d: `M${left} ${bottom}h${width}`, class: "grid" }, under);
    label(under, left, 10, data.metric, { class: "title" }, 40);
    xAxis(place, numbered(shown, width), "trial", bottom);
    const marks = paths(plot), points = [], radius = count < 200 ? 4.5 : 2.5;
    let best = null, steps = "";
    numbers.forEach((trial, index) => {
      const state = states[index], mean = means[index], px = Math.round(x(trial) * 10) / 10;
      if (state === "complete" && mean !== null && (best === null || (data.maximize ? mean > best : mean < best))) {
        best = mean;
        steps += steps ? `H${px}V${y(best).toFixed(1)}` : `M${px} ${y(best).toFixed(1)}`;
      }
      if (!shapes[state] || hidden.has(state) || (mean === null && state !== "failed")) return;
      const py = state === "failed" ? bottom - 10 : Math.round(y(mean) * 10) / 10;
      if (px < -5 || px > width + 5 || py < 0 || py > bottom) return;
      points.push([px, py, index]);
      marks.add(shapes[state](px, py, radius), `var(--${state})`, `mark ${state}`);
    });
    marks.draw();
    if (steps && !hidden.has("best")) svg("path", { d: `${steps}H${x(Math.max(...numbers)).toFixed(1)}`, class: "best" }, plot);
    if (data.winner !== null && !hidden.has("winner")) svg("path", { d: star(x(numbers[data.winner]), y(means[data.winner]), 10), class: "star" }, plot);
    return (px, py) => {
      let found = null, least = 144;
      for (const [a, b, index] of points) {
        const distance = (a - px) ** 2 + (b - py) ** 2;
        if (distance < least) { least = distance; found = index; }
      }
      return found === null ? null : about(found);
    };
  });

  // ---- trials × folds -------------------------------------------------------------------------------------------

  const byNumber = numbers.map((_, index) => index), folds = scores[0]?.length ?? 0;
  const foldHeight = Math.min(34, Math.max(700 / folds, 3)), firstFold = 52;
  let order = byNumber;
  const redrawHeatMap = chart("heat-map", firstFold + folds * foldHeight + 46, [-0.5, count - 0.5], (place) => {
    const { under, plot, x, left, width, shown, value } = place;
    const [low, high] = data.scoreRange ?? [0, 1], share = (each) => (high > low ? (data.maximize ? each - low : high - each) / (high - low) : 1);
    const first = Math.max(Math.floor(shown[0] + 0.5), 0), end = Math.min(Math.ceil(shown[1] + 0.5), count);
    const step = Math.max(Math.ceil((end - first) / Math.max(width, 1)), 1), gap = width / (end - first) > 6 ? 1 : 0;
    const cells = paths(plot);
    // More trials than pixels share columns: each shows their mean, and their states one above the other.
    const add = (from, size, y, height, values) => {
      const finite = values.filter((each) => each !== null);
      if (finite.length) cells.add(box(x(from - 0.5), y, x(from + size) - x(from) - gap, height - 1), ramp(share(finite.reduce((a, b) => a + b) / finite.length)));
    };
    for (let from = first; from < end; from += step) {
      const group = order.slice(from, Math.min(from + step, end)), size = group.length;
      const across = [x(from - 0.5), x(from + size) - x(from) - gap], slice = 18 / size;
      group.map((index) => states[index]).sort().forEach((state, place) => cells.add(box(across[0], place * slice, across[1], slice), `var(--${state})`));
      add(from, size, 24, 22, group.map((index) => means[index]));
      for (let fold = 0; fold < folds; fold += 1) add(from, size, firstFold + fold * foldHeight, foldHeight, group.map((index) => scores[index][fold]));
    }
    cells.draw();
    const every = Math.ceil(14 / foldHeight);
    label(under, left - 8, 13, "state", { "text-anchor": "end" });
    label(under, left - 8, 39, "mean", { "text-anchor": "end" });
    for (let fold = 0; fold < folds; fold += every) label(under, left - 8, firstFold + (fold + 0.5) * foldHeight + 4, `fold ${fold + 1}`, { "text-anchor": "end" });
    const apart = Math.ceil(((end - first) * 44) / width);
    const labelled = order === byNumber
      ? numbered(shown, width).filter(([each]) => each in numbers).map(([each]) => [each, String(numbers[each])])
      : Array.from({ length: Math.ceil((end - first) / apart) }, (_, index) => [first + index * apart, String(numbers[order[first + index * apart]])]);
    xAxis(place, labelled, "trial", firstFold + folds * foldHeight);
    return (px, py) => {
      const index = order[Math.min(Math.max(Math.round(value(px)), 0), count - 1)], fold = Math.floor((py - firstFold) / foldHeight);
      if (fold >= folds) return null;
      if (fold < 0) return about(index);
      const score = scores[index][fold];
      return `trial ${numbers[index]}, fold ${fold + 1}\n${score === null ? "not trained" : `${data.metric} ${number(score)}`}\n${states[index]}`;
    };
  });
  for (const button of document.querySelectorAll("button[data-order]")) {
    button.addEventListener("click", () => {
      order = button.dataset.order === "mean" ? data.bestFirst : byNumber;
      for (const each of document.querySelectorAll("button[data-order]")) each.setAttribute("aria-pressed", String(each === button));
      redrawHeatMap();
    });
  }

  // ---- timeline -------------------------------------------------------------------------------------------------

  const { lanes = [], stretches = [], lost = [], failures = [], pauses = [], length = 1, isMerged, unit } = data.timeline ?? {};
  const few = stretches.length < 400;
  // A worker's trials alternate between two tones.
  stretches.forEach((each, index) => {
    const before = stretches[index - 1];
    each.tone = before?.lane !== each.lane ? 0 : before.trials.join() === each.trials.join() ? before.tone : 1 - before.tone;
    each.state = each.trials.some((trial) => states[trial] === "complete") ? "complete" : states[each.trials[0]];
  });
  chart("timeline", 24 + 38 * lanes.length + 44, [0, length * 1.01], (place) => {
    const { under, plot, x, left, width, shown, hidden } = place;
    const top = 24, bottom = top + 38 * lanes.length, row = (lane) => top + 38 * lane + 5, hits = [];
    lanes.forEach((lane, index) => label(under, left - 8, row(index) + 18, lane, { "text-anchor": "end" }, Math.floor(left / 7)));
    for (const value of ticks(...shown, width / 80)) svg("path", { d: `M${(left + x(value)).toFixed(1)} ${top}V${bottom}`, class: "grid" }, under);
    xAxis(place, ticks(...shown, width / 80).map((value) => [value, number(value)]), `${unit} since the study began`, bottom);
    const bars = paths(plot);
    const named = (trials) => `trial${trials.length > 1 ? "s" : ""} ${trials.slice(0, 12).map((trial) => numbers[trial]).join(", ")}${trials.length > 12 ? ", …" : ""}`;
    const texts = svg("g", { class: "on-bar" });
    for (const { lane, trials, bars: parts, tone, state } of stretches) {
      if (hidden.has(state)) continue;
      for (const [start, long, , text] of parts) {
        const from = x(start), size = Math.max(x(start + long) - from, 0.3);
        if (from + size < 0 || from > width) continue;
        bars.add(box(from, row(lane), size, 28), `var(--${state})`, `bar tone-${tone}${few ? " few" : ""}`);
        hits.push([lane, from, size, () => `${named(trials)} (${[...new Set(trials.map((trial) => states[trial]))].join(", ")})\n${text}`]);
      }
      // The trial's number over its bars; how many folds trained at once, on the bar of the most.
      const most = parts.reduce((a, b) => (b[2] > a[2] ? b : a)), last = parts.at(-1);
      const trial = trials.length === 1 ? String(numbers[trials[0]]) : "", times = !isMerged && most[2] > 1 ? `×${most[2]}` : "";
      for (const [text, start, end] of [[times && `${trial} ${times}`.trim(), most[0], most[0] + most[1]], [trial, parts[0][0], last[0] + last[1]]]) {
        const from = Math.max(x(start), 0), to = Math.min(x(end), width);
        if (!text || 7 * text.length + 4 > to - from) continue;
        svg("text", { x: (from + to) / 2, y: row(lane) + 18, "text-anchor": "middle" }, texts, text);
        break;
      }
    }
    bars.draw();
    plot.append(texts);
    for (const [lane, start, long, text] of hidden.has("lost") ? [] : lost) {
      const from = x(start), size = Math.max(x(start + long) - from, width / 200);
      svg("path", { d: box(from, row(lane), size, 28), class: "lost" }, plot);
      hits.push([lane, from, size, () => text]);
    }
    for (const [lane, at, index] of hidden.has("failure") ? [] : failures) {
      svg("path", { d: shapes.failed(x(at), row(lane) + 14, 5), class: "failure" }, plot);
      hits.push([lane, x(at) - 6, 12, () => about(index)]);
    }
    for (const [at, text] of pauses) {
      svg("path", { d: `M${x(at).toFixed(1)} 16V${bottom}`, class: "pause" }, plot);
      label(plot, x(at), 11, text, { "text-anchor": "middle" });
    }
    return (px, py) => {
      const lane = Math.floor((py - top) / 38);
      return hits.findLast(([each, from, size]) => each === lane && px >= from - 1 && px <= from + size + 1)?.[3]() ?? null;
    };
  });

  // ---- parallel coordinates -------------------------------------------------------------------------------------

  const brushes = new Map();
  function parallel(element, { axes, lines }) {
    const longest = Math.max(...axes[0].ticks.map(([, text]) => Math.min(text.length, 22)));
    const top = 34, bottom = 14, height = 360, left = Math.max(66, 18 + 7 * longest), right = 74;
    const width = Math.max(element.clientWidth, left + right + (axes.length - 1) * 104);
    const x = (index) => left + ((width - left - right) * index) / Math.max(axes.length - 1, 1);
    const y = (share) => top + (1 - share) * (height - top - bottom);
    const readout = document.getElementById("parallel-readout");
    const root = svg("svg", { width, height, "aria-hidden": "true" });
    const strokes = svg("g", {}, root), near = svg("path", { class: "near" }, root);
    element.replaceChildren(root);

    const rank = ([index, ...places]) => (states[index] === "complete" ? 1 : 0) + (places.at(-1) ?? 0);
    const drawn = [...lines].sort((a, b) => rank(a) - rank(b)).map(([index, ...places]) => {
      const points = places.flatMap((place, axis) => (place === null ? [] : [`${x(axis).toFixed(1)} ${y(place).toFixed(1)}`]));
      const state = states[index], color = state === "complete" ? ramp(places.at(-1) ?? 0) : `var(--${state})`;
      return { index, places, color, d: `M${points.join("L")}`, kind: `line ${state}${lines.length > 150 ? " many" : ""}` };
    });
    const passes = ({ places }) => [...brushes].every(([axis, [low, high]]) => places[axis] !== null && places[axis] >= low && places[axis] <= high);
    let passing = "";
    function filter() {
      const kept = drawn.filter(passes), groups = paths(strokes);
      strokes.replaceChildren();
      for (const each of drawn) if (brushes.size && !passes(each)) groups.add(each.d, each.color, `${each.kind} off`);
      for (const each of kept) groups.add(each.d, each.color, each.kind);
      groups.draw();
      const winner = kept.find(({ index }) => index === data.winner);
      if (winner) svg("path", { d: winner.d, class: "line winner", style: `--color: ${winner.color}` }, strokes);
      passing = brushes.size ? `${kept.length} of ${lines.length} trials pass; double-click an axis to clear its range. ` : "";
      readout.textContent = passing;
    }

    axes.forEach((axis, index) => {
      const group = svg("g", { transform: `translate(${x(index)},0)` }, root);
      svg("path", { d: `M0 ${y(0)}V${y(1)}`, class: "axis" }, group);
      const side = index === axes.length - 1 ? 1 : -1, anchor = side > 0 ? "start" : "end";
      label(group, 0, 16, axis.name, { class: "name", "text-anchor": "middle" }, 16);
      for (const [place, text] of axis.ticks) {
        svg("path", { d: `M0 ${y(place)}h${5 * side}`, class: "axis" }, group);
        label(group, 8 * side, y(place) + 4, text, { "text-anchor": anchor }, index ? 14 : 22);
      }
      const brush = svg("rect", { x: -7, width: 14, class: "brush" }, group);
      const grip = svg("rect", { x: -12, width: 24, y: y(1) - 4, height: y(0) - y(1) + 8, class: "grip" }, group);
      const paint = () => {
        const [low, high] = brushes.get(index) ?? [0, 0];
        brush.setAttribute("y", y(high));
        brush.setAttribute("height", y(low) - y(high));
      };
      const share = (event) => Math.min(Math.max(1 - (event.clientY - root.getBoundingClientRect().top - top) / (height - top - bottom), 0), 1);
      let from = null;
      grip.addEventListener("pointerdown", (event) => { from = share(event); grip.setPointerCapture(event.pointerId); });
      grip.addEventListener("pointermove", (event) => {
        if (from === null) return;
        const to = share(event);
        if (Math.abs(to - from) < 0.01) return;
        brushes.set(index, [Math.min(from, to), Math.max(from, to)]);
        paint();
        filter();
      });
      grip.addEventListener("pointerup", () => { from = null; });
      grip.addEventListener("dblclick", () => { brushes.delete(index); paint(); filter(); });
      paint();
    });

    // The line nearest to the pointer, measured upright at the pointer's place between two axes.
    root.addEventListener("pointermove", (event) => {
      if (event.buttons) return;
      const bounds = root.getBoundingClientRect(), px = event.clientX - bounds.left, py = event.clientY - bounds.top;
      const place = ((px - left) / (width - left - right)) * (axes.length - 1);
      const index = Math.min(Math.max(Math.floor(place), 0), axes.length - 2);
      let found = null, least = 14;
      for (const each of drawn) {
        const a = each.places[index], b = each.places[index + 1];
        if (a === null || b === null || !passes(each)) continue;
        const distance = Math.abs(y(a + (b - a) * (place - index)) - py);
        if (distance <= least) { least = distance; found = each; }
      }
      near.setAttribute("d", found ? found.d : "");
      near.style.setProperty("--color", found ? found.color : "none");
      readout.textContent = passing + (found ? about(found.index).replaceAll("\n", ", ") : "");
    });
    filter();
  }
  const coordinates = document.getElementById("parallel");
  if (coordinates && data.parallel) redraws.push(() => parallel(coordinates, data.parallel));

  // ---- learning curves ------------------------------------------------------------------------------------------

  const curveButtons = [...document.querySelectorAll("button[data-curve]")];
  function learning(element, { folds, curves, shares }) {
    const chosen = curveButtons.find((button) => button.getAttribute("aria-pressed") === "true").dataset.curve;
    const { range: [low, high], lines } = curves.find(({ name }) => name === chosen);
    const last = Math.max(...lines.map(([, , points]) => points.at(-1)[0])), whole = Math.max(element.clientWidth, 240);
    const across = Math.min(folds, Math.max(Math.floor(whole / 230), 1)), size = whole / across, left = 52, top = 24, inner = 150, tall = 218;
    const width = size - left - 14, root = svg("svg", { width: whole, height: Math.ceil(folds / across) * tall, "aria-hidden": "true" });
    const x = (epoch) => (last > 1 ? ((epoch - 1) / (last - 1)) * width : width / 2), y = (value) => ((high - value) / (high - low)) * inner;
    const corner = (fold) => [(fold % across) * size + left, Math.floor(fold / across) * tall + top];
    const panels = Array.from({ length: folds }, (_, fold) => {
      const [px, py] = corner(fold), under = svg("g", { transform: `translate(${px.toFixed(1)},${py})` }, root);
      for (const value of ticks(low, high, 4)) {
        svg("path", { d: `M0 ${y(value).toFixed(1)}h${width.toFixed(1)}`, class: "grid" }, under);
        label(under, -6, y(value) + 4, number(value), { "text-anchor": "end" });
      }
      const places = last > 1 ? ticks(1, last, width / 50).filter(Number.isInteger) : [1];
      for (const epoch of places) label(under, x(epoch), inner + 15, String(epoch), { "text-anchor": "middle" });
      label(under, 0, -8, `fold ${fold + 1}`, { class: "title" });
      if (Math.floor(fold / across) === Math.ceil(folds / across) - 1 || fold + across >= folds) label(under, width / 2, inner + 33, "epoch", { "text-anchor": "middle" });
      const plot = svg("svg", { x: px, y: py - 3, width: Math.max(width, 1) + 2, height: inner + 6, viewBox: `0 -3 ${Math.max(width, 1) + 2} ${inner + 6}` }, root);
      return { plot, groups: paths(plot) };
    });
    const d = (points) => (points.length > 1 ? `M${points.map(([epoch, value]) => `${x(epoch).toFixed(1)} ${y(value).toFixed(1)}`).join("L")}` : `M${x(points[0][0]) - 2} ${y(points[0][1]).toFixed(1)}h4`);
    // The best lie on top.
    for (const [index, fold, points] of [...lines].sort((a, b) => shares[a[0]] - shares[b[0]])) {
      panels[fold].groups.add(d(points), ramp(shares[index]), `line ${states[index]}${index === data.winner ? " winner" : ""}`);
    }
    const near = panels.map(({ plot, groups }) => { groups.draw(); return svg("path", { class: "near" }, plot); });
    root.addEventListener("pointermove", (event) => {
      const bounds = root.getBoundingClientRect(), column = Math.floor((event.clientX - bounds.left) / size), row = Math.floor((event.clientY - bounds.top) / tall);
      const fold = row * across + column, [px, py] = corner(fold), at = event.clientX - bounds.left - px, up = event.clientY - bounds.top - py;
      let found = null, least = 14;
      for (const [index, own, points] of column < across ? lines : []) {
        if (own !== fold) continue;
        const after = points.findIndex(([epoch]) => x(epoch) >= at), [b, a] = [points[Math.max(after, 0)], points[Math.max(after - 1, 0)]];
        if (after < 0 || at < x(points[0][0]) - 4) continue;
        const share = b[0] === a[0] ? 0 : (at - x(a[0])) / (x(b[0]) - x(a[0])), distance = Math.abs(y(a[1] + (b[1] - a[1]) * share) - up);
        if (distance <= least) { least = distance; found = { index, point: share < 0.5 ? a : b }; }
      }
      near.forEach((path, each) => {
        const line = found && lines.find(([index, own]) => index === found.index && own === each);
        path.setAttribute("d", line ? d(line[2]) : "");
        path.style.setProperty("--color", line ? ramp(shares[found.index]) : "none");
      });
      show(found ? `trial ${numbers[found.index]}, fold ${fold + 1}, epoch ${found.point[0]}\n${chosen} ${number(found.point[1])}\n${about(found.index).split("\n").slice(1).join("\n")}` : null, event);
    });
    root.addEventListener("pointerleave", () => { show(null); near.forEach((path) => path.setAttribute("d", "")); });
    element.replaceChildren(root);
  }
  const panels = document.getElementById("learning");
  if (panels && data.learning) redraws.push(() => learning(panels, data.learning));
  for (const button of curveButtons) {
    button.addEventListener("click", () => {
      for (const each of curveButtons) each.setAttribute("aria-pressed", String(each === button));
      learning(panels, data.learning);
    });
  }

  // ---- table ----------------------------------------------------------------------------------------------------

  const table = document.getElementById("table"), body = table?.tBodies[0], all = document.getElementById("all-rows");
  const make = (name, text, parent, kind) => {
    const element = parent.appendChild(document.createElement(name));
    element.textContent = text;
    if (kind) element.className = kind;
    return element;
  };
  const fewRows = body?.rows.length ?? 0;
  let rows = data.bestFirst;
  function fill(length) {
    if (all) all.hidden = length === count;
    body.replaceChildren(...rows.slice(0, length).map((index) => {
      const row = document.createElement("tr");
      row.classList.toggle("is-winner", index === data.winner);
      columns.forEach(({ texts }, place) => {
        const cell = make("td", place === 1 ? "" : texts[index], row, place === 1 ? "ending" : "");
        if (place !== 1) return;
        make("span", texts[index], cell, `state state-${texts[index]}`);
        for (const note of notes[index]) make("small", note, cell);
      });
      return row;
    }));
  }
  all?.addEventListener("click", () => fill(count));

  // What to sort a cell by: seconds of a duration, else its number, else its text.
  const seconds = { s: 1, min: 60, h: 3600, d: 86400 };
  function key(text) {
    const parts = [...text.matchAll(/([\d.]+) (s|min|h|d)\b/g)];
    if (parts.length) return parts.reduce((total, [, amount, of]) => total + amount * seconds[of], 0);
    const value = parseFloat(text.replace("(", ""));
    return Number.isNaN(value) ? text : value;
  }
  table?.querySelectorAll("thead button").forEach((button, place) => {
    button.addEventListener("click", () => {
      const header = button.parentElement, down = header.getAttribute("aria-sort") === "ascending";
      const keys = columns[place].texts.map(key);
      rows = [...byNumber].sort((a, b) => {
        const [p, q] = [keys[a], keys[b]];
        if (p === q) return a - b;
        if (p === "–" || q === "–") return p === "–" ? 1 : -1; // nothing stands last either way
        return (down ? -1 : 1) * (typeof p === typeof q ? (p < q ? -1 : 1) : typeof p === "number" ? -1 : 1);
      });
      for (const each of header.parentElement.cells) each.removeAttribute("aria-sort");
      header.setAttribute("aria-sort", down ? "descending" : "ascending");
      fill(fewRows);
    });
  });

  // ---- all of it ------------------------------------------------------------------------------------------------

  document.getElementById("theme").addEventListener("click", () => {
    const shown = document.documentElement.style.colorScheme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    document.documentElement.style.colorScheme = shown === "dark" ? "light" : "dark";
  });
  let width = innerWidth, timer = 0;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(timer);
    timer = setTimeout(() => redraws.forEach((redraw) => redraw()), 150);
  });
  redraws.forEach((redraw) => redraw());
})();
