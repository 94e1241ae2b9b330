//! Media files: found in memory, or sent for once.
//!
//! The one door to [`crate::cache`] and [`crate::fetch`], for viewers' requests and for what is fetched before anybody
//! asks.

use crate::cache::{Cache, Found};
use crate::document::How;
use crate::failure::Failure;
use crate::fetch::{Fetcher, Job};
use crate::flight::Flight;
use crate::follow::Source;
use crate::hub::Board;
use crate::key::Key;
use crate::policy::{Class, Policy, QUICK_WAIT, Rules};
use crate::trail::Trail;
use crate::upstream::Wait;
use media::name::StreamName;
use media::route::{File, Route};
use std::sync::Arc;
use std::time::Instant;

/// Media files.
#[derive(Debug)]
pub(crate) struct Depot {
    /// What is here.
    pub(crate) cache: Arc<Cache>,
    /// Who fetches the rest.
    pub(crate) fetcher: Fetcher,
    /// The table.
    pub(crate) policy: Arc<Policy>,
}

/// By which way somebody comes for a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Comer<'a> {
    /// The way.
    pub(crate) trail: &'a Trail,
    /// Whether he comes again, since what he joined was refused for another's longer way.
    pub(crate) again: bool,
}

impl Depot {
    /// The flight of a file whose head is known here.
    pub(crate) fn here(&self, route: &Route, lineage: u32, comer: Comer<'_>) -> Option<(Arc<Flight>, How)> {
        match self.cache.here(&comer.key(route, lineage), Instant::now())? {
            Found::Hit(flight) => Some((flight, How::Hit)),
            Found::Joined(flight) => Some((flight, How::Collapsed)),
            Found::Started(..) => None,
        }
    }

    /// The flight of a file that is there: `source` has it now. `past`: it is not known to be live.
    pub(crate) fn get(
        &self,
        route: &Route,
        source: Source,
        past: bool,
        comer: Comer<'_>,
    ) -> Result<(Arc<Flight>, How), Failure> {
        let wait = Wait { head: QUICK_WAIT, held: false, past };
        self.find(route, source, wait, None, comer)
    }

    /// The flight of a file that may come: the origins are asked to hold the question. With a board, another origin is
    /// asked once it lists the file.
    pub(crate) fn wait(
        &self,
        route: &Route,
        source: Source,
        mut board: Option<Board>,
        comer: Comer<'_>,
    ) -> Result<(Arc<Flight>, How), Failure> {
        // The stream says itself how long its origin may hold the question.
        let target = board.as_mut().and_then(|board| board.now().version.map(|version| version.facts.target));
        let wait = Wait { head: self.policy.held_wait(target), held: true, past: board.is_none() };
        self.find(route, source, wait, board, comer)
    }

    /// Sends for a file that is listed for the first time, before viewers come for it.
    pub(crate) fn prefetch(&self, route: &Route, source: Source) {
        // No room for it now is no room for it later: the viewer who comes for it will hear so.
        let _ = self.get(route, source, false, Comer { trail: &Trail::default(), again: false });
    }

    fn find(
        &self,
        route: &Route,
        source: Source,
        wait: Wait,
        board: Option<Board>,
        comer: Comer<'_>,
    ) -> Result<(Arc<Flight>, How), Failure> {
        let Source { origins, number, lineage } = source;
        let (key, trail) = (comer.key(route, lineage), comer.trail);
        match self.cache.find(&key, wait.past, Instant::now())? {
            Found::Hit(flight) => Ok((flight, How::Hit)),
            Found::Joined(flight) => Ok((flight, How::Collapsed)),
            Found::Started(flight, fetching) => {
                flight.begun_behind(trail.len());
                let rules: Rules = self.policy.rules(Class::of(route));
                let key = Key { route: there(route, number), directives: None };
                let listed = board.zip(file(route)).map(|(board, file)| (board, file, lineage));
                let unfollowed = unfollowed(route, lineage).cloned();
                let origins = match &unfollowed {
                    Some(name) => self.fetcher.favourites.order(name, origins),
                    None => origins,
                };
                let trail = trail.clone();
                self.fetcher.start(Job { key, origins, unfollowed, wait, listed, rules, trail }, fetching);
                Ok((flight, How::Miss))
            }
        }
    }
}

impl Comer<'_> {
    fn key(self, route: &Route, lineage: u32) -> crate::cache::Key {
        (Key { route: route.clone(), directives: None }, lineage, self.again.then(|| self.trail.len()))
    }
}

/// The address under the number that its origin knows.
fn there(route: &Route, number: u64) -> Route {
    match route {
        Route::Hls(name, rendition, File::Segment(_)) => Route::Hls(name.clone(), *rendition, File::Segment(number)),
        Route::Hls(name, rendition, File::Part(_, part)) => {
            Route::Hls(name.clone(), *rendition, File::Part(number, *part))
        }
        other => other.clone(),
    }
}

/// The stream of a file that may have other bytes at another origin, if nobody follows it. (An init segment is named by its
/// content.)
fn unfollowed(route: &Route, lineage: u32) -> Option<&StreamName> {
    match route {
        Route::Hls(name, _, File::Segment(_) | File::Part(..)) if lineage == 0 => Some(name),
        _ => None,
    }
}

fn file(route: &Route) -> Option<File> {
    match route {
        Route::Hls(_, _, file) => Some(file.clone()),
        _ => None,
    }
}
