// A file with its progress told while it comes.

/** The bytes of a file as Uint8Array; heard(received) is called as they come. fresh: past all that was kept of it. */
export async function download(url, heard, fresh = false) {
  const name = String(url).split("/").pop().split("?")[0];
  const refuse = (got) => {
    throw new Error(`expected the file ${name}, got ${got}; try again when the connection is back`);
  };
  const response = await fetch(url, { cache: fresh ? "reload" : "default" }).catch(() => refuse("no answer"));
  if (!response.ok) refuse(`HTTP status ${response.status}`);
  const parts = [];
  let received = 0;
  for (const reader = response.body.getReader(); ;) {
    const { done, value } = await reader.read().catch(() => refuse(`${received} bytes and then no more`));
    if (done) break;
    parts.push(value);
    received += value.length;
    heard(received);
  }
  const content = new Uint8Array(received);
  parts.reduce((at, part) => (content.set(part, at), at + part.length), 0);
  return content;
}
