//! The guard as a whole: who shows what under which config; when refusals are answered, in virtual time; the callback against a
//! real server.

use super::*;
use media::name::PublishKey;
use rules::By;
use service::config::parse;
use service::hashed;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const HERE: &str = "127.0.0.1:5000";
const MAPPED: &str = "[::ffff:127.0.0.1]:5000";
const THERE: &str = "192.0.2.7:5000";

fn config(sets: &[&str]) -> Config {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    parse(None, std::iter::empty(), &sets).unwrap()
}

fn request(key: &str, peer: &str) -> PublishRequest {
    PublishRequest { key: PublishKey::parse("live", key).unwrap(), peer: peer.parse().unwrap() }
}

/// What somebody is told: the label of a refusal, or what speaks for it.
fn judged(sets: &[&str], key: &str, peer: &str) -> &'static str {
    let request = request(key, peer);
    let rules = Rules::new(&config(sets)).unwrap();
    match rules.judge(&Shown::of(&request.key, request.peer.ip()), false, 1_800_000_000) {
        Judgement::Granted(By::Key) => "key",
        Judgement::Granted(By::Token) => "token",
        Judgement::Granted(By::Open) => "open",
        Judgement::Granted(By::Nothing) => "nothing",
        Judgement::Refused(why) => why.label(),
        Judgement::Compare(key, _) if request.key.params.get("key").is_some_and(|given| key.matches(given)) => "slow",
        Judgement::Compare(_, why) => why.label(),
    }
}

/// Signed with 32 times `s`, for `foo`, until 2096.
const TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
                     eyJzdWIiOiJmb28iLCJleHAiOjQwMDAwMDAwMDB9.LrM2fUokvhx7Gv9seiV2a4DD4QUHzQ-5JypbcdnUSdQ";

#[test]
fn who_may_publish_is_what_is_configured_what_is_shown_and_where_from() {
    let slow = format!("streams.foo.key={}", hashed::slow("s").unwrap());
    let fast = format!("publish.key={}", hashed::fast("all"));
    let jwt = format!("publish.jwt_secret={}", "s".repeat(32));
    let (with_token, with_both) = (format!("foo?token={TOKEN}"), format!("foo?key=no&token={TOKEN}"));
    let open: &[&str] = &[];
    let one: &[&str] = &["streams.foo.key=s"];
    let all: &[&str] = &[&fast];
    let own: &[&str] = &[&fast, "streams.foo.key=s"];
    let token: &[&str] = &[&jwt];
    let either: &[&str] = &[&jwt, "streams.foo.key=s"];
    for (sets, key, peer, expected) in [
        // Nothing is configured: this machine only.
        (open, "foo", HERE, "open"),
        (open, "foo", MAPPED, "open"),
        (open, "foo", THERE, "not_open"),
        (open, "foo?key=x", THERE, "not_open"),
        (&["publish.open=anyone"], "foo", THERE, "open"),
        // A key of the stream's own: it counts from here as well, and for that stream only.
        (one, "foo?key=s", THERE, "key"),
        (one, "foo?key=S", THERE, "wrong_key"),
        (one, "foo?key=", THERE, "wrong_key"),
        (one, "foo", THERE, "no_key"),
        (one, "foo", HERE, "no_key"),
        (one, "bar", HERE, "open"),
        (one, "bar?key=s", THERE, "not_open"),
        (&["streams.foo.key=s", "publish.open=anyone"], "foo", THERE, "no_key"),
        (&["streams.foo.key=s", "publish.open=anyone"], "bar", THERE, "open"),
        // A key for all, which a stream's own replaces.
        (all, "foo?key=all", THERE, "key"),
        (all, "anything?key=all", HERE, "key"),
        (all, "foo?key=al", THERE, "wrong_key"),
        (all, "foo", HERE, "no_key"),
        (own, "foo?key=s", THERE, "key"),
        (own, "foo?key=all", THERE, "wrong_key"),
        (own, "bar?key=all", THERE, "key"),
        // The hash itself opens nothing.
        (all, &format!("foo?key={}", hashed::fast("all")), THERE, "wrong_key"),
        (&[&slow], "foo?key=s", THERE, "slow"),
        (&[&slow], "foo?key=x", THERE, "wrong_key"),
        (&[&slow], "foo", THERE, "no_key"),
        // Tokens.
        (token, &with_token, THERE, "token"),
        (token, &with_token.replace("foo", "bar"), THERE, "token_stream"),
        (token, "foo?token=x", THERE, "bad_token"),
        (token, "foo", HERE, "no_key"),
        (token, "foo?key=x", THERE, "wrong_key"),
        (open, &with_token, THERE, "not_open"),
        // A key or a token, whichever is right.
        (either, &with_token, THERE, "token"),
        (either, &with_both, THERE, "token"),
        (either, "foo?key=s", THERE, "key"),
        (either, "foo?key=s&token=x", THERE, "key"),
        (either, "foo?key=x&token=x", THERE, "wrong_key"),
        (either, "foo?token=x", THERE, "bad_token"),
    ] {
        assert_eq!(judged(sets, key, peer), expected, "{sets:?} {key} {peer}");
    }
}

#[test]
fn whoever_shows_nothing_right_reads_the_same_words_whatever_there_is() {
    let name = "x".repeat(64).parse().unwrap();
    let rules = Rules::new(&config(&["streams.foo.key=s"])).unwrap();
    let words = rules.words(Why::NoKey, &name);
    for why in [Why::WrongKey, Why::NotOpen, Why::Busy, Why::Token(token::BadToken::Foreign)] {
        assert_eq!(rules.words(why, &name), words);
    }
    let jwt = format!("publish.jwt_secret={}", "s".repeat(32));
    let rules = Rules::new(&config(&[&jwt])).unwrap();
    for why in [Why::NoKey, Why::Token(token::BadToken::Expired), Why::TooMany, Why::CallbackDown, Why::Callback] {
        let words = rules.words(why, &name);
        // What encoders show of it.
        assert!(words.len() <= 250, "{} bytes: {words}", words.len());
    }
}

/// When this key's refusal is answered, in milliseconds, and its words.
async fn refused(access: &Access, key: &str, peer: &str) -> (u128, String) {
    let start = Instant::now();
    let refusal = access.judge(&request(key, peer)).await.unwrap_err();
    (start.elapsed().as_millis(), refusal.to_string())
}

#[tokio::test(start_paused = true)]
async fn when_a_refusal_comes_tells_nothing_about_the_stream() {
    let slow = format!("streams.slow.key={}", hashed::slow("s").unwrap());
    let jwt = format!("publish.jwt_secret={}", "s".repeat(32));
    for sets in [&["streams.fast.key=s", &slow][..], &["streams.fast.key=s", &slow, &jwt]] {
        let access = Access::new(&config(sets)).unwrap();
        for (number, key) in
            ["none", "fast", "fast?key=x", "slow?key=x", "slow", "none?key=x", "none?token=x"].iter().enumerate()
        {
            // Each from an address of its own, so that all are first guesses.
            let (after_ms, words) = refused(&access, key, &format!("192.0.2.{number}:1")).await;
            let name = key.split('?').next().unwrap();
            assert_eq!(after_ms, 1000, "{key}");
            assert!(words.starts_with(&format!("stream {name} needs its key: put NAME?key=SECRET")), "{words}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_keys_take_longer_and_longer_for_their_own_address() {
    let access = Access::new(&config(&["publish.key=s"])).unwrap();
    let mut waits = Vec::new();
    for _ in 0..12 {
        waits.push(refused(&access, "foo?key=x", THERE).await.0);
        // As if it had many connections: what it waits doesn't pay its debt.
        access.patience().failed(THERE.parse::<std::net::SocketAddr>().unwrap().ip(), Instant::now());
    }
    assert!(waits.is_sorted() && waits.first() == Some(&1000) && waits.last() == Some(&8000), "{waits:?}");
    assert_eq!(refused(&access, "foo?key=x", "192.0.2.8:1").await.0, 1000);
    // The right key is right at once, and makes guessing at others no cheaper.
    let start = Instant::now();
    assert!(access.judge(&request("foo?key=s", THERE)).await.unwrap().proven);
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(refused(&access, "foo?key=x", THERE).await.0, 8000);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_guesses_on_and_on_is_not_heard_for_a_while() {
    let access = Access::new(&config(&["publish.key=s"])).unwrap();
    let who = party(THERE.parse::<std::net::SocketAddr>().unwrap().ip());
    (0..100).for_each(|_| access.patience().failed(who, Instant::now()));
    let (after_ms, words) = refused(&access, "foo?key=s", THERE).await;
    assert_eq!((after_ms, words.as_str()), (8000, "too many wrong keys came from your address: wait a minute"));
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(access.judge(&request("foo?key=s", THERE)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn refusals_that_wait_are_bounded_and_the_rest_is_short_and_alike() {
    let slow = format!("streams.slow.key={}", hashed::slow("s").unwrap());
    let access = Access::new(&config(&["publish.key=s", &slow])).unwrap();
    let _all = access.waiting.try_acquire_many(WAITING_MAX as u32).unwrap();
    for key in ["foo?key=x", "slow?key=x", "slow?key=s", "foo"] {
        assert_eq!(refused(&access, key, THERE).await.0, SHORT.as_millis(), "{key}");
    }
    assert!(access.judge(&request("foo?key=s", THERE)).await.is_ok(), "the right key needs no place");
}

#[tokio::test(start_paused = true)]
async fn what_took_longer_than_the_wait_is_answered_at_its_next_multiple() {
    let start = Instant::now();
    for (now_ms, expected_ms) in [(0, 1000), (999, 1000), (1000, 1000), (1001, 2000), (4500, 5000)] {
        let beat = next_beat(start, Duration::from_secs(1), start + Duration::from_millis(now_ms));
        assert_eq!((beat - start).as_millis(), expected_ms, "{now_ms}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reload_changes_who_may_and_a_bad_one_changes_nothing() {
    let access = Access::new(&config(&["publish.key=old"])).unwrap();
    access.reload(&config(&["publish.key=new"])).unwrap();
    assert!(access.judge(&request("foo?key=new", THERE)).await.is_ok());
    assert!(access.judge(&request("foo?key=old", THERE)).await.is_err());
    assert!(access.reload(&config(&["publish.jwt_key=/nonexistent"])).is_err());
    assert!(access.judge(&request("foo?key=new", THERE)).await.is_ok());
}

/// A server that answers each connection with the next of these, and then closes it; gives what it was asked.
async fn answering(answers: Vec<String>) -> (String, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/may-publish?x=1", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut socket, _) = listener.accept().await.unwrap();
            let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
            while !whole(&request) {
                let count = socket.read(&mut buffer).await.unwrap();
                request.extend_from_slice(&buffer[..count]);
            }
            asked.push(String::from_utf8(request).unwrap());
            if answer.is_empty() {
                // Until whoever asks gives up.
                let _ = socket.read(&mut buffer).await;
                continue;
            }
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
        asked
    });
    (url, task)
}

/// Whether head and body of a request are there.
fn whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok());
    length.is_some_and(|length| body.len() >= length)
}

/// What the guard says with this answer of the callback: whether it may, with proof or not; or the words of the refusal.
async fn called_back(answer: &str, sets: &[&str], key: &str) -> Result<Grant, String> {
    let (url, server) = answering(vec![answer.to_owned()]).await;
    let callback = format!("publish.callback={url}");
    let access = Access::new(&config(&[&[callback.as_str(), "publish.callback_s=1"], sets].concat())).unwrap();
    let judged = access.judge(&request(key, THERE)).await;
    server.abort();
    judged.map_err(|refusal| refusal.to_string())
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

const YES: &str = "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn a_callback_has_the_last_word() {
    let proven = Grant { proven: true, ..Grant::default() };
    assert_eq!(called_back(YES, &[], "foo").await, Ok(proven));
    let wishes = answer("200 OK", r#"{"record":"off","listed":false}"#);
    let expected = Grant { proven: true, record: Some(Record::Off), listed: Some(false) };
    assert_eq!(called_back(&wishes, &["streams.foo.key=s"], "foo?key=s").await, Ok(expected));
    let no = answer("403 Forbidden", r#"{"reason":"come back later"}"#);
    assert_eq!(called_back(&no, &["streams.foo.key=s"], "foo?key=s").await, Err("come back later".to_owned()));
    let silent = answer("403 Forbidden", "");
    assert_eq!(
        called_back(&silent, &[], "foo").await,
        Err("stream foo was refused by this server's callback".to_owned())
    );
}

#[tokio::test]
async fn without_an_answer_the_config_says_what_happens() {
    let broken = answer("503 Service Unavailable", "");
    let words = "whom this server asks about stream foo does not answer: try again later";
    for answer in [broken.as_str(), "", "what?\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\nx"] {
        assert_eq!(called_back(answer, &[], "foo").await, Err(words.to_owned()), "{answer}");
    }
    let allowed = called_back(&broken, &["publish.callback_down=allow"], "foo").await;
    assert_eq!(allowed, Ok(Grant::default()), "let in, but nothing is proven");
}

#[tokio::test]
async fn the_callback_is_asked_only_about_who_showed_a_right_key_and_its_request_is_signed() {
    let (url, server) = answering(vec![YES.to_owned()]).await;
    let callback = format!("publish.callback={url}");
    let sets = [callback.as_str(), "streams.foo.key=hunter2", "publish.callback_secret=hush"];
    let access = Access::new(&config(&sets)).unwrap();
    assert!(access.judge(&request("foo?key=x", THERE)).await.is_err());
    assert!(access.judge(&request("foo?key=hunter2&proj=flat", THERE)).await.is_ok());
    let asked = server.await.unwrap().remove(0);
    let (head, body) = asked.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /may-publish?x=1 HTTP/1.1\r\n"), "{head}");
    let signature = head.lines().find_map(|line| line.strip_prefix("x-live360-signature: ")).unwrap();
    assert!(service::signature::verify(&service::secret::Secret::new("hush"), signature, body.as_bytes(), utc_s(), 60));
    let expected = serde_json::json!({
        "app": "live", "name": "foo", "peer": THERE, "key": null, "token": null, "shown": "key", "params": { "proj": "flat" },
    });
    assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap(), expected);
}
