//! The task that owns a zygote: passes requests on to it, and how its children end to those who own them.

use super::wire::{Order, Told, Wire};
use super::{Child, Zygote, Zygotes};
use crate::ctx::blocking;
use crate::process::{Process, pss_bytes};
use crate::store::uses::Use;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// How long it may take to end by itself: it has nothing to lose.
const GRACE: Duration = Duration::from_secs(1);

/// How often its memory is looked at, which costs tens of milliseconds, and whether its generation is still there.
const LOOK: Duration = Duration::from_secs(300);

/// A zygote and what belongs to it, from the moment it waits.
pub(super) struct Waiting {
    pub(super) zygotes: Arc<Zygotes>,
    pub(super) zygote: Arc<Zygote>,
    pub(super) process: Process,
    pub(super) wire: Wire,
    pub(super) home: PathBuf,
    pub(super) generation_dir: PathBuf,
    /// Children that live, and where to tell how they end.
    pub(super) children: BTreeMap<u32, watch::Sender<Option<i32>>>,
    /// Keeps the generation from being removed.
    pub(super) generation_use: Option<Use>,
}

impl Waiting {
    /// Runs until the zygote is to end, or has.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<(Child, oneshot::Sender<Process>)>) {
        let end = self.zygote.end.clone();
        let reason = loop {
            tokio::select! {
                biased;
                () = end.cancelled() => break None,
                status = self.process.wait() => break Some(format!("{status:?}")),
                told = self.wire.next() => match told {
                    Ok(Some(told)) => self.hear(&told),
                    Ok(None) => break Some("it hung up".to_owned()),
                    Err(error) => break Some(error.to_string()),
                },
                Some((child, reply)) = requests.recv() => {
                    match end.run_until_cancelled(self.fork(&child)).await {
                        None => break None,
                        Some(Ok(process)) => drop(reply.send(process)),
                        Some(Err(error)) => break Some(error.to_string()),
                    }
                }
                () = tokio::time::sleep(LOOK) => {
                    if !self.is_current().await {
                        break None;
                    }
                    self.zygote.measure().await;
                }
            }
        };
        if let Some(reason) = reason {
            tracing::warn!(version = %self.zygote.version_id, reason, "a zygote is lost");
        }
        self.end().await;
    }

    fn hear(&self, told: &Told) {
        if let Told::Ended { ended, status } = told
            && let Some(child) = self.children.get(ended)
        {
            child.send_replace(Some(*status));
        }
    }

    /// Has it fork a child.
    async fn fork(&mut self, child: &Child) -> std::io::Result<Process> {
        self.children.retain(|_, status| !status.is_closed());
        let order = Order::Fork { argv: &child.argv, environ: &child.env };
        self.wire.tell(&order, Some(&child.log)).await?;
        let pid = loop {
            match self.wire.next().await? {
                Some(Told::Forked { forked }) => break forked,
                Some(told) => self.hear(&told),
                None => return Err(std::io::Error::other("it hung up")),
            }
        };
        let (status, ended) = watch::channel(None);
        let process = Process::forked(pid, self.zygote.pid, ended).map_err(std::io::Error::other)?;
        let process = process.ok_or_else(|| std::io::Error::other("its child is none"))?;
        self.children.insert(pid, status);
        self.wire.tell(&Order::Held { held: pid }, None).await?;
        Ok(process)
    }

    /// Tells whether its generation is still the one that its home runs.
    async fn is_current(&self) -> bool {
        let (current, generation) = (self.home.join("current"), self.generation_dir.clone());
        blocking(move || {
            let is_other = |current: PathBuf| current != generation;
            generation.is_dir() && !current.canonicalize().is_ok_and(is_other)
        })
        .await
    }

    async fn end(self) {
        let Self { zygotes, zygote, mut process, wire, home, generation_use, .. } = self;
        zygote.end.cancel();
        zygotes.forget(&home, &zygote);
        // Told by the end of the socket, it ends what nobody has hold of.
        drop(wire);
        tokio::time::timeout(GRACE, process.wait()).await.ok();
        process.stop(GRACE).await;
        blocking(move || drop(generation_use)).await;
        zygote.ended.cancel();
    }
}

impl Zygote {
    /// Looks at how much memory it takes.
    pub(super) async fn measure(&self) {
        let pid = self.pid;
        if let Some(bytes) = blocking(move || pss_bytes(pid)).await {
            self.pss_bytes.store(bytes, Ordering::Relaxed);
        }
    }
}
