// The keys of the player, but for those that turn the view: gestures.ts has these. Knows the letters, not what they do it to.

/** One press of j or l, and of an arrow with Shift, s. */
const SKIP_S = { far: 10, near: 5 };

export interface KeyEvents {
  playPause(): void;
  mute(): void;
  fullscreen(): void;
  /** So many seconds on, or back. */
  skip(seconds: number): void;
  toEnd(): void;
  /** One step faster or, with −1, slower. */
  faster(steps: number): void;
}

export interface Press {
  key: string;
  shift: boolean;
  /** Held down. */
  repeat: boolean;
  /** What has the focus: a button, a link or an input of a menu, the scrub bar, or nothing of the kind. */
  on: "control" | "seek" | "nothing";
  /** There is no view to turn. */
  flat: boolean;
}

/** What a key does; null when it is somebody else's. */
export function keyAct({ key, shift, repeat, on, flat }: Press, events: KeyEvents): (() => void) | null {
  const letter = key.length === 1 ? key.toLowerCase() : key;
  // A button's space presses it; a range's and a menu's arrows are their own. Letters mean nothing to either.
  if (on !== "nothing" && key.length > 1) return null;
  if (on === "control" && key === " ") return null;
  const skips: Record<string, number> = { j: -SKIP_S.far, l: SKIP_S.far };
  // Without Shift they turn the view.
  if (shift || flat) Object.assign(skips, { ArrowLeft: -SKIP_S.near, ArrowRight: SKIP_S.near });
  const seconds = skips[letter];
  if (seconds !== undefined) return () => events.skip(seconds);
  if (repeat) return null;
  const acts: Record<string, () => void> = {
    " ": () => events.playPause(),
    k: () => events.playPause(),
    m: () => events.mute(),
    f: () => events.fullscreen(),
    End: () => events.toEnd(),
    "<": () => events.faster(-1),
    ">": () => events.faster(1),
  };
  return acts[letter] ?? null;
}

export function readPress(event: KeyboardEvent, flat: boolean): Press | null {
  if (event.ctrlKey || event.metaKey || event.altKey) return null;
  const control = event.target instanceof Element && event.target.closest("button, input, a, summary");
  const on = control ? (control.matches(".seek") ? "seek" : "control") : "nothing";
  return { key: event.key, shift: event.shiftKey, repeat: event.repeat, on, flat };
}
