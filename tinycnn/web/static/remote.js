// The walk of a server: draw, let the network read it, say what it is, and walk back. The server computes all numbers.
"use strict";

const Remote = (() => {
  const el = (id) => document.getElementById(id);
  const EXAMPLES = {
    0: [[[0.5, 0.18], [0.36, 0.24], [0.3, 0.42], [0.32, 0.62], [0.4, 0.78], [0.52, 0.82], [0.64, 0.76], [0.7, 0.58], [0.69, 0.38], [0.62, 0.22], [0.5, 0.18]]],
    1: [[[0.47, 0.25], [0.54, 0.17], [0.53, 0.5], [0.52, 0.84]]],
    2: [[[0.32, 0.32], [0.38, 0.2], [0.52, 0.16], [0.65, 0.24], [0.64, 0.4], [0.5, 0.58], [0.34, 0.76], [0.33, 0.8], [0.5, 0.78], [0.7, 0.78]]],
    3: [[[0.33, 0.24], [0.46, 0.16], [0.62, 0.2], [0.66, 0.32], [0.58, 0.43], [0.45, 0.47], [0.6, 0.52], [0.68, 0.64], [0.62, 0.78], [0.46, 0.84], [0.32, 0.78]]],
    4: [[[0.56, 0.16], [0.42, 0.38], [0.3, 0.58], [0.5, 0.57], [0.72, 0.56]], [[0.58, 0.4], [0.57, 0.62], [0.56, 0.84]]],
    5: [[[0.66, 0.18], [0.4, 0.19], [0.37, 0.44], [0.52, 0.42], [0.65, 0.52], [0.66, 0.68], [0.54, 0.82], [0.34, 0.8]]],
    6: [[[0.6, 0.16], [0.45, 0.3], [0.35, 0.52], [0.36, 0.72], [0.48, 0.83], [0.62, 0.76], [0.64, 0.62], [0.52, 0.54], [0.38, 0.62]]],
    7: [[[0.3, 0.2], [0.5, 0.19], [0.7, 0.18], [0.6, 0.4], [0.5, 0.62], [0.44, 0.84]]],
    8: [[[0.62, 0.24], [0.5, 0.16], [0.38, 0.24], [0.4, 0.38], [0.52, 0.48], [0.64, 0.6], [0.66, 0.74], [0.52, 0.84], [0.38, 0.76], [0.38, 0.62], [0.5, 0.5], [0.6, 0.38], [0.62, 0.24]]],
    9: [[[0.64, 0.3], [0.52, 0.18], [0.38, 0.26], [0.37, 0.4], [0.48, 0.48], [0.62, 0.4], [0.65, 0.28], [0.62, 0.55], [0.56, 0.84]]],
  };

  let description = null, names = []; // of the page, and of the classes
  let digits = {}; // digit → the number of the class that means it; empty where the classes are no digits
  let read = null; // the answer of the server for the drawing
  let asked = null; // {picture, label, training} of the walk that is shown
  let waiting = false, stale = false;
  let unread = false; // the drawing has changed, and the server has not read it yet
  let given = false; // the picture is a test image, not a drawing
  let mapped = {}; // {picture, found}: the picture whose maps were asked for last, and the promise of them
  let walks = 0; // that were asked for; an earlier one may come after a later one

  async function fetched(path, options) {
    let response;
    try {
      response = await patientFetch(path, options);
    } catch {
      throw new Error("The server does not answer. Is it still running?");
    }
    if (!response.ok) throw new Error(`The server says: ${(await response.json()).error}`);
    return response;
  }

  const post = (kind, body) =>
    fetched(`backprop/${kind}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

  function trouble(sentence) {
    el("trouble").textContent = sentence;
    el("trouble").hidden = !sentence;
  }

  // ------------------------------------------------------------------------------------------- reading the drawing

  /** After each change of the sheet. The answer that was chosen for one drawing is not that of the next. */
  function changed(sheet) {
    if (sheet.isEmpty() || given) el("classes").querySelectorAll("input").forEach((input) => (input.checked = false));
    given = false;
    unread = true;
    update();
    readDrawing(sheet);
  }

  async function readDrawing(sheet) {
    if (waiting) return (stale = true);
    waiting = true;
    stale = false;
    el("test-image").textContent = "";
    let answer = null;
    try {
      if (!sheet.isEmpty()) {
        const response = await fetched("predict", { method: "POST", headers: { "Content-Type": "image/png" }, body: await sheet.picture() });
        answer = await response.json();
      }
      trouble("");
    } catch (error) {
      trouble(error.message);
    }
    waiting = false;
    if (given) return; // a test image was taken while the server read the drawing
    read = answer && !answer.empty ? answer : null;
    showRead(sheet);
    if (stale) readDrawing(sheet);
  }

  function showRead(sheet) {
    el("verdict").textContent = read ? `The network reads ${read.answer} (${Walk.percent(read.probabilities[read.digit])}).${read.several.length ? " It is the first of several digits; the walk takes this one." : ""}` : sheet.isEmpty() ? "Nothing drawn yet." : "Nothing can be read.";
    [...el("classes").querySelectorAll(".share")].forEach((share, k) => (share.textContent = read ? Walk.percent(read.probabilities[k]) : ""));
    unread = stale;
    update();
  }

  const chosenClass = () => el("classes").querySelector("input:checked");

  /** Why the walk is not that of the drawing, the answer and the mode above it, as a sentence; "" if it is. */
  function differenceOfWalk() {
    if (!asked) return "";
    if (unread || !read || String(read.picture) !== String(asked.picture)) return "This walk is of the previous drawing.";
    const answer = chosenClass();
    if (!answer || Number(answer.value) !== asked.label) return `This walk is for the answer ${names[asked.label]}.`;
    return el("training").checked === asked.training ? "" : `This walk is ${asked.training ? "in training mode" : "not in training mode"}.`;
  }

  function update() {
    el("backward").disabled = unread || !(read && chosenClass() && description); // not of a drawing that has changed since
    const old = differenceOfWalk(), missing = !read ? `Backward needs a ${Object.keys(digits).length ? "digit" : "picture"}: draw one${Object.keys(digits).length || !el("tests").hidden ? ", or take one" : ""}.` : !chosenClass() ? "Backward needs an answer: choose one above." : "";
    const words = [missing, old && `${old.replace("This walk", "The walk below")}${missing ? "" : " Press Backward for a new one."}`].filter(Boolean).join(" ");
    if (el("missing").textContent !== words) el("missing").textContent = words; // it is read aloud once
    Walk.outdate(old);
  }

  function makeClasses() {
    const labels = names.map((name, k) => {
      const input = Walk.make("input", { type: "radio", name: "class", value: k });
      input.addEventListener("change", update);
      return Walk.make("label", {}, input, name, Walk.make("span", { className: "share" }));
    });
    el("classes").replaceChildren(...labels);
  }

  function makeExamples(sheet) {
    const known = Object.entries(EXAMPLES).filter(([name]) => name in digits);
    el("or-example").hidden = !known.length;
    const buttons = known.map(([name, lines]) => {
      const button = Walk.make("button", { type: "button", className: "link", textContent: name, data: { "aria-label": `Draw a ${name}` } });
      button.addEventListener("click", () => {
        sheet.take(lines);
        el("classes").querySelector(`input[value="${digits[name]}"]`).checked = true;
      });
      return button;
    });
    el("examples").append(...buttons.flatMap((button) => [button, " "]));
  }

  // ----------------------------------------------------------------------------------------------------- test images

  /** Buttons for images of a test set that the server has, if it has one with the classes of the network. */
  async function offerImages(sheet, [H, W]) {
    const images = await (await fetched("backprop/images")).json();
    if (!images.name) return;
    const bytes = Uint8Array.from(atob(images.pictures), (letter) => letter.charCodeAt(0));
    const give = (title, words, ofClass) => {
      const button = Walk.make("button", { type: "button", className: "link", textContent: title, data: { "aria-label": words } });
      button.addEventListener("click", () => {
        const those = images.labels.flatMap((label, i) => (ofClass === null || label === ofClass ? [i] : []));
        const k = those[Math.floor(Math.random() * those.length)];
        takeImage(sheet, bytes.subarray(k * H * W, (k + 1) * H * W), [H, W], images, k);
      });
      return button;
    };
    const buttons = names.map((name, k) => give(name, `A test image of class ${name}`, k));
    el("tests-of").textContent = `test image of ${images.name}, of the class`;
    el("test-images").replaceChildren(...buttons.flatMap((button) => [button, " "]), give("any", "A test image of any class", null));
    el("tests").hidden = false;
  }

  /** Takes one image as the picture, with its class, and what the network read it as. */
  function takeImage(sheet, pixels, [H, W], images, k) {
    const p = images.probabilities[k], best = p.indexOf(Math.max(...p));
    stale = false;
    given = true;
    sheet.showPicture(inked(pixels, H, W));
    el("classes").querySelector(`input[value="${images.labels[k]}"]`).checked = true;
    read = {
      digit: best, answer: names[best], probabilities: p, several: [],
      picture: Array.from({ length: H }, (_, r) => [...pixels.subarray(r * W, (r + 1) * W)]),
    };
    trouble("");
    showRead(sheet);
    el("test-image").textContent = `Shown: image ${images.numbers[k]} of the test set, whose class is ${names[images.labels[k]]}.`;
  }

  /** Bytes, 255 for ink, as a canvas in the colour of the ink. */
  function inked(pixels, H, W) {
    const canvas = Walk.make("canvas", { width: W, height: H }), context = canvas.getContext("2d"), image = context.createImageData(W, H);
    const ink = [1, 3, 5].map((i) => parseInt(colourOf("--ink").slice(i, i + 2), 16));
    pixels.forEach((value, i) => image.data.set([...ink, value], 4 * i));
    context.putImageData(image, 0, 0);
    return canvas;
  }

  // --------------------------------------------------------------------------------------------------------- the walk

  async function backward() {
    const body = { picture: read.picture, label: Number(chosenClass().value), training: el("training").checked };
    const mine = (walks += 1);
    el("backward").disabled = true;
    try {
      const bytes = await (await post("trace", body)).arrayBuffer();
      if (mine !== walks) return;
      asked = body;
      Walk.show(bytes, { ...description, checks: [], practice: [], saliency: null }, services);
      el("walk").scrollIntoView({ behavior: "auto" });
      trouble("");
      maps(body).then((found) => mine === walks && Walk.addSaliency(found), (error) => mine === walks && trouble(error.message)); // slow
    } catch (error) {
      trouble(error.message);
    }
    update();
  }

  /** The maps of a picture, which depend on nothing else: a second walk of the same picture does not ask again. */
  function maps(body) {
    const picture = String(body.picture);
    if (mapped.picture !== picture) {
      const one = (mapped = { picture, found: askForMaps(body) });
      one.found.catch(() => mapped === one && (mapped = {}));
    }
    return mapped.found;
  }

  async function askForMaps(body) {
    const found = await (await post("saliency", body)).json();
    for (const [name, values] of Object.entries(found)) {
      found[name] = new Float32Array(Uint8Array.from(atob(values), (letter) => letter.charCodeAt(0)).buffer);
    }
    return found;
  }

  const services = {
    optimizers: [],
    rates: [],
    most: 100, // steps of one request
    check: async (name, index) => (await post("check", { ...asked, name, index })).json(),
    async practise({ optimizer, lr, steps }) {
      const trace = Sums.parse(await (await post("practise", { ...asked, optimizer, lr, steps })).arrayBuffer());
      return { ...trace.practice, trace };
    },
  };

  /** Saves the walk as a file of its own, made by the server. */
  async function share() {
    try {
      const html = await (await post("file", asked)).blob(), link = Walk.make("a", { download: "walk.html", href: URL.createObjectURL(html) });
      link.click();
      URL.revokeObjectURL(link.href);
    } catch (error) {
      trouble(error.message);
      el("trouble").scrollIntoView();
    }
  }

  /** Removes the word "digit" from the page, for networks whose classes are not digits. */
  function useNeutralTexts() {
    el("draw-title").textContent = "1. Draw, or take a picture";
    el("invitation").textContent = "Draw here";
  }

  async function start() {
    if (el("trace-data")) return;
    el("drawing").hidden = false;
    const sheet = makeSheet(() => changed(sheet));
    sheet.redraw();
    el("backward").addEventListener("click", backward);
    el("training").addEventListener("change", update);
    el("share").addEventListener("click", share);
    window.matchMedia("screen and (prefers-color-scheme: dark)").addEventListener("change", sheet.redraw);
    try {
      const model = await (await fetched("model")).json();
      names = model.class_names;
      digits = model.digits;
      if (!Object.keys(digits).length) useNeutralTexts();
      makeClasses();
      makeExamples(sheet);
      description = await (await fetched("backprop/page")).json();
      services.optimizers = description.optimizers;
      services.rates = description.rates;
      offerImages(sheet, model.input_shape).catch((error) => trouble(error.message));
    } catch (error) {
      trouble(error.message);
    }
    document.querySelector('a[href="./"]').addEventListener("click", sheet.keep);
    sheet.restore();
    update();
  }

  return { start };
})();

document.addEventListener("DOMContentLoaded", () => Remote.start());
