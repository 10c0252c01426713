// A picture from anywhere as the model takes it: grey levels on black, scaled to fit, in the middle.

import { check } from "./numbers.js";

export const MOST_PIXELS = 25e6;
const BRIGHT = 127.5; // a border brighter than this is a bright ground: the data lies on black

/** Grey levels of a file or blob: { levels, inverted }. invert: auto, yes or no. */
export async function fitFile(file, shape, invert) {
  const [width, height] = (await sizeOf(file)) ?? [0, 0];
  check(width * height <= MOST_PIXELS, `a picture of at most 25 megapixels, got ${width} × ${height}; make it smaller first`);
  const bitmap = await createImageBitmap(file).catch(() => null);
  check(bitmap, `a picture, got ${file.name ? `${file.name}, which is none` : "something else"} that this browser can read`);
  check(bitmap.width * bitmap.height <= MOST_PIXELS, "a picture of at most 25 megapixels; make it smaller first");
  return fit(bitmap, shape, invert);
}

/** Grey levels of anything that a canvas can draw, with width and height. */
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

/** Halved until it is near, then drawn to size: a browser's single step to a small size skips pixels. */
function smaller(source, width, height) {
  let [current, w, h] = [source, source.width, source.height];
  for (;;) {
    const last = w <= 2 * width && h <= 2 * height;
    [w, h] = last ? [width, height] : [Math.max(width, Math.ceil(w / 2)), Math.max(height, Math.ceil(h / 2))];
    const canvas = Object.assign(document.createElement("canvas"), { width: w, height: h });
    const context = canvas.getContext("2d", { willReadFrequently: last });
    context.imageSmoothingQuality = "high";
    context.fillRect(0, 0, w, h); // what is transparent lies on black
    context.drawImage(current, 0, 0, w, h);
    current = canvas;
    if (last) {
      const { data } = context.getImageData(0, 0, w, h);
      return Uint8Array.from({ length: w * h }, (_, at) =>
        Math.round(0.299 * data[4 * at] + 0.587 * data[4 * at + 1] + 0.114 * data[4 * at + 2]));
    }
  }
}

/** Width and height from the first bytes of a PNG, GIF, JPEG, WebP or BMP; null where they are not found. */
export async function sizeOf(file) {
  const bytes = new DataView(await file.slice(0, 1 << 18).arrayBuffer());
  const text = (at, length) => String.fromCharCode(...new Uint8Array(bytes.buffer, at, length));
  if (bytes.byteLength < 30) return null;
  if (text(1, 3) === "PNG") return [bytes.getUint32(16), bytes.getUint32(20)];
  if (text(0, 3) === "GIF") return [bytes.getUint16(6, true), bytes.getUint16(8, true)];
  if (text(0, 2) === "BM") return [bytes.getInt32(18, true), Math.abs(bytes.getInt32(22, true))];
  if (text(8, 4) === "WEBP") {
    if (text(12, 4) === "VP8X") return [1 + (bytes.getUint32(24, true) & 0xffffff), 1 + (bytes.getUint32(27, true) & 0xffffff)];
    if (text(12, 4) === "VP8 ") return [bytes.getUint16(26, true) & 0x3fff, bytes.getUint16(28, true) & 0x3fff];
    const packed = bytes.getUint32(21, true);
    return [1 + (packed & 0x3fff), 1 + ((packed >> 14) & 0x3fff)];
  }
  if (bytes.getUint16(0) === 0xffd8) {
    for (let at = 2; at + 9 < bytes.byteLength;) {
      const marker = bytes.getUint16(at);
      if (marker >= 0xffc0 && marker <= 0xffcf && ![0xffc4, 0xffc8, 0xffcc].includes(marker)) {
        return [bytes.getUint16(at + 7), bytes.getUint16(at + 5)];
      }
      at += 2 + bytes.getUint16(at + 2);
    }
  }
  return null;
}
