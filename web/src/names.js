// What a dimension does, where that is honest to say: seen from the prior's centre, by eye, for one set of weights.

/** By the SHA-256 of decoder.onnx: { dimension: [what −2.5 looks like, what +2.5 looks like] }. */
export const NAMES = {
  "01647dc7d935a4a437dde43396a8c4ff74be4f360e8852958547491f5245ce12": { // fashion-mnist-12d 3.0.0
    5: ["light top", "trousers"],
    2: ["T-shirt", "ankle boot"],
    4: ["dark bag", "light top"],
    6: ["pullover", "high heel"],
    3: ["no sleeves", "sleeves"],
    7: ["handbag", "top"],
  },
};
