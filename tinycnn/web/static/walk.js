// The walk: steps forward and back through a trace, pictures of its arrays, and the sum behind the number that a person
// points at. All numbers come from the trace; Sums (sums.js) adds them up. Without a server it shows what is in the file.
"use strict";

const Walk = (() => {
  const el = (id) => document.getElementById(id);
  const MOST_TILES = 64; // of the strip of small pictures below a large one
  const PLAY_MS = 3000; // per step
  const NUMBERS_FROM = 36; // side in pixels of a cell that has room for its number

  let trace = null, first = null; // the trace shown, and the one before any practice
  let extras = { sources: {}, formulas: {}, checks: [], practice: [], saliency: null };
  let services = null; // {check(name, index), practise(settings)} of a server; null in a file
  let steps = [], current = 0, timer = null;
  let chosen = null; // {layer, quantity, index, sum}, or {quantity: "score", …} at the loss
  let pinned = false;
  let views = []; // the pictures of this step
  const slices = new Map(); // array name → the chosen filter, channel or unit
  let practised = null;

  // ----------------------------------------------------------------------------------------------------- small things

  function make(tag, properties = {}, ...children) {
    const { data, ...rest } = properties, node = Object.assign(document.createElement(tag), rest);
    for (const [name, value] of Object.entries(data || {})) node.setAttribute(name, value);
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }

  const colourOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const rgb = (name) => [1, 3, 5].map((i) => parseInt(colourOf(name).slice(i, i + 2), 16));

  /** A number as people read it, with a real minus: 5 significant digits unless told otherwise. */
  function text(value, digits = 5) {
    if (!Number.isFinite(value)) return String(value);
    if (value === 0) return "0";
    const size = Math.abs(value);
    const plain = size >= 1e-4 && size < 1e6 ? String(Number(value.toPrecision(digits))) : power(value, digits);
    return plain.replace(/^-/, "−");
  }

  const RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹";
  function power(value, digits) {
    const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
    const raised = [...String(Math.abs(exponent))].map((digit) => RAISED[digit]).join("");
    return `${Number(mantissa)}·10${exponent < 0 ? "⁻" : ""}${raised}`;
  }


  /** A probability with one decimal; 100.0 % only for exactly 1, 0.0 % only for 0 (as in tinycnn/plots/images.py). */
  function percent(share) {
    const text = (100 * share).toFixed(1);
    if (text === "100.0" && share < 1) return ">99.9 %";
    return text === "0.0" && share > 0 ? "<0.1 %" : `${text} %`;
  }

  const brackets = (value) => (value < 0 ? `(${text(value)})` : text(value));
  const label = (k) => trace.class_names[k];
  const layerNumber = (name) => trace.layers.findIndex((layer) => layer.name === name);

  /** Where a number stands, in words: "row 3, column 4, map 2". Counted from 0, as in the source. */
  function place(array, index) {
    const words = { 1: ["unit"], 2: ["input", "unit"], 3: ["row", "column", "map"], 4: ["row", "column", "channel", "filter"] };
    const names = words[index.length] || index.map((_, axis) => `axis ${axis}`);
    const isImage = array && (array.name === "input" || array.name === "input.grad");
    if (isImage && array.shape[2] === 1) return `row ${index[0]}, column ${index[1]}`;
    return index.map((i, axis) => `${names[axis]} ${i}`).join(", ");
  }

  // --------------------------------------------------------------------------------------------------------- the steps

  function listSteps() {
    const forward = trace.layers.map((layer) => ({ pass: "forward", layer }));
    const back = [...trace.layers].reverse().map((layer) => ({ pass: "backward", layer }));
    return [...forward, { pass: "loss" }, ...back];
  }

  const titleOf = ({ pass, layer }) =>
    pass === "loss" ? "The loss" : `${layer.name}, ${pass === "forward" ? "forward" : "back"}`;

  function makeTrack() {
    const track = el("track"), lines = [make("span", { className: "line", textContent: "forward →" }), make("span", { className: "line", textContent: "← back" })];
    const buttonOf = (step) => {
      const button = make("button", { type: "button", textContent: step.pass === "loss" ? "softmax, loss" : step.layer.name });
      button.addEventListener("click", () => go(steps.indexOf(step)));
      if (step.pass === "loss") button.className = "both";
      else button.setAttribute("aria-label", titleOf(step));
      return (step.button = button);
    };
    const n = trace.layers.length;
    const columns = trace.layers.flatMap((_, i) => [buttonOf(steps[i]), buttonOf(steps[2 * n - i])]);
    track.replaceChildren(...lines, ...columns, buttonOf(steps[n]));
  }

  function go(number, selection = null) {
    current = Math.max(0, Math.min(steps.length - 1, number));
    const step = steps[current];
    for (const one of steps) one.button.removeAttribute("aria-current");
    step.button.setAttribute("aria-current", "step");
    reveal(step.button);
    el("previous").disabled = current === 0;
    el("next").disabled = current === steps.length - 1;
    el("step-title").textContent = titleOf(step);
    pinned = selection !== null;
    chosen = null;
    notice("");
    showStep(step);
    select(selection || firstChoice(step));
    restartAnimation();
  }

  function reveal(button) {
    const track = el("track"), middle = button.offsetLeft + button.offsetWidth / 2 - track.clientWidth / 2;
    track.scrollLeft = middle;
  }

  function restartAnimation() {
    const panels = el("panels");
    panels.classList.remove("fresh");
    void panels.offsetWidth;
    panels.classList.add("fresh");
  }

  /** What is chosen when a step is entered: the largest number of its most telling array. */
  function firstChoice(step) {
    if (step.pass === "loss") return { quantity: "score", index: [trace.label] };
    const known = Sums.quantities(step.layer);
    const wanted = step.pass === "forward" ? ["y"] : ["weight.grad", "gamma.grad", "grad_x"];
    const quantity = wanted.find((name) => known.includes(name)) || (step.pass === "forward" ? "y" : "grad_x");
    const array = Sums.arrayOf(step.layer, quantity);
    let best = 0;
    array.data.forEach((value, i) => (best = Math.abs(value) > Math.abs(array.data[best]) ? i : best));
    return { layer: step.layer, quantity, index: Sums.unflat(array.shape, best) };
  }

  const TEXTS = {
    Conv2d: {
      forward: "A filter slides over its input. At each place, every weight is multiplied by the pixel below it, and the products are added: one output pixel.",
      backward: "Each weight was used at every place, so its gradient is the sum over all places: pixel below it × gradient of the output there. Each input pixel lay under several windows, so its gradient is a sum over them.",
    },
    MaxPool2d: {
      forward: "Each window passes on its largest number, the winner (dot). The others have no effect. If several are equally large, as in a window of zeros, the first of them wins, row by row from the top left.",
      backward: "Only the winner (dot) changed the output, so it gets the whole gradient of its window. The losers get 0: moving them a little would change nothing. In a tie, the first of the largest wins, row by row, and gets everything: so there is one dot in each window of zeros too.",
    },
    AvgPool2d: {
      forward: "Each window becomes its mean.",
      backward: "Each pixel of a window had the same share in the mean, so each gets the same share of the gradient.",
    },
    GlobalAvgPool2d: {
      forward: "Each map becomes one number, its mean.",
      backward: "Each pixel of a map had the same share in the mean, so each gets the same share of the gradient.",
    },
    ReLU: {
      forward: "A gate for each number: positive ones pass, the others become 0 (struck out).",
      backward: "Where the gate was open, the gradient passes unchanged. Where it was closed (struck out), the input had no effect, so its gradient is 0.",
    },
    Flatten: {
      forward: "The maps are written as one long row. Nothing is computed.",
      backward: "Each gradient goes back to the place that its number came from. Nothing is computed.",
    },
    Dense: {
      forward: "Every unit is a weighted sum of all inputs, plus a bias.",
      backward: "A weight multiplied one input, so its gradient is that input × the gradient of the unit. An input went into every unit, so its gradient is a sum over all units.",
    },
    Dropout: {
      forward: "In training, numbers are dropped at random (struck out), and the others are scaled up. In evaluation, all pass.",
      backward: "The gradient is multiplied by the same mask: what was dropped had no effect, so its gradient is 0.",
    },
    BatchNorm: {
      forward: "Each channel is shifted and scaled to mean 0 and variance 1, then scaled by gamma and shifted by beta.",
      backward: "With fixed statistics, the gradient is scaled as the number was. With statistics of the batch, each number also moved the mean and the variance: two more summands.",
    },
    LeakyReLU: { forward: "Positive numbers pass, the others are multiplied by a small slope.", backward: "The gradient is multiplied by the same slope: 1 for positive inputs, the small one for others." },
    Sigmoid: { forward: "Each number becomes one between 0 and 1.", backward: "The gradient is multiplied by the slope of the curve at this place, which is flat far from 0." },
    Tanh: { forward: "Each number becomes one between −1 and 1.", backward: "The gradient is multiplied by the slope of the curve at this place, which is flat far from 0." },
    Rescaling: { forward: "Each number is multiplied by a constant.", backward: "The gradient is multiplied by the same constant." },
  };

  function textOf({ pass, layer }) {
    if (pass === "loss") {
      const p = at(trace.arrays.probabilities, trace.label), last = trace.layers.at(-1).name, head = trace.head ? ` (the layer ${trace.head})` : "";
      return `${last} computed one score for each class. Softmax${head} turns the scores into probabilities p. The true class, ${label(trace.label)}, gets p = ${text(p)}. Loss = −log p = −log ${text(p)} = ${text(trace.loss)}, with the natural logarithm.`;
    }
    const own = TEXTS[layer.kind];
    if (own) return own[pass];
    if (Sums.isKnown(layer)) return `${layer.kind} passes its input on unchanged.`;
    return `${layer.kind}: its numbers are shown, but this page does not know how to write them out as sums.`;
  }

  const at = (array, i) => array.data[i];

  function showStep(step) {
    const after = trace === first ? "" : `After ${practised.steps} ${practised.steps === 1 ? "step" : "steps"} of practice. `;
    el("step-text").textContent = after + textOf(step);
    views = [];
    if (step.pass === "loss") {
      el("panels").replaceChildren(makeBars());
      return fitEquations(el("panels"));
    }
    const { layer } = step, isBack = step.pass === "backward", panels = [];
    const show = (quantity, title) => {
      const array = Sums.arrayOf(layer, quantity);
      if (array) panels.push((views[views.length] = makeView(step, array, quantity, title)).node);
    };
    if (isBack) {
      const after = trace.layers[trace.layers.indexOf(layer) + 1], before = trace.layers[trace.layers.indexOf(layer) - 1];
      show("grad_y", `Arrives from ${after ? after.name : "the loss"}: gradient of the output`);
      show("x", layer.x.name === "input" ? "The picture" : "Input, on the way forward");
      for (const name of layer.parameters) show(`${name}.grad`, `Gradient of ${name}`);
      for (const name of layer.parameters) show(name, name);
      show("grad_x", layer.x.name === "input" ? "Gradient of the picture" : `Passed on to ${before && before.name}: gradient of the input`);
    } else {
      show("x", layer.x.name === "input" ? "The picture" : "Input");
      for (const name of layer.parameters) show(name, name);
      if ("mask" in layer.kept) show("mask", "mask");
      show("y", "Output");
    }
    el("panels").replaceChildren(...panels);
    views.forEach((view) => view.draw());
  }

  // -------------------------------------------------------------------------------------- pictures of arrays, and cells

  /** How an array is laid out as a picture of rows and columns, with the axes that are chosen one at a time. */
  function layout(shape) {
    const grid = (length) => {
      const columns = length <= 12 ? length : Math.min(length, Math.max(10, Math.ceil(Math.sqrt(length * 1.6))));
      return { rows: Math.ceil(length / columns), columns };
    };
    if (shape.length === 3) {
      return { rows: shape[0], columns: shape[1], axes: [2], names: ["map"], index: (r, c, [map]) => [r, c, map], cell: ([r, c, map]) => [r, c, [map]] };
    }
    if (shape.length === 4) {
      return {
        rows: shape[0], columns: shape[1], axes: [3, 2], names: ["filter", "channel"],
        index: (r, c, [filter, channel]) => [r, c, channel, filter], cell: ([r, c, channel, filter]) => [r, c, [filter, channel]],
      };
    }
    const { rows, columns } = grid(shape[0]), units = shape.length === 2;
    const inside = (r, c) => r * columns + c < shape[0];
    return {
      rows, columns, axes: units ? [1] : [], names: ["unit"],
      index: (r, c, [unit]) => (inside(r, c) ? (units ? [r * columns + c, unit] : [r * columns + c]) : null),
      cell: ([i, unit]) => [Math.floor(i / columns), i % columns, units ? [unit] : []],
    };
  }

  const largestOf = (array) => array.data.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0) || 1;

  /** Dots and strokes over cells: the winners of a pool, closed gates, dropped values. */
  function markOf(layer, quantity, index) {
    if (layer.kind === "MaxPool2d" && (quantity === "x" || quantity === "grad_x")) {
      return (layer.winners = layer.winners || winnersOf(layer)).has(Sums.flat(layer.x.shape, index)) ? "dot" : null;
    }
    const gated = quantity === "y" || quantity === "grad_x";
    if (layer.kind === "ReLU" && (gated || quantity === "x")) return Sums.at(layer.y, index) > 0 ? null : "stroke";
    if ("mask" in layer.kept && gated) return Sums.at(layer.kept.mask, index) > 0 ? null : "stroke";
    return null;
  }

  function winnersOf(layer) {
    const [OH, OW, C] = layer.y.shape, found = new Set();
    for (let oh = 0; oh < OH; oh++) {
      for (let ow = 0; ow < OW; ow++) {
        for (let c = 0; c < C; c++) found.add(Sums.flat(layer.x.shape, [...Sums.winnerOf(layer, oh, ow, c), c]));
      }
    }
    return found;
  }

  function makeView(step, array, quantity, title) {
    const { layer } = step, form = layout(array.shape), scale = largestOf(array);
    const canChoose = Sums.quantities(layer).includes(quantity) && (step.pass === "forward") === (quantity === "y");
    const canvas = make("canvas", { className: "map", tabIndex: 0, data: { role: "img" } });
    const strip = make("canvas", { className: "strip", data: { "aria-hidden": "true" } });
    const choosers = form.axes.filter((axis) => array.shape[axis] > 1).map((axis) => makeChooser(axis));
    const legend = make("div", { className: "legend", data: { "aria-hidden": "true" } }, `−${text(scale, 3)}`, make("i"), text(scale, 3));
    const size = array.shape.join("×");
    const node = make("div", { className: "panel" }, make("h3", {}, `${title} `, make("small", { textContent: size })), ...choosers.map(({ row }) => row), canvas, strip, legend);
    const view = { node, array, quantity, layer, draw, show, canChoose };

    const slice = () => {
      if (!slices.has(array.name)) slices.set(array.name, form.axes.map(() => 0));
      return slices.get(array.name);
    };

    function makeChooser(axis) {
      const name = form.names[form.axes.indexOf(axis)], output = make("output");
      const button = (sign, by) => {
        const one = make("button", { type: "button", textContent: sign, data: { "aria-label": `${by > 0 ? "next" : "previous"} ${name}` } });
        one.addEventListener("click", () => move(axis, by));
        return one;
      };
      return { axis, name, output, row: make("div", { className: "chooser row" }, button("−", -1), output, button("+", 1)) };
    }

    function move(axis, by) {
      const position = form.axes.indexOf(axis), own = slice();
      const next = [...own];
      next[position] = (own[position] + by + array.shape[axis]) % array.shape[axis];
      turnTo(next);
    }

    /** Shows another filter, channel or unit; the chosen number stays at its row and column. */
    function turnTo(next) {
      slices.set(array.name, next);
      if (chosen && chosen.layer === layer && chosen.quantity === quantity) {
        const [r, c] = form.cell(chosen.index);
        select({ ...chosen, index: form.index(r, c, next) });
      } else if (chosen && chosen.layer === layer && keepsMaps(layer) && array.shape.length === 3 && chosen.index.length === 3) {
        select({ ...chosen, index: [...chosen.index.slice(0, 2), ...next] }); // the other pictures turn with this one
      } else if (chosen && chosen.layer === layer && keepsMaps(layer) && array.shape.length === 3 && chosen.index.length === 1) {
        select({ ...chosen, index: next }); // a number of a channel, such as gamma of batch norm
      } else draw();
    }

    /** Turns to the slice that holds an index. */
    function show(index) {
      slices.set(array.name, form.cell(index)[2]);
    }

    function cellSize() {
      const room = Math.min(node.parentElement ? node.parentElement.clientWidth : 320, array.shape.length === 4 ? 180 : 300);
      return Math.max(4, Math.min(48, Math.floor(room / form.columns)));
    }

    function draw() {
      const ratio = Math.max(1, Math.round(window.devicePixelRatio)), cell = cellSize() * ratio, own = slice();
      choosers.forEach(({ axis, name, output }) => (output.textContent = `${name} ${own[form.axes.indexOf(axis)]} (of 0 to ${array.shape[axis] - 1})`));
      canvas.width = form.columns * cell;
      canvas.height = form.rows * cell;
      canvas.style.width = `${canvas.width / ratio}px`;
      const context = canvas.getContext("2d"), paint = painter(scale);
      for (let r = 0; r < form.rows; r++) {
        for (let c = 0; c < form.columns; c++) {
          const index = form.index(r, c, own);
          if (!index) continue;
          const value = Sums.at(array, index), inner = cell > 6 * ratio ? 1 : 0;
          context.fillStyle = paint(value);
          context.fillRect(c * cell, r * cell, cell - inner, cell - inner);
          drawMark(context, markOf(layer, quantity, index), c * cell, r * cell, cell - inner, ratio);
          if (cell >= NUMBERS_FROM * ratio) writeNumber(context, value, scale, c * cell, r * cell, cell, ratio);
        }
      }
      drawFrames(context, cell, ratio, own);
      drawStrip(ratio);
      canvas.setAttribute("aria-label", `${title}, ${size}${canChoose ? ". Arrow keys choose a number" : ""}`);
    }

    function drawFrames(context, cell, ratio, own) {
      if (!chosen) return;
      const frame = (index, width) => {
        const [r, c, there] = form.cell(index);
        if (there.join() !== own.join()) return;
        for (const [colour, more] of [[colourOf("--card"), 2], [colourOf("--mark"), 0]]) {
          context.strokeStyle = colour;
          context.lineWidth = (width + more) * ratio;
          context.strokeRect(c * cell + ratio, r * cell + ratio, cell - 2 * ratio, cell - 2 * ratio);
        }
      };
      const parts = partsOf(chosen).get(array.name) || [];
      const here = parts.filter((index) => form.cell(index)[2].join() === own.join());
      if (here.length > 40) outline(context, here, cell, ratio);
      else here.forEach((index) => frame(index, 1.5));
      if (isChosen(view) || isPartner(view)) frame(chosen.index, 3);
    }

    /** One frame around many cells. */
    function outline(context, indices, cell, ratio) {
      const cells = indices.map((index) => form.cell(index)), rows = cells.map(([r]) => r), columns = cells.map(([, c]) => c);
      const [top, left] = [Math.min(...rows), Math.min(...columns)];
      context.strokeStyle = colourOf("--mark");
      context.lineWidth = 2 * ratio;
      context.strokeRect(left * cell + ratio, top * cell + ratio, (Math.max(...columns) - left + 1) * cell - 2 * ratio, (Math.max(...rows) - top + 1) * cell - 2 * ratio);
    }

    function drawStrip(ratio) {
      const axis = form.axes[0], count = axis === undefined ? 1 : array.shape[axis];
      strip.hidden = count < 2 || array.shape.length === 2;
      if (strip.hidden) return;
      const tiles = Math.min(count, MOST_TILES), own = slice(), side = 40 * ratio, gap = 4 * ratio;
      const columns = Math.max(1, Math.min(tiles, Math.floor((300 * ratio + gap) / (side + gap))));
      const rows = Math.ceil(tiles / columns);
      strip.width = columns * (side + gap);
      strip.height = rows * (side + gap);
      strip.style.width = `${strip.width / ratio}px`;
      const context = strip.getContext("2d"), paint = painter(scale);
      for (let k = 0; k < tiles; k++) {
        const left = (k % columns) * (side + gap), top = Math.floor(k / columns) * (side + gap);
        const there = [...own];
        there[0] = k;
        const size = side / Math.max(form.rows, form.columns);
        for (let r = 0; r < form.rows; r++) {
          for (let c = 0; c < form.columns; c++) {
            context.fillStyle = paint(Sums.at(array, form.index(r, c, there)));
            context.fillRect(left + c * size, top + r * size, Math.ceil(size), Math.ceil(size));
          }
        }
        context.lineWidth = (k === own[0] ? 2 : 1) * ratio;
        context.strokeStyle = colourOf(k === own[0] ? "--text" : "--line");
        context.strokeRect(left + ratio, top + ratio, side - 2 * ratio, side - 2 * ratio);
      }
      strip.onclick = (event) => {
        const box = strip.getBoundingClientRect(), width = (side + gap) / ratio;
        const k = Math.floor((event.clientY - box.top) / width) * columns + Math.floor((event.clientX - box.left) / width);
        if (k >= 0 && k < tiles) turnTo([k, ...own.slice(1)]);
      };
    }

    function indexAt(event) {
      const box = canvas.getBoundingClientRect();
      const r = Math.floor(((event.clientY - box.top) / box.height) * form.rows), c = Math.floor(((event.clientX - box.left) / box.width) * form.columns);
      return r >= 0 && c >= 0 && r < form.rows && c < form.columns ? form.index(r, c, slice()) : null;
    }

    const choose = (index) => index && select({ layer, quantity, index, plain: !canChoose });
    canvas.addEventListener("pointermove", (event) => {
      if (event.pointerType === "mouse" && !pinned) choose(indexAt(event));
    });
    canvas.addEventListener("click", (event) => {
      const isSame = chosen && chosen.quantity === quantity && String(indexAt(event)) === String(chosen.index);
      pinned = !(pinned && isSame);
      choose(indexAt(event));
    });
    canvas.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
      if (event.key === "Escape") return canvas.blur();
      if (event.key === "+" || event.key === "-") {
        event.preventDefault();
        if (choosers.length) move(choosers[0].axis, event.key === "+" ? 1 : -1);
        return;
      }
      if (!(event.key in moves)) return;
      event.preventDefault();
      event.stopPropagation();
      const mine = chosen && chosen.layer === layer && chosen.quantity === quantity;
      const [r, c] = mine ? form.cell(chosen.index) : [0, 0], [down, right] = mine ? moves[event.key] : [0, 0];
      const next = [Math.max(0, Math.min(form.rows - 1, r + down)), Math.max(0, Math.min(form.columns - 1, c + right))];
      pinned = true;
      choose(form.index(...next, slice()));
    });
    return view;
  }

  /** A function from numbers to colours: orange below zero, blue above, stronger with the root of the number. */
  function painter(scale) {
    const zero = rgb("--zero"), above = rgb("--for"), below = rgb("--against");
    return (value) => {
      if (!Number.isFinite(value)) return colourOf("--trouble");
      const share = Math.sqrt(Math.min(1, Math.abs(value) / scale)), end = value < 0 ? below : above;
      return `rgb(${zero.map((channel, i) => Math.round(channel + (end[i] - channel) * share)).join(" ")})`;
    };
  }

  function drawMark(context, mark, left, top, size, ratio) {
    if (!mark) return;
    context.strokeStyle = context.fillStyle = colourOf(mark === "dot" ? "--text" : "--dim");
    context.lineWidth = ratio;
    context.beginPath();
    if (mark === "dot") context.arc(left + size / 2, top + size / 2, Math.max(1.2 * ratio, size / 8), 0, 2 * Math.PI);
    else {
      context.moveTo(left + size * 0.25, top + size * 0.75);
      context.lineTo(left + size * 0.75, top + size * 0.25);
    }
    if (mark === "dot") context.fill();
    else context.stroke();
  }

  function writeNumber(context, value, scale, left, top, cell, ratio) {
    const isStrong = Math.sqrt(Math.abs(value) / scale) > 0.6;
    context.fillStyle = colourOf(isStrong ? "--card" : "--text");
    context.font = `${11 * ratio}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    const short = value !== 0 && Math.abs(value) < 0.005 ? value.toExponential(0).replace("-", "−") : Number(value.toPrecision(2)).toString();
    context.fillText(short.replace(/^-/, "−"), left + cell / 2, top + cell / 2, cell - 2 * ratio);
  }

  // ------------------------------------------------------------------------------------------------- what is chosen

  /** The step and the quantity that computed an array; null for the picture, weights, and what layers kept. */
  function originOf(name) {
    if (name === "probabilities") return { quantity: "p" };
    const isGrad = name.endsWith(".grad"), base = isGrad ? name.slice(0, -5) : name;
    if (base === "input") return isGrad ? { layer: trace.layers[0], quantity: "grad_x" } : null;
    if (!base.endsWith(".output")) {
      const layer = trace.layers[layerNumber(base.split(".")[0])];
      return isGrad && layer ? { layer, quantity: `${base.slice(layer.name.length + 1)}.grad` } : null;
    }
    const number = layerNumber(base.slice(0, -7));
    if (!isGrad) return { layer: trace.layers[number], quantity: "y" };
    return number + 1 < trace.layers.length ? { layer: trace.layers[number + 1], quantity: "grad_x" } : { quantity: "score" };
  }

  const isOfLoss = (quantity) => quantity === "score" || quantity === "p";

  const stepOf = ({ layer, quantity }) =>
    isOfLoss(quantity) ? trace.layers.length : steps.findIndex((step) => step.layer === layer && step.pass === (quantity === "y" ? "forward" : "backward"));

  /** The indices of the numbers that a sum is made of, by array. */
  function partsOf({ sum }) {
    const found = new Map();
    for (const one of sum ? [...sum.terms, ...sum.added] : []) {
      for (const { array, index } of one.factors) {
        if (array) found.set(array, [...(found.get(array) || []), index]);
      }
    }
    partsOf.cache = found;
    return found;
  }

  function select(selection) {
    const { layer, quantity, index, plain } = selection;
    const canExplain = !plain && (isOfLoss(quantity) || (Sums.isKnown(layer) && Sums.quantities(layer).includes(quantity)));
    const ofLoss = { score: Sums.explainScore, p: Sums.explainProbability }[quantity];
    const sum = canExplain ? (ofLoss ? ofLoss(trace, index[0]) : Sums.explain(layer, quantity, index)) : null;
    chosen = { ...selection, sum };
    turnViews();
    views.forEach((view) => view.draw());
    showSum();
    if (steps[current].pass === "loss") markBar();
    remember();
  }

  /** Turns every picture to the slice with the largest summand, so that what belongs to the sum can be seen. */
  function turnViews() {
    const { sum, index } = chosen, left = [];
    for (const view of views) {
      const parts = sum ? sum.terms.concat(sum.added).flatMap((one) => one.factors.filter(({ array }) => array === view.array.name).map((part) => ({ ...part, size: Math.abs(one.value) }))) : [];
      if (isChosen(view) || isPartner(view)) view.show(index);
      else if (parts.length) view.show(parts.reduce((best, one) => (one.size > best.size ? one : best)).index);
      else left.push(view);
    }
    for (const view of left) { // the input and its gradient show the same map, and so do all pictures of a layer that keeps maps apart
      const other = views.find((one) => !left.includes(one) && one.array.shape.length === 3 && (isSamePlace(one, view) || keepsMaps(view.layer)));
      if (other && view.array.shape.length === 3) slices.set(view.array.name, slices.get(other.array.name));
    }
  }

  const isSamePlace = (one, other) => [one.quantity, other.quantity].sort().join() === "grad_x,x";
  const isChosen = (view) => view.layer === chosen.layer && view.quantity === chosen.quantity;

  /** Whether a picture has the same number before it became a gradient, or the gradient of it: a weight, the input. */
  const isPartner = (view) => view.layer === chosen.layer && (`${view.quantity}.grad` === chosen.quantity || `${chosen.quantity}.grad` === view.quantity || isSamePlace(view, chosen));

  /** Whether each map of the output comes from the map of the input with the same number. */
  const keepsMaps = ({ kind, x, y }) => x.shape.length === 3 && y.shape.length === 3 && x.shape[2] === y.shape[2] && !kind.endsWith("Conv2d") && Sums.isKnown({ kind });

  const NAMES = { x: "input", y: "output", grad_x: "gradient of the input", grad_y: "gradient of the output", score: "gradient of the score" };
  const nameOf = (quantity) => NAMES[quantity] || (quantity.endsWith(".grad") ? `gradient of ${quantity.slice(0, -5)}` : quantity);

  function sentenceOf({ layer, quantity, index, sum, plain }) {
    const array = isOfLoss(quantity) ? null : Sums.arrayOf(layer, quantity);
    if (plain || !sum) return `${array.name === "input" ? "The picture" : `${layer.name}: ${nameOf(quantity)}`} at ${place(array, index)}: ${text(Sums.at(array, index), 6)}`;
    if (quantity === "p") return `Probability p of ${label(index[0])}: its share in the sum of e^score over all classes`;
    if (quantity === "score") return `Score of ${label(index[0])}: its gradient is p − t, the probability minus the target`;
    const what = array.name === "input.grad" ? "Gradient of the pixel" : `${layer.name}: ${nameOf(quantity)}`;
    return `${what} at ${place(array, index)}`;
  }

  function showSum() {
    const { sum } = chosen, body = [make("p", { className: "lead", textContent: sentenceOf(chosen) })];
    if (sum) body.push(makeEquations(), makeTable(sum), makeActions(), makeCode());
    else if (chosen.layer) body.push(makeOrigin());
    el("sum-body").replaceChildren(...body.filter(Boolean));
    fitEquations(el("sum-body"));
    const scroller = el("sum-body").querySelector(".code"), marked = scroller && scroller.querySelector(".marked");
    if (marked) scroller.scrollTop = marked.offsetTop - scroller.offsetTop - 40;
    el("peek").textContent = sum ? `${sentenceOf(chosen)}: ${text(sum.engine)} · show the sum ↓` : sentenceOf(chosen);
    clearTimeout(showSum.timer);
    showSum.timer = setTimeout(() => (el("spoken").textContent = sum ? `${sentenceOf(chosen)}: ${text(sum.engine)}` : sentenceOf(chosen)), 500);
  }

  /** For a number that another step computed, or training: how to get to where it came from. */
  function makeOrigin() {
    const { layer, quantity, index } = chosen, array = Sums.arrayOf(layer, quantity);
    const isWeight = layer.parameters.includes(quantity), origin = isWeight ? { layer, quantity: `${quantity}.grad` } : originOf(array.name);
    if (array.name === "input") return make("p", { textContent: "A number of the picture, as the network receives it." });
    const isHere = origin && origin.layer === layer && origin.quantity === quantity; // a layer whose sums are not known
    if (!origin || isHere || (isWeight && !layer.weights[quantity].grad)) return null;
    const there = titleOf(steps[stepOf(origin)]);
    const button = make("button", { type: "button", textContent: isWeight ? `Its gradient: ${there}` : `Show how: ${there}` });
    button.addEventListener("click", () => go(stepOf(origin), { ...origin, index }));
    const words = isWeight ? "A number that training sets." : `This step received the number. It was computed in another step: ${there}.`;
    return make("div", {}, make("p", { textContent: words }), make("p", { className: "row" }, button));
  }

  function makeTable(sum) {
    if (sum.combine === "quotient") return makeQuotient(sum);
    const { shown, rest, count } = Sums.shortened(sum, 8), isMax = sum.combine === "max", several = sum.terms.length > 1;
    const words = wordsOf(shown[0] || { factors: [] }), same = shown.every((one) => wordsOf(one) === words);
    const rows = shown.map((one) => makeRow(one, isMax, same));
    if (count) rows.push(make("tr", {}, make("td", { textContent: `the other ${count.toLocaleString("en")} together`, colSpan: 2 }), cell(text(rest))));
    for (const one of sum.added) rows.push(makeRow(one, false, false));
    const difference = Math.abs(sum.total - sum.engine), scale = Math.max(Math.abs(sum.engine), ...sum.terms.map(({ value }) => Math.abs(value)));
    const agrees = difference <= 1e-5 * (scale || 1);
    rows.push(make("tr", { className: "total" }, make("th", { textContent: isMax ? "the largest" : several || sum.added.length ? "total" : "result", colSpan: 2 }), cell(text(sum.total, 7))));
    rows.push(make("tr", {}, make("td", { textContent: agrees ? "the engine's number ✓" : "the engine's number differs", colSpan: 2 }), cell(text(sum.engine, 7))));
    const head = make("tr", {}, make("th", { textContent: same && several ? "at" : "" }), make("th", { textContent: same && several ? words : "" }), make("th"));
    const order = count ? `The ${shown.length} largest of ${sum.terms.length.toLocaleString("en")} summands:` : several ? `${sum.terms.length} ${isMax ? "candidates" : "summands"}:` : "";
    const ties = isMax ? sum.terms.filter(({ value }) => value === sum.total).length : 0;
    const tie = ties > 1 ? make("p", { className: "hint", textContent: `A tie: ${ties} of them are equally large. The first, row by row from the top left, wins, and gets the whole gradient.` }) : "";
    return make("div", {}, make("p", { className: "hint", textContent: order }), make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)), tie);
  }

  /** p as a share: every e^score, their sum, and one divided by the other. */
  function makeQuotient(sum) {
    const { shown, rest, count } = Sums.shortened(sum, 12), row = (words, value, total = "") => make("tr", { className: total }, make("td", { textContent: words, colSpan: 2 }), cell(text(value, 7)));
    const rows = shown.map((one) => {
      const [{ index: [j] }] = one.factors, formula = make("td", { className: "number" });
      one.factors.forEach((part, i) => formula.append(i ? " × " : "", part.isPower ? make("span", {}, "e", make("sup", {}, makeFactor(part))) : text(part.value)));
      return make("tr", { className: one.wins ? "mark" : "" }, make("td", { textContent: label(j) }), formula, cell(text(one.value)));
    });
    if (count) rows.push(row(`the other ${count} together`, rest));
    const agrees = Math.abs(sum.total - sum.engine) <= 1e-5 * Math.max(sum.engine, 1e-30);
    rows.push(row("their sum, Σ e^score", sum.whole, "total"), row(`p = ${text(sum.part)} / ${text(sum.whole)}`, sum.total, "total"));
    rows.push(row(agrees ? "the engine's number ✓" : "the engine's number differs", sum.engine));
    const head = make("tr", {}, ...["class", "e^score", ""].map((name) => make("th", { textContent: name })));
    const why = "e to the power of a score is positive, whatever its sign. Divided by their sum, these numbers are positive and add up to 1: probabilities.";
    return make("div", {}, make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)), make("p", { className: "hint", textContent: why }));
  }

  const cell = (content, className = "") => make("td", { textContent: content, className });
  const wordsOf = (one) => one.factors.map(({ what }) => what.replace(/^(won|lost) this window.*$/, "1 if it won, else 0")).join(" × ");

  /** One summand: where it stands (and what it is, if the rows differ), its factors, its value. */
  function makeRow(one, isMax, same) {
    const formula = make("td", { className: "number" });
    one.factors.forEach((part, i) => formula.append(i ? " × " : "", makeFactor(part)));
    const where = one.factors.find(({ array }) => array), index = where ? where.index.join(", ") : "";
    const words = one.factors.map(({ what }) => what).join(" × ");
    const lost = /^lost this window to (.*)$/.exec(one.factors.at(-1).what);
    const title = !same ? words : index ? `(${index})${lost ? `, won by ${lost[1]}` : ""}` : words;
    return make("tr", { className: isMax && !one.wins ? "lost" : "", title: `${words} ${index}` }, make("td", { textContent: title, className: title.startsWith("(") ? "number" : "" }), formula, cell(text(one.value)));
  }

  /** A factor; if it was computed in another step, a link to there. */
  function makeFactor(part) {
    const isDerived = /^(input − mean|x̂|slope .*)$/.test(part.what); // computed from the number that stands there
    const origin = part.array && !isDerived ? originOf(part.array) : null;
    if (!origin) return make("span", { textContent: brackets(part.value), title: part.what });
    const button = make("button", { type: "button", className: "link number", textContent: brackets(part.value), title: `${part.what}: where does it come from?` });
    button.addEventListener("click", () => go(stepOf(origin), { ...origin, index: part.index }));
    return button;
  }

  // ----------------------------------------------------------------------------------- equations and lines of the source

  const SYMBOLS = {
    y: ["y"], grad_x: ["grad_x", "grad_cols"], "weight.grad": ["grad_W", "grad_weight"], "bias.grad": ["grad_b", "grad_bias"],
    "gamma.grad": ["grad_gamma"], "beta.grad": ["grad_beta"], score: ["grad_logits"],
  };

  const callsOf = ({ layer, quantity }) => (isOfLoss(quantity) ? ["tinycnn.ops.softmax_cross_entropy.SoftmaxCrossEntropyFunction"] : layer.calls);

  function makeEquations() {
    const { layer, quantity } = chosen, kind = isOfLoss(quantity) ? "loss" : layer.kind;
    const own = (extras.formulas[kind] || {})[quantity];
    const source = extras.sources[callsOf(chosen).at(-1)] || { equations: {} };
    const isLong = own && quantity === "y" && layer.x.shape.length === 3; // the docstring says the same, with one index more
    const told = isLong ? [] : (SYMBOLS[quantity] || [quantity]).map((name) => source.equations[name]).filter(Boolean);
    const box = make("div", { className: "equations" });
    if (own) box.append(...typeset(own));
    if (told.length) box.append(make("p", { className: "hint", textContent: `As the docstring of ${source.file} writes it, for a whole batch:` }), ...told.flatMap(typeset));
    box.append(...[makeKey(box), isOfLoss(quantity) ? null : makeChapter(kind)].filter(Boolean));
    return box;
  }

  /** What the letters of the equations mean, with the numbers of this layer: of those that occur. */
  function makeKey(equations) {
    const names = new Set([...equations.querySelectorAll("mi")].map((one) => one.textContent));
    const { layer } = chosen, meanings = [], has = (name) => names.has(name);
    if (isOfLoss(chosen.quantity)) return make("p", { className: "hint key", textContent: "k: the class in question. c: the true class. j: each class in turn. z: the scores." });
    if (layer.x.shape.length === 3 && ("kernel_size" in layer.settings || layer.weights.weight)) {
      const { kernel, stride, start } = Sums.windows(layer);
      if (has("oh")) meanings.push("oh, ow: row and column of the output");
      if (has("kh")) meanings.push("kh, kw: row and column inside the window");
      if (has("h")) meanings.push("h, w: row and column of the input");
      if (has("f")) meanings.push("f: filter");
      if (has("c")) meanings.push(chosen.layer.weights.weight ? "c: channel (map) of the input" : "c: map");
      if (has("SH")) meanings.push(`SH, SW: stride, here ${stride.join(", ")}`);
      if (has("PH")) meanings.push(`PH, PW: padding above and on the left, here ${start.join(", ")}`);
      if (has("KH")) meanings.push(`KH, KW: size of the window, here ${kernel.join(", ")}`);
    }
    if (has("cols") || has("grad_cols")) meanings.push("cols: the pixels below each window, one window per row (im2col copies them there, and col2im adds the gradients of the copies); W, Y: weights and outputs as matrices");
    if (has("T")) meanings.push("T: transposed");
    return meanings.length ? make("p", { className: "hint key", textContent: `${meanings.join(". ")}.` }) : null;
  }

  /** MathML, made by tinycnn/web/equations.py from the sources of the package, as elements. */
  function typeset(mathml) {
    return [...new DOMParser().parseFromString(mathml, "text/html").body.children].map((node) => document.importNode(node, true));
  }

  /** Makes equations that are wider than their box smaller, down to two thirds; what is wider still can be scrolled. */
  function fitEquations(box) {
    for (const math of box.querySelectorAll(".equations math")) {
      const room = math.parentElement.clientWidth, width = math.getBoundingClientRect().width;
      if (room && width > room) math.style.fontSize = `${Math.max(2 / 3, (0.98 * room) / width) * 1.05}rem`;
    }
  }

  function makeCode() {
    const { quantity } = chosen, isForward = quantity === "y" || quantity === "p", boxes = [];
    for (const call of callsOf(chosen)) {
      const source = extras.sources[call];
      if (!source) continue;
      const name = quantity.endsWith(".grad") ? `grad_${quantity.slice(0, -5)}` : { score: "grad_x", p: "y" }[quantity] || quantity;
      const ofP = source.lines.flatMap((line, i) => (/^ +(self\.log_p|p) = /.test(line) ? [source.start + i] : []));
      const marks = new Set(quantity === "p" ? ofP : source.marks[name] || source.marks[isForward ? "y" : "other"] || []);
      const show = ({ lines, start }, marked, name) => make("pre", { className: "code", tabIndex: 0, data: { "aria-label": `Source of ${name}` } },
        ...lines.map((line, i) => make("span", { className: marked.has(start + i) ? "marked" : "" }, make("b", { textContent: start + i }), line || " ")));
      boxes.push(make("p", { className: "hint", textContent: `Computed by the marked lines of ${source.file}:` }), show(source, marks, call.split(".").at(-1)));
      const text = source.lines.filter((_, i) => marks.has(source.start + i)).join("\n");
      for (const [called, one] of Object.entries(source.called || {})) {
        if (!new RegExp(`\\b${called}\\(`).test(text)) continue;
        boxes.push(make("p", { className: "hint", textContent: `The marked lines call ${called}, in ${one.file}:` }), show(one, new Set(one.marks), called));
      }
    }
    if (!boxes.length && chosen.layer) boxes.push(make("p", { className: "hint", textContent: "The layer returned its input; no function ran." }));
    return make("div", {}, ...boxes);
  }

  // ------------------------------------------------------------------------------------------------------- check me

  /** The name under which the engine knows the chosen number, if a nudge can check its gradient. */
  function nudgeable() {
    const { layer, quantity, index } = chosen;
    if (quantity === "grad_x" && layer.x.name === "input") return { name: "input", index };
    return layer && quantity.endsWith(".grad") ? { name: `${layer.name}.${quantity.slice(0, -5)}`, index } : null;
  }

  function makeActions() {
    const target = nudgeable();
    if (!target) return null;
    const result = make("div", { data: { role: "status" } }), button = make("button", { type: "button", textContent: "Check me" });
    const words = make("span", { className: "hint", textContent: "Nudge the number up and down, and see how far the loss moves." });
    button.addEventListener("click", () => check(target, result, button));
    return make("div", {}, make("p", { className: "row" }, button, words), result);
  }

  async function check({ name, index }, result, button) {
    if (trace !== first) return result.replaceChildren(make("p", { textContent: "These are the numbers after some steps. Press Reset first: the check is of the network before them." }));
    const known = extras.checks.find((one) => one.name === name && one.index.join() === index.join());
    if (!known && !services) return result.replaceChildren(...offerChecked(name));
    button.disabled = true;
    try {
      const found = known || (await services.check(name, index));
      result.replaceChildren(...checkedText(found));
    } catch (error) {
      result.replaceChildren(make("p", { className: "trouble", textContent: error.message }));
    }
    button.disabled = false;
  }

  /** In a file, only the numbers that were checked when it was written. */
  function offerChecked(name) {
    const some = extras.checks.find((one) => one.name === name);
    const said = make("p", { textContent: "This page is a file without the engine, so it cannot compute new checks. It holds the checks of some numbers." });
    if (!some) return [said];
    const button = make("button", { type: "button", textContent: "Go to one of them" });
    button.addEventListener("click", () => {
      const layer = name === "input" ? trace.layers[0] : trace.layers[layerNumber(name.split(".")[0])];
      pinned = true;
      select({ layer, quantity: name === "input" ? "grad_x" : `${name.slice(layer.name.length + 1)}.grad`, index: some.index });
      el("sum-body").querySelector("button:not(.link)").focus();
    });
    return [said, button];
  }

  function checkedText({ value, eps, loss_minus: below, loss_plus: above, gradient, numeric, at_kink: kink }) {
    const row = (words, ...numbers) => make("tr", {}, make("td", { textContent: words }), ...numbers.map((one) => cell(one)));
    const difference = Math.abs(gradient - numeric) / Math.max(Math.abs(numeric), Math.abs(gradient), 1e-12);
    const verdict = kink
      ? "The slopes on the two sides differ: a gate or a pool switches here, so no single number is the slope."
      : `The finite difference is (loss at + ε minus loss at − ε) / 2ε. It and the gradient by backward() differ by ${text(difference, 1)}, relative to the larger.`;
    return [
      make("table", {}, make("tbody", {},
        row(`loss at ${text(value, 6)} − ε`, below.toPrecision(14)), row(`loss at ${text(value, 6)} + ε`, above.toPrecision(14)),
        row(`finite difference, ε = ${text(eps)}`, text(numeric, 8)), row("gradient by backward(), in float64", text(gradient, 8)))),
      make("p", { className: "hint", textContent: verdict }),
    ];
  }

  // ----------------------------------------------------------------------------------------------------- the loss

  function makeBars() {
    const z = trace.layers.at(-1).y, p = trace.arrays.probabilities, t = trace.arrays.target, g = trace.layers.at(-1).grad_y;
    const rows = trace.class_names.map((name, k) => {
      const choose = (quantity, hold) => {
        if (!hold && pinned) return;
        pinned = hold;
        select({ quantity, index: [k] });
      };
      const score = make("button", { type: "button", className: "link number", textContent: text(at(z, k), 4), title: "the score: where does it come from?" });
      score.addEventListener("click", (event) => (event.stopPropagation(), go(trace.layers.length - 1, { layer: trace.layers.at(-1), quantity: "y", index: [k] })));
      const share = make("button", { type: "button", className: "link number", textContent: text(at(p, k), 4), title: "p: how is it computed?" });
      share.addEventListener("click", (event) => (event.stopPropagation(), choose("p", true)));
      const probability = make("td", {}, share);
      const row = make("tr", { tabIndex: 0, data: { "aria-selected": "false" } },
        make("th", { textContent: `${name}${k === trace.label ? " ✓" : ""}` }), make("td", {}, score), probability, cell(text(at(t, k))), cell(text(at(g, k), 4)),
        make("td", { className: "rail" }, barOf(at(g, k))));
      row.addEventListener("click", () => choose("score", true));
      row.addEventListener("pointermove", (event) => event.pointerType === "mouse" && choose(probability.contains(event.target) ? "p" : "score", false));
      row.addEventListener("keydown", (event) => event.target === row && (event.key === "Enter" || event.key === " ") && (event.preventDefault(), choose("score", true)));
      return row;
    });
    const head = make("tr", {}, ...["class", "score z", "p", "t", "p − t", ""].map((name) => make("th", { textContent: name })));
    const formulas = extras.formulas.loss || {}, hint = (words) => make("p", { className: "hint", textContent: words });
    const box = make("div", { className: "lossbox" }, make("table", { className: "bars" }, make("tbody", {}, head, ...rows)));
    box.append(hint("z: the score, the output of the last layer. p: the probability that softmax makes of it; point at a p, or tap it, to see how. t: the target, 1 for the true class (✓; also called the label or the true answer) and 0 for the others."));
    box.append(hint("p − t is the gradient of the loss at the score. A gradient says what raises the loss; a training step goes the other way. So a step raises the score of the true class, where p − t is negative (orange), and lowers the other scores, where it is positive (blue), each in proportion to p − t."));
    box.append(make("h3", { textContent: "Why p − t?" }), make("div", { className: "equations" }, ...typeset(formulas.p || ""), ...typeset(formulas.loss || "")));
    box.append(hint("c is the true class. The logarithm of a fraction is a difference, and log e^z = z. Now differentiate by one score z[k]. The slope of log S is 1/S, and of the sum S only the summand e^z[k] depends on z[k]; the slope of −z[c] is −1 for k = c and 0 otherwise, which is −t[k]:"));
    box.append(make("div", { className: "equations" }, ...typeset(formulas.derivation || "")), makeChapter("loss"));
    return box;
  }

  const CHAPTERS = {
    loss: ["04_softmax_cross_entropy", "4"], Dense: ["03_dense_and_relu", "3"], ReLU: ["03_dense_and_relu", "3"], Conv2d: ["05_convolution", "5"],
    MaxPool2d: ["06_max_pool", "6"], AvgPool2d: ["06_max_pool", "6"], BatchNorm: ["07_batch_norm_and_dropout", "7"], Dropout: ["07_batch_norm_and_dropout", "7"],
  };

  /** The chapter that derives it: a link where the page stands beside the chapters, else the name of the file. */
  function makeChapter(kind) {
    if (!(kind in CHAPTERS)) return null;
    const [file, number] = CHAPTERS[kind], words = `chapter ${number}`;
    const link = extras.chapters ? make("a", { href: `${extras.chapters}${file}.html`, target: "_top", textContent: words }) : `${words} (docs/path/${file}.md)`;
    return make("p", { className: "hint chapter" }, "Derived step by step in ", link, ".");
  }

  function barOf(value) {
    const bar = make("div", { className: "bar" }), width = 50 * Math.min(1, Math.abs(value));
    bar.style.width = `${width}%`;
    bar.style.left = `${value < 0 ? 50 - width : 50}%`;
    bar.style.background = colourOf(value < 0 ? "--against" : "--for");
    return bar;
  }

  function markBar() {
    el("panels").querySelectorAll(".bars tr[aria-selected]").forEach((row, k) => row.setAttribute("aria-selected", String(k === chosen.index[0])));
  }

  // -------------------------------------------------------------------------------------------------- take one step

  function preparePractice() {
    const choices = services ? services.optimizers : [...new Set(extras.practice.map(({ optimizer }) => optimizer))];
    const rates = services ? services.rates : [...new Set(extras.practice.map(({ lr }) => lr))];
    el("optimizer").replaceChildren(...choices.map((name) => make("option", { textContent: name })));
    el("rate").replaceChildren(...rates.map((lr) => make("option", { textContent: lr })));
    el("rate").value = String(rates.includes(0.001) ? 0.001 : rates[0]);
    practised = null;
    showPractice();
  }

  async function practise(more) {
    const optimizer = el("optimizer").value, lr = Number(el("rate").value);
    const done = practised && practised.optimizer === optimizer && practised.lr === lr ? practised.steps : 0;
    const wanted = { optimizer, lr, steps: done + more };
    try {
      const result = services ? await services.practise(wanted) : recorded(wanted);
      practised = { ...result, ...wanted };
      if (result.trace) replaceTrace(result.trace);
    } catch (error) {
      return el("practised").replaceChildren(make("p", { className: "trouble", textContent: error.message }));
    }
    showPractice();
  }

  function recorded({ optimizer, lr, steps: wanted }) {
    const found = extras.practice.find((one) => one.optimizer === optimizer && one.lr === lr);
    if (!found) throw new Error(`This file holds no steps of ${optimizer} with the rate ${lr}; choose another rate.`);
    const most = found.losses.length - 1;
    if (wanted > most) throw new Error(`This file holds ${most} steps; more need a server: tinycnn serve.`);
    return { losses: found.losses.slice(0, wanted + 1), probabilities: found.probabilities.slice(0, wanted + 1), moved: found.moved };
  }

  /** Shows the numbers after some steps, at the step of the walk that is open. */
  function replaceTrace(next) {
    trace = next;
    steps = listSteps();
    makeTrack();
    go(current);
  }

  function reset() {
    practised = null;
    if (trace !== first) replaceTrace(first);
    showPractice();
  }

  function showPractice() {
    el("reset").disabled = el("ten").disabled = !practised;
    if (!practised) return el("practised").replaceChildren(make("p", { className: "hint", textContent: `Loss now: ${text(first.loss)}` }));
    const { losses, probabilities, moved, optimizer, lr } = practised;
    const read = (p) => {
      const best = p.indexOf(Math.max(...p));
      return `${label(best)} (${percent(p[best])})`;
    };
    const head = make("tr", {}, ...["after step", "loss", `p of ${label(first.label)}`, "read as"].map((name) => make("th", { textContent: name })));
    const rows = losses.map((loss, i) => make("tr", {}, cell(i), cell(text(loss)), cell(percent(probabilities[i][first.label])), cell(read(probabilities[i]))));
    const tables = [make("table", {}, make("tbody", {}, head, ...rows))];
    const list = moved || movedBy(first, trace);
    if (list.length) {
      const words = ["weight", "before", "gradient", losses.length === 2 || moved ? "after one step" : `after ${losses.length - 1} steps`];
      const lines = list.map(({ name, index, before, gradient, after }) => make("tr", {}, cell(`${name} ${index.join(", ")}`), cell(text(before, 6)), cell(text(gradient, 4)), cell(text(after, 6))));
      tables.push(make("p", { className: "hint", textContent: `The weights with the largest gradients (${optimizer}, rate ${lr}):` }), make("table", {}, make("tbody", {}, make("tr", {}, ...words.map((name) => make("th", { textContent: name }))), ...lines)));
    }
    el("practised").replaceChildren(...tables);
  }

  /** The weight of each array whose gradient is largest: before, its gradient, after. */
  function movedBy(old, now) {
    return old.layers.flatMap((layer, i) => layer.parameters.filter((name) => layer.weights[name].grad).map((name) => {
      const { value, grad } = layer.weights[name];
      const k = grad.data.reduce((best, one, j) => (Math.abs(one) > Math.abs(grad.data[best]) ? j : best), 0);
      return { name: `${layer.name}.${name}`, index: Sums.unflat(value.shape, k), before: value.data[k], gradient: grad.data[k], after: now.layers[i].weights[name].value.data[k] };
    }));
  }

  // ---------------------------------------------------------------------------------------------------------- saliency

  function showSaliency() {
    el("saliency").hidden = !extras.saliency;
    if (!extras.saliency) return;
    const image = trace.arrays.input, [H, W] = image.shape;
    const figures = [["the picture", image.data], ...Object.entries(extras.saliency)].map(([name, values]) => {
      const canvas = make("canvas", { width: W, height: H, data: { role: "img", "aria-label": name } });
      const context = canvas.getContext("2d"), paint = painter(Math.max(...Array.from(values, Math.abs)) || 1);
      for (let i = 0; i < H * W; i++) {
        context.fillStyle = paint(values[name === "the picture" ? i * image.shape[2] : i]);
        context.fillRect(i % W, Math.floor(i / W), 1, 1);
      }
      return make("figure", {}, canvas, make("figcaption", { textContent: name === "gradient" ? "gradient of the score" : name }));
    });
    el("maps").replaceChildren(...figures);
  }

  // ------------------------------------------------------------------------------------------------ address, keys, play

  /** The address of a step: #layer=conv2d_1&pass=backward&of=weight.grad&at=0,0,0,1. Without a pass: the way back. */
  function remember() {
    const { pass, layer } = steps[current], { quantity, index, plain } = chosen;
    const parts = pass === "loss" ? ["loss"] : [`layer=${layer.name}`, `pass=${pass}`];
    if (!plain && pinned) parts.push(`of=${quantity}`, `at=${index.join(",")}`);
    try {
      history.replaceState(null, "", `#${parts.join("&")}`);
    } catch {
      // a page inside another document may not have an address of its own
    }
  }

  function goToAddress() {
    const fields = new Map(location.hash.slice(1).split("&").map((part) => part.split("=").map(decodeURIComponent)));
    const layer = trace.layers[layerNumber(fields.get("layer"))], pass = fields.get("pass") || "backward";
    const quantity = fields.get("of"), index = (fields.get("at") || "").split(",").map(Number);
    const isPlace = (shape) => index.length === shape.length && index.every((i, axis) => Number.isInteger(i) && i >= 0 && i < shape[axis]);
    if (!layer) {
      const isOfIt = isOfLoss(quantity) && isPlace([trace.class_names.length]);
      go(trace.layers.length, isOfIt ? { quantity, index } : null);
      if (fields.has("layer")) notice(`The address names the layer ${fields.get("layer")}, which this network does not have. It has: ${trace.layers.map(({ name }) => name).join(", ")}.`);
      else if (quantity && !isOfIt) notice(`The address asks for ${quantity} at ${fields.get("at")}. The loss has p and score, at 0 to ${trace.class_names.length - 1}.`);
      return;
    }
    const known = Sums.quantities(layer), array = known.includes(quantity) ? Sums.arrayOf(layer, quantity) : null;
    const isInside = array && isPlace(array.shape), number = steps.findIndex((step) => step.layer === layer && step.pass === pass);
    go(number < 0 ? stepOf({ layer, quantity: "grad_x" }) : number, isInside ? { layer, quantity, index } : null);
    if (number < 0) notice(`The address names the pass ${pass}. Expected: forward or backward.`);
    else if (quantity && !array) notice(`The address asks for ${quantity} of ${layer.name}, which has: ${known.join(", ")}. Another number is shown.`);
    else if (array && !isInside) notice(`The address asks for ${quantity} at ${fields.get("at") || "no place"}. Its shape is ${array.shape.join("×")}, counted from 0. Another number is shown.`);
  }

  /** Says above the step what was wrong with an address; goes with the next step. */
  function notice(words) {
    el("notice").textContent = words;
    el("notice").hidden = !words;
  }

  function play(on) {
    clearInterval(timer);
    timer = on ? setInterval(() => (current + 1 < steps.length ? go(current + 1) : play(false)), PLAY_MS) : null;
    el("play").textContent = on ? "Pause" : "Play";
    el("play").setAttribute("aria-pressed", String(on));
  }

  function onKey(event) {
    const busy = event.target.closest && event.target.closest("canvas, select, input, pre");
    if (!trace || busy || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "ArrowRight") go(current + 1);
    else if (event.key === "ArrowLeft") go(current - 1);
    else if (event.key === " " && !event.target.closest("button, tr")) play(!timer);
    else return;
    event.preventDefault();
  }

  // ------------------------------------------------------------------------------------------------------------ start

  /** Shows a trace. `more`: sources, formulas and what else belongs to it; `server`: the services of a server, or null. */
  function show(bytes, more, server = null) {
    play(false);
    trace = first = bytes.layers ? bytes : Sums.parse(bytes);
    extras = { ...extras, ...more };
    services = server;
    steps = listSteps();
    slices.clear();
    el("walk").hidden = false;
    makeTrack();
    preparePractice();
    showSaliency();
    const read = trace.arrays.probabilities.data, best = read.indexOf(Math.max(...read));
    el("about").textContent = `The network reads this picture as ${label(best)} (${percent(read[best])}). The true answer is ${label(trace.label)}, to which it gives ${percent(read[trace.label])}. Loss: −log p = ${text(trace.loss)} (natural logarithm). Point at any number to see the sum that it is.`;
    el("origin").textContent = `Every number was computed by tinycnn${extras.version ? ` ${extras.version}` : ""} with NumPy in ${trace.dtype || "float32"}, in ${trace.training ? "training" : "evaluation"} mode; this page multiplies and adds them again, to show that the same number results.`;
    goToAddress();
  }

  async function inflated(base64) {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).arrayBuffer();
  }

  /** Shows the trace that the file holds, if it holds one. */
  async function start() {
    el("previous").addEventListener("click", () => go(current - 1));
    el("next").addEventListener("click", () => go(current + 1));
    el("play").addEventListener("click", () => play(!timer));
    el("one").addEventListener("click", () => practise(1));
    el("ten").addEventListener("click", () => practise(10));
    el("reset").addEventListener("click", reset);
    document.addEventListener("keydown", onKey);
    el("peek").addEventListener("click", () => el("sum").scrollIntoView());
    const redraw = () => trace && (showStep(steps[current]), select(chosen), showSaliency());
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    window.addEventListener("resize", () => views.forEach((view) => view.draw()));
    window.addEventListener("hashchange", () => trace && goToAddress());
    const data = el("trace-data");
    if (!data) return;
    el("share").hidden = true; // the file itself is what can be shared
    const more = JSON.parse(el("trace-extras").textContent);
    if (more.saliency) {
      for (const [name, values] of Object.entries(more.saliency)) more.saliency[name] = new Float32Array(Uint8Array.from(atob(values), (letter) => letter.charCodeAt(0)).buffer);
    }
    show(await inflated(data.textContent.trim()), more);
  }

  return { show, start, text, get trace() { return trace; }, get chosen() { return chosen; }, select, go, colourOf, percent, make };
})();

document.addEventListener("DOMContentLoaded", () => Walk.start());
