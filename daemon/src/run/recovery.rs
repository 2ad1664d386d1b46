//! What is done when a workflow fails through no fault of its own. Pure.
//!
//! Each cause has its own steps, each step is taken once: however causes follow upon each other, a job
//! ends after at most `MOST` runs more. Failures that another run would repeat, such as a node's own
//! exception, have no steps.

use super::RunError;
use crate::comfy::ExecutionError;

/// The most runs that a job can have beyond its first.
#[cfg(test)]
const MOST: usize = 6;

/// A failure that another run may not meet again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Symptom {
    /// The GPU's memory, or the machine's, was too small for what was loaded.
    OutOfMemory,
    /// The process can use its GPU no more.
    Poisoned,
    /// The process ended by itself, or its worker thread did.
    Died,
    /// ComfyUI has forgotten the prompt.
    Lost,
    /// ComfyUI took from its cache what is gone.
    Stale,
}

/// What is done before the workflow is run once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Nothing: a process that has ended is started as for every job.
    Nothing,
    /// ComfyUI is asked to free its memory.
    Free,
    /// The process is ended and another one started.
    Restart,
}

/// The steps that a job has taken.
#[derive(Debug, Default)]
pub(super) struct Ladder {
    freed: bool,
    restarted_for_memory: bool,
    poisoned: bool,
    died: bool,
    lost: bool,
    stale: bool,
}

impl Ladder {
    /// Takes the next step against a symptom; none when there is none left.
    pub(super) fn next(&mut self, symptom: Symptom) -> Option<Remedy> {
        let (taken, remedy) = match symptom {
            Symptom::OutOfMemory if !self.freed => (&mut self.freed, Remedy::Free),
            Symptom::OutOfMemory => (&mut self.restarted_for_memory, Remedy::Restart),
            Symptom::Poisoned => (&mut self.poisoned, Remedy::Restart),
            Symptom::Died => (&mut self.died, Remedy::Nothing),
            // A process that drops what it was given is not to be trusted with it again.
            Symptom::Lost => (&mut self.lost, Remedy::Restart),
            // Which empties the cache.
            Symptom::Stale => (&mut self.stale, Remedy::Free),
        };
        (!std::mem::replace(taken, true)).then_some(remedy)
    }
}

/// Says in a line what went wrong and what is done about it.
pub(super) fn sentence(error: &RunError, remedy: Remedy) -> String {
    let done = match remedy {
        Remedy::Nothing => "run once more",
        Remedy::Free => "run once more after ComfyUI freed its memory",
        Remedy::Restart => "run once more on a new process",
    };
    format!("{error}; {done}")
}

/// Returns what a failure is a symptom of; none when another run would end the same way, or is not wanted.
pub(super) fn symptom(error: &RunError) -> Option<Symptom> {
    match error {
        RunError::Failed(error) => of_exception(error),
        RunError::Died { asked: false, .. } => Some(Symptom::Died),
        RunError::Lost => Some(Symptom::Lost),
        RunError::Stale { .. } => Some(Symptom::Stale),
        _ => None,
    }
}

/// What PyTorch and CUDA say, as of PyTorch 2.9: `OutOfMemoryError`, and `CUDA error: <name>` for errors
/// that every later call repeats.
fn of_exception(error: &ExecutionError) -> Option<Symptom> {
    let message = error.exception_message.to_ascii_lowercase();
    let says = |text: &str| message.contains(text);
    if error.exception_type.contains("OutOfMemory") || says("out of memory") {
        return Some(Symptom::OutOfMemory);
    }
    let poisoned = [
        "cuda error",
        "illegal memory access",
        "device-side assert",
        "unspecified launch failure",
        "cudnn_status_execution_failed",
        "cublas_status_execution_failed",
    ];
    poisoned.iter().any(|text| says(text)).then_some(Symptom::Poisoned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Symptom; 5] =
        [Symptom::OutOfMemory, Symptom::Poisoned, Symptom::Died, Symptom::Lost, Symptom::Stale];

    fn exception(kind: &str, message: &str) -> RunError {
        let [exception_type, exception_message] = [kind, message].map(str::to_owned);
        RunError::Failed(ExecutionError { exception_type, exception_message, ..ExecutionError::default() })
    }

    #[test]
    fn memory_is_freed_before_the_process_is_replaced() {
        let mut ladder = Ladder::default();
        let steps: Vec<_> = (0..3).map(|_| ladder.next(Symptom::OutOfMemory)).collect();
        assert_eq!(steps, [Some(Remedy::Free), Some(Remedy::Restart), None]);
        assert_eq!(ladder.next(Symptom::Died), Some(Remedy::Nothing), "another cause has its own step");
    }

    #[test]
    fn symptoms_are_read_from_what_python_says() {
        let died = |asked| RunError::Died { reason: String::new(), asked, tail: Vec::new() };
        let table = [
            (exception("torch.OutOfMemoryError", "Allocation on device"), Some(Symptom::OutOfMemory)),
            (exception("RuntimeError", "CUDA error: out of memory"), Some(Symptom::OutOfMemory)),
            (
                exception("RuntimeError", "CUDA error: an illegal memory access was encountered"),
                Some(Symptom::Poisoned),
            ),
            (
                exception("AcceleratorError", "CUDA error: device-side assert triggered"),
                Some(Symptom::Poisoned),
            ),
            (exception("ValueError", "no"), None),
            (died(false), Some(Symptom::Died)),
            (died(true), None),
            (RunError::Lost, Some(Symptom::Lost)),
            (RunError::Cancelled, None),
            (RunError::Interrupted, None),
        ];
        for (error, expected) in table {
            assert_eq!(symptom(&error), expected, "{error}");
        }
    }

    proptest! {
        #[test]
        fn a_job_that_only_fails_comes_to_an_end(causes in proptest::collection::vec(0..5_usize, 0..40)) {
            let mut ladder = Ladder::default();
            let taken = causes.iter().filter(|cause| ladder.next(ALL[**cause]).is_some()).count();
            prop_assert!(taken <= MOST);
            for cause in ALL {
                let seen = causes.iter().filter(|seen| ALL[**seen] == cause).count();
                let steps = if cause == Symptom::OutOfMemory { 2 } else { 1 };
                prop_assert_eq!(ladder.next(cause).is_some(), seen < steps);
            }
        }
    }
}
