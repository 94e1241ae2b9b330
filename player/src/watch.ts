// The page at `/?url=…`: puts stage, player, buttons and notices together, and asks the server what it knows of the stream.
// The parts do not know each other; only this file knows them all.

import { askStreams, poll } from "./api";
import { type Page, settings, watchHref } from "./config";
import { Controls, type Toggle } from "./controls";
import { el, setText } from "./dom";
import { Fullscreen } from "./fullscreen";
import { publishHooks } from "./hooks";
import { latencyText } from "./latency";
import type { Group } from "./menu";
import { type Notice, notice } from "./notices";
import { Motion, motionSupport } from "./orientation";
import { Player } from "./player";
import { PROJECTIONS, parseProjection, parseStereo, STEREOS } from "./projection";
import { levelLabels } from "./quality";
import { type Flatness, Stage } from "./stage";
import { type Catalogue, findByUrl, type Stream } from "./streams";
import { Headset, headsetSupport } from "./xr";

type Watch = Extract<Page, { kind: "watch" }>;

/** How long a remark stays, ms. */
const REMARK_MS = 6_000;

const FLAT_REMARKS: Record<Flatness, string> = {
  sphere: "",
  "flat picture": "",
  "no webgl": "This browser has no WebGL 2: the picture is shown flat.",
  "context lost": "The graphics card is busy: the picture is shown flat until it is back.",
};

const PROJECTION_NAMES = {
  equirect: "360°",
  hequ: "180°",
  cubemap: "Cube map",
  dfisheye: "Two fisheyes",
  flat: "Flat",
} as const;
const STEREO_NAMES = { mono: "One picture", tb: "3D, top and bottom", lr: "3D, side by side" } as const;

export function watch(root: HTMLElement, page: Watch): void {
  new WatchPage(root, page);
}

class WatchPage {
  #element = el("div", { class: "player" });
  #notice = el("div", { class: "notice", role: "status", "aria-live": "polite" });
  #remark = el("p", { class: "remark", role: "status", "aria-live": "polite" });
  #stage: Stage;
  #player: Player;
  #controls: Controls;
  #fullscreen: Fullscreen;
  #motion: Motion;
  #headset: Headset;
  #support: { headset: Toggle } = { headset: { is: "absent" } };
  #motionRefused: string | null = null;
  #stream: Stream | undefined;
  #catalogue: Catalogue = { streams: [], assets: [] };
  #layout: Watch["layout"];
  #shownNotice = "";
  #idleTimer: ReturnType<typeof setTimeout> | undefined;
  #remarkTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    root: HTMLElement,
    private readonly page: Watch,
  ) {
    document.title = `${page.name} · live360`;
    this.#layout = page.layout;
    this.#controls = new Controls(page.name, {
      playPause: () => this.#do(() => this.#player.playPause()),
      mute: () => this.#do(() => this.#toggleMute()),
      volume: volume => this.#do(() => this.#setVolume(volume)),
      seek: seconds => this.#do(() => this.#player.seek(seconds)),
      goLive: () => this.#do(() => this.#player.goLive()),
      fullscreen: () => void this.#fullscreen.toggle(),
      motion: () => void this.#toggleMotion(),
      headset: () => void this.#toggleHeadset(),
      resetView: () => this.#stage.look.reset(),
      choose: (group, value) => this.#do(() => this.#choose(group, value)),
      explain: why => this.#say(why),
    });
    this.#stage = new Stage(
      { yaw: page.yaw, pitch: page.pitch },
      {
        tapped: () => this.#toggleControls(),
        moved: () => undefined,
        flatness: why => this.#say(FLAT_REMARKS[why]),
        turned: (yaw, hfov) => this.#controls.point(yaw, hfov),
      },
    );
    this.#fullscreen = new Fullscreen(this.#element, () => this.#update());
    this.#motion = new Motion(rotation => this.#stage.look.setDevice(rotation));
    this.#headset = new Headset(
      session => this.#stage.present(session),
      () => this.#update(),
    );
    this.#element.append(
      this.#stage.element,
      this.#notice,
      this.#controls.top,
      this.#controls.unmute,
      this.#remark,
      this.#controls.bottom,
    );
    root.replaceChildren(this.#element);
    this.#player = new Player(this.#stage.video, page.url, {
      state: () => this.#update(),
      levels: () => this.#update(),
      changed: () => this.#update(),
    });
    this.#applyLayout();
    publishHooks(this.#stage, this.#player);
    this.#listen();
    void this.#findHeadset();
    poll(settings.watchPollMs, signal => this.#ask(signal));
    setInterval(() => {
      this.#player.tick();
      this.#update();
    }, 500);
  }

  #listen(): void {
    for (const event of ["pointermove", "pointerdown", "keydown", "focusin"] as const) {
      this.#element.addEventListener(event, pointed => {
        // A finger's own moves are a drag; its taps show and hide.
        if (
          pointed instanceof PointerEvent &&
          pointed.pointerType !== "mouse" &&
          pointed.target === this.#stage.element
        )
          return;
        this.#wake();
      });
    }
    document.addEventListener("keydown", event => this.#key(event));
    this.#wake();
  }

  #key(event: KeyboardEvent): void {
    const onControl = event.target instanceof Element && event.target.closest("button, input, a, summary");
    if (onControl || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const acts: Record<string, () => void> = {
      " ": () => this.#player.playPause(),
      k: () => this.#player.playPause(),
      m: () => this.#toggleMute(),
      f: () => void this.#fullscreen.toggle(),
      l: () => this.#player.goLive(),
    };
    const act = acts[event.key];
    if (!act) return;
    event.preventDefault();
    this.#do(act);
  }

  async #ask(signal: AbortSignal): Promise<void> {
    try {
      const { catalogue, clockOffset } = await askStreams(signal);
      this.#catalogue = catalogue;
      this.#player.clockOffset = clockOffset;
      this.#stream = findByUrl(catalogue.streams, this.page.url);
      this.#applyLayout();
      // Seen to the end, and it is on again: there is nothing to ask the viewer.
      const { playback, video, wasLive } = this.#player;
      if (playback.state === "complete" && video.ended && wasLive && this.#stream?.state === "live")
        this.#player.goLive();
    } catch {
      // The list is a help; the playlist itself says whether the stream is there.
      if (!signal.aborted) this.#stream = undefined;
    }
    this.#update();
  }

  /** What the address says goes before what the server says. */
  #applyLayout(): void {
    const known = this.#stream?.layout ?? this.#recordedLayout();
    const layout = {
      projection: this.#layout.projection ?? known?.projection ?? "equirect",
      stereo: this.#layout.stereo ?? known?.stereo ?? "mono",
    } as const;
    const before = this.#stage.layout;
    if (before.projection !== layout.projection || before.stereo !== layout.stereo)
      this.#stage.setLayout(layout);
    else if (this.#stage.flatness === "no webgl") this.#stage.setLayout(layout);
  }

  /** A recording has the layout of its stream, as far as the server still knows that. */
  #recordedLayout(): Stream["layout"] | undefined {
    const asset = findByUrl(this.#catalogue.assets, this.page.url);
    return asset && this.#catalogue.streams.find(stream => stream.name === asset.name)?.layout;
  }

  #update(): void {
    // Events of the video may come while the parts are still being put together.
    if (!this.#player) return;
    const { video, playback } = this.#player;
    const waiting = this.#stream?.state === "waiting" && this.#player.buffering;
    this.#controls.update({
      paused: video.paused,
      muted: video.muted,
      volume: video.volume,
      fullscreen: this.#fullscreen.on,
      live: playback.live
        ? { atEdge: this.#player.atEdge, latency: latencyText(this.#player.latency()), waiting }
        : null,
      seek: this.#player.seekable(),
      motion: this.#motionToggle(),
      headset: this.#headset.on ? { is: "on" } : this.#support.headset,
      settings: this.#settings(),
    });
    this.#showNotice(
      notice({
        name: this.page.name,
        playback: playback.state,
        stream: this.#stream?.state,
        recording: this.#recording(),
        blocked: this.#player.blocked,
        buffering: this.#player.buffering,
        ended: video.ended,
        wasLive: this.#player.wasLive,
      }),
    );
    this.#element.classList.toggle("paused", video.paused);
    this.#controls.unmute.hidden ||= playback.state === "absent" || this.#player.blocked;
  }

  #recording() {
    const name = this.#stream?.name ?? this.page.name;
    return this.#catalogue.assets
      .filter(asset => asset.name === name && asset.state !== "failed")
      .sort((a, b) => (b.start ?? 0) - (a.start ?? 0))[0];
  }

  #settings(): Group[] {
    const { list, playing, chosen } = this.#player.playback.levels();
    const labels = levelLabels(list, this.#stream?.rungs ?? []);
    const now = labels.find(label => label.index === playing);
    const auto = chosen === -1 && now ? { detail: `now ${now.name}` } : {};
    const quality = [
      { value: "-1", name: "Automatic", ...auto },
      ...labels.map(({ index, name, detail }) => ({ value: String(index), name, detail })),
    ];
    const { projection, stereo } = this.#stage.layout;
    return [
      { id: "quality", title: "Quality", choices: quality, chosen: String(chosen) },
      {
        id: "projection",
        title: "Picture",
        choices: PROJECTIONS.map(value => ({ value, name: PROJECTION_NAMES[value] })),
        chosen: projection,
      },
      {
        id: "stereo",
        title: "Eyes",
        choices: STEREOS.map(value => ({ value, name: STEREO_NAMES[value] })),
        chosen: stereo,
      },
    ];
  }

  #choose(group: string, value: string): void {
    if (group === "quality") this.#player.playback.choose(Number(value));
    const projection = group === "projection" ? parseProjection(value) : undefined;
    const stereo = group === "stereo" ? parseStereo(value) : undefined;
    if (projection) this.#layout = { ...this.#layout, projection };
    if (stereo) this.#layout = { ...this.#layout, stereo };
    this.#applyLayout();
  }

  #showNotice(now: Notice | null): void {
    const key = JSON.stringify(now);
    if (key === this.#shownNotice) return;
    this.#shownNotice = key;
    this.#notice.classList.toggle("empty", now === null);
    this.#notice.classList.toggle("words", now !== null && now.title !== "");
    if (!now) return this.#notice.replaceChildren();
    const { action } = now;
    let offer: HTMLElement | null = null;
    if (action && "playlist" in action) {
      offer = el("a", { class: "primary", href: watchHref(action.playlist, location.origin) }, action.label);
    } else if (action) {
      offer = el("button", { type: "button", class: "primary" }, action.label);
      offer.addEventListener("click", () =>
        this.#do(() => (action.does === "play" ? this.#player.playPause() : this.#player.goLive())),
      );
    }
    this.#notice.replaceChildren(
      ...(now.busy
        ? [el("span", { class: "spinner", "aria-label": now.title === "" ? "Loading" : null })]
        : []),
      ...(now.title ? [el("h2", {}, now.title)] : []),
      ...(now.text ? [el("p", {}, now.text)] : []),
      ...(offer ? [offer] : []),
    );
  }

  #toggleMute(): void {
    const { video } = this.#stage;
    video.muted = !video.muted;
    if (!video.muted && video.volume === 0) video.volume = 0.5;
  }

  #setVolume(volume: number): void {
    const { video } = this.#stage;
    video.volume = volume;
    video.muted = volume === 0;
  }

  #motionToggle(): Toggle {
    if (this.#motion.on) return { is: "on" };
    if (this.#motionRefused !== null) return { is: "refused", why: this.#motionRefused };
    const support = this.#stage.flatness === "sphere" ? motionSupport() : "none";
    if (support === "insecure")
      return { is: "refused", why: "Looking around by moving the phone needs a page opened with https://" };
    return { is: support === "available" ? "off" : "absent" };
  }

  async #toggleMotion(): Promise<void> {
    if (this.#motion.on) this.#motion.stop();
    else {
      const result = await this.#motion.start();
      if (result === "denied")
        this.#motionRefused =
          "The browser was not allowed to read the phone's motion. Its settings for this page can change that.";
      if (result === "silent") this.#motionRefused = "This device reports no motion.";
      if (this.#motionRefused !== null) this.#say(this.#motionRefused);
    }
    this.#update();
  }

  async #findHeadset(): Promise<void> {
    const support = await headsetSupport();
    if (support === "available" && this.#stage.flatness !== "no webgl") this.#support.headset = { is: "off" };
    if (support === "insecure")
      this.#support.headset = { is: "refused", why: "The headset needs a page opened with https://" };
    this.#update();
  }

  async #toggleHeadset(): Promise<void> {
    try {
      if (this.#headset.on) await this.#headset.leave();
      else await this.#headset.enter();
    } catch (error) {
      this.#say(`The headset could not be started: ${error instanceof Error ? error.message : "unknown"}`);
    }
  }

  #do(act: () => void): void {
    act();
    this.#update();
  }

  #say(remark: string): void {
    clearTimeout(this.#remarkTimer);
    setText(this.#remark, remark);
    if (remark !== "") this.#remarkTimer = setTimeout(() => setText(this.#remark, ""), REMARK_MS);
  }

  #toggleControls(): void {
    if (this.#element.classList.contains("idle")) return this.#wake();
    clearTimeout(this.#idleTimer);
    this.#element.classList.add("idle");
  }

  /** Shows the bars, and lets them fade when no hand is on them. */
  #wake(): void {
    clearTimeout(this.#idleTimer);
    this.#element.classList.remove("idle");
    this.#idleTimer = setTimeout(() => {
      if (this.#controls.inUse || this.#stage.video.paused) this.#wake();
      else this.#element.classList.add("idle");
    }, settings.idleMs);
  }
}
