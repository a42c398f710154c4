// The numbers of a trace, and every one of them written out as the sum that it is. No part of the page: it also runs in
// Node (tests/web/test_sums.py). The engine computed all numbers; this file only looks them up and adds them.
"use strict";

const Sums = (() => {
  const KINDS = { F32: Float32Array, F64: Float64Array, I32: Int32Array };

  // ------------------------------------------------------------------------------------------------- reading a trace

  /** The bytes of a safetensors file → the layers of the trace with their arrays, {shape, data} in row-major order. */
  function parse(buffer) {
    const length = Number(new DataView(buffer).getBigUint64(0, true));
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
    const arrays = {};
    for (const [name, { dtype, shape, data_offsets }] of Object.entries(header)) {
      if (name === "__metadata__") continue;
      const [start, end] = data_offsets;
      arrays[name] = { name, shape, data: new KINDS[dtype](buffer.slice(8 + length + start, 8 + length + end)) };
    }
    const trace = JSON.parse(header.__metadata__.tinycnn_trace);
    trace.arrays = arrays;
    let before = "input";
    trace.layers = trace.layers.map((entry) => {
      const layer = { ...entry, x: arrays[before], grad_x: arrays[`${before}.grad`] };
      before = `${entry.name}.output`;
      Object.assign(layer, { y: arrays[before], grad_y: arrays[`${before}.grad`], weights: {} });
      for (const own of entry.parameters) {
        layer.weights[own] = { value: arrays[`${entry.name}.${own}`], grad: arrays[`${entry.name}.${own}.grad`] };
      }
      layer.kept = Object.fromEntries(entry.kept.map((own) => [own, arrays[`${entry.name}.${own}`]]));
      const branches = entry.kept.filter((own) => own.endsWith(".out")).map((own) => own.slice(0, -4));
      if (branches.length) layer.branches = branches;
      return layer;
    });
    return trace;
  }

  const size = (shape) => shape.reduce((product, length) => product * length, 1);

  /** Row-major position of an index, and back. */
  const flat = (shape, index) => index.reduce((position, i, axis) => position * shape[axis] + i, 0);
  function unflat(shape, position) {
    const index = [];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      index[axis] = position % shape[axis];
      position = Math.floor(position / shape[axis]);
    }
    return index;
  }

  const at = (array, index) => array.data[flat(array.shape, index)];

  /** A factor of a summand: the number, what it is, and where it stands. */
  const factor = (array, index, what) => ({ value: at(array, index), what, array: array.name, index });
  const number = (value, what) => ({ value, what });
  const term = (...factors) => ({ value: factors.reduce((product, one) => product * one.value, 1), factors });

  // ------------------------------------------------------------------------------------------------ windows of a layer

  const pair = (value, fallback) => (value === undefined || value === null ? fallback : Array.isArray(value) ? value : [value, value]);

  /** Kernel, stride, dilation and the padding at the top and on the left, from the settings of a layer. */
  function windows(layer) {
    const { settings } = layer, isConv = "weight" in layer.weights;
    const kernel = isConv ? layer.weights.weight.value.shape.slice(0, 2) : pair(settings.kernel_size, [2, 2]);
    const stride = pair(settings.stride, isConv ? [1, 1] : kernel), dilation = pair(settings.dilation, [1, 1]);
    const start = [0, 1].map((axis) => {
      const { padding } = settings;
      if (padding === undefined || padding === "valid") return 0;
      if (padding === "same") {
        const length = layer.x.shape[axis], reach = (kernel[axis] - 1) * dilation[axis] + 1;
        return Math.floor(Math.max((Math.ceil(length / stride[axis]) - 1) * stride[axis] + reach - length, 0) / 2);
      }
      const own = pair(padding)[axis];
      return Array.isArray(own) ? own[0] : own;
    });
    return { kernel, stride, dilation, start };
  }

  /** The pixels (h, w) below the window at (oh, ow), with their places (kh, kw); those in the padding are left out. */
  function* pixelsOf(layer, oh, ow) {
    const { kernel, stride, dilation, start } = windows(layer), [H, W] = layer.x.shape;
    for (let kh = 0; kh < kernel[0]; kh++) {
      for (let kw = 0; kw < kernel[1]; kw++) {
        const h = oh * stride[0] + kh * dilation[0] - start[0], w = ow * stride[1] + kw * dilation[1] - start[1];
        if (h >= 0 && h < H && w >= 0 && w < W) yield { kh, kw, h, w };
      }
    }
  }

  /** The windows (oh, ow) that cover the pixel (h, w), with the place (kh, kw) that the pixel has in each. */
  function* windowsOver(layer, h, w) {
    const { kernel, stride, dilation, start } = windows(layer), [OH, OW] = layer.y.shape;
    for (let kh = 0; kh < kernel[0]; kh++) {
      for (let kw = 0; kw < kernel[1]; kw++) {
        const oh = (h + start[0] - kh * dilation[0]) / stride[0], ow = (w + start[1] - kw * dilation[1]) / stride[1];
        if (Number.isInteger(oh) && Number.isInteger(ow) && oh >= 0 && ow >= 0 && oh < OH && ow < OW) {
          yield { kh, kw, oh, ow };
        }
      }
    }
  }

  /** The windows over a pixel, as a list. */
  const covering = (layer, h, w) => [...windowsOver(layer, h, w)];

  /** The rows and the columns of the input, [first, end), below the window at (oh, ow), without the padding. */
  function windowBox(layer, oh, ow) {
    const { kernel, stride, dilation, start } = windows(layer);
    const side = (axis, place) => {
      const first = place * stride[axis] - start[axis], end = first + (kernel[axis] - 1) * dilation[axis] + 1;
      return [Math.max(0, first), Math.min(layer.x.shape[axis], end)];
    };
    return { rows: side(0, oh), columns: side(1, ow) };
  }

  /** Whether the windows lie side by side: no pixel is in two of them. */
  function isTiling(layer) {
    const { kernel, stride, dilation } = windows(layer);
    return [0, 1].every((axis) => stride[axis] >= kernel[axis] && dilation[axis] === 1);
  }

  // -------------------------------------------------------------------------------------------- the sums of each layer

  const conv2d = {
    y(layer, [oh, ow, f]) {
      const { weight, bias } = layer.weights, terms = [], [first, count] = group(layer, f);
      for (const { kh, kw, h, w } of pixelsOf(layer, oh, ow)) {
        for (let c = 0; c < count; c++) {
          terms.push(term(factor(layer.x, [h, w, first + c], "pixel"), factor(weight.value, [kh, kw, c, f], "weight")));
        }
      }
      return { terms, added: bias ? [term(factor(bias.value, [f], "bias"))] : [] };
    },
    grad_x(layer, [h, w, c]) {
      const { weight } = layer.weights, [, , count, F] = weight.value.shape, terms = [];
      const groups = layer.x.shape[2] / count, own = Math.floor(c / count), per = F / groups;
      for (const { kh, kw, oh, ow } of windowsOver(layer, h, w)) {
        for (let f = own * per; f < (own + 1) * per; f++) {
          const used = factor(weight.value, [kh, kw, c % count, f], "weight");
          terms.push(term(factor(layer.grad_y, [oh, ow, f], "gradient of the output"), used));
        }
      }
      return { terms };
    },
    "weight.grad"(layer, [kh, kw, c, f]) {
      const { stride, dilation, start } = windows(layer), [H, W] = layer.x.shape, [OH, OW] = layer.y.shape;
      const [first] = group(layer, f), terms = [];
      for (let oh = 0; oh < OH; oh++) {
        for (let ow = 0; ow < OW; ow++) {
          const h = oh * stride[0] + kh * dilation[0] - start[0], w = ow * stride[1] + kw * dilation[1] - start[1];
          if (h < 0 || w < 0 || h >= H || w >= W) continue;
          const pixel = factor(layer.x, [h, w, first + c], "pixel");
          terms.push(term(pixel, factor(layer.grad_y, [oh, ow, f], "gradient of the output")));
        }
      }
      return { terms };
    },
    "bias.grad": sumOverPlaces,
  };

  /** The first input channel of filter f, and how many it reads: all of them unless the convolution has groups. */
  function group(layer, f) {
    const [, , count, F] = layer.weights.weight.value.shape, groups = layer.x.shape[2] / count;
    return [Math.floor(f / (F / groups)) * count, count];
  }

  /** The gradient of what is added everywhere in a channel (or to a unit): the sum of the channel's gradients. */
  function sumOverPlaces(layer, [channel]) {
    const terms = [], channels = layer.grad_y.shape.at(-1);
    for (let i = channel; i < layer.grad_y.data.length; i += channels) {
      terms.push(term(factor(layer.grad_y, unflat(layer.grad_y.shape, i), "gradient of the output")));
    }
    return { terms };
  }

  const dense = {
    y(layer, [j]) {
      const { weight, bias } = layer.weights, terms = [];
      for (let i = 0; i < layer.x.shape[0]; i++) {
        terms.push(term(factor(layer.x, [i], "input"), factor(weight.value, [i, j], "weight")));
      }
      return { terms, added: bias ? [term(factor(bias.value, [j], "bias"))] : [] };
    },
    grad_x(layer, [i]) {
      const terms = [], { weight } = layer.weights;
      for (let j = 0; j < layer.y.shape[0]; j++) {
        terms.push(term(factor(layer.grad_y, [j], "gradient of the output"), factor(weight.value, [i, j], "weight")));
      }
      return { terms };
    },
    "weight.grad": (layer, [i, j]) => ({
      terms: [term(factor(layer.x, [i], "input"), factor(layer.grad_y, [j], "gradient of the output"))],
    }),
    "bias.grad": (layer, [j]) => ({ terms: [term(factor(layer.grad_y, [j], "gradient of the output"))] }),
  };

  /** The row and the column of the pixel that won a window. */
  function winnerOf(layer, oh, ow, c) {
    const { kernel, stride, start } = windows(layer), winner = at(layer.kept.winner, [oh, ow, c]);
    return [oh * stride[0] + Math.floor(winner / kernel[1]) - start[0], ow * stride[1] + (winner % kernel[1]) - start[1]];
  }

  const maxPool2d = {
    y(layer, [oh, ow, c]) {
      const terms = [...pixelsOf(layer, oh, ow)].map(({ kh, kw, h, w }) => ({
        ...term(factor(layer.x, [h, w, c], "pixel")),
        wins: at(layer.kept.winner, [oh, ow, c]) === kh * windows(layer).kernel[1] + kw,
      }));
      return { terms, combine: "max" };
    },
    grad_x(layer, [h, w, c]) {
      const terms = [...windowsOver(layer, h, w)].map(({ kh, kw, oh, ow }) => {
        const wins = at(layer.kept.winner, [oh, ow, c]) === kh * windows(layer).kernel[1] + kw;
        const passed = number(wins ? 1 : 0, wins ? "won this window" : `lost this window to (${winnerOf(layer, oh, ow, c).join(", ")})`);
        return { ...term(factor(layer.grad_y, [oh, ow, c], "gradient of the output"), passed), wins };
      });
      return { terms };
    },
  };

  /** What the pixels of a window are divided by: those of the image, or all of the padded image that it covers. */
  function divisor(layer, oh, ow) {
    const { kernel, stride, start } = windows(layer), { count_include_pad: included, padding } = layer.settings;
    if (included === false || padding === "same") return [...pixelsOf(layer, oh, ow)].length;
    const covered = [oh, ow].map((window, axis) => {
      const own = padding === "valid" || padding === undefined ? 0 : pair(padding)[axis];
      const from = window * stride[axis] - start[axis], end = layer.x.shape[axis] + (Array.isArray(own) ? own[1] : own);
      return Math.min(from + kernel[axis], end) - from; // what ceil_mode adds is not counted
    });
    return covered[0] * covered[1];
  }

  const avgPool2d = {
    y(layer, [oh, ow, c]) {
      const share = number(1 / divisor(layer, oh, ow), "share");
      return { terms: [...pixelsOf(layer, oh, ow)].map(({ h, w }) => term(factor(layer.x, [h, w, c], "pixel"), share)) };
    },
    grad_x(layer, [h, w, c]) {
      return {
        terms: [...windowsOver(layer, h, w)].map(({ oh, ow }) =>
          term(factor(layer.grad_y, [oh, ow, c], "gradient of the output"), number(1 / divisor(layer, oh, ow), "share"))),
      };
    },
  };

  const globalAvgPool2d = {
    y(layer, index) {
      const [H, W] = layer.x.shape, c = index.at(-1), share = number(1 / (H * W), "share"), terms = [];
      for (let i = 0; i < H * W; i++) terms.push(term(factor(layer.x, [Math.floor(i / W), i % W, c], "pixel"), share));
      return { terms };
    },
    grad_x(layer, [, , c]) {
      const [H, W] = layer.x.shape, where = layer.y.shape.length === 1 ? [c] : [0, 0, c];
      return { terms: [term(factor(layer.grad_y, where, "gradient of the output"), number(1 / (H * W), "share"))] };
    },
  };

  const relu = {
    y(layer, index) {
      const open = at(layer.x, index) > 0, gate = number(open ? 1 : 0, open ? "the gate is open" : "the gate is closed");
      return { terms: [{ ...term(factor(layer.x, index, "input"), gate), wins: open }] };
    },
    grad_x(layer, index) {
      const open = at(layer.y, index) > 0, gate = number(open ? 1 : 0, open ? "the gate is open" : "the gate is closed");
      return { terms: [{ ...term(factor(layer.grad_y, index, "gradient of the output"), gate), wins: open }] };
    },
  };

  /** An element-wise function: its value, and its slope from the output or the input. */
  const elementwise = (name, value, slope, words) => ({
    y(layer, index) {
      const x = at(layer.x, index);
      return { terms: [{ value: value(x, layer.settings), factors: [{ ...number(x, `${name} of the input`), array: layer.x.name, index }] }] };
    },
    grad_x(layer, index) {
      const rate = slope(at(layer.y, index), at(layer.x, index), layer.settings);
      return { terms: [term(factor(layer.grad_y, index, "gradient of the output"), { ...number(rate, `slope ${words}`), array: layer.y.name, index })] };
    },
  });

  const leakyReLU = elementwise("LeakyReLU", (x, { slope }) => (x > 0 ? x : slope * x), (y, x, { slope }) => (x > 0 ? 1 : slope), "1 or less");
  const sigmoid = elementwise("σ", (x) => 1 / (1 + Math.exp(-x)), (y) => y * (1 - y), "y · (1 − y)");
  const tanh = elementwise("tanh", Math.tanh, (y) => 1 - y * y, "1 − y²");

  const flatten = {
    y: (layer, index) => ({ terms: [term(factor(layer.x, unflat(layer.x.shape, flat(layer.y.shape, index)), "input"))] }),
    grad_x(layer, index) {
      const there = unflat(layer.y.shape, flat(layer.x.shape, index));
      return { terms: [term(factor(layer.grad_y, there, "gradient of the output"))] };
    },
  };

  const dropout = {
    y: (layer, index) => ({ terms: [term(factor(layer.x, index, "input"), ...mask(layer, index))] }),
    grad_x: (layer, index) => ({ terms: [term(factor(layer.grad_y, index, "gradient of the output"), ...mask(layer, index))] }),
  };
  const mask = (layer, index) => ("mask" in layer.kept ? [factor(layer.kept.mask, index, "mask")] : []);

  const isFixed = (layer) => layer.calls.some((call) => call.endsWith(".FixedBatchNormFunction"));

  /** x̂ of one value, from the mean and 1/√(var + eps) that the layer kept. */
  function normalised(layer, index) {
    const c = [index.at(-1)];
    return (at(layer.x, index) - at(layer.kept.mean, c)) * at(layer.kept.inverse_std, c);
  }

  const batchNorm = {
    y(layer, index) {
      const { gamma, beta } = layer.weights, c = [index.at(-1)];
      const terms = [term(
        factor(gamma.value, c, "gamma"),
        { ...number(at(layer.x, index) - at(layer.kept.mean, c), "input − mean"), array: layer.x.name, index },
        factor(layer.kept.inverse_std, c, "1/√(var + eps)"),
      )];
      return { terms, added: [term(factor(beta.value, c, "beta"))] };
    },
    grad_x(layer, index) {
      const { gamma, beta } = layer.weights, c = [index.at(-1)];
      const scale = [factor(gamma.value, c, "gamma"), factor(layer.kept.inverse_std, c, "1/√(var + eps)")];
      const terms = [term(...scale, factor(layer.grad_y, index, "gradient of the output"))];
      if (isFixed(layer)) return { terms };
      const minusShare = number(-layer.x.shape.at(-1) / layer.x.data.length, "−1/M");
      const hat = { ...number(normalised(layer, index), "x̂"), array: layer.x.name, index };
      terms.push(term(...scale, factor(beta.grad, c, "gradient of beta"), minusShare));
      terms.push(term(...scale, factor(gamma.grad, c, "gradient of gamma"), hat, minusShare));
      return { terms };
    },
    "gamma.grad"(layer, [c]) {
      const terms = [], channels = layer.grad_y.shape.at(-1);
      for (let i = c; i < layer.grad_y.data.length; i += channels) {
        const index = unflat(layer.grad_y.shape, i), hat = { ...number(normalised(layer, index), "x̂"), array: layer.x.name, index };
        terms.push(term(factor(layer.grad_y, index, "gradient of the output"), hat));
      }
      return { terms };
    },
    "beta.grad": sumOverPlaces,
  };

  const rescaling = {
    y(layer, index) {
      const { scale, offset } = layer.settings;
      return { terms: [term(factor(layer.x, index, "input"), number(scale, "scale"))], added: offset ? [term(number(offset, "offset"))] : [] };
    },
    grad_x: (layer, index) => ({
      terms: [term(factor(layer.grad_y, index, "gradient of the output"), number(layer.settings.scale, "scale"))],
    }),
  };

  const identity = {
    y: (layer, index) => ({ terms: [term(factor(layer.x, index, "input"))] }),
    grad_x: (layer, index) => ({ terms: [term(factor(layer.grad_y, index, "gradient of the output"))] }),
  };

  // Layers of branches: `NAME.out` is the output of a branch, `NAME.in.grad` the gradient that it passes back.

  const outOf = (layer, name) => layer.kept[`${name}.out`];
  const outFactor = (layer, name, index) => factor(outOf(layer, name), repeated(outOf(layer, name), index), `output of ${name}`);

  /** The index in an array that is repeated along its axes of size 1. */
  const repeated = ({ shape }, index) => index.map((i, axis) => (shape[axis] === 1 ? 0 : i));

  /** The indices of the output in which one number of a branch takes part: several, where it is repeated. */
  function* usesOf(layer, name, index) {
    const out = outOf(layer, name), { shape } = layer.y, repeats = shape.map((length, axis) => (out.shape[axis] === 1 ? length : 1));
    for (let i = 0; i < size(repeats); i++) yield unflat(repeats, i).map((step, axis) => (out.shape[axis] === 1 ? step : index[axis]));
  }

  const passedBack = (layer, index) => ({ terms: layer.branches.map((name) => term(factor(layer.kept[`${name}.in.grad`], index, `passed back by ${name}`))) });

  const addition = {
    y: (layer, index) => ({ terms: layer.branches.map((name) => term(outFactor(layer, name, index))) }),
    branch: (layer, index, name) => ({ terms: [...usesOf(layer, name, index)].map((use) => term(factor(layer.grad_y, use, "gradient of the output"))) }),
    grad_x: passedBack,
  };

  const multiplication = {
    y: (layer, index) => ({ terms: [term(...layer.branches.map((name) => outFactor(layer, name, index)))] }),
    branch: (layer, index, name) => ({
      terms: [...usesOf(layer, name, index)].map((use) =>
        term(factor(layer.grad_y, use, "gradient of the output"), ...layer.branches.filter((other) => other !== name).map((other) => outFactor(layer, other, use)))),
    }),
    grad_x: passedBack,
  };

  /** The first channel of a branch in the output of a concatenation. */
  const firstChannel = (layer, name) => layer.branches.slice(0, layer.branches.indexOf(name)).reduce((sum, one) => sum + outOf(layer, one).shape.at(-1), 0);

  const concatenation = {
    y(layer, index) {
      const name = layer.branches.findLast((one) => firstChannel(layer, one) <= index.at(-1)), inside = [...index.slice(0, -1), index.at(-1) - firstChannel(layer, name)];
      return { terms: [term(factor(outOf(layer, name), inside, `output of ${name}`))] };
    },
    branch: (layer, index, name) => ({ terms: [term(factor(layer.grad_y, [...index.slice(0, -1), index.at(-1) + firstChannel(layer, name)], "gradient of the output"))] }),
    grad_x: passedBack,
  };

  const LAYERS = {
    Add: addition, Concatenate: concatenation, Multiply: multiplication, Residual: addition, AvgPool2d: avgPool2d, BatchNorm: batchNorm, Conv2d: conv2d, Dense: dense, Dropout: dropout, Flatten: flatten,
    GlobalAvgPool2d: globalAvgPool2d, Identity: identity, LeakyReLU: leakyReLU, MaxPool2d: maxPool2d, ReLU: relu,
    Rescaling: rescaling, Sigmoid: sigmoid, Tanh: tanh,
  };

  /** Whether every number of this layer can be written out as a sum. */
  const isKnown = (layer) => layer.kind in LAYERS;

  /** The quantities of a layer that have a sum: "y", "grad_x", "weight.grad" … */
  function quantities(layer) {
    const own = layer.parameters.filter((name) => layer.weights[name].grad).map((name) => `${name}.grad`);
    const found = isKnown(layer) ? ["y", "grad_x", ...own].filter((name) => name in LAYERS[layer.kind]) : [];
    return found.concat((layer.branches || []).map((name) => `${name}.out.grad`));
  }

  /** The array of a quantity: "y" the output, "weight" a parameter, "weight.grad" its gradient … */
  function arrayOf(layer, quantity) {
    if (quantity in layer && "data" in Object(layer[quantity])) return layer[quantity];
    if (quantity in layer.weights) return layer.weights[quantity].value;
    const name = quantity.replace(/\.grad$/, "");
    return name in layer.weights ? layer.weights[name].grad : layer.kept[quantity];
  }

  /** How the number at an index came about: its summands, their total, and the engine's own number for comparison. */
  function explain(layer, quantity, index) {
    const [, name] = /^(.*)\.out\.grad$/.exec(quantity) || [], recipe = LAYERS[layer.kind][name ? "branch" : quantity];
    const { terms, added = [], combine = "sum" } = recipe(layer, index, name);
    const all = [...terms, ...added];
    const add = (total, one) => total + one.value;
    const winner = terms.find((one) => one.wins);
    const total = combine === "max" ? (winner || { value: NaN }).value : all.reduce(add, 0);
    return { layer, quantity, index, combine, terms, added, total, engine: at(arrayOf(layer, quantity), index) };
  }

  /** The gradient at the score of class k, p - t, and the loss -log p of the true class. */
  function explainScore(trace, k) {
    const p = factor(trace.arrays.probabilities, [k], "p, the probability"), t = factor(trace.arrays.target, [k], "target");
    const logits = trace.layers.at(-1).grad_y;
    const terms = [term(p), term(number(t.value ? -t.value : 0, "−t, minus the target"))];
    return { quantity: "score", index: [k], combine: "sum", terms, added: [], total: p.value - t.value, engine: at(logits, [k]) };
  }

  /** The probability of class k, e^z_k / Σ_j e^z_j, from the scores z: the outputs of the last layer. */
  function explainProbability(trace, k) {
    const scores = trace.layers.at(-1).y, largest = Math.max(...scores.data);
    const shift = Math.abs(largest) > 600 ? largest : 0; // e^700 is the largest that a number can hold
    const terms = Array.from(scores.data, (z, j) => {
      const factors = [{ ...factor(scores, [j], "e to the power of the score"), isPower: true }];
      return { value: Math.exp(z - shift), factors: shift ? [...factors, number(Math.exp(-shift), `e^(−${shift})`)] : factors, wins: j === k };
    });
    const whole = terms.reduce((total, one) => total + one.value, 0), part = terms[k].value;
    return { quantity: "p", index: [k], combine: "quotient", terms, added: [], part, whole, total: part / whole, engine: at(trace.arrays.probabilities, [k]) };
  }

  const lossOf = (trace) => -Math.log(at(trace.arrays.probabilities, [trace.label]));

  /** The summands that a person reads first: all if they are few, else the `most` largest. `ordered` has all of them. */
  function shortened({ terms, combine }, most = 12) {
    if (terms.length <= most + 1) return { shown: terms, ordered: terms, count: 0 };
    const isMax = combine === "max", size = ({ value }) => (isMax ? value : Math.abs(value));
    const ordered = [...terms].sort((a, b) => size(b) - size(a)); // the first of those that are equally large stays the first
    const nonzero = ordered.filter(({ value }) => value !== 0).length, shown = isMax ? most : Math.min(most, nonzero || most); // one line for all zeros
    return { shown: ordered.slice(0, shown), ordered, count: ordered.length - shown };
  }

  return { parse, isFixed, explain, explainScore, explainProbability, lossOf, quantities, isKnown, arrayOf, shortened, size, flat, unflat, at, windows, covering, windowBox, isTiling, winnerOf };
})();

if (typeof module !== "undefined") module.exports = Sums;
