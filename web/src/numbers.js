// Small things that several parts of the page need.

/** An error that says what was expected. */
export function check(holds, expected) {
  if (!holds) throw new Error(`expected ${expected}`);
}

/** Grey levels 0 … 255: ⌊255·x + 0.5⌋ in float32, as in every language. */
export function greyLevels(images) {
  return Uint8Array.from(images, (x) => Math.fround(Math.fround(255 * x) + 0.5)); // a conversion cuts: the floor here
}

/** A seed or an index in decimal digits as BigInt, 0 … 2⁶³−1. */
export function seedOf(text, name = "a seed") {
  const plain = /^\d{1,19}$/.test(String(text).trim());
  const value = plain ? BigInt(String(text).trim()) : -1n;
  check(plain && value < 2n ** 63n, `${name} from 0 to 2^63-1, got ${String(text).slice(0, 30) || "nothing"}`);
  return value;
}

/** A seed below 2⁵³, so that other languages' numbers hold it. */
export function drawnSeed() {
  const [high, low] = crypto.getRandomValues(new Uint32Array(2));
  return (BigInt(high & 0x1fffff) << 32n) | BigInt(low);
}

/** Points between two latents: a straight line. */
export function between(a, b, share) {
  return Float32Array.from(a, (value, at) => value + share * (b[at] - value));
}
