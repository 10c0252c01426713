// The engine of `vae-gen play`: the model runs in the Python process that serves this page.
// The static build takes engine-wasm.js in this file's place. Both export open(folder, manifest, progress, again).

export const runtime = "ONNX Runtime in Python";

/** What runs graphs. A tensor is { dtype, dims, data } with a typed array of that dtype. */
export async function open() {
  return { run, keep() {} }; // a page of this machine needs no copy for later
}

async function run(graph, inputs) {
  const body = JSON.stringify({
    inputs: Object.fromEntries(Object.entries(inputs).map(([name, { dims, data }]) => [name, { dims, data: pack(data) }])),
  });
  const response = await fetch(`run/${graph}`, { method: "POST", body, headers: { "Content-Type": "application/json" } })
    .catch(() => {
      throw new Error("expected vae-gen play to answer, got nothing; start it again, with --port for the same address, and try again");
    });
  const answer = await response.json().catch(() => ({ error: `expected an answer of vae-gen play, got HTTP status ${response.status}` }));
  if (answer.error) throw new Error(answer.error);
  return Object.fromEntries(Object.entries(answer.outputs).map(([name, { dtype, dims, data }]) => [
    name, { dtype, dims, data: new (dtype === "int64" ? BigInt64Array : Float32Array)(unpack(data)) },
  ]));
}

function pack(array) {
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}

function unpack(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
}
