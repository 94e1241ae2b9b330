//! Which streams there are: the only place that says so.
//!
//! Makes a stream when somebody first publishes it or when an earlier process left it on disk, and forgets it when its task
//! has ended. Knows the config; does not look into streams.

use super::core::{Options, State};
use super::stream::{Command, Configured, Setup, Stream};
use crate::access::{Access, SECRET_PARAMS};
use crate::ingest::{Claim, Ingest, PublishRequest, Refusal};
use crate::record::{Recorder, asset_id};
use crate::steer::{Act, Cannot, Mark};
use media::hls::date;
use media::ladder::Rendition;
use media::name::StreamName;
use media::protect::{self, Keyring, Scope};
use media::route::Route;
use serde_json::{Value, json};
use service::config::{Audio, Current, Protection, Record, Watch};
use service::hooks::Hooks;
use service::telemetry::Series;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Streams at a time, live, waiting or ended.
const STREAMS_MAX: usize = 64;

/// The streams of this origin.
#[derive(Debug)]
pub(crate) struct Registry {
    config: Current,
    folder: PathBuf,
    program: PathBuf,
    streams: Mutex<BTreeMap<StreamName, Arc<Stream>>>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    recorder: Recorder,
    hooks: Hooks,
    keyring: Keyring,
}

impl Registry {
    /// No streams yet. `program` is this binary, for the ladder's children.
    pub(crate) fn new(config: Current, program: PathBuf, hooks: Hooks, shutdown: CancellationToken) -> Arc<Self> {
        let recorder = Recorder::open(&config, hooks.clone(), shutdown.clone());
        let keyring = config.get().protect.keyring();
        let folder = config.get().data_dir.join("live");
        Arc::new(Self {
            config,
            folder,
            program,
            streams: Mutex::default(),
            tasks: TaskTracker::new(),
            shutdown,
            recorder,
            hooks,
            keyring,
        })
    }

    /// Takes up the streams that an earlier process left.
    pub(crate) fn restore(self: &Arc<Self>) -> std::io::Result<()> {
        // Told at start, not at the first stream, if nothing can be kept there.
        std::fs::create_dir_all(&self.folder)?;
        let folders = std::fs::read_dir(&self.folder)?;
        for folder in folders.flatten() {
            if let Some(name) = folder.file_name().to_str().and_then(|name| name.parse::<StreamName>().ok()) {
                let mut streams = self.streams();
                if streams.len() < STREAMS_MAX {
                    match self.open(&mut streams, &name) {
                        Ok(_) => tracing::info!(stream = %name, "stream restored"),
                        Err(error) => tracing::warn!(stream = %name, %error, "cannot take up a stream"),
                    }
                }
            }
        }
        self.recorder.finish_left();
        Ok(())
    }

    /// The secrets that keys are made from.
    pub(crate) fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// A stream by name.
    pub(crate) fn get(&self, name: &StreamName) -> Option<Arc<Stream>> {
        self.streams().get(name).cloned()
    }

    /// Ends a stream at the operator's word. `false` if there is none.
    pub(crate) async fn end(&self, name: &StreamName) -> bool {
        let Some(stream) = self.get(name) else { return false };
        stream.command(Command::End).await.is_ok()
    }

    /// Does something else to a stream at the operator's word.
    pub(crate) async fn steer(&self, name: &StreamName, act: Act) -> Result<Value, Cannot> {
        let stream = self.get(name).ok_or_else(|| Cannot::NoStream(name.clone()))?;
        let (reply, answer) = oneshot::channel();
        stream.command(Command::Steer(act, reply)).await.map_err(|_| Cannot::Gone)?;
        answer.await.unwrap_or(Err(Cannot::Gone))
    }

    /// Tells every stream what the config says of it now.
    pub(crate) async fn reload(&self) {
        let streams: Vec<Arc<Stream>> = self.streams().values().cloned().collect();
        for stream in streams {
            let configured = Box::new(self.configured(&stream.name));
            // One that has just gone has nothing to take over.
            let _ = stream.command(Command::Configure(configured)).await;
        }
    }

    /// What `/metrics` shows of the streams that there are.
    pub(crate) fn collect(&self, series: &mut Series) {
        let streams: Vec<Arc<Stream>> = self.streams().values().cloned().collect();
        let mut states = [("live", 0), ("waiting", 0), ("ended", 0)];
        for stream in &streams {
            stream.collect(series);
            let state = stream.state_word();
            states.iter_mut().filter(|(word, _)| *word == state).for_each(|(_, count)| *count += 1);
        }
        for (state, count) in states {
            series.gauge("live360_streams", &[("state", state)], f64::from(count));
        }
    }

    /// Waits until every stream's task has ended (after shutdown).
    pub(crate) async fn finished(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.recorder.finished().await;
    }

    /// Where an ended stream can be seen again, once it can.
    pub(crate) fn asset_url(&self, stream: &Stream) -> Option<String> {
        let core = stream.core();
        let ended = matches!(core.state(), State::Ended(_));
        let since = core.since().filter(|_| ended)?;
        self.recorder.asset_url(&asset_id(stream.name.as_str(), since))
    }

    /// What `/api/streams` says.
    pub(crate) fn list(&self) -> Value {
        let (streams, config): (Vec<Arc<Stream>>, _) = (self.streams().values().cloned().collect(), self.config.get());
        let streams: Vec<Value> = streams
            .iter()
            .filter_map(|stream| {
                let (watch, _) = config.watching(Route::Multivariant(stream.name.clone()).owner());
                let named = watch != Watch::Unlisted || stream.listed();
                Some(mark(named.then(|| describe(stream, &self.recorder))??, watch))
            })
            .collect();
        let assets = self.recorder.assets(|id, entry| {
            let watch = self.listed_as(&Route::Vod(id.to_owned()))?;
            Some(mark(entry, watch))
        });
        json!({ "streams": streams, "assets": assets })
    }

    /// Who may watch what is at this address; `None` if it is not to be listed.
    fn listed_as(&self, route: &Route) -> Option<Watch> {
        let (watch, listed) = self.config.get().watching(route.owner());
        listed.then_some(watch)
    }

    /// What `/stat` says.
    pub(crate) fn stat(&self) -> Value {
        let streams: Vec<Arc<Stream>> = self.streams().values().cloned().collect();
        json!({
            "streams": streams.iter().map(|stream| stream.stat()).collect::<Vec<_>>(),
            "recording_backlog_bytes": self.recorder.backlog(),
        })
    }

    fn streams(&self) -> MutexGuard<'_, BTreeMap<StreamName, Arc<Stream>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(
        self: &Arc<Self>,
        streams: &mut BTreeMap<StreamName, Arc<Stream>>,
        name: &StreamName,
    ) -> Result<Arc<Stream>, store::Error> {
        let (stream, task) = Stream::new(self.setup(name))?;
        streams.insert(name.clone(), stream.clone());
        let (registry, shutdown, opened) = (Arc::downgrade(self), self.shutdown.clone(), stream.clone());
        self.tasks.spawn(async move {
            task.run(shutdown).await;
            if let Some(registry) = registry.upgrade() {
                registry.forget(&opened);
            }
        });
        Ok(stream)
    }

    /// Drops a stream whose task has ended, unless a new one has the name by now.
    fn forget(&self, stream: &Arc<Stream>) {
        let mut streams = self.streams();
        if streams.get(&stream.name).is_some_and(|current| Arc::ptr_eq(current, stream)) {
            streams.remove(&stream.name);
        }
    }

    fn setup(&self, name: &StreamName) -> Setup {
        let configured = self.configured(name);
        let (dir, program) = (self.folder.join(name.as_str()), self.program.clone());
        let (recorder, hooks, keyring) = (self.recorder.clone(), self.hooks.clone(), self.keyring.clone());
        Setup { name: name.clone(), configured, dir, program, recorder, hooks, keyring }
    }

    /// What the config says of a stream.
    fn configured(&self, name: &StreamName) -> Configured {
        let config = self.config.get();
        let stream = config.stream(name);
        let hls = &config.hls;
        let record = stream.record.unwrap_or(Record::All);
        if hls.dvr_s > hls.window_s && record != Record::All {
            tracing::warn!(stream = %name, "hls.dvr_s takes record = \"all\"; viewers can't go back further than hls.window_s");
        }
        let protect = match stream.protect {
            Some(Protection::Aes128) => {
                let every = protect::every(config.protect.rotate_s, hls.segment_ms);
                self.keyring.lock(Scope::Stream(name.as_str()), every)
            }
            _ => None,
        };
        Configured {
            options: Options {
                segment_ms: hls.segment_ms,
                part_ms: hls.part_ms,
                window_s: hls.window_s,
                // What is not recorded can't be gone back to.
                dvr_s: if record == Record::All { hls.dvr_s } else { 0 },
                reconnect_s: config.origin.reconnect_s,
                ladder: stream.ladder.unwrap_or_default(),
                audio: stream.audio == Audio::Auto,
                projection: stream.projection,
                stereo: stream.stereo,
                protect,
            },
            listed: self.listed_as(&Route::Multivariant(name.clone())).is_some(),
            record,
        }
    }

    fn get_or_open(self: &Arc<Self>, name: &StreamName) -> Result<Arc<Stream>, Refusal> {
        let mut streams = self.streams();
        if let Some(stream) = streams.get(name) {
            return Ok(stream.clone());
        }
        if self.shutdown.is_cancelled() {
            return Err(Refusal::ShuttingDown);
        }
        if streams.len() >= STREAMS_MAX {
            // A place that an ended stream holds is free for a live one: the longest ended one goes.
            let ended =
                streams.values().filter_map(|stream| Some((stream.ended()?, stream))).min_by_key(|(since, _)| *since);
            if let Some((_, stream)) = ended {
                stream.forget();
            }
            // The encoder tries again in a moment; by then there is room.
            return Err(Refusal::TooManyStreams(STREAMS_MAX));
        }
        self.open(&mut streams, name).map_err(|error| {
            tracing::error!(stream = %name, %error, "cannot open a stream");
            Refusal::Disk
        })
    }
}

/// The registry behind its guard: what publishers' connections talk to.
#[derive(Debug, Clone)]
pub(crate) struct Door(pub(crate) Arc<Registry>, pub(crate) Arc<Access>);

impl Ingest for Door {
    async fn claim(&self, mut request: PublishRequest) -> Result<Claim, Refusal> {
        let grant = self.1.judge(&request).await?;
        // They have done their work.
        SECRET_PARAMS.iter().for_each(|secret| drop(request.key.params.remove(*secret)));
        // A stream may be forgotten between finding it and asking it: then the second try makes a new one.
        for _ in 0..2 {
            let stream = self.0.get_or_open(&request.key.name)?;
            let (reply, answer) = oneshot::channel();
            if stream.command(Command::Claim(request.clone(), grant, reply)).await.is_ok()
                && let Ok(answer) = answer.await
            {
                return answer;
            }
            self.0.forget(&stream);
        }
        Err(Refusal::ShuttingDown)
    }
}

/// Says in an entry of `/api/streams` that it can't be watched without a token.
fn mark(mut entry: Value, watch: Watch) -> Value {
    if let (Watch::Signed, Some(fields)) = (watch, entry.as_object_mut()) {
        fields.insert("watch".to_owned(), json!(watch));
    }
    entry
}

/// A stream's entry in `/api/streams`; `None` before there is something to play.
fn describe(stream: &Stream, recorder: &Recorder) -> Option<Value> {
    let core = stream.core();
    let playlist = core.multivariant(stream.name.as_str())?;
    let since = core.since()?;
    let (layout, audio) = (core.layout(), playlist.audio.as_ref().map_or(0, |audio| audio.peak));
    let source = format!("/{}/", Rendition::Source);
    let rungs: Vec<Value> = playlist
        .variants
        .iter()
        .map(|rung| {
            json!({
                "width": rung.size.0, "height": rung.size.1, "bandwidth": rung.peak + audio,
                "source": rung.uri.contains(&source),
            })
        })
        .collect();
    let (state, asset) = match core.state() {
        State::Live => ("live", None),
        State::Waiting(_) => ("waiting", None),
        State::Ended(_) => {
            let id = asset_id(stream.name.as_str(), since);
            ("ended", recorder.asset_url(&id).map(|_| id))
        }
    };
    let mut entry = json!({
        "name": stream.name, "state": state, "url": Route::Multivariant(stream.name.clone()).to_string(),
        "since": date(since), "projection": layout.projection, "stereo": layout.stereo, "rungs": rungs,
        "listed": stream.listed(),
    });
    let marks = stream.marks();
    if let (false, Some(fields)) = (marks.is_empty(), entry.as_object_mut()) {
        let mark = |mark: &Mark| json!({ "name": mark.name, "time": date(mark.at_ms) });
        fields.insert("marks".to_owned(), marks.iter().map(mark).collect());
    }
    if let (Some(asset), Some(fields)) = (asset, entry.as_object_mut()) {
        fields.insert("asset".to_owned(), Value::String(asset));
    }
    Some(entry)
}
