// The page at `/?url=…`: puts stage, player, buttons and notices together, and asks the server what it knows of the stream.
// The parts do not know each other; only this file knows them all.

import { poll } from "./api";
import { assetTitle } from "./assets";
import { type Page, settings } from "./config";
import { Controls } from "./controls";
import { el } from "./dom";
import { Fullscreen } from "./fullscreen";
import { publishHooks } from "./hooks";
import { Immersion } from "./immersion";
import { keyAct, readPress } from "./keys";
import { Known } from "./known";
import { latencyText } from "./latency";
import type { Group } from "./menu";
import { NoticeView } from "./notice-view";
import { notice, offer, type Situation } from "./notices";
import { Player } from "./player";
import { type Layout, PROJECTIONS, parseProjection, parseStereo, STEREOS } from "./projection";
import { levelLabels } from "./quality";
import { type Flatness, Stage } from "./stage";

type Watch = Extract<Page, { kind: "watch" }>;

/** Buttons and readings are brought up to date at least this often, ms. */
const TICK_MS = 500;

/** How fast a recording can be played. */
const RATES = [0.5, 1, 1.25, 1.5, 2];

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
  readonly #element = el("main", { class: "player" });
  readonly #notices = new NoticeView(what => this.#do(() => this.#offered(what)));
  readonly #stage: Stage;
  readonly #player: Player;
  readonly #known: Known;
  readonly #controls: Controls;
  readonly #fullscreen: Fullscreen;
  readonly #immersion: Immersion;
  /** What the address or the viewer chose; goes before what the server says. */
  #chosen: Partial<Layout>;
  #idleTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    root: HTMLElement,
    private readonly page: Watch,
  ) {
    document.title = `${page.name} · live360`;
    this.#chosen = page.layout;
    this.#controls = this.#makeControls();
    this.#stage = new Stage(
      { yaw: page.yaw, pitch: page.pitch },
      {
        tapped: () => this.#tapped(),
        flatness: why => this.#notices.say(FLAT_REMARKS[why]),
        turned: (yaw, across) => this.#controls.point(yaw, across),
      },
    );
    this.#fullscreen = new Fullscreen(this.#element, () => this.#update());
    const { top, bottom, unmute } = this.#controls;
    this.#element.append(
      this.#stage.element,
      this.#notices.notice,
      top,
      unmute,
      this.#notices.offer,
      this.#notices.remark,
      bottom,
    );
    root.replaceChildren(this.#element);
    // On the page before it plays: a detached video does not start by itself.
    const changed = () => this.#update();
    this.#player = new Player(this.#stage.video, page.url, { state: changed, levels: changed, changed });
    this.#known = new Known(page.url, page.name, this.#player);
    this.#immersion = new Immersion(this.#stage, changed, words => this.#notices.say(words));
    this.#applyLayout();
    publishHooks(this.#stage, this.#player);
    this.#listen();
    poll(settings.watchPollMs, signal => this.#ask(signal));
    setInterval(() => {
      this.#player.tick();
      this.#update();
    }, TICK_MS);
  }

  #makeControls(): Controls {
    return new Controls(this.page.name, {
      playPause: () => this.#do(() => this.#player.playPause()),
      mute: () => this.#do(() => this.#player.toggleMute()),
      volume: volume => this.#do(() => this.#player.setVolume(volume)),
      seek: seconds => this.#do(() => this.#player.seek(seconds)),
      goLive: () => this.#do(() => this.#player.goLive()),
      fullscreen: () => void this.#fullscreen.toggle(),
      motion: () => void this.#immersion.toggleMotion(),
      headset: () => void this.#immersion.toggleHeadset(),
      resetView: () => this.#stage.look.reset(),
      choose: (group, value) => this.#do(() => this.#choose(group, value)),
      explain: why => this.#notices.say(why),
    });
  }

  #listen(): void {
    for (const event of ["pointermove", "pointerdown", "keydown", "focusin"] as const) {
      this.#element.addEventListener(event, happened => {
        // A finger on the picture is a drag, and its taps show and hide the bars.
        const finger = happened instanceof PointerEvent && happened.pointerType !== "mouse";
        if (finger && this.#stage.element.contains(happened.target as Node)) return;
        this.#wake();
      });
    }
    document.addEventListener("keydown", event => this.#key(event));
    this.#wake();
  }

  #key(event: KeyboardEvent): void {
    const player = this.#player;
    const press = readPress(event, this.#stage.flatness !== "sphere");
    const act =
      press &&
      keyAct(press, {
        playPause: () => player.playPause(),
        mute: () => player.toggleMute(),
        fullscreen: () => void this.#fullscreen.toggle(),
        skip: seconds => player.seekBy(seconds),
        toEnd: () => player.toEnd(),
        faster: steps => this.#faster(steps),
      });
    if (!act) return;
    event.preventDefault();
    this.#do(act);
  }

  #faster(steps: number): void {
    if (this.#player.playback.live) return;
    const rate = RATES[RATES.indexOf(this.#player.rate) + steps];
    if (rate === undefined) return;
    this.#player.rate = rate;
    this.#notices.say(`Speed ${rate}`);
  }

  async #ask(signal: AbortSignal): Promise<void> {
    await this.#known.ask(signal);
    const { asset, stream } = this.#known;
    if (asset) {
      this.#controls.title = assetTitle(asset);
      document.title = `${assetTitle(asset)} · live360`;
    }
    this.#applyLayout();
    // Seen to the end or not begun at all, and it is on again: there is nothing to ask the viewer.
    const { playback, video, wasLive, tail } = this.#player;
    const seen = playback.state === "complete" && ((video.ended && wasLive) || tail);
    if (seen && stream?.state === "live") this.#player.goLive();
    this.#update();
  }

  #applyLayout(): void {
    const known = this.#known.layout;
    this.#stage.setLayout({
      projection: this.#chosen.projection ?? known?.projection ?? "equirect",
      stereo: this.#chosen.stereo ?? known?.stereo ?? "mono",
    });
  }

  #update(): void {
    // Events of the video come while the parts are still being put together.
    if (!this.#immersion) return;
    void this.#known.findTiles();
    void this.#known.findRefusal();
    const { video, playback, blocked, held, buffering } = this.#player;
    const situation = this.#situation();
    this.#notices.show(notice(situation));
    this.#notices.propose(offer(situation));
    const waiting = this.#known.stream?.state === "waiting" && buffering;
    this.#controls.update({
      paused: held || blocked || video.ended,
      muted: video.muted,
      offerSound: video.muted && !this.#player.soundSet && !this.#notices.talking,
      volume: video.volume,
      fullscreen: this.#fullscreen.on,
      live: playback.live
        ? { atEdge: this.#player.atEdge, latency: latencyText(this.#player.latency()), waiting }
        : null,
      seek: this.#player.seekable(),
      tiles: this.#known.tiles,
      motion: this.#immersion.motion,
      headset: this.#immersion.headset,
      settings: this.#settings(),
    });
    this.#element.classList.toggle("paused", held || blocked || video.ended);
    this.#element.classList.toggle("flat", this.#stage.flatness !== "sphere");
  }

  #situation(): Situation {
    const { video, playback, buffering, blocked, wasLive, tail } = this.#player;
    const { stream, asset, recorded, recording, refusal } = this.#known;
    return {
      name: this.page.name,
      playback: playback.state,
      stream: stream?.state,
      asset,
      recorded,
      recording,
      refusal,
      blocked,
      buffering,
      ended: video.ended,
      wasLive,
      tail,
    };
  }

  #settings(): Group[] {
    const { list, playing, chosen } = this.#player.playback.levels();
    const labels = levelLabels(list, this.#known.stream?.rungs ?? []);
    const now = labels.find(label => label.index === playing);
    const detail = chosen === -1 && now ? { detail: `now ${now.name}` } : {};
    const { projection, stereo } = this.#stage.layout;
    return [
      {
        id: "quality",
        title: "Quality",
        choices: [
          { value: "-1", name: "Automatic", ...detail },
          ...labels.map(label => ({ value: String(label.index), name: label.name, detail: label.detail })),
        ],
        chosen: String(chosen),
      },
      ...(this.#player.playback.live ? [] : [speeds(this.#player.rate)]),
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
    if (group === "speed") this.#player.rate = Number(value);
    const projection = group === "projection" ? parseProjection(value) : undefined;
    const stereo = group === "stereo" ? parseStereo(value) : undefined;
    this.#chosen = {
      ...this.#chosen,
      ...(projection ? { projection } : {}),
      ...(stereo ? { stereo } : {}),
    };
    this.#applyLayout();
  }

  #offered(what: "play" | "reload"): void {
    if (what === "play") this.#player.playPause();
    else this.#player.goLive();
  }

  #do(act: () => void): void {
    act();
    this.#update();
  }

  #tapped(): void {
    if (this.#element.classList.contains("idle")) {
      this.#wake();
    } else {
      clearTimeout(this.#idleTimer);
      this.#element.classList.add("idle");
    }
  }

  /** Shows the bars, and lets them fade when no hand is on them. */
  #wake(): void {
    clearTimeout(this.#idleTimer);
    this.#element.classList.remove("idle");
    this.#idleTimer = setTimeout(() => {
      if (this.#controls.inUse || this.#player.held || this.#notices.talking) this.#wake();
      else this.#element.classList.add("idle");
    }, settings.idleMs);
  }
}

function speeds(rate: number): Group {
  return {
    id: "speed",
    title: "Speed",
    choices: RATES.map(value => ({ value: String(value), name: value === 1 ? "Normal" : `${value} ×` })),
    chosen: String(rate),
  };
}
