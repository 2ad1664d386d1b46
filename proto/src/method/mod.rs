//! The verbs, one file each: each type of parameters names its method and the type of its answer.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A verb. Implemented by the type of its parameters.
pub trait Method: Serialize + DeserializeOwned {
    /// Name on the wire, and on the command line.
    const NAME: &'static str;
    /// The answer.
    type Answer: Serialize + DeserializeOwned;
}

macro_rules! method {
    ($params:ty, $name:literal, $answer:ty) => {
        impl Method for $params {
            const NAME: &'static str = $name;
            type Answer = $answer;
        }
    };
}

mod diff;
mod doctor;
mod export;
mod hello;
mod instance;
mod list;
mod logs;
mod new;
mod pin;
mod plan;
mod prefetch;
mod realize;
mod resolve;
mod rollback;
mod run;
mod secret;
mod show;
mod shutdown;
mod standing;
mod status;
mod stop;
mod target;
mod test;
mod ui;
mod warm;

pub use diff::{Change, CommitCount, Diff, DiffAnswer, DiffSide, RepositoryChange};
pub use doctor::{Doctor, DoctorAnswer, Finding, Verdict};
pub use export::{Export, ExportAnswer, ExportFormat};
pub use hello::{Hello, HelloAnswer};
pub use instance::{Device, InstanceInfo, InstanceState};
pub use list::{List, ListAnswer, ListedVersion, VersionState};
pub use logs::{Logs, LogsAnswer};
pub use new::{New, NewAnswer, Origin, Unknown, UnknownKind};
pub use pin::{Pin, PinAnswer, PinInfo, Pins, PinsAnswer, Unpin};
pub use plan::GetPlan;
pub use prefetch::{Budgets, Cost, DoneLift, PlannedLift, Prefetch, PrefetchAnswer, PrefetchPlan};
pub use realize::{Realize, RealizeAnswer, RealizeOutcome};
pub use resolve::{Resolve, ResolveAnswer};
pub use rollback::{Rollback, RollbackAnswer};
pub use run::{BucketTarget, Delivery, InputSource, Output, OutputFile, Run, RunAnswer, RunInput};
pub use secret::Secret;
pub use show::{Show, ShowAnswer};
pub use shutdown::{Shutdown, ShutdownAnswer};
pub use standing::{Standing, VersionStanding, Zygote};
pub use status::{GpuInfo, GpuUse, IdleStep, JobInfo, Status, StatusAnswer, WorkflowInfo, WorkflowState};
pub use stop::{Stop, StopAnswer};
pub use target::Target;
pub use test::{Check, CheckOutcome, Test, TestAnswer};
pub use ui::{Ui, UiAnswer};
pub use warm::{Release, ReleaseAnswer, Warm, WarmAnswer, WarmTimings, Warmth};
