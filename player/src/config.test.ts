import { describe, expect, test } from "vitest";
import { mediaUrl, nameOf, readPage, watchHref } from "./config";

const ORIGIN = "https://tv.example:8088";

describe("the address to play", () => {
  test.each([
    ["a path on this server", "/hls/foo.m3u8", `${ORIGIN}/hls/foo.m3u8`],
    ["another server over https", "https://cdn.example/hls/foo.m3u8", "https://cdn.example/hls/foo.m3u8"],
    ["another server over http", "http://10.0.0.2:8088/hls/foo.m3u8", "http://10.0.0.2:8088/hls/foo.m3u8"],
    ["dots are resolved within this server", "/a/../../hls/foo.m3u8", `${ORIGIN}/hls/foo.m3u8`],
    ["a script", "javascript:alert(1)", null],
    ["a script in capitals after a space", " JavaScript:alert(1)", null],
    ["data", "data:text/html,<script>alert(1)</script>", null],
    ["a blob", "blob:https://tv.example/1", null],
    ["a file", "file:///etc/passwd", null],
    ["another server without a scheme", "//evil.example/foo.m3u8", null],
    ["another server by a backslash", "/\\evil.example/foo.m3u8", null],
    ["another server by a tab that the parser drops", "/\t/evil.example/foo.m3u8", null],
    ["a relative path", "hls/foo.m3u8", null],
    ["a password in it", "https://me:secret@cdn.example/foo.m3u8", null],
    ["nothing after the scheme", "https://", null],
  ])("%s: %s", (_, raw, expected) => {
    expect(mediaUrl(raw, ORIGIN)).toBe(expected);
  });
});

describe("what the page shows", () => {
  const check = (search: string, expected: unknown) =>
    expect(readPage(search, ORIGIN)).toMatchObject(expected as object);

  test("the list without an address", () => {
    check("", { kind: "list" });
    check("?url=", { kind: "list" });
    check("?other=1", { kind: "list" });
  });

  test("the player with one, and how the picture lies when the address says so", () => {
    const url = `${ORIGIN}/hls/foo.m3u8`;
    check("?url=/hls/foo.m3u8", { kind: "watch", url, name: "foo", layout: {}, yaw: 0, pitch: 0 });
    check("?url=%2Fhls%2Ffoo.m3u8&proj=hequ&stereo=lr", {
      url,
      layout: { projection: "hequ", stereo: "lr" },
    });
    check("?url=/hls/foo.m3u8&yaw=90&pitch=-20", { yaw: 90, pitch: -20 });
  });

  test("unknown layouts and senseless angles count as not given", () => {
    const page = readPage("?url=/hls/foo.m3u8&proj=__proto__&stereo=4d&yaw=left&pitch=1e9", ORIGIN);
    expect(page).toMatchObject({ kind: "watch", layout: {}, yaw: 0, pitch: 90 });
  });

  test("words instead of a player for an address that is none", () => {
    check("?url=javascript:alert(1)", { kind: "refused" });
  });
});

test.each([
  ["/hls/foo.m3u8", "foo"],
  ["/vod/foo-20261120T172500Z/index.m3u8", "foo-20261120T172500Z"],
  ["/hls/a%20b.m3u8", "a b"],
  ["/hls/%ff.m3u8", "%ff"],
])("the title of %s is %s", (path, name) => {
  expect(nameOf(ORIGIN + path)).toBe(name);
});

test("a link to the player is short on this server and comes back as the same playlist", () => {
  expect(watchHref(`${ORIGIN}/hls/foo.m3u8`, ORIGIN)).toBe("/?url=/hls/foo.m3u8");
  for (const url of [`${ORIGIN}/hls/a&b=c.m3u8?x=1#y`, "https://tv.example:8089/hls/foo.m3u8"]) {
    const href = watchHref(url, ORIGIN);
    expect(readPage(href.slice(1), ORIGIN)).toMatchObject({ kind: "watch", url });
  }
});
