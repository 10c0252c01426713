// The engine of `vae-gen play`: the model runs in the Python process that serves this page.
// The static page uses engine-wasm.js in its place. Both export `runtime`, `open`, `gif` and `keep`.

import { VAE, bytesOf, mapped } from "../../examples/vae.mjs";
import { download } from "./download.js";

export const runtime = "The model runs on ONNX Runtime in the Python process that serves this page.";

/** What a user should know about a link to this page. */
export const linkNote = " The link opens while this page is served; paste it into any page of this model to open it later.";

/** Opens the model folder. */
export function open(folder) {
  return VAE.load(folder, { run, read: download });
}

/** The bytes of an endless GIF of frames, each Uint8Array [channels × height × width], for 60 milliseconds each. */
export async function gif(frames, shape) {
  const data = Uint8Array.from(frames.flatMap((frame) => [...frame]));
  return bytesOf((await ask("gif", { frames: { dims: [frames.length, ...shape], data } })).data);
}

/** Keeps the page for a visit without a network, which this one cannot have. */
export function keep() {}

async function run(graph, inputs) {
  const { outputs } = await ask(`run/${graph}`, inputs);
  return mapped(outputs, ({ dtype, data }) => new (dtype === "int64" ? BigInt64Array : Float32Array)(bytesOf(data).buffer));
}

async function ask(path, inputs) {
  const body = JSON.stringify({ inputs: mapped(inputs, ({ dims, data }) => ({ dims, data: base64(data) })) });
  const response = await fetch(path, { method: "POST", body, headers: { "Content-Type": "application/json" } }).catch(() => {
    throw new Error("expected an answer from vae-gen play, got none; start it again with the same --port, then try again");
  });
  const answer = await response.json().catch(() => ({ error: `expected an answer from vae-gen play, got HTTP status ${response.status}` }));
  if (answer.error) throw new Error(answer.error);
  return answer;
}

function base64({ buffer, byteOffset, byteLength }) {
  return btoa(Array.from(new Uint8Array(buffer, byteOffset, byteLength), (byte) => String.fromCharCode(byte)).join(""));
}
