import { expect, test } from "vitest";
import { notice, type Situation } from "./notices";
import type { Asset } from "./streams";

const PLAYING: Situation = {
  name: "foo",
  playback: "ready",
  stream: "live",
  recording: undefined,
  blocked: false,
  buffering: false,
  ended: false,
  wasLive: true,
};
const RECORDING: Asset = {
  id: "foo-1",
  name: "foo",
  url: "http://tv/vod/foo-1/index.m3u8",
  start: 0,
  durationS: 9,
  state: "ready",
};

test.each<[string, Partial<Situation>, { title?: string; busy?: boolean; action?: string | null } | null]>([
  ["a moving picture needs no words", {}, null],
  [
    "a page opened before the broadcast waits",
    { playback: "absent", stream: undefined },
    { title: "foo is not live yet", busy: true },
  ],
  [
    "one opened long after it offers the recording",
    { playback: "absent", stream: "ended", recording: RECORDING },
    { title: "The broadcast has ended", action: "Watch the recording" },
  ],
  ["loading only turns a wheel", { playback: "loading" }, { title: "", busy: true }],
  ["so does buffering", { buffering: true }, { title: "", busy: true }],
  [
    "a broadcaster who is away",
    { buffering: true, stream: "waiting" },
    { title: "A short break", busy: true },
  ],
  ["not while what is buffered still plays", { stream: "waiting" }, null],
  [
    "a lost connection, once the picture stands",
    { playback: "trouble", buffering: true },
    { title: "The connection was lost", busy: true },
  ],
  ["not before", { playback: "trouble" }, null],
  [
    "the end of a broadcast",
    { playback: "complete", ended: true, stream: "ended" },
    { title: "The broadcast has ended", action: null },
  ],
  [
    "the end of one that is on again",
    { playback: "complete", ended: true },
    { title: "It is live again", action: "Watch live" },
  ],
  [
    "the end of a recording",
    { playback: "complete", ended: true, wasLive: false, stream: undefined },
    { title: "The end", action: "Watch again" },
  ],
  ["a browser that wants a tap first", { blocked: true }, { action: "Play" }],
  [
    "a browser that can't",
    { playback: "unsupported" },
    { title: "This browser cannot play the stream", busy: false },
  ],
])("%s", (_, change, expected) => {
  const found = notice({ ...PLAYING, ...change });
  if (expected === null) {
    expect(found).toBeNull();
    return;
  }
  expect({ title: found?.title, busy: found?.busy, action: found?.action?.label ?? null }).toMatchObject(
    expected,
  );
});
