import { expect, test } from "vitest";
import { parseSession } from "./session";

const URL = "https://cdn.example/hls/foo.m3u8?token=1";
const read = (...lines: string[]) => parseSession(["#EXTM3U", ...lines, ""].join("\n"), URL);

test("an ended broadcast names its recording", () => {
  const tag = '#EXT-X-SESSION-DATA:DATA-ID="live360.asset",VALUE="/vod/foo-1/index.m3u8"';
  expect(read("#EXT-X-VERSION:9", tag)).toEqual({
    asset: "https://cdn.example/vod/foo-1/index.m3u8",
    thumbnails: null,
    layout: null,
  });
});

test("a broadcast says how its picture lies, since it may be listed nowhere", () => {
  const projection = '#EXT-X-SESSION-DATA:DATA-ID="live360.projection",VALUE="hequ"';
  const stereo = '#EXT-X-SESSION-DATA:DATA-ID="live360.stereo",VALUE="lr"';
  expect(read(projection, stereo).layout).toEqual({ projection: "hequ", stereo: "lr" });
  expect(read(projection).layout).toEqual({ projection: "hequ", stereo: "mono" });
  expect(read(projection.replace("hequ", "globe"), stereo).layout).toBeNull();
});

test("a recording names its thumbnails, in whatever order of attributes and line ends", () => {
  const tag = '#EXT-X-SESSION-DATA:VALUE="hq/thumbs.vtt",LANGUAGE="en",DATA-ID="live360.thumbnails"\r';
  expect(read(tag).thumbnails).toBe("https://cdn.example/hls/hq/thumbs.vtt");
});

test.each([
  ['#EXT-X-SESSION-DATA:DATA-ID="live360.asset",VALUE="javascript:alert(1)"'],
  ['#EXT-X-SESSION-DATA:DATA-ID="live360.asset",VALUE=""'],
  ['#EXT-X-SESSION-DATA:DATA-ID="live360.asset",URI="x.json"'],
  ['#EXT-X-SESSION-DATA:DATA-ID="other.asset",VALUE="/vod/foo-1/index.m3u8"'],
  ["<html>404</html>"],
])("%s names nothing", line => {
  expect(read(line)).toEqual({ asset: null, thumbnails: null, layout: null });
});
