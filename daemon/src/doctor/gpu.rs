//! GPUs and their driver, against the torch of each lock.

use super::cuda::{Built, Fit, Pair, built, fit};
use super::list;
use crate::ctx::blocking;
use crate::supervise::{Driver, Supervisor};
use proto::method::Finding;
use proto::{Lock, VersionId};
use std::collections::BTreeMap;

const SUBJECT: &str = "GPU";

/// Versions by their torch.
type Torches<'a> = BTreeMap<(&'a str, Built), Vec<&'a VersionId>>;

/// Asks the driver. Cancel-safe.
pub(super) async fn look(supervisor: &Supervisor, locks: &BTreeMap<VersionId, Lock>) -> Vec<Finding> {
    let driver = supervisor.driver().await;
    let asking = supervisor.clone();
    let others_exist = driver.is_none() && blocking(move || asking.other_gpus_exist()).await;
    let mut torches = Torches::new();
    for (id, lock) in locks {
        if let Some(torch) = built(&lock.python.packages) {
            torches.entry(torch).or_default().push(id);
        }
    }
    judge(driver.as_ref(), others_exist, &torches)
}

fn judge(driver: Option<&Driver>, others_exist: bool, torches: &Torches<'_>) -> Vec<Finding> {
    let Some(driver) = driver.filter(|driver| !driver.gpus.is_empty()) else {
        return vec![none(driver.is_some(), others_exist)];
    };
    let mut found = vec![told(driver)];
    for ((torch, built), ids) in torches {
        let torch = format!("torch {torch} of {}", list(ids));
        found.push(match built {
            Built::Cuda(cuda) => of_cuda(&torch, *cuda, driver),
            Built::Cpu => Finding::warning(
                "torch",
                format!("{torch} computes on the processor, and there is a GPU"),
                "name a torch for CUDA in the spec's `python_packages`, or an index that has it",
            ),
            Built::Rocm => Finding::problem(
                "torch",
                format!("{torch} is for AMD's GPUs"),
                "name a torch for CUDA in the spec's `python_packages`, or an index that has it",
            ),
        });
    }
    found
}

fn told(driver: &Driver) -> Finding {
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, _) in &driver.gpus {
        *names.entry(name).or_default() += 1;
    }
    let names = names.into_iter().map(|(name, number)| match number {
        1 => name.to_owned(),
        number => format!("{number} x {name}"),
    });
    let names: Vec<_> = names.collect();
    let (major, minor) = driver.cuda;
    let text = format!("{}; driver {}, up to CUDA {major}.{minor}", names.join(", "), driver.version);
    Finding::ok(SUBJECT, text).figure("gpus", driver.gpus.len() as u64)
}

fn none(has_driver: bool, others_exist: bool) -> Finding {
    if others_exist {
        let text = "there is one, and no NVIDIA driver tells of it: ComfyUI gets it as it is";
        return Finding::warning(
            SUBJECT,
            text,
            "install NVIDIA's driver library, unless it is another maker's GPU",
        );
    }
    let text = if has_driver {
        "none that may be used: ComfyUI runs on the processor"
    } else {
        "none with a driver that answers: ComfyUI runs on the processor"
    };
    Finding::warning(
        SUBJECT,
        text,
        "give the container its GPUs (`--gpus all`), look at CUDA_VISIBLE_DEVICES, or run `nvidia-smi`",
    )
}

fn of_cuda(torch: &str, cuda: Pair, driver: &Driver) -> Finding {
    const SUBJECT: &str = "torch";
    let of = |(major, minor): Pair| format!("{major}.{minor}");
    // The GPU that fits worst says what people have to know.
    let worst = driver.gpus.iter().map(|(name, capability)| (name, fit(cuda, driver.cuda, *capability)));
    let rank = |fit: &Fit| match fit {
        Fit::Runs => 0,
        Fit::MostlyRuns => 1,
        Fit::OldDriver | Fit::NewGpu(_) | Fit::OldGpu(_) => 2,
    };
    let Some((name, fit)) = worst.max_by_key(|(_, fit)| rank(fit)) else {
        return Finding::ok(SUBJECT, format!("{torch} is for CUDA {}", of(cuda)));
    };
    let knows = format!("{torch} is for CUDA {}, and the driver knows {}", of(cuda), of(driver.cuda));
    let newer = format!("take a machine with a driver for CUDA {}, or a torch for an older one", of(cuda));
    match fit {
        Fit::Runs => Finding::ok(SUBJECT, format!("{torch} runs with this driver")),
        Fit::MostlyRuns => Finding::warning(
            SUBJECT,
            format!("{knows}: it runs, but what is compiled at run time may not"),
            newer,
        ),
        Fit::OldDriver => Finding::problem(SUBJECT, format!("{knows}: it does not start"), newer),
        Fit::NewGpu(from) => Finding::problem(
            SUBJECT,
            format!("{torch} is for CUDA {} and has no code for {name}", of(cuda)),
            format!("name a torch for CUDA {} or newer in the spec's `python_packages`", of(from)),
        ),
        Fit::OldGpu(up_to) => Finding::problem(
            SUBJECT,
            format!("{torch} is for CUDA {} and has no code any more for {name}", of(cuda)),
            format!("name a torch for CUDA {} in the spec's `python_packages`", of(up_to)),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::method::Verdict::{self, Ok as Fine, Problem, Warning};

    fn driver(cuda: Pair, capabilities: &[Pair]) -> Driver {
        let gpus = capabilities.iter().map(|capability| ("T4".to_owned(), *capability)).collect();
        Driver { version: "580.65.06".to_owned(), cuda, gpus }
    }

    fn verdicts(driver: &Driver, built: Built) -> Vec<Verdict> {
        let id = VersionId::new("v").unwrap();
        let torches = Torches::from([(("2.8.0", built), vec![&id])]);
        judge(Some(driver), false, &torches).iter().map(|found| found.verdict).collect()
    }

    #[test]
    fn each_torch_is_held_against_driver_and_gpus() {
        let ampere = [(8, 6)];
        let table = [
            ((13, 0), Built::Cuda((12, 8)), Fine),
            ((12, 4), Built::Cuda((12, 8)), Warning),
            ((12, 8), Built::Cuda((13, 0)), Problem),
            ((13, 0), Built::Cpu, Warning),
            ((13, 0), Built::Rocm, Problem),
        ];
        for (cuda, built, verdict) in table {
            assert_eq!(verdicts(&driver(cuda, &ampere), built), [Fine, verdict], "{cuda:?} {built:?}");
        }
        let mixed = driver((13, 0), &[(8, 6), (12, 0), (8, 6)]);
        assert_eq!(verdicts(&mixed, Built::Cuda((12, 4))), [Fine, Problem], "the worst one counts");
        assert_eq!(told(&mixed).text, "3 x T4; driver 580.65.06, up to CUDA 13.0");
    }

    #[test]
    fn a_machine_without_a_gpu_is_a_warning_and_asks_nothing_of_torch() {
        let id = VersionId::new("v").unwrap();
        let torches = Torches::from([(("2.8.0", Built::Cuda((12, 8))), vec![&id])]);
        for (driver, others) in [(None, false), (None, true), (Some(driver((13, 0), &[])), false)] {
            let found = judge(driver.as_ref(), others, &torches);
            assert_eq!((found.len(), found[0].verdict), (1, Warning));
        }
    }
}
