//! What SQS says and how it is asked, as far as that is arithmetic and text.
//!
//! Pure.

use crate::queue::{BODY_BYTES_MAX, Message, Receipt};
use aws_sdk_sqs::types::MessageSystemAttributeName;
use std::ops::Range;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Most messages in one request.
const REQUEST_MESSAGES_MAX: usize = 10;

/// Most bytes of all bodies in one request. AWS takes more by now; not all that speak like it do.
const REQUEST_BYTES_MAX: usize = BODY_BYTES_MAX;

/// Whether a refusal of a receipt says that the message is not ours (any more).
pub(super) fn is_lost(code: &str) -> bool {
    let code = code.strip_prefix("AWS.SimpleQueueService.").unwrap_or(code);
    // The last one: of a receipt that is too old, and of a message that was had for 12 hours.
    matches!(code, "ReceiptHandleIsInvalid" | "MessageNotInflight" | "InvalidParameterValue")
}

/// Cuts a batch into requests, by the lengths of bodies in bytes.
pub(super) fn requests(lengths: &[usize]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut bytes = 0_usize;
    for (n, length) in lengths.iter().enumerate() {
        bytes = bytes.saturating_add(*length);
        let end = n.saturating_add(1);
        match ranges.last_mut() {
            Some(last) if last.len() < REQUEST_MESSAGES_MAX && bytes <= REQUEST_BYTES_MAX => last.end = end,
            _ => {
                ranges.push(n..end);
                bytes = *length;
            }
        }
    }
    ranges
}

/// The ARN in a redrive policy. It is a JSON object of one text and one number.
pub(super) fn target(policy: &str) -> Option<&str> {
    let (_, rest) = policy.split_once("\"deadLetterTargetArn\"")?;
    let value = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    value.split_once('"').map(|(arn, _)| arn)
}

/// What was received, if it can be given back: without a receipt it is nothing to us.
pub(super) fn message(received: aws_sdk_sqs::types::Message) -> Option<Message> {
    let attributes = received.attributes.unwrap_or_default();
    let number = |name| attributes.get(&name).and_then(|value| value.parse::<u64>().ok());
    let sent = number(MessageSystemAttributeName::SentTimestamp).unwrap_or(0);
    let count = number(MessageSystemAttributeName::ApproximateReceiveCount).unwrap_or(1);
    Some(Message {
        id: received.message_id.unwrap_or_default(),
        body: received.body.unwrap_or_default(),
        receipt: Receipt(received.receipt_handle?),
        receive_count: u32::try_from(count).unwrap_or(u32::MAX),
        received_at: Instant::now(),
        sent_at: SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(sent)).unwrap_or(SystemTime::UNIX_EPOCH),
    })
}

/// Whole seconds, not fewer.
pub(super) fn seconds(time: Duration) -> i32 {
    let more = u64::from(time.subsec_nanos() > 0);
    i32::try_from(time.as_secs().saturating_add(more)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_cut_by_count_and_by_bytes() {
        const FULL: usize = REQUEST_BYTES_MAX;
        for (lengths, expected) in [
            (vec![], vec![]),
            (vec![1], vec![1]),
            (vec![1; 10], vec![10]),
            (vec![1; 21], vec![10, 20, 21]),
            (vec![FULL, 1, FULL - 1, 1], vec![1, 3, 4]),
            (vec![FULL, FULL], vec![1, 2]),
        ] {
            let ranges = requests(&lengths);
            let starts: Vec<usize> = std::iter::once(0).chain(expected.clone()).take(ranges.len()).collect();
            assert_eq!(ranges.iter().map(|range| range.end).collect::<Vec<_>>(), expected, "{lengths:?}");
            assert_eq!(ranges.iter().map(|range| range.start).collect::<Vec<_>>(), starts, "{lengths:?}");
        }
    }

    #[test]
    fn times_are_whole_seconds_and_never_shorter() {
        for (millis, expected) in [(0, 0), (1, 1), (1000, 1), (1001, 2), (43_200_000, 43_200)] {
            assert_eq!(seconds(Duration::from_millis(millis)), expected);
        }
    }

    #[test]
    fn the_redrive_policy_names_the_queue_for_the_dead() {
        let arn = "arn:aws:sqs:eu-west-1:123456789012:dead";
        for policy in [
            format!("{{\"deadLetterTargetArn\":\"{arn}\",\"maxReceiveCount\":\"3\"}}"),
            format!("{{\"maxReceiveCount\": 3, \"deadLetterTargetArn\" : \"{arn}\"}}"),
        ] {
            assert_eq!(target(&policy), Some(arn));
        }
        assert_eq!(target("{}"), None);
        assert_eq!(target("\"deadLetterTargetArn\" 3"), None);
    }

    #[test]
    fn only_refusals_of_the_receipt_mean_that_a_message_is_lost() {
        for code in [
            "ReceiptHandleIsInvalid",
            "AWS.SimpleQueueService.MessageNotInflight",
            "MessageNotInflight",
            "InvalidParameterValue",
        ] {
            assert!(is_lost(code), "{code}");
        }
        for code in ["QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue", "AccessDenied", "OverLimit", ""] {
            assert!(!is_lost(code), "{code}");
        }
    }
}
