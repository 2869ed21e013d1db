// Serves dist/ to this machine alone, with the two headers that let WebAssembly use more than one core: npm start -- [port]
import { createReadStream, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".json": "application/json" };
const HEADERS = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cache-Control": "no-cache",
};

const server = createServer((request, response) => {
  const path = normalize(decodeURIComponent(new URL(request.url, "http://localhost").pathname));
  const file = join("dist", path.endsWith("/") ? `${path}index.html` : path);
  const size = statSync(file, { throwIfNoEntry: false })?.size;
  if (size === undefined) return response.writeHead(404).end();
  const type = file.endsWith(".wasm") ? "application/wasm" : (TYPES[extname(file)] ?? "application/octet-stream");
  response.writeHead(200, { ...HEADERS, "Content-Type": type, "Content-Length": size });
  createReadStream(file).pipe(response);
});
server.listen(Number(process.argv[2] ?? 8000), "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
