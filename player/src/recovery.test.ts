import { describe, expect, test } from "vitest";
import { type Action, backoff, decide, type Failure, type History } from "./recovery";

const FAILURE: Failure = { fatal: true, kind: "network", playlist: false, status: 0 };
const HISTORY: History = { started: true, network: 0, media: 0 };

describe("what to do about a failure", () => {
  test.each<[string, Partial<Failure>, Partial<History>, Action["do"]]>([
    ["one that the player mends itself", { fatal: false }, {}, "nothing"],
    ["the stream has not begun", { playlist: true, status: 404 }, { started: false }, "wait"],
    ["the server is not there yet", { playlist: true, status: 0 }, { started: false }, "wait"],
    ["the stream has gone", { playlist: true, status: 404 }, {}, "wait"],
    ["the server went away while it played", { playlist: true, status: 0 }, {}, "resume"],
    ["a segment does not come", {}, {}, "resume"],
    ["nor after three tries", {}, { network: 3 }, "reload"],
    ["a decoder stumbles", { kind: "media" }, {}, "reset-media"],
    ["and stumbles again and again", { kind: "media" }, { media: 2 }, "rebuild"],
    ["anything else", { kind: "other" }, {}, "rebuild"],
  ])("%s", (_, failure, history, expected) => {
    expect(decide({ ...FAILURE, ...failure }, { ...HISTORY, ...history }, 0).do).toBe(expected);
  });

  test("a stream that is waited for is asked for at least every three seconds", () => {
    const action = decide(
      { ...FAILURE, playlist: true, status: 404 },
      { started: false, network: 50, media: 0 },
      0,
    );
    expect(action).toEqual({ do: "wait", afterMs: 3_000 });
  });
});

test("tries come further apart, never further than said, and not all viewers' at once", () => {
  expect([0, 1, 2, 3, 99].map(tries => backoff(tries, 500, 3_000, 0))).toEqual([
    500, 1_000, 2_000, 3_000, 3_000,
  ]);
  expect(backoff(0, 1_000, 3_000, 1)).toBe(750);
});
