// The sheet of paper: strokes with mouse, finger or keys, undo, and the picture that is sent. Both pages use it.
"use strict";

const SIDE = 560; // of the sheet, in canvas units
const SENT = 280; // side in pixels of the picture that is sent
const STEP = SIDE / 28; // distance moved by an arrow key
const KEPT = "tinycnn strokes"; // under this name, the other page finds the drawing

const colourOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Makes the sheet of the page work; `changed` is called after every change, `lifted` when the pen leaves the sheet. */
function makeSheet(changed, lifted = changed) {
  const part = (id) => document.getElementById(id);
  const sheet = part("sheet");
  let strokes = []; // each {width, points: [{x, y}, …]}
  let drawing = null; // the stroke under the pointer, also in strokes
  let pointer = null; // its pointerId
  let pen = null; // {x, y, down} while drawing with the keyboard
  let shown = null; // a canvas with a given picture, until the next stroke

  /** Draws a smooth curve through the midpoints of neighbouring points, with the points as controls. */
  function trace(context, { points, width }) {
    context.lineWidth = width;
    context.beginPath();
    context.moveTo(points[0].x, points[0].y);
    for (let i = 1; i < points.length; i++) {
      const a = points[i - 1], b = points[i];
      context.quadraticCurveTo(a.x, a.y, (a.x + b.x) / 2, (a.y + b.y) / 2);
    }
    const last = points[points.length - 1];
    context.lineTo(last.x, last.y);
    context.stroke();
  }

  function paint(canvas, colour) {
    const context = canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.scale(canvas.width / SIDE, canvas.height / SIDE);
    context.lineCap = context.lineJoin = "round";
    context.strokeStyle = colour;
    strokes.forEach((stroke) => trace(context, stroke));
    return context;
  }

  function redraw() {
    const context = paint(sheet, colourOf("--ink"));
    if (shown) {
      context.imageSmoothingEnabled = false;
      context.drawImage(shown, 0, 0, SIDE, SIDE);
    }
    if (pen && document.activeElement === sheet) {
      context.strokeStyle = colourOf("--mark");
      context.lineWidth = pen.down ? 6 : 2;
      context.beginPath();
      context.arc(pen.x, pen.y, 14, 0, 2 * Math.PI);
      context.stroke();
    }
    part("invitation").hidden = strokes.length > 0 || pen !== null || shown !== null;
    part("undo").disabled = strokes.length === 0;
    part("clear").disabled = strokes.length === 0 && shown === null;
  }

  function change() {
    redraw();
    changed();
  }

  function place(event) {
    const box = sheet.getBoundingClientRect();
    const along = (at, start, size) => Math.min(SIDE, Math.max(0, ((at - start) / size) * SIDE));
    return { x: along(event.clientX, box.left, box.width), y: along(event.clientY, box.top, box.height) };
  }

  const width = () => Number(part("pen").value) * 2;

  function begin(at) {
    shown = null;
    drawing = { width: width(), points: [at, { x: at.x + 0.1, y: at.y }] };
    strokes.push(drawing);
  }

  sheet.addEventListener("pointerdown", (event) => {
    if (pointer !== null || event.button !== 0) return;
    pointer = event.pointerId;
    sheet.setPointerCapture(pointer);
    pen = null;
    begin(place(event));
    change();
  });

  sheet.addEventListener("pointermove", (event) => {
    if (event.pointerId !== pointer || !drawing) return; // a second finger may have undone the stroke
    const events = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    (events.length ? events : [event]).forEach((one) => drawing.points.push(place(one)));
    change();
  });

  function lift(event) {
    if (event.pointerId !== pointer) return;
    pointer = drawing = null;
    lifted();
  }
  sheet.addEventListener("pointerup", lift);
  sheet.addEventListener("pointercancel", lift);

  function undo() {
    strokes.pop();
    drawing = null;
    if (pen) pen.down = false;
    change();
  }

  function clear() {
    strokes = [];
    drawing = pen = shown = null;
    change();
  }
  part("undo").addEventListener("click", undo);
  part("clear").addEventListener("click", clear);

  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  function movePen([dx, dy]) {
    const inside = (value) => Math.min(SIDE, Math.max(0, value));
    pen = { ...pen, x: inside(pen.x + dx * STEP), y: inside(pen.y + dy * STEP) };
    if (pen.down) drawing.points.push({ x: pen.x, y: pen.y });
  }

  function switchPen() {
    pen.down = !pen.down;
    if (pen.down) begin({ x: pen.x, y: pen.y });
    else drawing = null;
  }

  sheet.addEventListener("keydown", (event) => {
    const isUndo = event.key === "Backspace" || (event.key === "z" && (event.ctrlKey || event.metaKey));
    if (!(event.key in ARROWS || event.key === " " || event.key === "Escape" || isUndo) || pointer !== null) return;
    event.preventDefault();
    if (isUndo) return undo();
    if (event.key === "Escape") return clear();
    pen = pen || { x: SIDE / 2, y: SIDE / 4, down: false };
    if (event.key === " ") switchPen();
    else movePen(ARROWS[event.key]);
    change();
  });
  sheet.addEventListener("focus", redraw);
  sheet.addEventListener("blur", () => {
    if (pen) pen.down = false;
    redraw();
  });

  /** The drawing as a PNG file. */
  function picture() {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = SENT;
    paint(canvas, "#000");
    return new Promise((done) => canvas.toBlob(done, "image/png"));
  }

  /** Replaces the drawing by lines through points, from 0 to 1 across the sheet. */
  function take(lines) {
    pen = drawing = shown = null;
    strokes = lines.map((line) => ({ width: width(), points: line.map(([x, y]) => ({ x: x * SIDE, y: y * SIDE })) }));
    change();
  }

  /** Shows a given picture, a canvas, in place of a drawing, until the next stroke. */
  function showPicture(canvas) {
    pen = drawing = null;
    strokes = [];
    shown = canvas;
    redraw();
  }

  /** Keeps the drawing for the other page, until the tab is closed. */
  function keep() {
    sessionStorage.setItem(KEPT, JSON.stringify(strokes));
  }

  /** Takes the drawing that the other page kept, if there is one. */
  function restore() {
    const kept = JSON.parse(sessionStorage.getItem(KEPT) || "[]");
    if (kept.length) {
      strokes = kept;
      change();
    }
  }

  return { isEmpty: () => strokes.length === 0, isDrawing: () => drawing !== null, picture, redraw, take, showPicture, keep, restore };
}
