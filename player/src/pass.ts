// Tokens in addresses, as in `/hls/~TOKEN/foo.m3u8`: whoever came by a link keeps its token for what it grants. Pure. Checks
// nothing, that is the server's matter; a token that is not understood is carried nowhere.

const TREE = /^(https?:\/\/[^/]+)(\/(?:hls|vod)\/)(?:~([^/?#]*)\/)?([^?#]*)/;

/** The same address without a token. */
export function bare(url: string): string {
  const parts = TREE.exec(url);
  return parts?.[3] === undefined ? url : `${parts[1]}${parts[2]}${url.slice(head(parts).length)}`;
}

/**
 * The address `to` as whoever plays `from` may have it: as it is where `from` has no token or is on another server, with the
 * token of `from` where that grants it; null where it does not.
 */
export function carry(from: string, to: string): string | null {
  const [mine, theirs] = [TREE.exec(from), TREE.exec(to)];
  const token = mine?.[3];
  if (token === undefined || !theirs || theirs[1] !== mine?.[1] || theirs[3] !== undefined) return to;
  const [path, prefix] = [`${theirs[2]}${theirs[4]}`, granted(token)];
  if (prefix === null || !path.startsWith(prefix)) return null;
  const rest = path.slice(prefix.length);
  if (rest !== "" && !prefix.endsWith("/") && !/^[/.]/.test(rest)) return null;
  return `${theirs[1]}${theirs[2]}~${token}/${to.slice(head(theirs).length)}`;
}

/** What stands before the path behind the token. */
function head([, origin, tree, token]: RegExpExecArray): string {
  return `${origin}${tree}${token === undefined ? "" : `~${token}/`}`;
}

/** The path that a token says it grants. */
function granted(token: string): string | null {
  const prefix = token.split(".")[2];
  if (prefix === undefined || !/^[\w-]+$/.test(prefix)) return null;
  try {
    const bytes = Uint8Array.from(atob(prefix.replaceAll("-", "+").replaceAll("_", "/")), char =>
      char.charCodeAt(0),
    );
    const path = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return path.startsWith("/") ? path : null;
  } catch {
    return null;
  }
}
