//! Writes to plain TCP sockets: ordinary bytes are copied, stretches of memory files are sent by the kernel itself.
//!
//! Knows no HTTP: it sees slices, and what it doesn't recognise it writes like any socket would.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

/// Writes what the socket takes of these slices.
pub(super) fn poll_write_vectored(
    stream: &mut TcpStream,
    cx: &mut Context<'_>,
    bufs: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    #[cfg(target_os = "linux")]
    if let Some(file) = file::find(bufs) {
        return file.poll_send(stream, cx);
    }
    Pin::new(stream).poll_write_vectored(cx, bufs)
}

#[cfg(target_os = "linux")]
mod file {
    use memory::Stretch;
    use rustix::io::Errno;
    use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
    use std::io::{self, IoSlice};
    use std::task::{Context, Poll, ready};
    use tokio::io::Interest;
    use tokio::net::TcpStream;

    /// Shorter stretches are cheaper copied.
    const SEND_BYTES_MIN: usize = 16 * 1024;

    /// Ordinary bytes, then a stretch of a file.
    pub(super) struct Send<'a> {
        head: &'a [IoSlice<'a>],
        stretch: Stretch,
        length: usize,
    }

    /// The first long stretch of a file among the slices, with what is before it.
    pub(super) fn find<'a>(bufs: &'a [IoSlice<'a>]) -> Option<Send<'a>> {
        let look = |(index, slice): (usize, &IoSlice<'_>)| {
            let stretch = if slice.len() >= SEND_BYTES_MIN { memory::find(slice) } else { None };
            stretch.map(|stretch| (index, slice.len(), stretch))
        };
        let (index, length, stretch) = bufs.iter().enumerate().find_map(look)?;
        Some(Send { head: bufs.get(..index)?, stretch, length })
    }

    impl Send<'_> {
        /// Sends what the socket takes.
        pub(super) fn poll_send(&self, stream: &TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
            loop {
                ready!(stream.poll_write_ready(cx))?;
                let mut sent = 0;
                let result = stream.try_io(Interest::WRITABLE, || {
                    sent = self.send(stream)?;
                    // A socket that took less than it was given is full. Said so, it is waited for without being asked.
                    if sent < self.length() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
                });
                match result {
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Poll::Ready(Err(error)),
                    _ if sent > 0 => return Poll::Ready(Ok(sent)),
                    _ => {}
                }
            }
        }

        fn length(&self) -> usize {
            self.head.iter().map(|slice| slice.len()).fold(self.length, usize::saturating_add)
        }

        fn send(&self, stream: &TcpStream) -> io::Result<usize> {
            let head: usize = self.head.iter().map(|slice| slice.len()).sum();
            if head > 0 {
                // MORE: the file's bytes go into the same packet.
                let flags = SendFlags::MORE | SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
                let sent = sendmsg(stream, self.head, &mut SendAncillaryBuffer::default(), flags)?;
                if sent < head {
                    return Ok(sent);
                }
            }
            let mut offset = self.stretch.offset();
            loop {
                return match rustix::fs::sendfile(stream, self.stretch.file(), Some(&mut offset), self.length) {
                    Ok(sent) => Ok(head.saturating_add(sent)),
                    Err(Errno::INTR) => continue,
                    // What went wrong comes again when it is tried again.
                    Err(_) if head > 0 => Ok(head),
                    Err(error) => Err(error.into()),
                };
            }
        }
    }
}
