// node check_sums.js sums.js TRACE POINTS: compares random sums of every layer with the engine's numbers.
// Prints JSON: [{layer, quantity, points, worst}], worst relative to the number itself or to its largest summand.
"use strict";

const fs = require("fs");
const path = require("path");

const [, , source, file, points] = process.argv;
const Sums = require(path.resolve(source));
const content = fs.readFileSync(file);
const trace = Sums.parse(content.buffer.slice(content.byteOffset, content.byteOffset + content.byteLength));

let state = 1;
function random(below) {
  state = (state * 48271) % 2147483647; // Park and Miller, 1988
  return state % below;
}

function distance(sum) {
  if (sum.combine === "quotient") return strict(sum);
  const largest = Math.max(...[...sum.terms, ...sum.added].map((one) => Math.abs(one.value)), 0);
  return Math.abs(sum.total - sum.engine) / (Math.max(Math.abs(sum.engine), largest) || 1);
}

function strict(sum) {
  return Math.abs(sum.total - sum.engine) / (Math.abs(sum.engine) || 1);
}

const found = [];
for (const layer of trace.layers) {
  for (const quantity of Sums.quantities(layer)) {
    const { shape } = Sums.arrayOf(layer, quantity);
    const total = Sums.size(shape), all = total <= Number(points);
    let worst = 0, worstStrict = 0, nonzero = 0;
    for (let i = 0; i < Math.min(total, Number(points)); i++) {
      const sum = Sums.explain(layer, quantity, Sums.unflat(shape, all ? i : random(total)));
      worst = Math.max(worst, distance(sum));
      worstStrict = Math.max(worstStrict, strict(sum));
      nonzero += sum.engine !== 0;
      if (Number.isNaN(sum.total)) worst = worstStrict = Infinity;
    }
    found.push({ layer: layer.name, quantity, points: Math.min(total, Number(points)), worst, worstStrict, nonzero });
  }
}
const scores = trace.class_names.map((_, k) => distance(Sums.explainScore(trace, k)));
found.push({ layer: "loss", quantity: "score", points: scores.length, worst: Math.max(...scores), worstStrict: 0, nonzero: 1 });
const shares = trace.class_names.map((_, k) => distance(Sums.explainProbability(trace, k)));
found.push({ layer: "loss", quantity: "p", points: shares.length, worst: Math.max(...shares), worstStrict: Math.max(...shares), nonzero: 1 });
found.push({ layer: "loss", quantity: "loss", points: 1, worst: Math.abs(Sums.lossOf(trace) - trace.loss) / trace.loss, worstStrict: 0, nonzero: 1 });
console.log(JSON.stringify(found));
