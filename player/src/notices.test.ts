import { expect, test } from "vitest";
import { notice, offer, type Situation } from "./notices";
import type { Asset } from "./streams";

const PLAYING: Situation = {
  name: "foo",
  playback: "ready",
  stream: "live",
  asset: undefined,
  recorded: false,
  recording: undefined,
  refusal: null,
  blocked: false,
  buffering: false,
  ended: false,
  wasLive: true,
  tail: false,
};
const RECORDING: Asset = {
  id: "foo-1",
  name: "foo",
  url: "http://tv/vod/foo-1/index.m3u8",
  start: 0,
  durationS: 9,
  state: "ready",
  progress: null,
  reason: null,
  thumbnails: null,
  locked: false,
};
/** A recording's address is played, not a broadcast's. */
const RECORDED: Partial<Situation> = { recorded: true, wasLive: false, stream: undefined };

test.each<[string, Partial<Situation>, { title?: string; busy?: boolean; action?: string | null } | null]>([
  ["a moving picture needs no words", {}, null],
  ["nor when it is the last that is here of it", { refusal: "this link has expired" }, null],
  [
    "who may not watch is told why in the server's words",
    { refusal: "this link has expired", playback: "absent", stream: undefined, wasLive: false },
    { title: "You cannot watch this", busy: false, action: null },
  ],
  [
    "also when it comes in the middle",
    { refusal: "this link has expired", playback: "trouble", buffering: true },
    { title: "You cannot watch this", busy: false },
  ],
  [
    "a page opened before the broadcast waits",
    { playback: "absent", stream: undefined, wasLive: false },
    { title: "foo is not live yet", busy: true },
  ],
  [
    "one opened while the broadcaster prepares waits, too, whatever was broadcast before",
    { playback: "absent", stream: "waiting", recording: RECORDING, wasLive: false },
    { title: "foo is not live yet", busy: true, action: null },
  ],
  [
    "one opened long after it offers the recording",
    { playback: "absent", stream: "ended", recording: RECORDING, wasLive: false },
    { title: "The broadcast has ended", action: "Watch the recording" },
  ],
  [
    "also when the server has forgotten the broadcast",
    { playback: "absent", stream: undefined, recording: RECORDING, wasLive: false },
    { title: "The broadcast has ended", action: "Watch the recording" },
  ],
  [
    "one opened within the hour after it offers it before anything plays",
    { playback: "complete", tail: true, recording: RECORDING, wasLive: false },
    { title: "It is live again", action: "Watch live" },
  ],
  [
    "and so it does while the stream is ended",
    { playback: "complete", tail: true, stream: "ended", recording: RECORDING, wasLive: false },
    { title: "The broadcast has ended", action: "Watch the recording" },
  ],
  [
    "a playlist that goes does not hide what was loaded of it",
    { playback: "absent", stream: "ended", recording: RECORDING },
    null,
  ],
  [
    "but then it is offered",
    { playback: "absent", stream: "ended", recording: RECORDING, ended: true },
    { title: "The broadcast has ended", action: "Watch the recording" },
  ],
  [
    "a recording that is not there",
    { ...RECORDED, playback: "absent" },
    { title: "This recording is not here" },
  ],
  [
    "a recording that is being made",
    { ...RECORDED, playback: "absent", asset: { ...RECORDING, state: "transcoding", progress: 0.42 } },
    { title: "This recording is not ready yet", busy: true },
  ],
  [
    "a recording that could not be made",
    { ...RECORDED, playback: "absent", asset: { ...RECORDING, state: "failed", reason: "no picture" } },
    { title: "This recording could not be made", busy: false },
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

test.each<[string, Partial<Situation>, boolean]>([
  ["while it is live", {}, false],
  ["while the broadcaster is away", { stream: "waiting" }, false],
  ["to somebody far behind, once it is over", { playback: "complete", stream: "ended" }, true],
  ["when the server's list says so before the playlist", { stream: "ended" }, true],
  ["when the playlist says so before the server's list", { playback: "complete", stream: undefined }, true],
  ["when it is gone and what was loaded plays on", { playback: "absent", stream: undefined }, true],
  [
    "not twice: at its end it is in the middle",
    { playback: "complete", stream: "ended", ended: true },
    false,
  ],
  ["not when it is on again", { playback: "complete", stream: "live" }, false],
  ["not of a recording, which is it already", { ...RECORDED, playback: "complete" }, false],
])("the recording is offered beside the picture: %s", (_, change, expected) => {
  const now = { ...PLAYING, recording: RECORDING, ...change };
  expect(offer(now)?.playlist).toBe(expected ? RECORDING.url : undefined);
  expect(offer({ ...now, recording: undefined })).toBeNull();
});
