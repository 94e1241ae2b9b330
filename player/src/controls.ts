// The bars of buttons over the picture. Own ones of native buttons and ranges rather than a library's: a drag must turn the
// view and never pause it, and half of the buttons are a sphere's own. Knows no player: it shows a model and reports wishes.

import { el, iconButton, name, setText } from "./dom";
import { icon, svg } from "./icons";
import { type Group, Menu } from "./menu";
import { type Seekable, SeekBar } from "./seekbar";
import { clock } from "./streams";
import type { Tile } from "./thumbs";

/** A button that may be there, may be on, or may have a reason not to work. */
export type Toggle = { is: "absent" } | { is: "off" } | { is: "on" } | { is: "refused"; why: string };

export interface ControlsModel {
  paused: boolean;
  muted: boolean;
  /** Show the large button that turns the sound on. */
  offerSound: boolean;
  /** 0…1. */
  volume: number;
  fullscreen: boolean;
  /** Null for a recording; otherwise whether one sees the live edge, and how far behind that is in words. */
  live: { atEdge: boolean; latency: string; waiting: boolean } | null;
  /** What can be sought, s on the video's clock; null while nothing can. */
  seek: Seekable | null;
  /** Of the scrub bar; empty while or where there are none. */
  tiles: readonly Tile[];
  motion: Toggle;
  headset: Toggle;
  settings: Group[];
}

export interface ControlsEvents {
  playPause(): void;
  mute(): void;
  volume(volume: number): void;
  seek(seconds: number): void;
  goLive(): void;
  fullscreen(): void;
  motion(): void;
  headset(): void;
  resetView(): void;
  choose(group: string, value: string): void;
  explain(why: string): void;
}

export class Controls {
  readonly top: HTMLElement;
  readonly bottom: HTMLElement;
  readonly unmute: HTMLButtonElement;
  #model: ControlsModel | null = null;
  #play = iconButton(icon("play"), "Play");
  #mute = iconButton(icon("muted"), "Unmute");
  #volume = el("input", {
    type: "range",
    class: "volume",
    min: "0",
    max: "1",
    step: "0.05",
    "aria-label": "Volume",
  });
  #live = el("button", { type: "button", class: "live-button" });
  #liveWord = el("span", {}, "Live");
  #latency = el("span", { class: "latency" });
  #time = el("span", { class: "time" });
  #seek: SeekBar;
  #title = el("h1");
  #motion = iconButton(icon("motion"), "Look around by moving the phone");
  #headset = iconButton(icon("headset"), "Watch in the headset");
  #fullscreen = iconButton(icon("enlarge"), "Full screen");
  #compass = iconButton(compassImage(), "Back to the front");
  #menu: Menu;

  constructor(title: string, events: ControlsEvents) {
    this.#menu = new Menu("Quality and picture", events.choose);
    this.#seek = new SeekBar(events.seek);
    this.title = title;
    this.unmute = el("button", { type: "button", class: "unmute" }, icon("muted"), "Tap for sound");
    this.#live.append(el("span", { class: "dot", "aria-hidden": "true" }), this.#liveWord);
    const home = el(
      "a",
      { class: "icon-button", href: "/", "aria-label": "All streams", title: "All streams" },
      icon("back"),
    );
    this.top = el(
      "header",
      { class: "bar top" },
      home,
      this.#title,
      el("span", { class: "spring" }),
      this.#compass,
    );
    this.bottom = el(
      "div",
      { class: "bar bottom", role: "group", "aria-label": "Controls" },
      this.#seek.element,
      el(
        "div",
        { class: "row" },
        this.#play,
        el("div", { class: "sound" }, this.#mute, this.#volume),
        this.#live,
        this.#latency,
        this.#time,
        el("span", { class: "spring" }),
        this.#menu.element,
        this.#motion,
        this.#headset,
        this.#fullscreen,
      ),
    );
    this.#wire(events);
  }

  /** Whether fading away now would take something out of the viewer's hand. */
  get inUse(): boolean {
    return this.#menu.open || this.#seek.dragging || this.bottom.matches(":has(:focus-visible)");
  }

  set title(title: string) {
    setText(this.#title, title);
  }

  /** Turns the compass: its wedge shows where and how much one sees. */
  point(yaw: number, horizontalFov: number): void {
    const wedge = this.#compass.querySelector<SVGElement>(".wedge");
    wedge?.setAttribute("transform", `rotate(${yaw.toFixed(1)} 12 12)`);
    wedge?.setAttribute("d", wedgePath(horizontalFov));
  }

  update(model: ControlsModel): void {
    const before = this.#model;
    this.#model = model;
    if (before?.paused !== model.paused) {
      this.#face(this.#play, model.paused ? "play" : "pause", model.paused ? "Play" : "Pause");
    }
    if (before?.muted !== model.muted) {
      this.#face(this.#mute, model.muted ? "muted" : "sound", model.muted ? "Unmute" : "Mute");
    }
    this.unmute.hidden = !model.offerSound;
    this.#volume.value = String(model.muted ? 0 : model.volume);
    fill(this.#volume, model.muted ? 0 : model.volume);
    if (before?.fullscreen !== model.fullscreen) {
      this.#face(
        this.#fullscreen,
        model.fullscreen ? "shrink" : "enlarge",
        model.fullscreen ? "Leave full screen" : "Full screen",
      );
    }
    this.#updateLive(model);
    this.#updateSeek(model);
    toggle(
      this.#motion,
      model.motion,
      "Look around by moving the phone",
      "Stop looking around by moving the phone",
    );
    toggle(this.#headset, model.headset, "Watch in the headset", "Leave the headset");
    this.#menu.update(model.settings);
  }

  #updateLive({ live }: ControlsModel): void {
    this.#live.hidden = live === null;
    this.#latency.hidden = live === null || live.latency === "";
    if (!live) return;
    this.#live.classList.toggle("behind", !live.atEdge);
    this.#live.classList.toggle("waiting", live.waiting);
    setText(this.#liveWord, live.waiting ? "Waiting" : live.atEdge ? "Live" : "Go live");
    name(this.#live, live.atEdge ? "Live" : "Go to the live edge");
    setText(this.#latency, live.latency);
    this.#latency.title = "How far behind the broadcast you are";
  }

  #updateSeek({ seek, live, tiles }: ControlsModel): void {
    this.#seek.update(seek, live !== null, tiles);
    this.#time.hidden = seek === null || live !== null;
    if (!seek) return;
    setText(this.#time, live ? "" : `${clock(seek.at - seek.start)} / ${clock(seek.end - seek.start)}`);
  }

  #wire(events: ControlsEvents): void {
    this.#play.addEventListener("click", () => events.playPause());
    this.#mute.addEventListener("click", () => events.mute());
    this.unmute.addEventListener("click", () => events.mute());
    this.#volume.addEventListener("input", () => events.volume(this.#volume.valueAsNumber));
    this.#live.addEventListener("click", () => events.goLive());
    this.#fullscreen.addEventListener("click", () => events.fullscreen());
    this.#compass.addEventListener("click", () => events.resetView());
    for (const [button, key] of [
      [this.#motion, "motion"],
      [this.#headset, "headset"],
    ] as const) {
      button.addEventListener("click", () => {
        const state = this.#model?.[key];
        if (state?.is === "refused") events.explain(state.why);
        else events[key]();
      });
    }
  }

  #face(button: HTMLButtonElement, which: Parameters<typeof icon>[0], label: string): void {
    button.replaceChildren(icon(which));
    name(button, label);
  }
}

function toggle(button: HTMLButtonElement, state: Toggle, off: string, on: string): void {
  button.hidden = state.is === "absent";
  button.classList.toggle("refused", state.is === "refused");
  button.setAttribute("aria-pressed", String(state.is === "on"));
  name(button, state.is === "refused" ? state.why : state.is === "on" ? on : off);
}

/** Colours a range up to its thumb; browsers have no common way of their own. */
function fill(range: HTMLInputElement, share: number): void {
  range.style.setProperty("--filled", `${Math.max(0, Math.min(1, share)) * 100}%`);
}

function compassImage(): SVGElement {
  const image = svg("svg", {
    viewBox: "0 0 24 24",
    class: "icon compass",
    "aria-hidden": "true",
    focusable: "false",
  });
  image.append(
    svg("circle", { cx: "12", cy: "12", r: "9" }),
    svg("path", { class: "wedge", d: wedgePath(90) }),
    svg("circle", { class: "north", cx: "12", cy: "3", r: "1.6" }),
  );
  return image;
}

function wedgePath(degrees: number): string {
  const half = (Math.min(170, Math.max(10, degrees)) * Math.PI) / 360;
  const [x, y] = [8 * Math.sin(half), 8 * Math.cos(half)];
  return `M12 12L${(12 - x).toFixed(2)} ${(12 - y).toFixed(2)}A8 8 0 0 1 ${(12 + x).toFixed(2)} ${(12 - y).toFixed(2)}z`;
}
