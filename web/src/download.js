// Reads a file and reports its progress.

import { check } from "../../examples/vae.mjs";

const asked = new Set(); // addresses; who asks again has not got what was expected, and the browser may have kept that

/** The bytes of a file as Uint8Array; heard(received) is called while they arrive. */
export async function download(address, heard = () => {}) {
  const cache = asked.has(address) ? "reload" : "default";
  asked.add(address);
  const name = address.split("/").pop().split("?")[0];
  const refuse = (got) => check(false, `the file ${name}, got ${got}; try again when the connection is back`);
  const response = await fetch(address, { cache }).catch(() => refuse("no answer"));
  check(response.ok, `the file ${name} beside this page, got HTTP status ${response.status}; copy it there, then try again`);
  const parts = [];
  let received = 0;
  for (const reader = response.body.getReader(); ;) {
    const { done, value } = await reader.read().catch(() => refuse(`${received} bytes and then no more`));
    if (done) break;
    parts.push(value);
    received += value.length;
    heard(received);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}
