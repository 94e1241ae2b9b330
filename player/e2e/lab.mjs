// A stand-in for the server, to work on the page without it: the built page, a folder of HLS files, and a list of streams from
// that folder's streams.json. Not used by the project's tests, which have the real server.
//
//   node e2e/lab.mjs --media DIR [--port 8090]

import { createReadStream } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: { media: { type: "string", default: "." }, port: { type: "string", default: "8090" } },
});
const dist = fileURLToPath(new URL("../dist", import.meta.url));
const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".json": "application/json",
  ".m3u8": "application/vnd.apple.mpegurl",
  ".m4s": "video/iso.segment",
  ".mp4": "video/mp4",
};

const server = createServer(async (request, response) => {
  const { pathname } = new URL(request.url ?? "/", "http://lab");
  const path = normalize(decodeURIComponent(pathname));
  try {
    if (path === "/api/streams") {
      response.writeHead(200, { "content-type": TYPES[".json"] });
      response.end(await readFile(join(values.media, "streams.json")));
      return;
    }
    const file = /^\/(hls|vod)\//.test(path)
      ? join(values.media, path)
      : join(dist, path === "/" ? "index.html" : path);
    const { size } = await stat(file);
    response.writeHead(200, {
      "content-type": TYPES[extname(file)] ?? "application/octet-stream",
      "content-length": size,
      "cache-control": "no-cache",
    });
    createReadStream(file).pipe(response);
  } catch {
    response.writeHead(404, { "content-type": "text/plain" });
    response.end(`there is no ${pathname}\n`);
  }
});
server.listen(Number(values.port), "127.0.0.1", () => {
  console.log(`http://127.0.0.1:${server.address().port}/`);
});
