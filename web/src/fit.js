// Converts any picture to what the model expects: grey levels on black, scaled to fit, in the middle.

import { check } from "../../examples/vae.mjs";

const MOST_PIXELS = 25e6;
const BRIGHT = 127.5; // a picture with a brighter border is inverted, because the data has a black background

/** The grey levels of a picture in a file: { levels, inverted }; invert is auto, yes or no. */
export async function fitFile(file, shape, invert) {
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
    return fit(whole, shape, invert);
  } finally {
    URL.revokeObjectURL(address);
  }
}

/** The grey levels of anything that a canvas can draw. */
export function fit(source, [, height, width], invert) {
  const scale = Math.min(width / source.width, height / source.height);
  const [w, h] = [Math.max(1, Math.round(source.width * scale)), Math.max(1, Math.round(source.height * scale))];
  const small = smaller(source, w, h); // levels [w·h]
  const border = small.filter((_, at) => at < w || at >= w * (h - 1) || at % w === 0 || at % w === w - 1).sort();
  const bright = border[border.length >> 1] > BRIGHT; // the median
  const inverted = invert === "yes" || (invert === "auto" && bright);
  const levels = new Uint8Array(width * height);
  const [left, top] = [Math.floor((width - w) / 2), Math.floor((height - h) / 2)];
  small.forEach((level, at) => {
    levels[(top + Math.floor(at / w)) * width + left + (at % w)] = inverted ? 255 - level : level;
  });
  return { levels, inverted };
}

/** Halves a picture until it is near its final size, because a browser skips pixels when it scales down in one step. */
function smaller(source, width, height) {
  let [current, w, h] = [source, source.width, source.height];
  for (;;) {
    const last = w <= 2 * width && h <= 2 * height;
    [w, h] = last ? [width, height] : [Math.max(width, Math.ceil(w / 2)), Math.max(height, Math.ceil(h / 2))];
    const canvas = Object.assign(document.createElement("canvas"), { width: w, height: h });
    const context = canvas.getContext("2d", { willReadFrequently: last });
    context.imageSmoothingQuality = "high";
    context.fillRect(0, 0, w, h); // transparent parts become black
    context.drawImage(current, 0, 0, w, h);
    current = canvas;
    if (last) {
      const { data } = context.getImageData(0, 0, w, h);
      return Uint8Array.from({ length: w * h }, (_, at) =>
        Math.round(0.299 * data[4 * at] + 0.587 * data[4 * at + 1] + 0.114 * data[4 * at + 2]));
    }
  }
}
