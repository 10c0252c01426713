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
