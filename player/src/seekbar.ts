// The scrub bar: where one is, where a hand would take one, and how it looks there. Knows no player; thumbs.ts says which
// tile belongs to which time.

import { el, setText } from "./dom";
import { clock } from "./streams";
import { type Tile, tileAt } from "./thumbs";
import { showTile } from "./tiles";

/** What can be sought, s on the video's clock. */
export interface Seekable {
  start: number;
  end: number;
  at: number;
}

/** From the bar's end to where its thumb's middle stops, px: padding and half a thumb, as in style.css. */
const MARGIN_PX = 15;
/** A press of an arrow key and of page up or down on the bar, s. */
const STEPS: Record<string, number> = {
  ArrowLeft: -5,
  ArrowDown: -5,
  ArrowRight: 5,
  ArrowUp: 5,
  PageDown: -60,
  PageUp: 60,
};
/** So near the end one sees what is live, s. */
const LIVE_S = 5;

export class SeekBar {
  readonly element: HTMLElement;
  readonly #range = el("input", {
    type: "range",
    class: "seek",
    min: "0",
    max: "1",
    step: "0.1",
    "aria-label": "Position",
  });
  readonly #tile = el("div", { class: "tile" });
  readonly #time = el("span", {});
  readonly #bubble = el(
    "div",
    { class: "bubble", "aria-hidden": "true", hidden: true },
    this.#tile,
    this.#time,
  );
  #seekable: Seekable | null = null;
  #live = false;
  #tiles: readonly Tile[] = [];
  #dragging = false;
  /** What was last on the bar: a finger that has left does not say so. */
  #pointer = "";

  /** @param seek called with a place on the video's clock, s */
  constructor(private readonly seek: (seconds: number) => void) {
    this.element = el("div", { class: "seekbar" }, this.#bubble, this.#range);
    const range = this.#range;
    range.addEventListener("input", () => {
      this.#dragging = true;
      const seconds = range.valueAsNumber;
      this.#fill(seconds);
      if (this.#seekable) this.#peek(xOf(seconds, this.#seekable, range.clientWidth));
    });
    range.addEventListener("change", () => {
      this.#dragging = false;
      if (this.#pointer !== "mouse") this.#bubble.hidden = true;
      this.seek(range.valueAsNumber);
    });
    range.addEventListener("pointerdown", event => {
      this.#pointer = event.pointerType;
    });
    range.addEventListener("pointermove", event => {
      this.#pointer = event.pointerType;
      // A finger that drags has the bubble over the thumb, see above.
      if (event.pointerType === "mouse") this.#peek(event.clientX - range.getBoundingClientRect().left);
    });
    for (const end of ["pointerleave", "pointerup", "pointercancel", "blur"] as const) {
      range.addEventListener(end, event => {
        const stays = event instanceof PointerEvent && event.pointerType === "mouse" && end === "pointerup";
        if (!stays) this.#bubble.hidden = true;
      });
    }
    // A range's own step would be a tenth of a second.
    range.addEventListener("keydown", event => {
      const step = STEPS[event.key];
      if (step === undefined || !this.#seekable || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      const { start, end, at } = this.#seekable;
      this.seek(Math.max(start, Math.min(end, at + step)));
    });
  }

  get dragging(): boolean {
    return this.#dragging;
  }

  update(seekable: Seekable | null, live: boolean, tiles: readonly Tile[]): void {
    this.element.hidden = seekable === null;
    this.#seekable = seekable;
    this.#live = live;
    this.#tiles = tiles;
    if (!seekable || this.#dragging) return;
    this.#range.min = String(seekable.start);
    this.#range.max = String(seekable.end);
    this.#range.value = String(seekable.at);
    this.#fill(seekable.at);
    this.#range.setAttribute("aria-valuetext", placeWords(seekable.at, seekable, live));
  }

  /** Shows what is under a place of the bar, px from its left end. */
  #peek(x: number): void {
    const { clientWidth } = this.#range;
    if (!this.#seekable || clientWidth <= 2 * MARGIN_PX) return;
    const seconds = secondsAt(x, this.#seekable, clientWidth);
    // Tiles count from a recording's beginning; a broadcast has none.
    const tile = this.#live ? null : tileAt(this.#tiles, seconds - this.#seekable.start);
    this.#tile.hidden = tile === null;
    showTile(this.#tile, tile);
    setText(this.#time, placeShort(seconds, this.#seekable, this.#live));
    this.#bubble.hidden = false;
    const half = this.#bubble.offsetWidth / 2;
    this.#bubble.style.left = `${Math.max(half, Math.min(clientWidth - half, x))}px`;
  }

  /** Colours the bar up to its thumb; browsers have no common way of their own. */
  #fill(seconds: number): void {
    if (!this.#seekable) return;
    const { start, end } = this.#seekable;
    const share = Math.max(0, Math.min(1, (seconds - start) / Math.max(0.1, end - start)));
    this.#range.style.setProperty("--filled", `${share * 100}%`);
  }
}

/** The time under a place of a bar, px from its left end. */
export function secondsAt(x: number, { start, end }: Seekable, width: number): number {
  const share = (x - MARGIN_PX) / Math.max(1, width - 2 * MARGIN_PX);
  return start + Math.max(0, Math.min(1, share)) * (end - start);
}

/** The place of a time on a bar, px from its left end. */
export function xOf(seconds: number, { start, end }: Seekable, width: number): number {
  const share = Math.max(0, Math.min(1, (seconds - start) / Math.max(0.1, end - start)));
  return MARGIN_PX + share * (width - 2 * MARGIN_PX);
}

/** `1:05` into a recording; `live` or `-1:05` in a broadcast. */
export function placeShort(seconds: number, { start, end }: Seekable, live: boolean): string {
  if (!live) return clock(seconds - start);
  return end - seconds < LIVE_S ? "live" : `-${clock(end - seconds)}`;
}

/** The same in words for people who hear the page. */
export function placeWords(seconds: number, { start, end }: Seekable, live: boolean): string {
  if (!live) return `${clock(seconds - start)} of ${clock(end - start)}`;
  return end - seconds < LIVE_S ? "live" : `${clock(end - seconds)} behind live`;
}
