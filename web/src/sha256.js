// SHA-256 on any page: browsers hash on pages from https: and this machine alone, elsewhere a library does.

import { check } from "./numbers.js";

/** Refuse content that has another SHA-256, in hexadecimal, than the one expected. */
export async function checkHash(content, expected, name) {
  const subtle = globalThis.crypto?.subtle;
  const hash = subtle
    ? new Uint8Array(await subtle.digest("SHA-256", content))
    : (await import("@noble/hashes/sha2.js")).sha256(content);
  const found = Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
  check(found === expected, `${name}, got another SHA-256; copy it again`);
}
