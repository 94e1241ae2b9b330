//! A queue of SQS, or of anything that speaks like it.
//!
//! The SDK retries (standard mode) within the limits; what it can't know is here: whom to ask, how to cut batches, and
//! which refusals mean that a message is not ours any more.

mod words;

use super::envelope::checksum;
use super::{DEAD_MAX, Dead, Depth, Message, Outgoing, RECEIVE_MAX, Receipt, SqsUrl};
use crate::error::{Error, Trouble};
use crate::limits::Limits;
use crate::s3::{BACKOFF_MAX, behavior, endpoint, http_client, timeouts, trouble};
use aws_config::{Region, SdkConfig};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::{Builder, StalledStreamProtectionConfig};
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{MessageSystemAttributeName, QueueAttributeName, SendMessageBatchRequestEntry};
use std::collections::HashMap;
use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;
use words::{is_lost, message, requests, seconds, target};

/// How long dead messages are out of sight while they are listed or moved: long enough for [`DEAD_MAX`].
const DEAD_VISIBILITY: Duration = Duration::from_secs(60);

/// How long more dead messages are waited for. Without any wait SQS asks only some of its servers.
const DEAD_WAIT: Duration = Duration::from_secs(1);

/// A queue of SQS.
#[derive(Debug, Clone)]
pub(super) struct Sqs {
    client: Client,
    queue: Arc<SqsUrl>,
    limits: Limits,
}

impl Sqs {
    /// Finds credentials, region and endpoint where every AWS program looks: environment, profile, web identity,
    /// container, instance.
    pub(super) async fn open(queue: SqsUrl, limits: Limits) -> Result<Self, Error> {
        let found = aws_config::defaults(behavior()).http_client(http_client()).load().await;
        Self::with(&found, queue, limits)
    }

    /// The same with what was found.
    fn with(found: &SdkConfig, queue: SqsUrl, limits: Limits) -> Result<Self, Error> {
        let retries = RetryConfig::standard().with_max_attempts(limits.attempts);
        let mut config = Builder::from(found)
            .timeout_config(timeouts(limits))
            .retry_config(retries.with_initial_backoff(limits.pause).with_max_backoff(BACKOFF_MAX))
            // Answers are short, and while one is waited for, nothing may come for 20 s.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        let given = endpoint(found, "SQS");
        if given.is_none()
            && let Some(server) = queue.endpoint()
        {
            config = config.endpoint_url(server);
        }
        // A queue lies in the region that its URL names, wherever the rest is.
        if let Some(region) = queue.region() {
            config = config.region(Region::new(region.to_owned()));
        } else if found.region().is_none() {
            if given.is_none() && queue.endpoint().is_none() {
                return Err(Error::Remote {
                    doing: "open",
                    place: queue.url().to_owned(),
                    why: "no AWS region is known; set AWS_REGION".to_owned(),
                    trouble: Trouble::Refused,
                });
            }
            // Requests are signed for a region, and servers that have none take this one.
            config = config.region(Region::from_static("us-east-1"));
        }
        Ok(Self { client: Client::from_conf(config.build()), queue: Arc::new(queue), limits })
    }

    pub(super) async fn send(&self, messages: Vec<Outgoing>) -> Result<Vec<String>, Error> {
        let mut ids = Vec::with_capacity(messages.len());
        let lengths: Vec<usize> = messages.iter().map(|message| message.body.len()).collect();
        for range in requests(&lengths) {
            let part = messages.get(range).unwrap_or_default();
            ids.append(&mut self.send_some(part).await?);
        }
        Ok(ids)
    }

    /// One request, and again with what it did not take.
    async fn send_some(&self, messages: &[Outgoing]) -> Result<Vec<String>, Error> {
        let mut left = self.entries(messages)?;
        let mut ids = vec![String::new(); messages.len()];
        let mut attempt = 0;
        loop {
            attempt += 1;
            let bytes = left.iter().map(|entry| entry.message_body().len() as u64).sum();
            let with = Builder::new().timeout_config(timeouts(self.limits.stretched(bytes)));
            let send = self.client.send_message_batch().queue_url(self.queue.url()).set_entries(Some(left.clone()));
            let sent = send.customize().config_override(with).send().await;
            let sent = sent.map_err(|error| self.trouble("send to", &error))?;
            for one in sent.successful() {
                if let Some(id) = one.id().parse::<usize>().ok().and_then(|n| ids.get_mut(n)) {
                    one.message_id().clone_into(id);
                }
            }
            let Some(failed) = sent.failed().first() else { return Ok(ids) };
            let trouble = if failed.sender_fault() { Trouble::Refused } else { Trouble::Away };
            if trouble == Trouble::Refused || attempt >= self.limits.attempts {
                let why = format!("{}: {}", failed.code(), failed.message().unwrap_or("no reason given"));
                return Err(Error::Remote { doing: "send to", place: self.queue.url().to_owned(), why, trouble });
            }
            left.retain(|entry| sent.failed().iter().any(|failed| failed.id() == entry.id()));
            tokio::time::sleep(self.limits.pause).await;
        }
    }

    fn entries(&self, messages: &[Outgoing]) -> Result<Vec<SendMessageBatchRequestEntry>, Error> {
        let entry = |(n, message): (usize, &Outgoing)| {
            let mut entry = SendMessageBatchRequestEntry::builder().id(n.to_string()).message_body(&message.body);
            if self.queue.is_fifo() {
                // Each in a group of its own: none waits for another. Without a word no two are the same.
                let dedup = message.dedup.as_ref().map_or_else(|| fastrand::u128(..), |word| checksum(word.as_bytes()));
                let dedup = format!("{dedup:032x}");
                entry = entry.message_group_id(&dedup).message_deduplication_id(dedup);
            }
            entry.build().map_err(|error| Error::Remote {
                doing: "send to",
                place: self.queue.url().to_owned(),
                why: error.to_string(),
                trouble: Trouble::Refused,
            })
        };
        messages.iter().enumerate().map(entry).collect()
    }

    pub(super) async fn receive(
        &self,
        max: usize,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<Message>, Error> {
        self.receive_from(self.queue.url(), max, wait, visibility).await
    }

    async fn receive_from(
        &self,
        url: &str,
        max: usize,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<Message>, Error> {
        let limits = Limits {
            attempt: self.limits.attempt.saturating_add(wait),
            operation: self.limits.operation.saturating_add(wait),
            ..self.limits
        };
        let received = self
            .client
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(i32::try_from(max.min(RECEIVE_MAX)).unwrap_or(1))
            .wait_time_seconds(seconds(wait))
            .visibility_timeout(seconds(visibility))
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .customize()
            .config_override(Builder::new().timeout_config(timeouts(limits)))
            .send()
            .await
            .map_err(|error| self.trouble("receive from", &error))?;
        Ok(received.messages.unwrap_or_default().into_iter().filter_map(message).collect())
    }

    /// Has a message for so long from now on; not at all for nothing.
    pub(super) async fn extend(
        &self,
        doing: &'static str,
        receipt: &Receipt,
        visibility: Duration,
    ) -> Result<(), Error> {
        self.extend_in(self.queue.url(), doing, receipt, visibility).await
    }

    async fn extend_in(
        &self,
        url: &str,
        doing: &'static str,
        receipt: &Receipt,
        visibility: Duration,
    ) -> Result<(), Error> {
        let change = self.client.change_message_visibility().queue_url(url);
        let changed = change.receipt_handle(&receipt.0).visibility_timeout(seconds(visibility)).send().await;
        changed.map(drop).map_err(|error| self.lost_or(doing, &error))
    }

    pub(super) async fn done(&self, receipt: &Receipt) -> Result<(), Error> {
        self.remove(self.queue.url(), receipt).await
    }

    async fn remove(&self, url: &str, receipt: &Receipt) -> Result<(), Error> {
        let removed = self.client.delete_message().queue_url(url).receipt_handle(&receipt.0).send().await;
        removed.map(drop).map_err(|error| self.lost_or("remove from", &error))
    }

    pub(super) async fn depth(&self) -> Result<Depth, Error> {
        use QueueAttributeName as Name;
        let waiting = [Name::ApproximateNumberOfMessages, Name::ApproximateNumberOfMessagesDelayed];
        let held = Name::ApproximateNumberOfMessagesNotVisible;
        let names = [&waiting[..], std::slice::from_ref(&held)].concat();
        let found = self.attributes(self.queue.url(), "count", names).await?;
        let count = |name| found.get(name).and_then(|count| count.parse::<u64>().ok()).unwrap_or(0);
        let visible = waiting.iter().map(count).fold(0, u64::saturating_add);
        Ok(Depth { visible, in_flight: count(&held) })
    }

    pub(super) async fn dead_count(&self) -> Result<u64, Error> {
        const DOING: &str = "count the dead of";
        let dlq = self.dlq(DOING).await?;
        let name = QueueAttributeName::ApproximateNumberOfMessages;
        let found = self.attributes(dlq.url(), DOING, vec![name.clone()]).await?;
        Ok(found.get(&name).and_then(|count| count.parse().ok()).unwrap_or(0))
    }

    pub(super) async fn dead_letters(&self) -> Result<Vec<Dead>, Error> {
        const DOING: &str = "list the dead of";
        let dlq = self.dlq(DOING).await?;
        let (mut dead, failed) = self.all_of(&dlq).await;
        // Back into sight; what isn't put back comes back by itself.
        for message in &dead {
            let _ = self.extend_in(dlq.url(), DOING, &message.receipt, Duration::ZERO).await;
        }
        failed?;
        dead.sort_by(|a, b| (a.sent_at, &a.id).cmp(&(b.sent_at, &b.id)));
        let dead = dead.into_iter().map(|Message { id, body, receive_count, sent_at, .. }| Dead {
            id,
            body,
            receive_count,
            sent_at,
        });
        Ok(dead.collect())
    }

    pub(super) async fn redrive(&self) -> Result<usize, Error> {
        let dlq = self.dlq("redrive").await?;
        let mut count = 0_usize;
        while count < DEAD_MAX {
            let dead = self.receive_from(dlq.url(), RECEIVE_MAX, DEAD_WAIT, DEAD_VISIBILITY).await?;
            if dead.is_empty() {
                break;
            }
            // No word against doubles: it may be the one under which a FIFO queue has seen it already.
            let again = dead.iter().map(|message| Outgoing { body: message.body.clone(), dedup: None });
            self.send(again.collect()).await?;
            for message in &dead {
                self.remove(dlq.url(), &message.receipt).await?;
                count = count.saturating_add(1);
            }
        }
        Ok(count)
    }

    /// All messages of the queue for dead ones, out of sight now; and why there may be more.
    async fn all_of(&self, dlq: &SqsUrl) -> (Vec<Message>, Result<(), Error>) {
        let mut all: Vec<Message> = Vec::new();
        while all.len() < DEAD_MAX {
            match self.receive_from(dlq.url(), RECEIVE_MAX, DEAD_WAIT, DEAD_VISIBILITY).await {
                Ok(some) if some.is_empty() => break,
                Ok(mut some) => all.append(&mut some),
                Err(error) => return (all, Err(error)),
            }
        }
        (all, Ok(()))
    }

    /// The queue for dead messages, as the redrive policy has it.
    async fn dlq(&self, doing: &'static str) -> Result<SqsUrl, Error> {
        let found = self.attributes(self.queue.url(), doing, vec![QueueAttributeName::RedrivePolicy]).await?;
        let policy = found.get(&QueueAttributeName::RedrivePolicy);
        policy.and_then(|policy| target(policy)).and_then(|arn| self.queue.beside(arn)).ok_or_else(|| Error::Remote {
            doing,
            place: self.queue.url().to_owned(),
            why: "it has no redrive policy that names a queue for dead messages".to_owned(),
            trouble: Trouble::Refused,
        })
    }

    async fn attributes(
        &self,
        url: &str,
        doing: &'static str,
        names: Vec<QueueAttributeName>,
    ) -> Result<HashMap<QueueAttributeName, String>, Error> {
        let get = self.client.get_queue_attributes().queue_url(url).set_attribute_names(Some(names));
        let found = get.send().await.map_err(|error| self.trouble(doing, &error))?;
        Ok(found.attributes.unwrap_or_default())
    }

    /// Of what was asked with a receipt.
    fn lost_or<E>(&self, doing: &'static str, error: &SdkError<E, HttpResponse>) -> Error
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        match error.as_service_error().and_then(ProvideErrorMetadata::code) {
            Some(code) if is_lost(code) => Error::Lost { doing, place: self.queue.url().to_owned() },
            _ => self.trouble(doing, error),
        }
    }

    fn trouble<E>(&self, doing: &'static str, error: &SdkError<E, HttpResponse>) -> Error
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        trouble(doing, self.queue.url().to_owned(), error)
    }
}
