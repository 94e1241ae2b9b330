//! Keys, their names and the cipher, against what NIST, openssl and Python's hmac make of the same.

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn lock(every: u32) -> Lock {
    Keyring::new([SECRET]).lock(Scope::Stream("foo"), every).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// NIST SP 800-38A, F.2.1 (CBC-AES128.Encrypt); the last block, which is all padding, is openssl's.
#[test]
fn the_cipher_is_that_of_nist() {
    let key: [u8; KEY_BYTES] = unhex("2b7e151628aed2a6abf7158809cf4f3c").try_into().unwrap();
    let iv: [u8; KEY_BYTES] = unhex("000102030405060708090a0b0c0d0e0f").try_into().unwrap();
    let plain = unhex(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51\
         30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710",
    );
    let sealed = "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2\
                  73bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7";
    let mut sealing = Sealing::new(&key, &iv);
    let mut out = sealing.push(&plain).to_vec();
    out.extend_from_slice(&sealing.finish());
    assert_eq!(hex(&out[..64]), sealed);
    assert_eq!(hex(&out[64..]), "8cb82807230e1321d3fae00d18cc2012");
    assert_eq!(open(&key, &iv, &out).unwrap(), plain);
}

#[test]
fn a_file_is_encrypted_the_same_in_whatever_pieces_it_comes() {
    let plain: Vec<u8> = (0..1000_u32).map(|n| (n * 7) as u8).collect();
    for length in [0, 1, 15, 16, 17, 31, 32, 33, 999, 1000] {
        let plain = &plain[..length];
        let whole = lock(4).seal(9, plain);
        assert_eq!(whole.len() as u64, sealed_len(length as u64), "{length}");
        assert_eq!(lock(4).open(9, &whole).unwrap(), plain, "{length}");
        for piece in [1, 5, 16, 300] {
            let mut sealing = lock(4).sealing(9);
            let mut out: Vec<u8> = plain.chunks(piece).flat_map(|piece| sealing.push(piece)).collect();
            out.extend_from_slice(&sealing.finish());
            assert_eq!(out, whole, "{length} in pieces of {piece}");
        }
    }
}

#[test]
fn what_is_cut_short_or_another_segments_is_not_opened_as_if_it_were_right() {
    let sealed = lock(4).seal(9, b"moof and mdat and more of them");
    for cut in [0, 1, 31] {
        assert_eq!(lock(4).open(9, &sealed[..cut]), None, "{cut}");
    }
    assert_ne!(lock(4).open(13, &sealed).as_deref(), Some(&b"moof and mdat and more of them"[..]));
}

/// What Python's hmac makes of the same texts.
#[test]
fn keys_and_their_names_are_functions_of_secret_scope_and_number_alone() {
    let key = |route: &str| Keyring::new([SECRET]).key(&Route::parse(route).unwrap()).map(|key| hex(&key));
    for (every, segment, name) in [
        (1, 0, "0-d884bba010cb17af.key"),
        (4, 31, "7-3f39c0d319f1dfce.key"),
        (4, 28, "7-3f39c0d319f1dfce.key"),
        (4, 27, "6-b417936d3d88bc60.key"),
    ] {
        assert_eq!(lock(every).key_file(segment).to_string(), name, "{segment} by {every}");
    }
    assert_eq!(key("/hls/foo/keys/7-3f39c0d319f1dfce.key").as_deref(), Some("5b12687b25f86669a59bdd9acf429caf"));
    assert_eq!(
        key("/vod/foo-20261120T172500Z/keys/7-3f39c0d319f1dfce.key").as_deref(),
        Some("5b12687b25f86669a59bdd9acf429caf")
    );
    let made = Keyring::new([SECRET]).lock(Scope::Made("foo-20261120T172500Z"), 2).unwrap();
    assert_eq!(made.key_file(14).to_string(), "7-d8f24c670c5f0e61.key");
    assert_eq!(
        key("/vod/foo-20261120T172500Z/hq/keys/7-d8f24c670c5f0e61.key").as_deref(),
        Some("cff9ff33f156b13c4cc8875303d44518")
    );
    assert_eq!(lock(4).terms(), Terms { every: 4, mark: 0x2d71_ded7_af38_a6c9 });
}

#[test]
fn a_key_is_given_to_nobody_who_does_not_know_its_name() {
    let ring = Keyring::new([SECRET]);
    let name = lock(4).key_file(28);
    let ask = |route: Route| ring.key(&route).is_some();
    let stream = |name: &str| name.parse().unwrap();
    assert!(ask(Route::Key(stream("foo"), name)));
    for other in [KeyFile { index: 8, ..name }, KeyFile { tag: name.tag ^ 1, ..name }, KeyFile { tag: 0, ..name }] {
        assert!(!ask(Route::Key(stream("foo"), other)), "{other}");
    }
    assert!(!ask(Route::Key(stream("bar"), name)));
    let vod = |asset: &str, made| Route::VodKey { asset: asset.to_owned(), made, file: name };
    assert!(ask(vod("foo-20261120T172500Z", false)));
    for (asset, made) in [("foo-20261120T172500Z", true), ("foo", false), ("bar-20261120T172500Z", false)] {
        assert!(!ask(vod(asset, made)), "{asset}");
    }
    assert!(Keyring::default().key(&Route::Key(stream("foo"), name)).is_none());
    assert!(!ask(Route::Page));
}

#[test]
fn old_secrets_open_what_was_made_with_them_and_make_nothing_new() {
    let (old, new) = (SECRET, "fedcba9876543210fedcba9876543210");
    let (before, after) = (Keyring::new([old]), Keyring::new([new, old]));
    let scope = Scope::Stream("foo");
    let lock = before.lock(scope, 4).unwrap();
    let resumed = after.resume(scope, lock.terms()).unwrap();
    assert_eq!(resumed.seal(9, b"abc"), lock.seal(9, b"abc"));
    let route = |lock: &Lock| Route::Key("foo".parse().unwrap(), lock.key_file(9));
    assert_eq!(after.key(&route(&lock)), before.key(&route(&lock)));
    let newer = after.lock(scope, 4).unwrap();
    assert!(newer.terms() != lock.terms() && newer.key_file(9) != lock.key_file(9));
    assert!(Keyring::new([new]).resume(scope, lock.terms()).is_none());
    assert!(Keyring::new([new]).key(&route(&lock)).is_none());
}

#[test]
fn keys_change_after_whole_segments() {
    for (rotate_s, segment_ms, expected) in
        [(300, 2000, 150), (7, 2000, 3), (1, 2000, 1), (86_400, 500, 172_800), (u64::MAX, 1, u32::MAX), (5, 0, 5000)]
    {
        assert_eq!(every(rotate_s, segment_ms), expected, "{rotate_s} s of {segment_ms} ms");
    }
}

#[test]
fn nothing_that_is_secret_is_ever_printed() {
    let all = format!("{:?} {:?} {:?}", Keyring::new([SECRET]), lock(4), lock(4).sealing(9));
    assert_eq!(all, "Keyring(1 hidden) Lock { every: 4, .. } Sealing { .. }");
}

#[test]
#[ignore = "a measurement, not a test: cargo nextest run --release --run-ignored all --no-capture -p media encrypted_in"]
fn a_gigabyte_is_encrypted_in() {
    // This thread's own time (Linux): the machine may have more to do.
    let cpu_s = || {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
    };
    let (lock, plain) = (lock(4), vec![0x5a_u8; 2 << 20]);
    let time = |what: &str, work: &dyn Fn(u64) -> usize| {
        let start = cpu_s();
        let bytes: usize = (0..512).map(work).sum();
        eprintln!("{what}: {:.3} CPU s per GB", (cpu_s() - start) * 1e9 / bytes as f64);
    };
    let sealed = lock.seal(0, &plain);
    time("encrypted", &|segment| lock.seal(segment, &plain).len());
    time("decrypted", &|_| lock.open(0, &sealed).unwrap().len());
    let start = cpu_s();
    let tags = (0..100_000).fold(0, |tags, segment| tags ^ lock.key_file(segment).tag);
    eprintln!("a key's name: {:.2} CPU µs ({tags:x})", (cpu_s() - start) * 10.0);
}
