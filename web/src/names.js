// Names for dimensions whose effect is clear: what one sees at both ends of the slider while the others are 0.

/** { SHA-256 of the weights: { dimension: [what −2.5 looks like, what +2.5 looks like] } } */
export const NAMES = {
  "1813927df6781e18d893f974b813657f04fe6d4592d46ecd51daa3c57135e05b": { // fashion-mnist-12d 3.0
    5: ["light top", "trousers"],
    2: ["T-shirt", "ankle boot"],
    4: ["dark bag", "light top"],
    6: ["pullover", "high heel"],
    3: ["no sleeves", "sleeves"],
    7: ["handbag", "top"],
  },
};

/** What each attribute is, by which directions are measured. */
export const ATTRIBUTES = {
  shade: "how bright it is",
  width: "how wide it is",
  height: "how high it is",
  fullness: "how much of its outline's box it fills",
  balance: "whether its mass lies high or low",
  contrast: "how much its brightness varies",
  texture: "how much goes on inside of it",
  symmetry: "how alike its two sides are",
  reach: "how far its sides reach down",
  arch: "how high the middle of its lower edge lies",
  saturation: "how colourful it is",
  hue: "which colour it has",
};

/**
 * By the same hashes: the first picture; and the first pictures to go between and to calculate with, each as the index of its
 * class and a seed.
 */
export const FIRST = {
  "1813927df6781e18d893f974b813657f04fe6d4592d46ecd51daa3c57135e05b": { seed: "69", start: "0" }, // a high boot
};
export const EXAMPLES = {
  "1813927df6781e18d893f974b813657f04fe6d4592d46ecd51daa3c57135e05b": { // a T-shirt and a pullover;
    a: [0, "4"], b: [2, "4"], x: [9, "1"], y: [7, "1"], z: [5, "1"], // boot − sneaker + sandal
  },
};
