//! Which CUDA a torch was built for, and whether a driver and a GPU can run it. Pure.
//!
//! Since CUDA 11 a program runs with any driver of the same major version or of a later one ("Minor Version
//! Compatibility" of NVIDIA's CUDA Compatibility: 11.x from driver 450 on, 12.x from 525, 13.x from 580), with the
//! limit that code which is compiled when it runs (PTX) needs a driver as new as its compiler. Which GPUs a build of
//! torch has code for is in PyTorch's `RELEASE.md`, "PyTorch CUDA Support Matrix".

use proto::lock::LockedPackage;

/// A version of CUDA, or a compute capability: major and minor.
pub(super) type Pair = (u32, u32);

/// What a torch computes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Built {
    /// NVIDIA's GPUs, by this CUDA.
    Cuda(Pair),
    /// AMD's GPUs.
    Rocm,
    /// The processor alone.
    Cpu,
}

/// Packages by which torch brings the libraries of CUDA, where its own version names none.
const RUNTIMES: [&str; 4] =
    ["nvidia-cuda-runtime-cu11", "nvidia-cuda-runtime-cu12", "nvidia-cuda-runtime", "cuda-toolkit"];

/// Returns the version of the torch among locked packages, and what it was built for; none where there is none, or where
/// that cannot be told.
pub(super) fn built(packages: &[LockedPackage]) -> Option<(&str, Built)> {
    let version = |name: &str| packages.iter().find(|package| package.name == name)?.version.as_deref();
    let torch = version("torch")?;
    let built = match torch.split_once('+').map(|(_, local)| local) {
        Some(local) if local.starts_with("cpu") => Built::Cpu,
        Some(local) if local.starts_with("rocm") => Built::Rocm,
        Some(local) => Built::Cuda(tag(local)?),
        None => {
            let runtime = RUNTIMES.iter().find_map(|name| version(name))?;
            let mut numbers = runtime.split('.').map(str::parse);
            Built::Cuda((numbers.next()?.ok()?, numbers.next()?.ok()?))
        }
    };
    Some((torch, built))
}

/// Reads `cu118`, `cu128`, `cu130`: the last digit is the minor version.
fn tag(local: &str) -> Option<Pair> {
    let digits = local.strip_prefix("cu")?;
    let split = digits.len().checked_sub(1).filter(|split| *split > 0 && digits.is_ascii())?;
    Some((digits[..split].parse().ok()?, digits[split..].parse().ok()?))
}

/// Whether a torch runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    Runs,
    /// The driver knows an older minor version: what is compiled when it runs may fail.
    MostlyRuns,
    /// The driver is of an older major version.
    OldDriver,
    /// The build has no code for so new a GPU; from this CUDA on it would.
    NewGpu(Pair),
    /// The build has no code any more for so old a GPU; up to this CUDA it had.
    OldGpu(Pair),
}

/// Tells whether a torch for CUDA `built` runs with a driver that knows `driver`, on a GPU of this compute capability.
pub(super) fn fit(built: Pair, driver: Pair, capability: Pair) -> Fit {
    // Blackwell.
    if capability.0 >= 10 && built < (12, 8) {
        return Fit::NewGpu((12, 8));
    }
    // Volta and older left with 13.0, Pascal and older with 12.8.
    if capability < (7, 5) && built.0 >= 13 || capability < (7, 0) && built >= (12, 8) {
        return Fit::OldGpu((12, 6));
    }
    if driver.0 < built.0 {
        return Fit::OldDriver;
    }
    if driver < built { Fit::MostlyRuns } else { Fit::Runs }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages(pairs: &[(&str, &str)]) -> Vec<LockedPackage> {
        let package = |(name, version): &(&str, &str)| LockedPackage {
            name: (*name).to_owned(),
            version: Some((*version).to_owned()),
            requirement: format!("{name}=={version}"),
            hashes: Vec::new(),
            size_bytes: None,
        };
        pairs.iter().map(package).collect()
    }

    #[test]
    fn what_a_torch_was_built_for_is_in_its_version_or_in_what_it_brings() {
        type Row = (&'static [(&'static str, &'static str)], Option<Built>);
        let table: [Row; 9] = [
            (&[("torch", "2.8.0+cu128")], Some(Built::Cuda((12, 8)))),
            (&[("torch", "2.0.1+cu118")], Some(Built::Cuda((11, 8)))),
            (&[("torch", "2.12.0+cu130")], Some(Built::Cuda((13, 0)))),
            (&[("torch", "2.8.0+cpu")], Some(Built::Cpu)),
            (&[("torch", "2.8.0+rocm6.3")], Some(Built::Rocm)),
            (&[("nvidia-cuda-runtime-cu12", "12.8.90"), ("torch", "2.9.1")], Some(Built::Cuda((12, 8)))),
            (&[("nvidia-cuda-runtime", "13.0.96"), ("torch", "2.12.0")], Some(Built::Cuda((13, 0)))),
            (&[("torch", "2.9.1")], None),
            (&[("tiny", "1.0")], None),
        ];
        for (pairs, expected) in table {
            assert_eq!(built(&packages(pairs)).map(|(_, built)| built), expected, "{pairs:?}");
        }
        for hostile in ["cu", "cu1", "cux8", "cu\u{e9}", "xpu", ""] {
            assert_eq!(built(&packages(&[("torch", &format!("1+{hostile}"))])), None, "{hostile}");
        }
    }

    #[test]
    fn drivers_run_what_is_not_newer_than_their_major_version() {
        let ampere = (8, 6);
        let table = [
            ((12, 8), (13, 0), ampere, Fit::Runs),
            ((11, 8), (12, 4), ampere, Fit::Runs),
            ((12, 8), (12, 4), ampere, Fit::MostlyRuns),
            ((13, 0), (12, 8), ampere, Fit::OldDriver),
            ((12, 4), (13, 0), (12, 0), Fit::NewGpu((12, 8))),
            ((12, 8), (13, 0), (12, 0), Fit::Runs),
            ((13, 0), (13, 0), (7, 0), Fit::OldGpu((12, 6))),
            ((12, 8), (13, 0), (6, 1), Fit::OldGpu((12, 6))),
            ((12, 6), (13, 0), (6, 1), Fit::Runs),
            ((13, 0), (13, 0), (7, 5), Fit::Runs),
        ];
        for (built, driver, capability, expected) in table {
            assert_eq!(fit(built, driver, capability), expected, "{built:?} {driver:?} {capability:?}");
        }
    }
}
