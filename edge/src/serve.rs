//! A request's life: key, class, what is at hand or has to be fetched, answer.
//!
//! Waits, but decides nothing itself: the key says what is asked for, the policy how it is treated, the hub and the
//! cache what there is, and `answer` what it looks like.

use crate::answer::{self, Notes};
use crate::cache::{Cache, Found};
use crate::document::{Documents, How};
use crate::failure::Failure;
use crate::fetch::Fetcher;
use crate::hub::{Hub, Reply};
use crate::key::{Key, Refusal};
use crate::policy::{Class, Policy, QUICK_WAIT, Rules};
use crate::upstream::Wait;
use http::request::Parts;
use http::{Response, StatusCode, Version, header};
use media::route::Route;
use metrics::counter;
use service::http::{Body, Content, Handler, error};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// What viewers talk to. Cloning gives another handle to the same.
#[derive(Debug, Clone)]
pub(crate) struct Front {
    /// Everything it needs.
    pub(crate) parts: Arc<FrontParts>,
}

/// What a [`Front`] is made of.
#[derive(Debug)]
pub(crate) struct FrontParts {
    /// The table.
    pub(crate) policy: Arc<Policy>,
    /// Media files.
    pub(crate) cache: Arc<Cache>,
    /// Fetches media files.
    pub(crate) fetcher: Fetcher,
    /// Playlists and lists.
    pub(crate) documents: Documents,
    /// Media playlists.
    pub(crate) hub: Hub,
}

impl Handler for Front {
    async fn handle(&self, request: Parts, _peer: SocketAddr) -> Response<Body> {
        let key = match Key::read(request.uri.path(), request.uri.query()) {
            Ok(key) => key,
            Err(refusal) => return refused(&refusal),
        };
        let class = Class::of(&key.route);
        let result = match class {
            Class::Page => return count(class, "page", page(&request, &key.route)),
            Class::Playlist | Class::IFrames => self.parts.playlist(&request, &key).await,
            class if class.is_document() => self.parts.document(&request, &key, class).await,
            class => self.parts.media(&request, &key, class).await,
        };
        match result {
            Ok((response, how)) => count(class, how.label(), response),
            Err(failure) => count(class, failure.label(), answer::failed(&failure)),
        }
    }
}

type Answered = Result<(Response<Body>, How), Failure>;

impl FrontParts {
    async fn document(&self, request: &Parts, key: &Key, class: Class) -> Answered {
        let rules = self.policy.rules(class);
        let (document, how) = self.documents.get(key, &rules, Wait { head: QUICK_WAIT, held: false }).await?;
        let notes = Notes { how, told: rules.told, fresh: rules.fresh };
        Ok((answer::document(request, &document, &notes, Instant::now()), how))
    }

    async fn playlist(&self, request: &Parts, key: &Key) -> Answered {
        match self.hub.get(key).await? {
            Reply::Refused(words) => Ok((error(StatusCode::BAD_REQUEST, words), How::Hit)),
            Reply::Playlist(document, how, satisfied) => {
                let Rules { fresh, told, .. } = self.policy.rules(Class::Playlist);
                let told =
                    if satisfied && !matches!(how, How::Stale | How::Late) { self.policy.told_reload() } else { told };
                Ok((answer::document(request, &document, &Notes { how, told, fresh }, Instant::now()), how))
            }
        }
    }

    async fn media(&self, request: &Parts, key: &Key, class: Class) -> Answered {
        let rules = self.policy.rules(class);
        let (flight, how) = match self.cache.find(key, Instant::now())? {
            Found::Hit(flight) => (flight, How::Hit),
            Found::Joined(flight) => (flight, How::Collapsed),
            Found::Started(flight, fetching) => {
                let wait =
                    if rules.held { self.hub.wait_for(&key.route) } else { Wait { head: QUICK_WAIT, held: false } };
                self.fetcher.start(key.clone(), fetching, wait, rules.clone());
                (flight, How::Miss)
            }
        };
        let notes = Notes { how, told: rules.told, fresh: rules.fresh };
        let mut reader = flight.reader();
        let head = reader.head().await?;
        // Ranges need the whole, and so does HTTP/1.0 without a length: there an end of the connection is no error.
        let needs_whole = head.status != StatusCode::OK
            || request.headers.contains_key(header::RANGE)
            || (head.length.is_none() && request.version < Version::HTTP_11);
        let landed = match flight.landed() {
            None if needs_whole => Some(reader.landed().await?),
            landed => landed,
        };
        let now = Instant::now();
        let response = match landed {
            Some(landed) => answer::landed(request, landed, &notes, now),
            None => answer::following(request, &head, reader, &notes, now),
        };
        Ok((response, how))
    }
}

/// The page and its files are in this program.
fn page(request: &Parts, route: &Route) -> Response<Body> {
    let file = match route {
        Route::Page => Some(player::page()),
        Route::PageFile(name) => player::file(name),
        _ => None,
    };
    let Some(file) = file else {
        return error(StatusCode::NOT_FOUND, "the page has no such file");
    };
    let told = if file.immutable { "public, max-age=31536000, immutable" } else { "no-cache" };
    Content::new(file.content_type, told, vec![file.bytes.clone()]).etag(file.etag).answer(request)
}

fn refused(refusal: &Refusal) -> Response<Body> {
    let status = match refusal {
        Refusal::NoSuchAddress => StatusCode::NOT_FOUND,
        _ => StatusCode::BAD_REQUEST,
    };
    counter!("live360_edge_refused_total", "status" => status.as_str().to_owned()).increment(1);
    error(status, refusal.to_string())
}

fn count(class: Class, how: &'static str, response: Response<Body>) -> Response<Body> {
    counter!("live360_edge_requests_total", "class" => class.label(), "cache" => how).increment(1);
    response
}
