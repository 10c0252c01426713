// What is on the page as a few lines of code.

/** Python that makes the picture with vae_gen. */
export function python(state, latent, model) {
  const numbers = Array.from(latent, (value) => Number(value.toFixed(3))).join(", ");
  const label = state.label < 0 ? "None" : state.label;
  const sampled = `seed=${state.seed}, start=${state.start}, prior="${state.prior}", label=${label}, temperature=${state.temperature}`;
  const lines = [
    "from vae_gen import VAE",
    "",
    `model = VAE("${model.manifest.model.name}")`,
    `sample = model.sample(1, ${sampled})`,
    `latent = [${numbers}]`,
  ];
  lines.push(
    state.detail
      ? `image = model.decode(latent, noise=model.detail_noise(1, sample.seed, sample.start, labels=sample.labels))`
      : "image = model.decode(latent, detail=False)",
    `print(image.shape)  # float32 in [0, 1]`,
  );
  return lines.join("\n");
}

/** JavaScript that makes it with onnxruntime-web, or -node by another import. */
export function javascript(state, latent, model) {
  const numbers = Array.from(latent, (value) => Number(value.toFixed(3))).join(", ");
  const chained = state.detail;
  return [
    'import * as ort from "onnxruntime-web";',
    "",
    `const latent = new ort.Tensor("float32", Float32Array.of(${numbers}), [1, ${model.width}]);`,
    ...(chained
      ? [
          'const whole = (value) => new ort.Tensor("int64", BigInt64Array.of(value), []);',
          'const latents = await ort.InferenceSession.create("model/latents.onnx");',
          `const { noise } = await latents.run({ seed: whole(${state.seed}n), start: whole(${state.start}n), count: whole(1n),`,
          `  prior: whole(${state.prior === "fitted" ? 1 : 0}n), label: whole(${state.label}n), temperature: new ort.Tensor("float32", [${state.temperature}], []) });`,
          'const decoder = await ort.InferenceSession.create("model/detail.onnx");',
          "const { image } = await decoder.run({ latent, noise });",
        ]
      : [
          'const decoder = await ort.InferenceSession.create("model/decoder.onnx");',
          "const { image } = await decoder.run({ latent });",
        ]),
    "console.log(image.dims, image.data); // values in [0, 1]",
  ].join("\n");
}
