// What the server says of what is being played: the stream or the recording, where a broadcast can be seen again, the tiles of
// the scrub bar. Asks for it, and asks again for what was not there. Knows the player's state, no elements.

import { askSession, askStreams } from "./api";
import { recordingOf } from "./assets";
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

export class Known {
  /** The broadcast that is being played. */
  stream: Stream | undefined;
  /** The recording that is being played. */
  asset: Asset | undefined;
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
    return (this.stream ?? streams.find(stream => stream.name === this.asset?.name))?.layout;
  }

  /** Where this broadcast can be seen again. */
  get recording(): { url: string } | undefined {
    if (this.recorded) return undefined;
    return recordingOf(this.#catalogue.assets, {
      name: this.stream?.name ?? this.name,
      named: this.player.playback.session()?.asset ?? this.#asked.session?.asset ?? null,
      earlier: this.#earlier,
    });
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

  /** Loads the tiles once it is known where they are; to be called now and then. */
  async findTiles(now = performance.now()): Promise<void> {
    const said = this.player.playback.session() ?? this.#asked.session;
    const url = this.asset?.thumbnails ?? said?.thumbnails;
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
