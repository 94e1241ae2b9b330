// How the page is built: absolute /assets/ addresses with flat hashed names, because the server serves dist/ from its root
// with a year of caching for everything below /assets/. Knows nothing of what the page does.

import { env } from "node:process";
import { defineConfig, type Plugin } from "vite";

/// The page loads code and style from its own server only. In a <meta> so that it holds behind any proxy; not while
/// developing, since Vite's own client needs inline scripts.
const POLICY = [
  "default-src 'self'",
  "script-src 'self'",
  "worker-src 'self' blob:",
  "style-src 'self' 'unsafe-inline'",
  // Thumbnails lie beside their playlist, which may be on any server, as the media may.
  "img-src 'self' data: http: https:",
  "media-src * blob:",
  "connect-src *",
  "object-src 'none'",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

function contentSecurityPolicy(): Plugin {
  return {
    name: "content-security-policy",
    apply: "build",
    transformIndexHtml: () => [
      {
        tag: "meta",
        attrs: { "http-equiv": "Content-Security-Policy", content: POLICY },
        injectTo: "head-prepend",
      },
    ],
  };
}

export default defineConfig({
  base: "/",
  plugins: [contentSecurityPolicy()],
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    sourcemap: false,
    chunkSizeWarningLimit: 900,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      output: {
        entryFileNames: "assets/[name]-[hash].js",
        chunkFileNames: "assets/[name]-[hash].js",
        // Libraries change less often than the page: a viewer who comes back has them.
        codeSplitting: {
          groups: [
            { name: "three", test: /node_modules\/three\// },
            { name: "hls", test: /node_modules\/hls\.js\// },
          ],
        },
        assetFileNames: "assets/[name]-[hash][extname]",
      },
    },
  },
  server: {
    proxy: Object.fromEntries(
      ["/api", "/hls", "/vod"].map(path => [path, env["LIVE360_SERVER"] ?? "http://127.0.0.1:8088"]),
    ),
  },
});
