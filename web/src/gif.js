// A grey GIF, written by hand: 128 levels, LZW, looping. (GIF89a specification, CompuServe 1990.)

/** The bytes of an animation of frames, each grey levels Uint8Array [height·width]; delay in hundredths of a second. */
export function gif(frames, width, height, delay) {
  const bytes = [];
  const word = (value) => bytes.push(value & 255, value >> 8);
  bytes.push(...[..."GIF89a"].map((letter) => letter.charCodeAt(0)));
  word(width);
  word(height);
  bytes.push(0xf6, 0, 0); // a palette of 2^7 colours for all frames
  for (let level = 0; level < 128; level++) bytes.push(...Array(3).fill(Math.round((level * 255) / 127)));
  bytes.push(0x21, 0xff, 11, ...[..."NETSCAPE2.0"].map((letter) => letter.charCodeAt(0)), 3, 1, 0, 0, 0); // for ever
  for (const frame of frames) {
    bytes.push(0x21, 0xf9, 4, 0);
    word(delay);
    bytes.push(0, 0, 0x2c, 0, 0, 0, 0);
    word(width);
    word(height);
    bytes.push(0, 7);
    const packed = lzw(frame.map((level) => Math.round((level * 127) / 255)));
    for (let at = 0; at < packed.length; at += 255) {
      const block = packed.slice(at, at + 255);
      bytes.push(block.length, ...block);
    }
    bytes.push(0);
  }
  bytes.push(0x3b);
  return Uint8Array.from(bytes);
}

/** Seven-bit values as LZW codes of growing width, from the lowest bit on. */
function lzw(values) {
  const [clear, end] = [128, 129];
  const bytes = [];
  let [bits, filled, width, next, known] = [0, 0, 8, 130, new Map()];
  const put = (code) => {
    bits |= code << filled;
    filled += width;
    for (; filled >= 8; filled -= 8, bits >>= 8) bytes.push(bits & 255);
  };
  put(clear);
  let prefix = values[0];
  for (const value of values.subarray(1)) {
    const key = (prefix << 7) | value;
    if (known.has(key)) {
      prefix = known.get(key);
      continue;
    }
    put(prefix);
    if (next === 4096) { // the table is full: begin again
      put(clear);
      [width, next, known] = [8, 130, new Map()];
    } else {
      known.set(key, next);
      if (next === 1 << width) width += 1;
      next += 1;
    }
    prefix = value;
  }
  put(prefix);
  put(end);
  if (filled) bytes.push(bits & 255);
  return bytes;
}
