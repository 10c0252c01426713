// Converts any picture to what a model expects, in a web page: its size, grey or colour, on its background, as the
// manifest's `preparation` describes. vae.mjs encodes the result.

import { check } from "./vae.mjs";

const MOST_PIXELS = 25e6;
const BRIGHT = 127.5; // a border with a brighter median is bright

/**
 * The levels of a picture in a file.
 * @param {File | Blob} file
 * @param {import("./vae.mjs").VAE} vae
 * @param {"auto" | "yes" | "no"} [invert]
 * @returns {Promise<{ levels: Uint8Array, inverted: boolean }>}  levels [channels × height × width], for `vae.encode`
 */
export async function fitFile(file, vae, invert = "auto") {
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
    return fit(whole, vae, invert);
  } finally {
    URL.revokeObjectURL(address);
  }
}

/** Does so for anything that a canvas can draw. */
export function fit(source, vae, invert = "auto") {
  const [channels, height, width] = vae.imageShape;
  const { fit: way, background, invert_bright: invertBright } = vae.preparation;
  const ratios = [width / source.width, height / source.height];
  const scale = way === "pad" ? Math.min(...ratios) : Math.max(...ratios);
  const [w, h] = way === "stretch" ? [width, height] : [source.width, source.height].map((side) => Math.max(1, Math.round(side * scale)));
  const small = smaller(source, w, h, background);
  const inverted = invert === "yes" || (invert === "auto" && invertBright && hasBrightBorder(small));
  const ground = levelsOf(canvasOf(1, 1, background).getContext("2d"), channels);
  const inner = levelsOf(small.getContext("2d"), channels);
  const [left, top] = [Math.floor((width - w) / 2), Math.floor((height - h) / 2)]; // negative ones crop
  const levels = Uint8Array.from({ length: channels * height * width }, (_, at) => {
    const [channel, y, x] = [Math.floor(at / (height * width)), Math.floor(at / width) % height - top, at % width - left];
    if (x < 0 || y < 0 || x >= w || y >= h) return ground[channel];
    const level = inner[(channel * h + y) * w + x];
    return inverted ? 255 - level : level;
  });
  return { levels, inverted };
}

/** Whether a colour, in the notation of CSS, is nearer to white than to black. */
export function isBright(colour) {
  return levelsOf(canvasOf(1, 1, colour).getContext("2d"), 1)[0] > BRIGHT;
}

function canvasOf(width, height, background) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = background;
  context.fillRect(0, 0, width, height); // transparent parts of a picture show it
  context.imageSmoothingQuality = "high";
  return canvas;
}

/** Halves a picture until it is near its final size, because a browser skips pixels when it scales down in one step. */
function smaller(source, width, height, background) {
  let [current, w, h] = [source, source.width, source.height];
  for (;;) {
    const last = w <= 2 * width && h <= 2 * height;
    [w, h] = last ? [width, height] : [Math.max(width, Math.ceil(w / 2)), Math.max(height, Math.ceil(h / 2))];
    const canvas = canvasOf(w, h, background);
    canvas.getContext("2d").drawImage(current, 0, 0, w, h);
    if (last) return canvas;
    current = canvas;
  }
}

/** The levels of a canvas as planes: one of grey, or red, green and blue. */
function levelsOf(context, channels) {
  const { data } = context.getImageData(0, 0, context.canvas.width, context.canvas.height);
  const pixels = data.length / 4;
  if (channels === 3) return Uint8Array.from({ length: 3 * pixels }, (_, at) => data[4 * (at % pixels) + Math.floor(at / pixels)]);
  return Uint8Array.from({ length: pixels }, (_, at) =>
    Math.round(0.299 * data[4 * at] + 0.587 * data[4 * at + 1] + 0.114 * data[4 * at + 2]));
}

function hasBrightBorder(canvas) {
  const { width, height } = canvas;
  const border = levelsOf(canvas.getContext("2d"), 1).filter((_, at) =>
    at < width || at >= width * (height - 1) || at % width === 0 || at % width === width - 1).sort();
  return border[border.length >> 1] > BRIGHT; // the median
}
