// Converts any picture to what a model expects: its size, grey or colour, on its background, and its object where the
// objects of the training pictures lie, as the manifest's `preparation` describes. vae.mjs encodes the result. The steps
// are those of `vae-gen encode` (docs/cli.md), in whole numbers, so that the same pixels result.

import { check } from "./vae.mjs";

const MOST_PIXELS = 25e6;
const BRIGHT = 127.5; // a border with a brighter median is bright
const DARK = 64; // a cut-out that is darker on average would be lost on black
const VISIBLE = 127; // a pixel with a higher opacity is visible
const LOOKED_AT = 256; // pixels of the longer side of the reduced picture in which the object is searched
const CLOSE = 12; // levels by which the ground may vary …
const NOISE = 4; // … or this many times the median deviation of the border
const SOFT = 6; // levels between neighbours; a shadow fades more softly
const CUT_OFF = 64; // levels from the ground at the edge of the picture: an object that is cut off there, and no shadow
const NEAR_PLACE = 0.04; // the share of the frame by which an object may be off its place and is left there
const NEAR_GROUND = 64; // levels by which the ground of a picture in colour may differ from the background
const FAINT = 175; // 99 of 100 pictures of Fashion-MNIST have more than 1 % of their object above this level
const COLOURS = { black: [0, 0, 0], white: [255, 255, 255] };

/**
 * @typedef {object} Fitted
 * @property {Uint8Array} levels  [channels × height × width], for `vae.encode`
 * @property {boolean} inverted  whether the picture was made negative
 * @property {string[]} steps  what was done to the picture, in words
 */

/**
 * The levels of a picture in a file, in a web page.
 * @param {File | Blob} file
 * @param {import("./vae.mjs").VAE} vae
 * @param {"auto" | "yes" | "no"} [invert]
 * @param {boolean} [trim]  false leaves the margins and the contrast
 * @returns {Promise<Fitted>}
 */
export async function fitFile(file, vae, invert = "auto", trim = true) {
  const image = new Image();
  const address = URL.createObjectURL(file);
  try {
    // A browser reads the size of an image when it loads, and its pixels later: a large one is never decoded.
    const loaded = await new Promise((done) => {
      Object.assign(image, { onload: () => done(true), onerror: () => done(false), src: address });
    });
    const { naturalWidth: width, naturalHeight: height } = image;
    check(width * height <= MOST_PIXELS, `a picture of at most 25 megapixels, got ${width} × ${height}; make it smaller first`);
    const whole = loaded && (await createImageBitmap(file).catch(() => null)); // an <img> would also show half of a broken file
    check(whole, `a picture that this browser can read, got ${file.name || "something else"}`);
    return fit(whole, vae, invert, trim);
  } finally {
    URL.revokeObjectURL(address);
  }
}

/** Does so for anything that a canvas can draw. */
export function fit(source, vae, invert = "auto", trim = true) {
  const canvas = Object.assign(document.createElement("canvas"), { width: source.width, height: source.height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(source, 0, 0);
  return fitPixels(context.getImageData(0, 0, source.width, source.height), vae, invert, trim);
}

/**
 * Does so for pixels, in a page or in Node.js.
 * @param {{ width: number, height: number, data: ArrayLike<number> }} pixels  red, green, blue and opacity of each pixel
 * @returns {Fitted}
 */
export function fitPixels({ width, height, data }, vae, invert = "auto", trim = true) {
  const [channels, rows, columns] = vae.imageShape;
  const { fit: way, background, invert_bright: invertBright, fill = null } = vae.preparation;
  const [steps, frame, wanted] = [[], { width: columns, height: rows }, colourOf(background)];
  const alpha = opacityOf(data);
  const dark = alpha && invertBright && isDark(data, alpha);
  const turned = invert === "yes" || (invert === "auto" && dark); // transparent parts must show the background in the end
  const paper = turned ? wanted.map((level) => 255 - level) : wanted;
  if (alpha) steps.push(`laid on ${nameOf(paper)} where it is transparent`);
  let flat = { width, height, channels, levels: flattened(data, paper, channels) };
  const searched = trim && fill !== null && (width !== columns || height !== rows);
  let content = searched ? findContent(flat, alpha) : null;
  let inverted = invert === "yes";
  if (invert === "auto" && invertBright) inverted = content ? content.darker : hasBrightBorder(flat);
  if (inverted) {
    const why = content ? "its object is darker than the ground" : "its border is bright";
    steps.push(`made negative${invert === "auto" ? ` because ${why}` : ""}`);
    flat = { ...flat, levels: flat.levels.map((level) => 255 - level) };
    if (content) content = { ...content, ground: content.ground.map((level) => 255 - level), darker: !content.darker };
  }
  const base = channels === 1 ? [greyOf(...wanted)] : wanted;
  const cut = content && fitsBackground(content, wanted, channels);
  const framed = cut ? placed(flat, content, frame, way, fill, wanted, base, steps) : fittedInto(flat, frame, way, base, steps);
  const levels = Uint8Array.from({ length: channels * rows * columns }, (_, at) =>
    framed.levels[(at % (rows * columns)) * channels + Math.floor(at / (rows * columns))]);
  return { levels, inverted, steps };
}

/** Whether a colour, as the manifest names it, is nearer to white than to black. */
export function isBright(colour) {
  return greyOf(...colourOf(colour)) > BRIGHT;
}

function colourOf(name) {
  return COLOURS[name] ?? [1, 3, 5].map((at) => parseInt(name.slice(at, at + 2), 16));
}

function nameOf(colour) {
  const known = Object.keys(COLOURS).find((name) => COLOURS[name].every((level, at) => level === colour[at]));
  return known ?? `#${colour.map((level) => level.toString(16).padStart(2, "0")).join("")}`;
}

function greyOf(red, green, blue) {
  return (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16;
}

/** The opacity of each pixel; null if no part of the picture is transparent. */
function opacityOf(data) {
  const alpha = new Uint8Array(data.length / 4);
  let least = 255;
  for (let at = 0; at < alpha.length; at += 1) {
    alpha[at] = data[4 * at + 3];
    if (alpha[at] < least) least = alpha[at];
  }
  return least < 255 ? alpha : null;
}

function isDark(data, alpha) {
  let [sum, visible] = [0, 0];
  alpha.forEach((opacity, at) => {
    if (opacity <= VISIBLE) return;
    sum += greyOf(data[4 * at], data[4 * at + 1], data[4 * at + 2]);
    visible += 1;
  });
  return visible > 0 && sum < DARK * visible;
}

/** Grey levels, or red, green and blue, of each pixel on a paper of one colour: [height × width × channels]. */
function flattened(data, [paperRed, paperGreen, paperBlue], channels) {
  const levels = new Uint8Array((data.length / 4) * channels);
  const laid = (level, paper, opacity) => {
    const sum = 128 * (level * opacity + paper * (255 - opacity)) + 16384;
    return ((sum >> 8) + sum) >> 15; // sum / 255 / 128, as Pillow rounds it
  };
  for (let from = 0, to = 0; from < data.length; from += 4, to += channels) { // up to 25 million pixels, so nothing else
    const opacity = data[from + 3];
    const red = laid(data[from], paperRed, opacity);
    const green = laid(data[from + 1], paperGreen, opacity);
    const blue = laid(data[from + 2], paperBlue, opacity);
    if (channels === 1) {
      levels[to] = greyOf(red, green, blue);
    } else {
      levels[to] = red;
      levels[to + 1] = green;
      levels[to + 2] = blue;
    }
  }
  return levels;
}

/**
 * The object in a picture: { box: [left, top, right, bottom], ground, darker, extreme }; null if there is none. The ground is
 * the colour of at least half of the border, and `extreme` the difference from it that 1 % of the object exceeds.
 */
function findContent(flat, alpha) {
  const factor = Math.ceil(Math.max(flat.width, flat.height) / LOOKED_AT);
  const small = reduced(flat, factor);
  const { width, height, channels, levels } = small;
  const border = borderOf(small);
  const ground = Array.from({ length: channels }, (_, channel) => middle(border.map((at) => levels[at * channels + channel])));
  const difference = Int32Array.from({ length: width * height }, (_, at) =>
    Math.max(...ground.map((level, channel) => Math.abs(levels[at * channels + channel] - level))));
  const opacity = alpha && { ...flat, channels: 1, levels: alpha };
  let found;
  if (opacity && middle(borderOf(opacity).map((at) => alpha[at])) <= VISIBLE) { // the object is what is visible
    found = Uint8Array.from(reduced(opacity, factor).levels, (level) => level > VISIBLE);
  } else {
    const deviations = border.map((at) => difference[at]);
    const limit = Math.max(CLOSE, NOISE * middle(deviations));
    if (2 * deviations.filter((deviation) => deviation > limit).length > deviations.length) return null;
    const differs = Uint8Array.from(difference, (value) => value > limit);
    const edges = differs.map((is, at) => is && steepest(small, at) > SOFT);
    for (const at of border) edges[at] ||= differs[at] && difference[at] > CUT_OFF;
    found = edges.map((is, at) => is && neighbours(differs, small, at) >= 3);
  }
  const of = [...found.keys()].filter((at) => found[at]);
  if (!of.length) return null;
  const [xs, ys] = [of.map((at) => at % width), of.map((at) => Math.floor(at / width))];
  const least = (values) => values.reduce((a, b) => Math.min(a, b));
  const most = (values) => values.reduce((a, b) => Math.max(a, b));
  const box = [factor * least(xs), factor * least(ys),
    Math.min(flat.width, factor * (most(xs) + 1)), Math.min(flat.height, factor * (most(ys) + 1))];
  const sum = of.reduce((total, at) => ground.reduce((part, level, channel) => part + levels[at * channels + channel] - level, total), 0);
  const sorted = Int32Array.from(of, (at) => difference[at]).sort();
  return { box, ground, darker: sum < 0, extreme: sorted[Math.floor((99 * sorted.length) / 100)] };
}

/** A picture of the rounded means of blocks of factor × factor pixels; blocks at the right and below may be smaller. */
function reduced({ width, height, channels, levels }, factor) {
  const [w, h] = [Math.ceil(width / factor), Math.ceil(height / factor)];
  const sums = new Float64Array(w * h * channels);
  for (let y = 0, at = 0; y < height; y += 1) {
    const row = Math.floor(y / factor) * w;
    for (let x = 0; x < width; x += 1) {
      const to = (row + Math.floor(x / factor)) * channels;
      for (let channel = 0; channel < channels; channel += 1, at += 1) sums[to + channel] += levels[at];
    }
  }
  const means = Int32Array.from(sums, (sum, at) => {
    const [x, y] = [Math.floor(at / channels) % w, Math.floor(at / channels / w)];
    const count = Math.min(factor, width - x * factor) * Math.min(factor, height - y * factor);
    return Math.floor((2 * sum + count) / (2 * count));
  });
  return { width: w, height: h, channels, levels: means };
}

/** The indices of the outermost pixels. */
function borderOf({ width, height }) {
  const columns = Array.from({ length: width }, (_, x) => [x, (height - 1) * width + x]);
  const rows = Array.from({ length: Math.max(0, height - 2) }, (_, y) => [(y + 1) * width, (y + 2) * width - 1]);
  return [...columns.flat(), ...rows.flat()];
}

/** The upper median. */
function middle(values) {
  return Int32Array.from(values).sort()[values.length >> 1];
}

/** How many of the 3 × 3 pixels around a pixel differ from the ground. */
function neighbours(differs, { width, height }, at) {
  const [x, y] = [at % width, Math.floor(at / width)];
  let count = 0;
  for (let row = Math.max(0, y - 1); row <= Math.min(height - 1, y + 1); row += 1) {
    for (let column = Math.max(0, x - 1); column <= Math.min(width - 1, x + 1); column += 1) count += differs[row * width + column];
  }
  return count;
}

/** The largest difference of a pixel from the pixels beside, above and below it. */
function steepest({ width, height, channels, levels }, at) {
  const [x, y] = [at % width, Math.floor(at / width)];
  const beside = [x > 0 && at - 1, x < width - 1 && at + 1, y > 0 && at - width, y < height - 1 && at + width];
  return Math.max(0, ...beside.filter((other) => other !== false).flatMap((other) =>
    Array.from({ length: channels }, (_, channel) => Math.abs(levels[at * channels + channel] - levels[other * channels + channel]))));
}

function hasBrightBorder({ width, height, channels, levels }) {
  const grey = (at) => (channels === 1 ? levels[at] : greyOf(...levels.subarray(3 * at, 3 * at + 3)));
  const sorted = Uint8Array.from(borderOf({ width, height }), grey).sort();
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2 > BRIGHT; // the median
}

/** Whether an object may be cut out and laid on the background without a visible edge; a grey ground becomes that later. */
function fitsBackground({ ground, darker }, wanted, channels) {
  if (channels === 1 && ["black", "white"].includes(nameOf(wanted))) return darker === (wanted[0] === 255);
  return ground.every((level, channel) => Math.abs(level - wanted[channel]) <= NEAR_GROUND);
}

/** The object alone, as long as those of the training pictures, in the middle of the background. */
function placed(flat, content, frame, way, fill, wanted, base, steps) {
  const [left, top, right, bottom] = content.box;
  const [width, height] = [right - left, bottom - top];
  let inner;
  if (isInPlace(content.box, flat, frame, fill)) {
    inner = fittedInto(flat, frame, way, base, steps);
  } else {
    steps.push(`trimmed from ${flat.width} × ${flat.height} to its object of ${width} × ${height}`);
    const scale = fill * Math.min(frame.width / width, frame.height / height);
    const [w, h] = [width, height].map((side) => Math.max(1, Math.floor(side * scale + 0.5)));
    if (w !== width || h !== height) steps.push(`scaled from ${width} × ${height} to ${w} × ${h}`);
    inner = resized(cropped(flat, left, top, width, height), w, h);
  }
  return inFrame(withGround(inner, content, wanted, steps), frame, base);
}

function isInPlace([left, top, right, bottom], { width, height }, frame, fill) {
  const scale = Math.min(frame.width / width, frame.height / height);
  const length = Math.max(((right - left) * scale) / frame.width, ((bottom - top) * scale) / frame.height);
  const off = Math.max((Math.abs(left + right - width) * scale) / frame.width, (Math.abs(top + bottom - height) * scale) / frame.height) / 2;
  return Math.abs(length - fill) <= NEAR_PLACE && off <= NEAR_PLACE;
}

/** Gives the ground the colour of the background, if that is black or white, and a faint grey object more contrast. */
function withGround(inner, { ground, extreme }, wanted, steps) {
  const { channels } = inner;
  const levels = Uint8Array.from(inner.levels);
  const words = new Set();
  ground.forEach((level, channel) => {
    const goal = wanted[channel];
    if (goal !== 0 && goal !== 255) return;
    const low = Math.abs(level - goal); // from here on as on black
    const faint = channels === 1 && extreme > CLOSE && 255 * extreme < FAINT * (255 - low);
    if (faint) words.add("contrast stretched");
    else if (low) words.add(`ground made ${goal ? "white" : "black"}`);
    const span = faint ? extreme : 255 - low;
    for (let at = channel; at < levels.length; at += channels) {
      const value = goal ? 255 - levels[at] : levels[at];
      const moved = Math.min(255, Math.max(0, Math.floor((510 * (value - low) + span) / (2 * span))));
      levels[at] = goal ? 255 - moved : moved;
    }
  });
  steps.push(...words);
  return { ...inner, levels };
}

/** A picture brought to a width and height: padded with the background, cropped in the middle, or stretched. */
function fittedInto(flat, frame, way, base, steps) {
  if (flat.width === frame.width && flat.height === frame.height) return flat;
  const ratios = [frame.width / flat.width, frame.height / flat.height];
  const scale = way === "pad" ? Math.min(...ratios) : Math.max(...ratios);
  const [w, h] = way === "stretch" ? [frame.width, frame.height]
    : [flat.width, flat.height].map((side) => Math.max(1, roundedToEven(side * scale)));
  if (w !== flat.width || h !== flat.height) steps.push(`scaled from ${flat.width} × ${flat.height} to ${w} × ${h}`);
  const inner = resized(flat, w, h);
  if (w === frame.width && h === frame.height) return inner;
  steps.push(`${way === "pad" ? "padded" : "cropped"} to ${frame.width} × ${frame.height}`);
  return inFrame(inner, frame, base);
}

/** A picture in the middle of a frame; what lies outside is cut off. */
function inFrame(inner, { width, height }, base) {
  const { channels } = inner;
  const [left, top] = [Math.floor((width - inner.width) / 2), Math.floor((height - inner.height) / 2)];
  const levels = Uint8Array.from({ length: width * height * channels }, (_, at) => {
    const [x, y] = [(Math.floor(at / channels) % width) - left, Math.floor(at / channels / width) - top];
    const inside = x >= 0 && y >= 0 && x < inner.width && y < inner.height;
    return inside ? inner.levels[(y * inner.width + x) * channels + (at % channels)] : base[at % channels];
  });
  return { width, height, channels, levels };
}

function cropped(flat, left, top, width, height) {
  const levels = new Uint8Array(width * height * flat.channels);
  for (let y = 0; y < height; y += 1) {
    const from = ((top + y) * flat.width + left) * flat.channels;
    levels.set(flat.levels.subarray(from, from + width * flat.channels), y * width * flat.channels);
  }
  return { ...flat, width, height, levels };
}

function roundedToEven(x) { // as Python rounds
  const rounded = Math.round(x);
  return x % 1 === 0.5 && rounded % 2 ? rounded - 1 : rounded;
}

/** A picture scaled by the Lanczos filter, first across and then down, with Pillow's weights of 22 bits. */
function resized(flat, width, height) {
  const { channels } = flat;
  let { levels } = flat;
  if (width !== flat.width) {
    const wide = new Uint8Array(width * flat.height * channels);
    weightsOf(flat.width, width).forEach(({ first, weights }, x) => {
      for (let y = 0; y < flat.height; y += 1) {
        for (let channel = 0; channel < channels; channel += 1) {
          const from = (y * flat.width + first) * channels + channel;
          wide[(y * width + x) * channels + channel] = weighted(levels, from, channels, weights);
        }
      }
    });
    levels = wide;
  }
  if (height !== flat.height) {
    const step = width * channels;
    const tall = new Uint8Array(height * step);
    weightsOf(flat.height, height).forEach(({ first, weights }, y) => {
      for (let at = 0; at < step; at += 1) tall[y * step + at] = weighted(levels, first * step + at, step, weights);
    });
    levels = tall;
  }
  return { ...flat, width, height, levels };
}

function weighted(levels, from, step, weights) {
  let sum = 2 ** 21;
  for (let at = 0; at < weights.length; at += 1) sum += levels[from + at * step] * weights[at];
  return Math.min(255, Math.max(0, Math.floor(sum / 2 ** 22)));
}

/** For each pixel of the result, the first pixel that it is made of, and the weights of that and the following ones. */
function weightsOf(from, to) {
  const scale = from / to;
  const stretch = Math.max(1, scale);
  return Array.from({ length: to }, (_, at) => {
    const centre = (at + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - 3 * stretch + 0.5));
    const past = Math.min(from, Math.trunc(centre + 3 * stretch + 0.5));
    const raw = Array.from({ length: past - first }, (__, x) => lanczos((x + first - centre + 0.5) * (1 / stretch)));
    const sum = raw.reduce((total, weight) => total + weight, 0);
    return { first, weights: raw.map((weight) => {
      const exact = (weight / sum) * 2 ** 22;
      return Math.trunc(exact < 0 ? exact - 0.5 : exact + 0.5);
    }) };
  });
}

function lanczos(x) {
  const sinc = (value) => (value === 0 ? 1 : Math.sin(value * Math.PI) / (value * Math.PI));
  return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0;
}
