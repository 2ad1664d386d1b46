//! What comfyd and a zygote say to each other: lines of JSON over a socket, files beside them.

use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Error, ErrorKind, IoSlice};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::net::UnixStream;

/// The longest line that is taken, in bytes: it tells a name or two numbers.
const LONGEST: usize = 64 << 10;

/// What comfyd says.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Order<'a> {
    /// Import these modules but for some, in this environment; what that says comes into the file `said`.
    Prime {
        environ: &'a BTreeMap<String, Option<String>>,
        modules: &'a [String],
        skip: &'a BTreeSet<String>,
        said: &'a Path,
    },
    /// Fork a child that is as if this had been executed. Comes with its log.
    Fork { argv: &'a [String], environ: &'a BTreeMap<String, String> },
    /// The child may be reaped when it ends.
    Held { held: u32 },
}

/// What a zygote says.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Told {
    /// It has imported all, and waits.
    #[allow(dead_code, reason = "how many modules: for people who look at the line")]
    Primed { primed: usize },
    /// This module starts threads or opens a GPU when it is imported.
    Unfit { unfit: String },
    /// It is of no use here, and why.
    Cannot { cannot: String },
    /// A child runs, and is not reaped yet.
    Forked { forked: u32 },
    /// How a child ended: its wait status (wait(2)).
    Ended { ended: u32, status: i32 },
}

/// The connection to a zygote.
#[derive(Debug)]
pub(super) struct Wire {
    stream: UnixStream,
    read: Vec<u8>,
}

impl Wire {
    /// Needs a runtime.
    pub(super) fn new(stream: std::os::unix::net::UnixStream) -> std::io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream: UnixStream::from_std(stream)?, read: Vec::new() })
    }

    /// Says something. Not cancel-safe: half of a line would be said.
    pub(super) async fn tell(&self, order: &Order<'_>, file: Option<&File>) -> std::io::Result<()> {
        let mut text = serde_json::to_vec(order)?;
        text.push(b'\n');
        let (mut file, mut said) = (file, 0);
        while said < text.len() {
            let files: Vec<_> = file.iter().map(|file| file.as_raw_fd()).collect();
            let rights = [ControlMessage::ScmRights(&files)];
            let rights = if files.is_empty() { &[][..] } else { &rights };
            let send = || {
                let rest = [IoSlice::new(&text[said..])];
                let fd = self.stream.as_raw_fd();
                sendmsg::<UnixAddr>(fd, &rest, rights, MsgFlags::MSG_NOSIGNAL, None).map_err(Error::from)
            };
            said += self.stream.async_io(Interest::WRITABLE, send).await?;
            file = None;
        }
        Ok(())
    }

    /// Waits for what it says next; none when it is gone. Cancel-safe.
    ///
    /// # Errors
    /// When it says what nobody understands.
    pub(super) async fn next(&mut self) -> std::io::Result<Option<Told>> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            if self.read.len() > LONGEST {
                return Err(Error::new(ErrorKind::InvalidData, "a line without end"));
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Ok(None);
            }
        }
    }
}
