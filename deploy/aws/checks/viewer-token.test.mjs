// Runs viewer-token.js as CloudFront would: with a key value store and the crypto module, and nothing else. The cases of
// tests/fixtures/tokens.json are those that the edge is held to as well; the ones below are this function's own.
//
//     node --test deploy/aws/checks/viewer-token.test.mjs
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import test from "node:test";
import vm from "node:vm";

const source = readFileSync(new URL("../viewer-token.js", import.meta.url), "utf8");
const vectors = new URL("../../../tests/fixtures/tokens.json", import.meta.url);

// CloudFront's limit for a function, in bytes.
const BYTES_MAX = 10 * 1024;

const NOW = 1_790_000_000;
const EXPIRES = NOW + 3600;

/** The function with this store behind it, at this time. What it may reach is what CloudFront's own runtime has. */
function load(entries, now = NOW) {
  const get = async name => {
    if (!Object.hasOwn(entries, name)) throw new Error(`KeyNotFound: ${name}`);
    return entries[name];
  };
  const require = name => {
    assert.equal(name, "crypto");
    return { createHmac };
  };
  const context = { cf: { kvs: () => ({ get }) }, require, Buffer, Date: { now: () => now * 1000 }, Number };
  const script = source.replace("import cf from 'cloudfront';", "");
  assert.notEqual(script, source, "it imports the store");
  return vm.runInNewContext(`"use strict"; ${script}\nhandler`, context);
}

async function ask(entries, uri, now) {
  return load(entries, now)({ version: "1.0", request: { method: "GET", uri, querystring: {}, headers: {} } });
}

/** Asserts that a path is passed on as `bare`; or refused, if that is a number. */
async function check(entries, uri, bare, now) {
  const answer = await ask(entries, uri, now);
  assert.equal(typeof bare === "number" ? answer.statusCode : answer.uri, bare, `${uri} of ${JSON.stringify(entries)}`);
  return answer;
}

function token(prefix, secret, expires = EXPIRES) {
  const mac = createHmac("sha256", secret).update(`live360:1:${expires}:${prefix}`).digest("base64url");
  return `~1.${expires}.${Buffer.from(prefix).toString("base64url")}.${mac}`;
}

test("the cases that the edge is held to", { skip: !existsSync(vectors) && "not here yet" }, async () => {
  const { secrets, cases } = JSON.parse(readFileSync(vectors, "utf8"));
  const store = { mode: "signed", secret: secrets[0], "secret.old": secrets[1] };
  assert.ok(cases.length > 50);
  for (const { what, now, uri, allow, bare } of cases) {
    const answer = await ask(store, uri, now);
    assert.equal(answer.uri ?? "refused", allow ? bare : "refused", what);
    assert.ok(allow || answer.statusCode === 403 || answer.statusCode === 404, what);
  }
});

test("a valid token is taken off, whatever the mode", async () => {
  for (const mode of ["open", "signed", undefined]) {
    const store = { secret: "s", ...(mode && { mode }) };
    await check(store, `/hls/${token("/hls/foo", "s")}/foo.m3u8`, "/hls/foo.m3u8");
    await check(store, `/hls/${token("/hls/foo", "s")}/foo/960w/7.m4s`, "/hls/foo/960w/7.m4s");
    await check(store, `/vod/${token("/vod/", "s")}/foo-20261120T172500Z/index.m3u8`, "/vod/foo-20261120T172500Z/index.m3u8");
    await check(store, `/hls/${token("/hls/foo", "s")}/foobar.m3u8`, 403);
    await check(store, `/hls/${token("/hls/foo", "other")}/foo.m3u8`, 403);
    await check(store, `/vod/${token("/hls/foo", "s")}/foo-20261120T172500Z/index.m3u8`, 403);
  }
});

test("tokens expire, with a few seconds for fast clocks", async () => {
  const uri = `/hls/${token("/hls/", "s", NOW)}/foo.m3u8`;
  await check({ secret: "s" }, uri, "/hls/foo.m3u8", NOW);
  await check({ secret: "s" }, uri, "/hls/foo.m3u8", NOW + 4.9);
  await check({ secret: "s" }, uri, 403, NOW + 5);
});

test("the secret from before is taken for as long as it is in the store", async () => {
  const uri = `/hls/${token("/hls/", "before")}/foo.m3u8`;
  await check({ secret: "now", "secret.old": "before" }, uri, "/hls/foo.m3u8");
  await check({ secret: "now" }, uri, 403);
  await check({}, uri, 403);
  // Nobody signs with nothing.
  const empty = `/hls/${token("/hls/", "s").replace(/[^.]+$/, createHmac("sha256", "").update(`live360:1:${EXPIRES}:/hls/`).digest("base64url"))}/foo.m3u8`;
  await check({ secret: "" }, empty, 403);
});

test("without a token the store decides, and says no where it says nothing", async () => {
  for (const [store, name, expected] of [
    [{ mode: "open" }, "foo", "open"],
    [{ mode: "unlisted" }, "foo", "open"],
    [{ mode: "signed" }, "foo", "signed"],
    [{}, "foo", "signed"],
    [{ mode: "Open" }, "foo", "signed"],
    [{ mode: "open", "stream:foo": "signed" }, "foo", "signed"],
    [{ mode: "open", "stream:foo": "signed" }, "foobar", "open"],
    [{ mode: "signed", "stream:foo": "open" }, "foo", "open"],
    [{ "stream:foo": "open" }, "foo", "open"],
    [{ mode: "open", "stream:foo": "nonsense" }, "foo", "signed"],
  ]) {
    for (const uri of [`/hls/${name}.m3u8`, `/hls/${name}/960w/7.1.m4s`, `/vod/${name}-20261120T172500Z/index.m3u8`]) {
      await check(store, uri, expected === "open" ? uri : 403);
    }
  }
});

test("no spelling of a path gets around a stream's own word", async () => {
  const store = { mode: "open", "stream:foo": "signed" };
  for (const uri of [
    "/hls/%66oo.m3u8",
    "/vod/%66oo-20261120T172500Z/index.m3u8",
    "/vod//foo-20261120T172500Z/index.m3u8",
    "/vod/./foo-20261120T172500Z/index.m3u8",
    "/vod/bar/../foo-20261120T172500Z/index.m3u8",
    "/hls/foo.m3u8/",
    "/hls/",
    "/hls",
    "/api/streams",
    "/HLS/foo.m3u8",
    "/hls/foo.m3u8\n",
    "/hls/fo\u00f6.m3u8",
  ]) {
    await check(store, uri, 404);
  }
});

test("refusals are words, never kept, and readable by players on other sites", async () => {
  const answer = await check({ mode: "signed" }, "/hls/foo.m3u8", 403);
  assert.equal(answer.headers["cache-control"].value, "no-store");
  assert.equal(answer.headers["access-control-allow-origin"].value, "*");
  assert.match(answer.body, /signed link/);
  assert.match((await check({}, "/hls/foo.m3u8", 403)).body, /no mode is set/);
});

/** What of a script CloudFront's runtime doesn't know, by name. */
function beyond(script) {
  const code = script
    .replace(/^\s*\/\/.*$/gm, "")
    .replace(/'(?:[^'\\\n]|\\.)*'/g, "''")
    .replace(/= \/(?:[^/\\\n]|\\.)+\/;/g, "= 0;");
  const unknown = {
    "for-of": /for\s*(?:await\s*)?\([^;)]*\bof\b/,
    class: /\bclass\b/,
    destructuring: /\b(?:const|let|var)\s*[{[]/,
    "optional chaining": /\?\.[a-zA-Z[(]/,
    "nullish operator": /\?\?/,
    spread: /\.\.\./,
    generator: /function\s*\*|\byield\b/,
    bigint: /\b[0-9]+n\b/,
    timer: /\bset(?:Timeout|Interval|Immediate)\b/,
    network: /\b(?:fetch|XMLHttpRequest|ngx)\b/,
    "dynamic code": /\beval\b|\bnew Function\b|\bimport\s*\(/,
    process: /\bprocess\b/,
    "default parameter": /function\s*\w*\([^)]*=/,
    export: /\bexport\b/,
    shorthand: /\{\s*[a-z]\w*\s*[,}]|,\s*[a-z]\w*\s*\}/i,
    "await within an expression": /^(?!\s*(?:const|let) \w+ = await |\s*\w+ = await ).*\bawait\b/m,
  };
  return Object.keys(unknown).filter(name => unknown[name].test(code));
}

test("it keeps within CloudFront's JavaScript and size", () => {
  assert.deepEqual(beyond(source), []);
  assert.ok(Buffer.byteLength(source) < BYTES_MAX, `${Buffer.byteLength(source)} bytes`);
  const needed = [...source.matchAll(/(?:from|require\() ?'([^']+)'/g)].map(found => found[1]);
  assert.deepEqual(needed, ["cloudfront", "crypto"]);
  for (const [name, script] of [
    ["for-of", "for (const a of b) {}"],
    ["class", "class A {}"],
    ["destructuring", "const [a] = b;"],
    ["optional chaining", "a?.b"],
    ["nullish operator", "a ?? b"],
    ["spread", "f(...a)"],
    ["timer", "setTimeout(f, 1)"],
    ["dynamic code", "eval(a)"],
    ["default parameter", "function f(a = 1) {}"],
    ["shorthand", "a = { b: c, d };"],
    ["await within an expression", "if (await f()) {}"],
  ]) {
    assert.deepEqual(beyond(script), [name], script);
  }
});

test("no secret stands in it", () => {
  assert.doesNotMatch(source, /secret\s*[:=]\s*['"]/);
});
