//! Who publishes a stream: a claim, its end, and who is told of both.
//!
//! Who may publish at all was judged before ([`crate::access`]); who may take over is judged in [`super::super::publisher`].

use super::{Task, utc_ms};
use crate::access::Grant;
use crate::ingest::{Claim, PublishRequest, Refusal};
use crate::live::core::Input;
use crate::live::publisher::{Publisher, Takeover};
use metrics::counter;
use service::hooks;
use std::sync::PoisonError;
use tokio::sync::oneshot;

impl Task {
    pub(super) fn claim(
        &mut self,
        request: &PublishRequest,
        grant: Grant,
        reply: oneshot::Sender<Result<Claim, Refusal>>,
    ) -> Option<Input> {
        let takeover = Takeover { proven: grant.proven, peer: request.peer.ip() };
        if let Err(refusal) = takeover.judge(self.publisher.as_ref(), &self.stream.name, tokio::time::Instant::now()) {
            let _ = reply.send(Err(refusal));
            return None;
        }
        let before = self.publisher.take();
        let taken_over = before.is_some();
        if let Some(before) = before {
            self.closed(&before, "takeover");
            before.revoke("another publisher took this stream over");
        }
        let (publisher, claim) = Publisher::new(request.peer.ip());
        if reply.send(Ok(claim)).is_err() {
            if taken_over {
                self.unpublished("who took it over is gone");
            }
            return Some(Input::Unpublish);
        }
        tracing::info!(stream = %self.stream.name, publish = publisher.id, peer = %request.peer, "publish opened");
        counter!("live360_publishes_total").increment(1);
        *self.stream.publishing.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((publisher.id, request.peer.ip(), utc_ms()));
        self.granted = grant;
        self.apply_grant();
        let details =
            serde_json::json!({ "peer": request.peer.to_string(), "proven": grant.proven, "taken_over": taken_over });
        self.stream.hooks.tell(hooks::Event::publish(&self.stream.name, details));
        self.publisher = Some(publisher);
        Some(Input::Publish(request.key.params.clone()))
    }

    pub(super) fn end(&mut self) -> Input {
        if let Some(publisher) = self.publisher.take() {
            self.closed(&publisher, "ended");
            publisher.revoke("the operator ended this stream");
        }
        Input::End
    }

    /// A publish is over, and why: the other half of "publish opened". Hooks are told of a takeover by who takes over.
    pub(super) fn closed(&self, publisher: &Publisher, why: &'static str) {
        match why {
            "encoder" => self.unpublished("the encoder is gone"),
            "ended" => self.unpublished("the operator ended the stream"),
            "kicked" => self.unpublished("the operator took the encoder off"),
            "shutdown" => self.unpublished("the server is shutting down"),
            _ => {}
        }
        tracing::info!(stream = %self.stream.name, publish = publisher.id, why, "publish closed");
        counter!("live360_publish_ends_total", "why" => why).increment(1);
        *self.stream.publishing.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn unpublished(&self, why: &str) {
        self.stream.hooks.tell(hooks::Event::unpublish(&self.stream.name, serde_json::json!({ "reason": why })));
    }
}
