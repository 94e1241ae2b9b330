import { describe, expect, test } from "vitest";
import { parseTiles, tileAt } from "./thumbs";

const BASE = "http://tv.example/vod/foo-1/hq/thumbs.vtt";
const FILE = `WEBVTT

00:00:00.000 --> 00:00:06.000
thumbs/0.jpg#xywh=0,0,160,80

00:00:06.000 --> 00:00:12.000
thumbs/0.jpg#xywh=160,0,160,80

01:00:00.000 --> 01:00:06.500
thumbs/6.jpg#xywh=0,80,160,80
`;

describe("a file of tiles", () => {
  test("as the server writes it", () => {
    expect(parseTiles(FILE, BASE)).toEqual([
      {
        start: 0,
        end: 6,
        image: "http://tv.example/vod/foo-1/hq/thumbs/0.jpg",
        x: 0,
        y: 0,
        width: 160,
        height: 80,
      },
      {
        start: 6,
        end: 12,
        image: "http://tv.example/vod/foo-1/hq/thumbs/0.jpg",
        x: 160,
        y: 0,
        width: 160,
        height: 80,
      },
      {
        start: 3_600,
        end: 3_606.5,
        image: "http://tv.example/vod/foo-1/hq/thumbs/6.jpg",
        x: 0,
        y: 80,
        width: 160,
        height: 80,
      },
    ]);
  });

  const one = (cue: string) => parseTiles(`WEBVTT\n\n${cue}\n`, BASE)[0];

  test.each<[string, string, object | undefined]>([
    ["short times", "00:01.500 --> 00:02.000\n0.jpg#xywh=1,2,3,4", { start: 1.5, end: 2, x: 1, y: 2 }],
    ["more than 99 hours", "100:00:00.000 --> 100:00:01.000\n0.jpg", { start: 360_000 }],
    ["settings after the times", "00:01.000 --> 00:02.000 align:start\n0.jpg", { end: 2 }],
    ["an identifier", "7\n00:01.000 --> 00:02.000\n0.jpg", { start: 1 }],
    ["lines of Windows", "00:01.000 --> 00:02.000\r\n0.jpg#xywh=0,0,16,8\r\n", { width: 16 }],
    ["a whole picture", "00:01.000 --> 00:02.000\n0.jpg", { width: 0, height: 0 }],
    ["pixels by name", "00:01.000 --> 00:02.000\n0.jpg#xywh=pixel:5,6,7,8", { x: 5, height: 8 }],
    ["a path", "00:01.000 --> 00:02.000\n/a/0.jpg", { image: "http://tv.example/a/0.jpg" }],
    [
      "another server",
      "00:01.000 --> 00:02.000\nhttps://cdn.example/0.jpg",
      { image: "https://cdn.example/0.jpg" },
    ],
    ["a script is none", "00:01.000 --> 00:02.000\njavascript:alert(1)", undefined],
    ["data is none", "00:01.000 --> 00:02.000\ndata:image/png;base64,AAAA", undefined],
    ["a tile of no size is none", "00:01.000 --> 00:02.000\n0.jpg#xywh=0,0,0,80", undefined],
    ["no time is none", "00:02.000 --> 00:02.000\n0.jpg", undefined],
    ["no picture is none", "00:01.000 --> 00:02.000\n", undefined],
    ["words are none", "<html>404 Not Found</html>", undefined],
  ])("%s", (_, cue, expected) => {
    if (expected === undefined) expect(one(cue)).toBeUndefined();
    else expect(one(cue)).toMatchObject(expected);
  });

  test("a cue that has not wholly come is none yet", () => {
    const cut = FILE.indexOf("60,80");
    expect(parseTiles(FILE.slice(0, cut), BASE)).toEqual([]);
    expect(parseTiles(FILE, BASE, 1)).toHaveLength(1);
  });
});

test.each([
  [-1, 0],
  [0, 0],
  [5.999, 0],
  [6, 6],
  [1_800, 6],
  [3_601, 3_600],
  [99_999, 3_600],
  [Number.NaN, 0],
])("at %d s is the tile from %d s on", (at, start) => {
  expect(tileAt(parseTiles(FILE, BASE), at)?.start).toBe(start);
});

test("without tiles there is none at any time", () => {
  expect(tileAt([], 3)).toBeNull();
});
