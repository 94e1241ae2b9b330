//! The ladder in a process of its own: the child's side.
//!
//! Reads the parent's messages from stdin, writes the ladder's to stdout, libav's and our words to stderr. Ends when
//! the parent says so or closes the pipe.

use crate::Error;
use crate::ladder::{FromLadder, Pipeline, Sink, ToLadder};
use crate::wire::{self, ToChild};
use std::fs::File;
use std::io::{BufReader, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Messages that wait for the parent. Beyond it encoders wait, then the decoder, then the parent's own queue fills.
const OUTPUT_MESSAGES: usize = 64;

/// Bytes collected before they are written, when there is more to say.
const WRITE_BYTES: usize = 256 << 10;

/// Serves one ladder on stdin and stdout. Errors have been sent to the parent as [`FromLadder::Failed`], too.
pub fn serve() -> Result<(), Error> {
    let (sender, messages) = sync_channel(OUTPUT_MESSAGES);
    let stdout = std::io::stdout().as_fd().try_clone_to_owned().map_err(Error::io("opening stdout"))?;
    let writer = std::thread::Builder::new()
        .name("ladder-out".to_owned())
        .spawn(move || write(&messages, File::from(stdout)))
        .map_err(Error::io("starting a thread"))?;
    let result = run(&sender);
    if let Err(error) = &result {
        // Of a rung that ended early the parent has heard, or it does not listen any more.
        if !matches!(error, Error::RungEnded) {
            drop(sender.send(FromLadder::Failed { why: error.to_string() }));
        }
    }
    drop(sender);
    drop(writer.join());
    result
}

fn run(output: &SyncSender<FromLadder>) -> Result<(), Error> {
    let stdin = std::io::stdin().as_fd().try_clone_to_owned().map_err(Error::io("opening stdin"))?;
    let mut input = BufReader::with_capacity(WRITE_BYTES, File::from(stdin));
    let Some(first) = wire::read(&mut input)? else { return Ok(()) };
    let ToChild::Settings(settings) = wire::decode_to_child(first)? else {
        return Err(wire::Malformed("settings must come first").into());
    };
    let sender = output.clone();
    let sink: Sink = Arc::new(move |message| sender.send(message).is_ok());
    let mut pipeline = Pipeline::new(settings, sink)?;
    let mut damaged = 0;
    while let Some(message) = wire::read(&mut input)? {
        let ToChild::Ladder(message) = wire::decode_to_child(message)? else {
            return Err(wire::Malformed("settings may only come first").into());
        };
        let last = message == ToLadder::End;
        let begun = if let ToLadder::Segment { seq, .. } = &message { Some(*seq) } else { None };
        pipeline.push(message)?;
        if let Some(seq) = begun {
            // Where nobody listens the next push says so.
            let _ = output.send(FromLadder::Worked { seq, busy_us: pipeline.take_busy() });
        }
        if pipeline.damaged() > damaged {
            damaged = pipeline.damaged();
            eprintln!("{damaged} units or pictures of the source could not be decoded so far");
        }
        if last {
            break;
        }
    }
    Ok(())
}

/// Writes what comes until nobody can send any more, or the parent is gone: then senders see it.
fn write(messages: &Receiver<FromLadder>, mut pipe: File) {
    while let Ok(message) = messages.recv() {
        let mut bytes = wire::encode_from_child(&message).to_vec();
        while let Ok(more) = messages.try_recv() {
            bytes.extend_from_slice(&wire::encode_from_child(&more));
            if bytes.len() >= WRITE_BYTES {
                break;
            }
        }
        if pipe.write_all(&bytes).is_err() {
            return;
        }
    }
}
