//! Which uv is used, and how one is had where there is none.

use super::blocking;
use super::error::PythonError;
use super::said::Said;
use super::uv::{Uv, is_executable, on_path};
use crate::config::Config;
use crate::ctx::Ctx;
use crate::process::{Command, run};
use crate::store::commit::{create_dir_all, publish, staging_path, step, sync_tree};
use crate::store::file_lock::FileLock;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The uv that is installed where there is none. Its words (`said`) were read in this version.
const PINNED: &str = "0.13.9";

/// The oldest uv that knows all options used here (`--exclude-newer-package <name>=false`).
const OLDEST: (u32, u32, u32) = (0, 10, 0);

/// How long another process may take to install uv.
const INSTALL_DEADLINE: Duration = Duration::from_secs(300);

impl Uv {
    /// Finds uv: `COMFYD_UV`; else the first `uv` on PATH that is a program itself (a shim costs
    /// 150 ms a run); else the one in the cache; else one is installed there by `python3 -m pip`.
    ///
    /// # Errors
    /// [`PythonError::NoUv`] when none of these works; it says what was tried.
    pub async fn locate(ctx: &Ctx, config: &Config) -> Result<Self, PythonError> {
        let mut tried = Vec::new();
        if let Some(uv) = Self::find(ctx, config, &mut tried).await? {
            return Ok(uv);
        }
        let home = own_home(config);
        let own = home.join("bin/uv");
        install(ctx, config, home).await.map_err(|error| match error {
            PythonError::NoUv(why) => {
                tried.push(why);
                PythonError::NoUv(tried.join("; "))
            }
            other => other,
        })?;
        Ok(Self::new(own, config))
    }

    /// Finds uv as [`Self::locate`] does, and installs none. What cannot be used is added to `tried`, with the
    /// reason.
    ///
    /// # Errors
    /// [`PythonError::NoUv`] when `COMFYD_UV` names one that does not work.
    pub async fn find(
        ctx: &Ctx,
        config: &Config,
        tried: &mut Vec<String>,
    ) -> Result<Option<Self>, PythonError> {
        if let Some(given) = &config.uv {
            let uv = Self::new(given.clone(), config);
            return match uv.unusable(ctx).await? {
                None => Ok(Some(uv)),
                Some(why) => Err(PythonError::NoUv(format!("COMFYD_UV is `{}`, {why}", given.display()))),
            };
        }
        let own = own_home(config).join("bin/uv");
        let on_path = on_path(&config.child_env, "uv");
        let (programs, shims): (Vec<_>, Vec<_>) = on_path.into_iter().partition(|path| is_elf(path));
        let cached = is_executable(&own).then_some(own);
        for program in programs.into_iter().chain(cached).chain(shims) {
            let uv = Self::new(program, config);
            match uv.unusable(ctx).await? {
                None => return Ok(Some(uv)),
                Some(why) => tried.push(format!("`{}` {why}", uv.program.display())),
            }
        }
        Ok(None)
    }

    /// Returns what uv says of its version, `uv 0.13.9 (…)`; none when it does not run.
    pub async fn version(&self, ctx: &Ctx) -> Option<String> {
        let finished = run(ctx, &self.command(false).arg("--version"), |_| ()).await.ok()?;
        finished.stdout.lines().next().map(str::to_owned)
    }

    /// Says why this uv cannot be used, where it cannot.
    async fn unusable(&self, ctx: &Ctx) -> Result<Option<String>, PythonError> {
        if !is_executable(&self.program) {
            return Ok(Some("which is not a program".to_owned()));
        }
        let asked = run(ctx, &self.command(false).arg("--version"), |_| ()).await;
        let version = match asked {
            Ok(finished) => finished.stdout,
            Err(error @ crate::process::ProcessError::Cancelled(_)) => return Err(error.into()),
            Err(_) => return Ok(Some("which cannot be started".to_owned())),
        };
        Ok(match parse_version(&version) {
            Some(found) if found >= OLDEST => None,
            Some((major, minor, patch)) => {
                let (a, b, c) = OLDEST;
                Some(format!("which is uv {major}.{minor}.{patch}; {a}.{b}.{c} or newer is needed"))
            }
            None => Some("which does not tell its version".to_owned()),
        })
    }
}

/// Where a uv is installed when there is none.
fn own_home(config: &Config) -> PathBuf {
    config.cache_root.join("uv").join(PINNED)
}

/// Reads `uv 0.13.9 (…)`.
fn parse_version(text: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = text.split_whitespace().nth(1)?.split(['.', '-', '+']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn is_elf(path: &Path) -> bool {
    let mut magic = [0; 4];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *b"\x7fELF"
}

/// Installs the pinned uv at `home`, once for all who ask at the same time.
async fn install(ctx: &Ctx, config: &Config, home: PathBuf) -> Result<(), PythonError> {
    if config.offline {
        return Err(PythonError::NoUv("none can be installed offline".to_owned()));
    }
    let lock = home.with_file_name("install.lock");
    let _lock = FileLock::take(ctx, lock, "the installation of uv", INSTALL_DEADLINE).await?;
    if is_executable(&home.join("bin/uv")) {
        return Ok(());
    }
    let Some(python) = on_path(&config.child_env, "python3").into_iter().next() else {
        return Err(PythonError::NoUv("there is no `python3` to install one with".to_owned()));
    };
    ctx.progress.note(format!("installing uv {PINNED}"));
    let staging = staging_path(&home);
    let installed = install_into(ctx, config, &python, &staging).await;
    let target = staging.clone();
    blocking(move || {
        let published = installed.and_then(|()| {
            sync_tree(&target)?;
            step("uv.publish", "publish", &home)?;
            Ok(publish(&target, &home)?)
        });
        if published.is_err() {
            // Best effort: the error that matters is the one above.
            std::fs::remove_dir_all(&target).ok();
        }
        published
    })
    .await
}

async fn install_into(ctx: &Ctx, config: &Config, python: &Path, staging: &Path) -> Result<(), PythonError> {
    create_dir_all(staging)?;
    let command = Command::new(python, config.child_env.clone())
        .args(["-m", "pip", "install", "--disable-pip-version-check", "--no-deps", "--target"])
        .arg(staging)
        .arg(format!("uv=={PINNED}"));
    let finished = run(ctx, &command, |_| ()).await?;
    if finished.status.success() && is_executable(&staging.join("bin/uv")) {
        return Ok(());
    }
    let said = Said::tail(&finished.stderr, 3);
    Err(PythonError::NoUv(format!("`{} -m pip` could not install one: {said}", python.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared() {
        assert_eq!(parse_version("uv 0.13.9 (x86_64-unknown-linux-gnu)\n"), Some((0, 13, 9)));
        assert_eq!(parse_version("uv 1.0.0-alpha.1"), Some((1, 0, 0)));
        assert_eq!(parse_version("pyenv: uv: command not found"), None);
    }
}
