// What the server says of what is being played: the stream or the recording, where a broadcast can be seen again, the tiles of
// the scrub bar. Asks for it, and asks again for what was not there. Knows the player's state, no elements.

import { askSession, askStreams, askWhyNot } from "./api";
import { recordingOf } from "./assets";
import { carry } from "./pass";
import type { Player } from "./player";
import type { Layout } from "./projection";
import type { SessionData } from "./session";
import { type Asset, type Catalogue, findByUrl, type Stream } from "./streams";
import type { Tile } from "./thumbs";
import { loadTiles } from "./tiles";

/** The playlist of a broadcast that is over is asked so many times which recording it became: maybe none was made. */
const ASK_MOST = 12;
/** Tiles that could not be had are asked for again after this, ms. */
const TILES_RETRY_MS = 15_000;
/** A server that may have said no is asked why at most this often, ms. */
const WHY_RETRY_MS = 10_000;

export class Known {
  /** The broadcast that is being played. */
  stream: Stream | undefined;
  /** The recording that is being played. */
  asset: Asset | undefined;
  /** Why the server lets this viewer see no more, in its words. */
  refusal: string | null = null;
  #whyAt = Number.NEGATIVE_INFINITY;
  #catalogue: Catalogue = { streams: [], assets: [] };
  /** Recordings of this name that were there while the broadcast was on. */
  #earlier: ReadonlySet<string> = new Set();
  /** What the playlist said when it was asked again. */
  #asked: { times: number; session: SessionData | null } = { times: 0, session: null };
  #tiles = { url: "", list: [] as readonly Tile[], retryAt: 0 };

  /**
   * @param url of the playlist
   * @param name of the broadcast, as far as the address tells
   */
  constructor(
    private readonly url: string,
    private readonly name: string,
    private readonly player: Player,
  ) {}

  /** A recording is played, or to be played. */
  get recorded(): boolean {
    return this.asset !== undefined || new URL(this.url).pathname.startsWith("/vod/");
  }

  /** How the picture lies; undefined when the server does not know. */
  get layout(): Layout | undefined {
    // A recording lies as its stream does, as far as the server still knows that.
    const { streams } = this.#catalogue;
    const listed = this.stream ?? streams.find(stream => stream.name === this.asset?.name);
    return listed?.layout ?? this.#said?.layout ?? undefined;
  }

  /** Where this broadcast can be seen again, as far as the viewer's own link opens that. */
  get recording(): { url: string } | undefined {
    if (this.recorded) return undefined;
    const found = recordingOf(this.#catalogue.assets, {
      name: this.stream?.name ?? this.name,
      named: this.player.playback.session()?.asset ?? this.#asked.session?.asset ?? null,
      earlier: this.#earlier,
    });
    const url = found && carry(this.url, found.url);
    return url ? { url } : undefined;
  }

  get tiles(): readonly Tile[] {
    return this.#tiles.list;
  }

  async ask(signal: AbortSignal): Promise<void> {
    try {
      const { catalogue, clockOffset } = await askStreams(signal);
      this.#catalogue = catalogue;
      this.player.clockOffset = clockOffset;
      this.stream = findByUrl(catalogue.streams, this.url);
      this.asset = findByUrl(catalogue.assets, this.url);
      if (this.stream?.state === "live" || this.stream?.state === "waiting")
        this.#noteEarlier(this.stream.name);
    } catch {
      // The list is a help; the playlist itself says whether the stream is there.
      if (!signal.aborted) this.stream = undefined;
    }
    await this.#askPlaylist(signal);
  }

  /** Asks the server why it says no, if it does; then nothing more is loaded. To be called now and then. */
  async findRefusal(now = performance.now()): Promise<void> {
    const { playback } = this.player;
    if (!playback.forbidden || this.refusal !== null || now - this.#whyAt < WHY_RETRY_MS) return;
    this.#whyAt = now;
    this.refusal = await askWhyNot(this.url).catch(() => null);
    if (this.refusal !== null) playback.stop();
  }

  /** Loads the tiles once it is known where they are; to be called now and then. */
  async findTiles(now = performance.now()): Promise<void> {
    const listed = this.asset?.thumbnails;
    const url = listed ? carry(this.url, listed) : this.#said?.thumbnails;
    if (!url || (url === this.#tiles.url && now < this.#tiles.retryAt)) return;
    this.#tiles = { url, list: [], retryAt: Number.POSITIVE_INFINITY };
    try {
      const list = await loadTiles(url);
      if (this.#tiles.url === url) this.#tiles.list = list;
    } catch {
      // Without tiles the scrub bar has its times.
      this.#tiles.retryAt = now + TILES_RETRY_MS;
    }
  }

  /** What the playlist says of itself. */
  get #said(): SessionData | null {
    return this.player.playback.session() ?? this.#asked.session;
  }

  #noteEarlier(name: string): void {
    const same = this.#catalogue.assets.filter(asset => asset.name === name);
    this.#earlier = new Set(same.map(asset => asset.id));
  }

  /** A broadcast's playlist names its recording only at its end; a browser's own player never says what it read. */
  async #askPlaylist(signal: AbortSignal): Promise<void> {
    const { playback, wasLive } = this.player;
    if (playback.live) this.#asked = { times: 0, session: null };
    const { times, session } = this.#asked;
    const named = playback.session()?.asset ?? session?.asset;
    const over = playback.state === "complete" && wasLive && !named;
    const untold = playback.session() === null && playback.state !== "absent" && session === null;
    if (playback.live || times >= ASK_MOST || !(over || untold)) return;
    this.#asked.times += 1;
    // Asked again with the next look at the list.
    this.#asked.session = await askSession(this.url, signal).catch(() => null);
  }
}
