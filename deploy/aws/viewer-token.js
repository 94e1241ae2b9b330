// Viewers' tokens, checked by CloudFront before it looks into its cache: whoever may watch gets the path without its
// token, so that all viewers share one copy. For /hls (the edges) and /vod (the bucket).
//
//     /hls/~TOKEN/foo.m3u8 -> /hls/foo.m3u8         TOKEN = 1.EXPIRES.PREFIX.MAC, as `live360 token` makes it
//
// The key value store says who needs one; nothing secret stands in here:
//     mode          watch.mode of the config; without this entry, or with another word than those below: signed
//     stream:NAME   streams.NAME.watch: open | unlisted | signed, of this stream and its recordings
//     secret        watch.secrets: what tokens are signed with
//     secret.old    what they were signed with before, while such tokens live
//
// CloudFront has a JavaScript of its own (cloudfront-js-2.0): no for-of, no destructuring, no classes; and await stands
// alone, not within expressions.
import cf from 'cloudfront';
const crypto = require('crypto');

const kvs = cf.kvs();

// Clocks may be so many seconds fast.
const LEEWAY_S = 5;

// Plain parts only: no escapes, no dots that climb, so that what is checked is what the origins read.
const PATH = /^\/(hls|vod)(?:\/~([A-Za-z0-9._-]{1,256}))?((?:\/[A-Za-z0-9_-][A-Za-z0-9._-]*)+)$/;

// A recording is called as its stream, with the time of its start behind it.
const RECORDED = /-[0-9]{8}T[0-9]{6}Z$/;

async function handler(event) {
    const request = event.request;
    const parts = PATH.exec(request.uri);
    if (!parts) {
        return refusal(404, 'Not Found', 'there is nothing at this address');
    }
    const bare = '/' + parts[1] + parts[3];
    if (parts[2] !== undefined) {
        const valid = await isValid(parts[2], bare, Date.now() / 1000);
        if (!valid) {
            return refusal(403, 'Forbidden', 'this link is not valid, or not any more');
        }
        request.uri = bare;
        return request;
    }
    let mode = await read('stream:' + streamOf(parts[1], parts[3]));
    if (!mode) {
        mode = await read('mode');
    }
    if (mode === 'open' || mode === 'unlisted') {
        return request;
    }
    return refusal(403, 'Forbidden', mode ? 'this can only be watched by a signed link' : 'no mode is set yet');
}

// Whether a token grants a path at this time, in seconds since 1970.
async function isValid(token, bare, now) {
    const fields = token.split('.');
    if (fields.length !== 4 || fields[0] !== '1' || !/^(0|[1-9][0-9]{0,11})$/.test(fields[1])) {
        return false;
    }
    const bytes = Buffer.from(fields[2], 'base64url');
    const prefix = bytes.toString('utf8');
    const isCanonical = Buffer.from(prefix, 'utf8').toString('base64url') === fields[2];
    if (!isCanonical || bytes.length < 1 || bytes.length > 128 || !isGranted(bare, prefix)) {
        return false;
    }
    if (now >= Number(fields[1]) + LEEWAY_S) {
        return false;
    }
    const signed = 'live360:1:' + fields[1] + ':' + prefix;
    let valid = await isSigned('secret', signed, fields[3]);
    if (!valid) {
        valid = await isSigned('secret.old', signed, fields[3]);
    }
    return valid;
}

// The prefix itself, or what lies below or beside it: /hls/foo grants /hls/foo.m3u8 and /hls/foo/…, not /hls/foobar.
function isGranted(bare, prefix) {
    if (prefix.charAt(0) !== '/' || bare.indexOf(prefix) !== 0) {
        return false;
    }
    const next = bare.charAt(prefix.length);
    return next === '' || next === '/' || next === '.' || prefix.charAt(prefix.length - 1) === '/';
}

// Whether the text was signed with the secret of this name. Takes as long wherever the two begin to differ.
async function isSigned(name, text, mac) {
    const secret = await read(name);
    if (!secret) {
        return false;
    }
    const right = crypto.createHmac('sha256', secret).update(text).digest('base64url');
    if (mac.length !== right.length) {
        return false;
    }
    let difference = 0;
    for (let i = 0; i < right.length; i++) {
        difference |= mac.charCodeAt(i) ^ right.charCodeAt(i);
    }
    return difference === 0;
}

// The name of the stream that a path belongs to.
function streamOf(kind, rest) {
    const first = rest.split('/')[1];
    return kind === 'vod' ? first.replace(RECORDED, '') : first.replace(/\.m3u8$/, '');
}

// An entry of the store; nothing if there is none.
async function read(name) {
    try {
        const value = await kvs.get(name);
        return value;
    } catch (absent) {
        return '';
    }
}

function refusal(code, description, words) {
    const headers = {
        'cache-control': { value: 'no-store' },
        'content-type': { value: 'text/plain; charset=utf-8' },
        'access-control-allow-origin': { value: '*' },
    };
    return { statusCode: code, statusDescription: description, headers: headers, body: words + '\n' };
}
