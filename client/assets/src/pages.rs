//! The man pages: comfyctl(1) and one for each verb, comfyd(8), comfyd-spec(5).

use crate::format_page;
use crate::roff::Part;
use clap::builder::{Resettable, Str};
use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use comfyd::config::{VARIABLES, Variable};
use proto::ErrorKind;
use std::io;

/// Whose pages these are, and of which version.
pub const SOURCE: &str = concat!("comfyd ", env!("CARGO_PKG_VERSION"));

/// The title of the whole manual.
pub const MANUAL: &str = "comfyd manual";

/// What comfyctl heeds itself; all else is the daemon's.
const OF_CLIENT: [&str; 6] =
    ["COMFYD_SOCKET", "COMFYD_STATE_DIR", "COMFYD_BIN", "COMFY_HOME", "COMFY_OFFLINE", "COMFY_VERSIONS_DIR"];

/// A man page.
pub struct Page {
    /// The file's name.
    pub file: String,
    /// Its text.
    pub text: String,
}

/// Makes all pages.
///
/// # Errors
/// None but what a writer to memory may invent.
pub fn all() -> io::Result<Vec<Page>> {
    let mut comfyctl = comfyctl::definition().disable_help_subcommand(true);
    comfyctl.build();
    let mut pages = vec![page(&comfyctl, "1", &after_comfyctl())?];
    verbs(&comfyctl, &mut pages)?;
    let mut comfyd = comfyd::cli::Args::command();
    comfyd.build();
    pages.push(page(&comfyd, "8", &after_comfyd())?);
    pages.push(format_page::page()?);
    Ok(pages)
}

fn verbs(command: &Command, pages: &mut Vec<Page>) -> io::Result<()> {
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        pages.push(page(verb, "1", &Part::default().see_also(&["comfyctl(1)", "comfyd(8)"]))?);
        verbs(verb, pages)?;
    }
    Ok(())
}

fn page(command: &Command, section: &str, after: &Part) -> io::Result<Page> {
    // The version stands below each page anyway.
    let command = command.clone().version(Resettable::<Str>::Reset);
    let man = Man::new(command).section(section).source(SOURCE).manual(MANUAL);
    let mut text = Vec::new();
    man.render(&mut text)?;
    let text = String::from_utf8(text).map_err(io::Error::other)? + &after.text();
    Ok(Page { file: man.get_filename(), text })
}

fn after_comfyctl() -> Part {
    let mut part = Part::default().section("EXIT STATUS").term("0", &["Success."]);
    for kind in ErrorKind::ALL {
        part = part.term(&kind.exit_status().to_string(), &[kind.meaning()]);
    }
    part = part.section("ENVIRONMENT").paragraph(
        "comfyctl heeds these. A daemon that it starts inherits all of its environment: see comfyd(8).",
    );
    part = variables(part, |variable| OF_CLIENT.contains(&variable.name));
    part.section("EXAMPLES")
        .paragraph("From a spec to an image:")
        .example("comfyctl realize sd15\ncomfyctl run --version-id sd15 --workflow workflow.json")
        .paragraph("Teach the shell to complete verbs, options and versions:")
        .example("source <(comfyctl completions bash)")
        .see_also(&["comfyd(8)", "comfyd-spec(5)"])
}

fn after_comfyd() -> Part {
    let part = Part::default()
        .section("SIGNALS")
        .term("SIGTERM, SIGINT", &["Stop in order: cancel what is under way, end each ComfyUI, leave."])
        .term("the same again", &["End at once. What has its name is whole, and the next start goes on."])
        .term("SIGHUP", &["Ignored."])
        .section("EXIT STATUS")
        .term("0", &["It was asked to stop."])
        .term("1", &["It could not begin, or not go on: the log says why."])
        .term("9", &["Another daemon has the socket."])
        .section("ENVIRONMENT");
    variables(part, |_| true)
        .section("FILES")
        .term("<volume>/versions/<id>.json", &["Specs: comfyd-spec(5)."])
        .term("<volume>/comfy-<id>", &["The home of a version."])
        .term("<volume>/models", &["The models of all versions."])
        .term("~/.comfy-cache/resolved/<id>.lock.json", &["What a version was pinned to."])
        .term("~/.local/state/comfyd", &["Logs, and records of what runs."])
        .see_also(&["comfyctl(1)", "comfyd-spec(5)"])
}

fn variables(part: Part, wanted: impl Fn(&Variable) -> bool) -> Part {
    VARIABLES.iter().filter(|variable| wanted(variable)).fold(part, |part, variable| {
        let meaning = format!("{}.", capital(variable.meaning));
        part.term(variable.name, &[&meaning, &format!("When not set: {}.", variable.default)])
    })
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
