import { expect, test } from "vitest";
import { type KeyEvents, keyAct, type Press } from "./keys";

const PRESS: Press = { key: "k", shift: false, repeat: false, on: "nothing", flat: false };

/** What was called, as words. */
function does(change: Partial<Press>): string | null {
  let said = "";
  const note = (words: string) => (value?: number) => {
    said = value === undefined ? words : `${words} ${value}`;
  };
  const events: KeyEvents = {
    playPause: note("play"),
    mute: note("mute"),
    fullscreen: note("fullscreen"),
    skip: note("skip"),
    toEnd: note("end"),
    faster: note("faster"),
  };
  const act = keyAct({ ...PRESS, ...change }, events);
  act?.();
  return act && said;
}

test.each<[string, Partial<Press>, string | null]>([
  ["k", { key: "k" }, "play"],
  ["space", { key: " " }, "play"],
  ["j and l", { key: "j" }, "skip -10"],
  ["l", { key: "l" }, "skip 10"],
  ["l with caps lock", { key: "L" }, "skip 10"],
  ["l held down", { key: "l", repeat: true }, "skip 10"],
  ["k held down, only once", { key: "k", repeat: true }, null],
  ["an arrow, which turns the view", { key: "ArrowLeft" }, null],
  ["an arrow with Shift", { key: "ArrowLeft", shift: true }, "skip -5"],
  ["an arrow where there is nothing to turn", { key: "ArrowRight", flat: true }, "skip 5"],
  ["faster", { key: ">", shift: true }, "faster 1"],
  ["the end", { key: "End" }, "end"],
  ["space on a button, which presses it", { key: " ", on: "control" }, null],
  ["space on the scrub bar", { key: " ", on: "seek" }, "play"],
  ["an arrow on the scrub bar, which has its own", { key: "ArrowRight", shift: true, on: "seek" }, null],
  ["a letter on a button", { key: "j", on: "control" }, "skip -10"],
  ["another key", { key: "q" }, null],
])("%s", (_, press, expected) => {
  expect(does(press)).toBe(expected);
});
