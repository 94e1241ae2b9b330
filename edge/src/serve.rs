//! A request's life: key, gate, class, what is at hand or has to be fetched, answer.
//!
//! Waits, but decides nothing itself: the key says what is asked for, the policy how it is treated, the hub and
//! `depot` what there is, and `answer` what it looks like.

use crate::answer::{self, Notes, Span, Wants};
use crate::depot::{Comer, Depot};
use crate::document::{Documents, How};
use crate::failure::Failure;
use crate::gate::{Away, Gate};
use crate::hub::{Hub, Listed, Reply};
use crate::key::{Key, Refusal};
use crate::meters::Meters;
use crate::policy::{Class, Policy, Rules};
use crate::trail::Trail;
use http::request::Parts;
use http::{Response, StatusCode, Version, header};
use media::protect::Keyring;
use media::route::{Address, Route};
use metrics::counter;
use service::cluster::Caller;
use service::http::{Body, Content, Handler, error};
use service::keys;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio_util::sync::CancellationToken;

/// What viewers talk to. Cloning gives another handle to the same.
#[derive(Debug, Clone)]
pub(crate) struct Front {
    /// Everything it needs.
    pub(crate) parts: Arc<FrontParts>,
}

/// What a [`Front`] is made of.
#[derive(Debug)]
pub(crate) struct FrontParts {
    /// This edge's own name.
    pub(crate) own: String,
    /// Names that it answers to, in lower case; none: to every name.
    pub(crate) hosts: Vec<String>,
    /// Who may have what.
    pub(crate) gate: Gate,
    /// The table.
    pub(crate) policy: Arc<Policy>,
    /// Media files.
    pub(crate) depot: Arc<Depot>,
    /// Lists and other playlists than live ones.
    pub(crate) documents: Documents,
    /// Live media playlists.
    pub(crate) hub: Hub,
    /// Secrets that keys of protected segments are made from, if this edge has any.
    pub(crate) keyring: Keyring,
    /// Requests by class and outcome.
    pub(crate) meters: Meters,
    /// Cancelled when balancers are to send nobody here any more.
    pub(crate) closing: CancellationToken,
}

/// Where balancers ask whether to send viewers here. No address of a stream, and not of [`media::route`].
const HEALTH: &str = "/healthz";

impl Handler for Front {
    async fn handle(&self, request: Parts, peer: SocketAddr) -> Response<Body> {
        let (parts, peer) = (&self.parts, peer.ip());
        // Before all else: balancers ask by address, not by name, and often.
        if request.uri.path() == HEALTH {
            return parts.health();
        }
        if !parts.answers_to(&request) {
            return refused(StatusCode::MISDIRECTED_REQUEST, "this server does not answer to that name");
        }
        let key = match parts.key(&request) {
            Ok(key) => key,
            Err(denial) => return denial.answer(),
        };
        let trail = match Trail::read(&request.headers, &parts.own) {
            Ok(trail) => trail,
            Err(ring) => return refused(StatusCode::LOOP_DETECTED, ring.to_string()),
        };
        let class = Class::of(&key.route);
        let result = match class {
            Class::Page => {
                parts.meters.count_page();
                return page(&request, &key.route);
            }
            Class::Playlist | Class::IFrames => {
                let wants = Wants::of(&request.headers);
                drop(request);
                parts.playlist(wants, &key, peer, &trail).await
            }
            Class::Key => match keys::answer(&parts.keyring, &key.route, &request) {
                Some(answer) => Ok((answer, How::Hit)),
                // Made from a secret that this edge doesn't have, or nobody's.
                None => parts.document(&Wants::of(&request.headers), &key, class, &trail).await,
            },
            class if class.is_document() => parts.document(&Wants::of(&request.headers), &key, class, &trail).await,
            class => parts.media(&request, &key, class, peer, &trail).await,
        };
        match result {
            Ok((response, how)) => {
                parts.meters.count(class, how);
                response
            }
            Err(failure) => {
                parts.meters.count_failed(class, &failure);
                answer::failed(&failure)
            }
        }
    }
}

/// Why a request gets no further.
enum Denial {
    Key(Refusal),
    Gate(Away),
}

impl Denial {
    fn answer(self) -> Response<Body> {
        match self {
            Self::Key(refusal @ Refusal::NoSuchAddress) => refused(StatusCode::NOT_FOUND, refusal.to_string()),
            Self::Key(refusal) => refused(StatusCode::BAD_REQUEST, refusal.to_string()),
            Self::Gate(Away::Impostor) => Caller::Impostor.refuse("edge"),
            Self::Gate(Away::Viewer(refusal)) => {
                counter!("live360_edge_watch_refused_total", "reason" => refusal.label()).increment(1);
                refused(StatusCode::FORBIDDEN, refusal.to_string())
            }
        }
    }
}

type Answered = Result<(Response<Body>, How), Failure>;

impl FrontParts {
    /// Whether this edge takes viewers, in one line.
    fn health(&self) -> Response<Body> {
        match self.closing.is_cancelled() {
            false => error(StatusCode::OK, "serving"),
            true => error(StatusCode::SERVICE_UNAVAILABLE, "leaving"),
        }
    }

    /// What a request asks for, if it may have it. Who waits for it afterwards may outlast his token.
    fn key(&self, request: &Parts) -> Result<Key, Denial> {
        let address = Address::read(request.uri.path()).ok_or(Denial::Key(Refusal::NoSuchAddress))?;
        let key = Key::read(&address.path, request.uri.query()).map_err(Denial::Key)?;
        // A clock before 1970 is one that lets nobody be late.
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.gate.admit(&request.headers, &address, &key.route, now_s).map_err(Denial::Gate)?;
        Ok(key)
    }

    async fn document(&self, wants: &Wants, key: &Key, class: Class, trail: &Trail) -> Answered {
        let rules = self.policy.rules(class);
        let prefer = self.hub.prefer(&key.route);
        let (document, how) = self.documents.get(key, &rules, &prefer, trail).await?;
        let notes = Notes { how, told: rules.told, fresh: rules.fresh };
        Ok((answer::document(wants, &document, &notes).await, how))
    }

    async fn playlist(&self, wants: Wants, key: &Key, peer: IpAddr, trail: &Trail) -> Answered {
        match self.hub.get(key, peer, trail).await? {
            Reply::Refused(words) => Ok((error(StatusCode::BAD_REQUEST, words), How::Hit)),
            Reply::Missing => Ok((error(StatusCode::NOT_FOUND, missing(&key.route)), How::Hit)),
            Reply::Playlist(document, how, satisfied) => {
                let Rules { fresh, told, .. } = self.policy.rules(Class::Playlist);
                let told = if satisfied && how != How::Stale { self.policy.told_reload() } else { told };
                let notes = Notes { how, told, fresh };
                Ok((answer::document(&wants, &document, &notes).await, how))
            }
        }
    }

    async fn media(&self, request: &Parts, key: &Key, class: Class, peer: IpAddr, trail: &Trail) -> Answered {
        let rules = self.policy.rules(class);
        let mut again = false;
        let (flight, how, mut reader, head) = loop {
            let comer = Comer { trail, again };
            let listed = self.hub.place(&key.route);
            let Some(lineage) = listed.lineage() else { return Ok((not_listed(), How::Hit)) };
            let here = self.depot.here(&key.route, lineage, comer);
            // Before anything is sent for: who may not wait costs nothing upstream.
            let _place = if here.is_some() { None } else { Some(self.hub.park(peer)?) };
            let (flight, how) = match (here, listed) {
                (Some(here), _) => here,
                (None, Listed::Now(source)) => self.depot.get(&key.route, source, false, comer)?,
                (None, Listed::Past(source)) => self.depot.get(&key.route, source, true, comer)?,
                (None, Listed::Next(source, board)) => self.depot.wait(&key.route, source, Some(board), comer)?,
                (None, Listed::Unknown(source)) if rules.held => self.depot.wait(&key.route, source, None, comer)?,
                (None, Listed::Unknown(source)) => self.depot.get(&key.route, source, true, comer)?,
                (None, Listed::Gone) => return Ok((not_listed(), How::Hit)),
            };
            let mut reader = flight.reader();
            match reader.head().await {
                Ok(head) => break (flight, how, reader, head),
                // The second time he joins nobody who came by a longer way than he.
                Err(failure) if failure.is_of_a_longer_way(flight.hops(), trail.len()) && !again => again = true,
                Err(failure) => return Err(failure),
            }
        };
        let notes = Notes { how, told: rules.told, fresh: rules.fresh };
        // Most ranges need the whole, and so does HTTP/1.0 without a length: there an end of the connection is no error.
        let needs_whole = head.status != StatusCode::OK
            || Span::of(request, &head) == Span::Other
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

    /// Whether a request names a host that this edge answers to.
    fn answers_to(&self, request: &Parts) -> bool {
        if self.hosts.is_empty() {
            return true;
        }
        // HTTP/2 has it in the request's line.
        let given = request.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let given = request.uri.authority().map(|authority| authority.as_str()).or(given).unwrap_or_default();
        let name = given
            .rsplit_once(':')
            .map_or(given, |(name, port)| if port.bytes().all(|byte| byte.is_ascii_digit()) { name } else { given });
        self.hosts.iter().any(|host| host.eq_ignore_ascii_case(name))
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
    Content::full(file.content_type, told, file.bytes.clone()).etag(file.etag).answer(request)
}

fn not_listed() -> Response<Body> {
    error(StatusCode::NOT_FOUND, "there is no such file: the playlist neither lists it nor hints at it")
}

/// What no origin has, in words.
fn missing(route: &Route) -> String {
    match route {
        Route::Hls(name, rendition, _) => format!("no stream {name} with a rendition {rendition} is at any origin"),
        _ => "no origin has this playlist".to_owned(),
    }
}

fn refused(status: StatusCode, words: impl Into<String>) -> Response<Body> {
    counter!("live360_edge_refused_total", "status" => status.as_str().to_owned()).increment(1);
    error(status, words)
}
