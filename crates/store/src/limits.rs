//! How long a store may take, and how often it is asked again.

use std::time::Duration;

/// Slowest rate at which uploads are waited for: a megabit per second.
const UPLOAD_BYTES_PER_S_MIN: u64 = 128 * 1024;

/// How long a store may take, and how often it is asked again. Uploads get time for their bytes on top.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the first packet to a connection.
    pub connect: Duration,
    /// From the question to the answer's head.
    pub attempt: Duration,
    /// The same for all attempts and the waits between them. A folder has it for its one.
    pub operation: Duration,
    /// How often it is asked in all.
    pub attempts: u32,
    /// Longest pause before the second attempt; each further one may be twice as long.
    pub pause: Duration,
    /// How long a body may stand still.
    pub stall: Duration,
}

impl Limits {
    /// For work that nobody waits for on a screen.
    pub const PATIENT: Self = Self {
        connect: Duration::from_secs(3),
        attempt: Duration::from_secs(15),
        operation: Duration::from_secs(60),
        attempts: 5,
        pause: Duration::from_secs(1),
        stall: Duration::from_secs(10),
    };

    /// For viewers: who asks is answered within about two seconds, also when the answer is no.
    pub const QUICK: Self = Self {
        connect: Duration::from_secs(1),
        attempt: Duration::from_millis(1500),
        operation: Duration::from_secs(2),
        attempts: 2,
        pause: Duration::from_millis(100),
        stall: Duration::from_secs(5),
    };

    /// The same with time for sending so many bytes.
    pub(crate) fn stretched(self, bytes: u64) -> Self {
        let more = Duration::from_secs(bytes / UPLOAD_BYTES_PER_S_MIN);
        Self {
            attempt: self.attempt.saturating_add(more),
            operation: self.operation.saturating_add(more.saturating_mul(self.attempts)),
            ..self
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::PATIENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_get_time_for_their_bytes_in_each_attempt() {
        let limits = Limits::PATIENT.stretched(16 * 1024 * 1024);
        assert_eq!(limits.attempt, Duration::from_secs(15 + 128));
        assert_eq!(limits.operation, Duration::from_secs(60 + 5 * 128));
        assert_eq!(limits.stretched(0), limits);
    }
}
