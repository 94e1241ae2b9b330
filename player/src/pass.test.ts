import { expect, test } from "vitest";
import { bare, carry } from "./pass";

/** Grants /hls/foo, /vod/foo-1, / and nothing that can be read. */
const [FOO, TAPE, ALL, BAD] = ["1.9.L2hscy9mb28.m", "1.9.L3ZvZC9mb28tMQ.m", "1.9.Lw.m", "1.9.%%.m"];
const TV = "https://tv.example";

test.each([
  [`${TV}/hls/~${FOO}/foo.m3u8?x=1`, `${TV}/hls/foo.m3u8?x=1`],
  [`${TV}/vod/~${TAPE}/foo-1/index.m3u8`, `${TV}/vod/foo-1/index.m3u8`],
  [`${TV}/hls/foo.m3u8`, `${TV}/hls/foo.m3u8`],
  [`${TV}/a/~b/c`, `${TV}/a/~b/c`],
])("%s without its token", (url, expected) => {
  expect(bare(url)).toBe(expected);
});

test.each<[string, string, string, string | null]>([
  ["no token is needed", "/hls/foo.m3u8", "/vod/foo-1/index.m3u8", "/vod/foo-1/index.m3u8"],
  [
    "a token for everything",
    `/hls/~${ALL}/foo.m3u8`,
    "/vod/foo-1/index.m3u8",
    `/vod/~${ALL}/foo-1/index.m3u8`,
  ],
  ["a token for the broadcast only", `/hls/~${FOO}/foo.m3u8`, "/vod/foo-1/index.m3u8", null],
  ["the broadcast itself", `/hls/~${FOO}/foo.m3u8`, "/hls/foo.m3u8", `/hls/~${FOO}/foo.m3u8`],
  ["another name", `/hls/~${FOO}/foo.m3u8`, "/hls/foobar.m3u8", null],
  [
    "a recording's tiles",
    `/vod/~${TAPE}/foo-1/index.m3u8`,
    "/vod/foo-1/hq/t.vtt?x=1",
    `/vod/~${TAPE}/foo-1/hq/t.vtt?x=1`,
  ],
  ["what has one already", `/vod/~${TAPE}/foo-1/index.m3u8`, `/vod/~${ALL}/a/t.vtt`, `/vod/~${ALL}/a/t.vtt`],
  [
    "another server",
    `/hls/~${ALL}/foo.m3u8`,
    "https://other.example/vod/a/index.m3u8",
    "https://other.example/vod/a/index.m3u8",
  ],
  ["what is no stream", `/hls/~${ALL}/foo.m3u8`, "/api/streams", "/api/streams"],
  ["a token that makes no sense", `/hls/~${BAD}/foo.m3u8`, "/hls/foo.m3u8", null],
])("%s", (_, from, to, expected) => {
  const absolute = (url: string) => new URL(url, TV).href;
  expect(carry(absolute(from), absolute(to))).toBe(expected === null ? null : absolute(expected));
});
