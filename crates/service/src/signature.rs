//! How receivers of our requests know that they are ours, and not somebody's who recorded one.
//!
//! `X-Live360-Signature: t=SECONDS,v1=HEX`: HMAC-SHA256 under the shared secret over `SECONDS.BODY`, with the UTC second of
//! sending. A receiver computes the same, compares in constant time, and refuses what is older than it likes. Pure.

use crate::hashed::hex;
use crate::secret::{Secret, same};
use aws_lc_rs::hmac;

/// The header's name.
pub const HEADER: &str = "x-live360-signature";

/// The header's value for a body that is sent at this second.
pub fn sign(secret: &Secret, utc_s: u64, body: &[u8]) -> String {
    format!("t={utc_s},v1={}", hex(&tag(secret, utc_s, body)))
}

/// Whether a header's value is right for a body, and not older or newer than `apart_s` seconds: what a receiver does.
pub fn verify(secret: &Secret, header: &str, body: &[u8], now_s: u64, apart_s: u64) -> bool {
    let field = |name: &str| header.split(',').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    let (Some(sent), Some(given)) = (field("t").and_then(|text| text.parse::<u64>().ok()), field("v1")) else {
        return false;
    };
    sent.abs_diff(now_s) <= apart_s && same(hex(&tag(secret, sent, body)).as_bytes(), given.as_bytes())
}

fn tag(secret: &Secret, utc_s: u64, body: &[u8]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()));
    context.update(format!("{utc_s}.").as_bytes());
    context.update(body);
    let mut bytes = [0; 32];
    // HMAC-SHA256 has 32 bytes.
    bytes.iter_mut().zip(context.sign().as_ref()).for_each(|(byte, of)| *byte = *of);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"event":"publish"}"#;

    fn check(secret: &str, header: &str, body: &[u8], now_s: u64, expected: bool) {
        assert_eq!(verify(&Secret::new(secret), header, body, now_s, 300), expected, "{secret} {header} {now_s}");
    }

    #[test]
    fn a_signature_is_of_the_secret_the_time_and_the_body() {
        // printf '1800000000.{"event":"publish"}' | openssl dgst -sha256 -hmac hunter2
        let signed = sign(&Secret::new("hunter2"), 1_800_000_000, BODY);
        assert_eq!(signed, "t=1800000000,v1=fb8867d28c5b41513bf823dfcfcefc62019a6ae5d9746cf9115f7e7de0686958");
        check("hunter2", &signed, BODY, 1_800_000_000, true);
        check("hunter3", &signed, BODY, 1_800_000_000, false);
        check("hunter2", &signed, b"{}", 1_800_000_000, false);
        check("hunter2", &signed.replace("t=18", "t=19"), BODY, 1_900_000_000, false);
    }

    #[test]
    fn a_request_that_is_played_again_later_is_refused() {
        let signed = sign(&Secret::new("s"), 1000, BODY);
        for (now_s, expected) in [(1000, true), (1300, true), (1301, false), (700, true), (699, false)] {
            check("s", &signed, BODY, now_s, expected);
        }
    }

    #[test]
    fn headers_that_make_no_sense_are_refused() {
        for header in ["", "t=1", "v1=00", "t=x,v1=00", "t=1000,v1=", "t=1000;v1=0"] {
            check("s", header, BODY, 1000, false);
        }
    }
}
