// What a dimension does, where that is honest to say: seen from the prior's centre, by eye, for one set of weights.

/** By the SHA-256 of decoder.onnx: { dimension: [what −2.5 looks like, what +2.5 looks like] }. */
export const NAMES = {};
