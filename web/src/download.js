// A file with its progress told while it comes.

/** The bytes of a file as Uint8Array; progress(file, received, total) is called as they come, total 0 where unknown. */
export async function download(url, progress) {
  const name = String(url).split("/").pop().split("?")[0];
  const response = await fetch(url).catch(() => null);
  if (!response?.ok) {
    const got = response ? `HTTP status ${response.status}` : "no answer";
    throw new Error(`expected the file ${name}, got ${got}; reload the page when the connection is back`);
  }
  // What is counted is unpacked, so a compressed answer's length would be too small.
  const total = response.headers.get("Content-Encoding") ? 0 : Number(response.headers.get("Content-Length") ?? 0);
  const parts = [];
  let received = 0;
  for (const reader = response.body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    received += value.length;
    progress(name, received, total);
  }
  const content = new Uint8Array(received);
  parts.reduce((at, part) => (content.set(part, at), at + part.length), 0);
  return content;
}
