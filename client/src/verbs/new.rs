//! `new`: make a spec from what there is.

use super::export::{exists, save};
use super::run::unreadable;
use super::{Outcome, show_json, warn_all};
use crate::failure::Failure;
use crate::render::table::items;
use crate::render::text::fold;
use crate::render::units::count;
use crate::session::Session;
use proto::method::{New, NewAnswer, Origin, Unknown, UnknownKind};
use proto::{CommitId, ErrorKind, picture};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Names that are listed for one reason; `--json` has them all.
const LISTED: usize = 20;

/// Arguments of `new`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Id of the version: the name of its spec without .json
    id: String,
    /// Snapshot of ComfyUI-Manager (JSON or YAML), ComfyUI Desktop or comfy-pack; - for stdin
    #[arg(long, value_name = "FILE", group = "origin")]
    from_snapshot: Option<PathBuf>,
    /// Workflow, saved or in API format, or a picture that holds one; - for stdin
    #[arg(long, value_name = "FILE", group = "origin")]
    from_workflow: Option<PathBuf>,
    /// Directory of an installed ComfyUI
    #[arg(long, value_name = "DIR", group = "origin")]
    from_comfyui: Option<PathBuf>,
    /// File to write [default: ID.json in the daemon's versions directory]
    #[arg(short, long, value_name = "FILE", conflicts_with = "dry_run")]
    output: Option<PathBuf>,
    /// Replace the file that is there
    #[arg(long)]
    force: bool,
    /// Print the spec and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Ask no host: what only hosts know stays unknown
    #[arg(long)]
    offline: bool,
}

/// Runs the verb: the path of the spec on stdout, or with `--dry-run` the spec itself.
///
/// # Errors
/// A file that cannot be read or written, or what the daemon answered.
pub fn run(args: &Args, session: &mut Session) -> Result<Outcome, Failure> {
    let output = args.output.as_deref();
    if let Some(file) = output.filter(|file| !args.force && file.exists()) {
        return Err(exists(file));
    }
    let call = New {
        target: session.target(&args.id),
        from: origin(args)?,
        offline: session.offline(args.offline),
        force: args.force,
        no_write: args.dry_run || output.is_some(),
    };
    let answer = session.call(&call)?;
    let made = answer.read()?;
    if let Some(file) = output {
        save(file, &made.text, args.force)?;
    }
    if session.screen.json {
        show_json(session, &answer)?;
        return Ok(Outcome::Done);
    }
    warn_all(session, &made.warnings);
    for group in groups(&made.unknown) {
        session.screen.warn(&group.sentence());
        session.screen.say(&group.details());
    }
    if args.dry_run {
        session.screen.result(&made.text)?;
        return Ok(Outcome::Done);
    }
    let path =
        output.map(|path| path.display().to_string()).or_else(|| made.path.clone()).unwrap_or_default();
    session.screen.note(&summary(&made));
    session.screen.result(&format!("{path}\n"))?;
    Ok(Outcome::Done)
}

fn origin(args: &Args) -> Result<Option<Origin>, Failure> {
    if let Some(file) = &args.from_snapshot {
        return text(file, read(file)?).map(|text| Some(Origin::Snapshot(text)));
    }
    if let Some(dir) = &args.from_comfyui {
        let dir = std::path::absolute(dir).map_err(|error| unreadable(dir, &error))?;
        return match dir.to_str() {
            Some(dir) => Ok(Some(Origin::Comfyui(dir.to_owned()))),
            None => Err(not_text(&dir)),
        };
    }
    let Some(file) = &args.from_workflow else { return Ok(None) };
    let bytes = read(file)?;
    Ok(Some(match picture::without_pixels(&bytes) {
        Some(left) => Origin::Picture(left.into_iter().map(char::from).collect()),
        None => Origin::Workflow(text(file, bytes)?),
    }))
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        io::stdin().read_to_end(&mut bytes).map(drop)
    } else {
        File::open(file).and_then(|mut file| file.read_to_end(&mut bytes)).map(drop)
    };
    read.map(|()| bytes).map_err(|error| unreadable(file, &error))
}

fn text(file: &Path, bytes: Vec<u8>) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|_| not_text(file))
}

fn not_text(file: &Path) -> Failure {
    Failure::new(
        ErrorKind::Usage,
        format!("`{}` is neither UTF-8 text nor a PNG or WebP picture", file.display()),
    )
}

/// One reason, and all that it keeps out.
struct Group<'a> {
    kind: UnknownKind,
    reason: &'a str,
    hint: Option<&'a str>,
    names: Vec<&'a str>,
}

/// Gathers what is unknown by its reason, in the order of the answer.
fn groups(unknown: &[Unknown]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for Unknown { kind, name, reason, hint } in unknown {
        let (reason, hint) = (reason.as_str(), hint.as_deref());
        let same =
            groups.iter_mut().find(|group| (group.kind, group.reason, group.hint) == (*kind, reason, hint));
        match same {
            Some(group) => group.names.push(name),
            None => groups.push(Group { kind: *kind, reason, hint, names: vec![name] }),
        }
    }
    groups
}

impl Group<'_> {
    fn sentence(&self) -> String {
        let number = self.names.len();
        let what = match self.kind {
            // It is never left out: another one is taken.
            UnknownKind::Comfyui => return format!("ComfyUI: {}", self.reason),
            UnknownKind::CustomNode => count(number, "custom node"),
            UnknownKind::NodeClass if number == 1 => "1 node class".to_owned(),
            UnknownKind::NodeClass => format!("{number} node classes"),
            UnknownKind::Model => count(number, "model"),
            UnknownKind::Package => count(number, "package"),
        };
        format!("left out: {what}, {}", self.reason)
    }

    /// The names, and what to do about them.
    fn details(&self) -> String {
        let listed = self.names.len().min(LISTED);
        let mut text = match self.kind {
            UnknownKind::Comfyui => String::new(),
            _ => items("  ", &self.names[..listed]),
        };
        if self.names.len() > listed {
            text += &format!("  and {} more (`--json` lists all)\n", self.names.len() - listed);
        }
        text + &self.hint.map(|hint| fold("  hint: ", hint, 4)).unwrap_or_default()
    }
}

fn summary(answer: &NewAnswer) -> String {
    let comfy = &answer.spec.comfy;
    let taken = comfy.commit.as_ref().map(CommitId::short).or(comfy.git_ref.as_deref());
    format!(
        "{}: ComfyUI {}, {}, {}; `comfyctl realize {}` makes it real",
        answer.version_id,
        taken.unwrap_or("HEAD"),
        count(answer.spec.custom_nodes.len(), "custom node"),
        count(answer.spec.models.len(), "model"),
        answer.version_id,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_for_one_reason_stands_together() {
        let model = |name: &str| Unknown {
            kind: UnknownKind::Model,
            name: name.to_owned(),
            reason: "no link of it is known".to_owned(),
            hint: Some("add it".to_owned()),
        };
        let node = Unknown { kind: UnknownKind::CustomNode, hint: None, ..model("x") };
        let many: Vec<_> = (0..23).map(|number| model(&number.to_string())).chain([node]).collect();
        let groups = groups(&many);
        let sentences: Vec<_> = groups.iter().map(Group::sentence).collect();
        let expected = [
            "left out: 23 models, no link of it is known",
            "left out: 1 custom node, no link of it is known",
        ];
        assert_eq!(sentences, expected);
        let details = groups[0].details();
        assert!(details.starts_with("  0\n  1\n"), "{details}");
        assert!(details.ends_with("  19\n  and 3 more (`--json` lists all)\n  hint: add it\n"), "{details}");
        assert_eq!(groups[1].details(), "  x\n");
    }
}
