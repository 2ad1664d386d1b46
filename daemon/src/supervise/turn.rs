//! Whose workflow computes on a GPU that several versions share: one version after another, in the order in
//! which they asked, unless all are known to fit. Who does not compute gives its memory back first.

use super::placement::{Step, share};
use super::{Ready, SuperviseError};
use crate::ctx::{Ctx, Overdue};
use proto::method::Device;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often it is looked again: prompts of people end without a word.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How long a workflow waits for its turn: others may compute for hours.
const DEADLINE: Duration = Duration::from_secs(24 * 3600);

/// Who computes and who waits to.
#[derive(Debug, Default)]
pub(super) struct Turns {
    table: Mutex<Table>,
    /// Held by the one who decides.
    deciding: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Table {
    /// Workflows that have a GPU, by home.
    computing: BTreeMap<PathBuf, usize>,
    /// Those that wait, in the order in which they asked.
    waiting: BTreeMap<u64, PathBuf>,
    last: u64,
}

/// A workflow's turn on its GPU; it ends when this is dropped.
#[derive(Debug)]
#[must_use = "the turn ends when this is dropped"]
pub struct Turn {
    /// None on the processor, which all share.
    _ticket: Option<Ticket>,
}

/// A place in the queue, then on the GPU.
#[derive(Debug)]
struct Ticket {
    ready: Ready,
    home: PathBuf,
    number: u64,
    computes: bool,
}

impl Ready {
    /// Waits until a workflow may compute on this instance's GPU, and takes its turn: others on the same GPU wait,
    /// or have given their memory back. Returns at once on the processor. Cancel-safe.
    ///
    /// # Errors
    /// [`SuperviseError::Cancelled`]; [`SuperviseError::NoRoom`] when others compute for more than a day.
    pub async fn turn(&self, ctx: &Ctx) -> Result<Turn, SuperviseError> {
        if self.info.device.as_ref().is_none_or(|device| *device == Device::Cpu) {
            return Ok(Turn { _ticket: None });
        }
        let version = self.info.version_id.to_string();
        let mut ticket = Ticket::draw(self);
        let mut waiting = ctx.progress.waiting(format!("the GPU of `{version}`"), DEADLINE);
        let go = async {
            loop {
                let mut changed = self.supervisor.room().changed.subscribe();
                match self.next_step(&mut ticket).await {
                    Step::Free(home) => self.supervisor.free(&home).await,
                    Step::Wait(names) => {
                        waiting.look(&names.join(" and ")).map_err(|overdue| (overdue, names))?;
                        tokio::time::timeout(LOOK_AGAIN, changed.changed()).await.ok();
                    }
                    // It is never decided here that one is stopped.
                    Step::Go(_) | Step::Stop(_) => return Ok(()),
                }
            }
        };
        let went = tokio::select! {
            biased;
            () = ctx.cancel.cancelled() => return Err(SuperviseError::Cancelled(version)),
            went = go => went,
        };
        went.map_err(|(Overdue(after), holders)| SuperviseError::NoRoom { version, holders, after })?;
        Ok(Turn { _ticket: Some(ticket) })
    }

    /// Decides, and takes the turn if it has come.
    async fn next_step(&self, ticket: &mut Ticket) -> Step {
        let room = self.supervisor.room();
        let _alone = room.turns.deciding.lock().await;
        let step = if self.supervisor.has_neighbours(&ticket.home) {
            let picture = self.supervisor.picture().await;
            share(&picture, &ticket.home, &room.turns.ahead_of(ticket.number))
        } else {
            Step::Go(Device::Any)
        };
        if let Step::Go(_) = step {
            room.works_again(&ticket.home);
            room.turns.begin(ticket);
        }
        step
    }
}

impl Turns {
    /// Tells whether a workflow of this home computes.
    pub(super) fn has(&self, home: &Path) -> bool {
        self.lock().computing.contains_key(home)
    }

    fn ahead_of(&self, number: u64) -> Vec<PathBuf> {
        self.lock().waiting.range(..number).map(|(_, home)| home.clone()).collect()
    }

    fn begin(&self, ticket: &mut Ticket) {
        let mut table = self.lock();
        table.waiting.remove(&ticket.number);
        *table.computing.entry(ticket.home.clone()).or_default() += 1;
        ticket.computes = true;
    }

    fn end(&self, ticket: &Ticket) {
        let mut table = self.lock();
        table.waiting.remove(&ticket.number);
        if ticket.computes
            && let Some(count) = table.computing.get_mut(&ticket.home)
        {
            *count -= 1;
            if *count == 0 {
                table.computing.remove(&ticket.home);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Whole between any two statements.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    fn draw(ready: &Ready) -> Self {
        let home = PathBuf::from(&ready.info.home);
        let mut table = ready.supervisor.room().turns.lock();
        table.last += 1;
        let number = table.last;
        table.waiting.insert(number, home.clone());
        drop(table);
        Self { ready: ready.clone(), home, number, computes: false }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let room = self.ready.supervisor.room();
        room.turns.end(self);
        room.changed.send_replace(());
    }
}
