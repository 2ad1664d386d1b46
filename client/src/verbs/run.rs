//! `run`: run a workflow and collect what it makes.

use super::{Outcome, ask, warn_all};
use crate::failure::Failure;
use crate::render::units::{count, millis};
use crate::session::Session;
use proto::method::{BucketTarget, Delivery, InputSource, Run, RunAnswer, RunInput};
use proto::{ErrorKind, MAX_FRAME_BYTES};
use serde_json::value::{RawValue, to_raw_value};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long links to uploaded outputs are good for, in seconds: a week, the most that S3 grants.
const LINK_S: u64 = 7 * 24 * 60 * 60;

/// Arguments of `run`.
#[derive(Debug, PartialEq, clap::Args)]
pub struct Args {
    /// Version id, or path of a spec that ends in .json
    #[arg(long, value_name = "ID")]
    version_id: String,
    /// Workflow in API format: a file, an https link, or - for stdin
    #[arg(long, value_name = "FILE|LINK")]
    workflow: String,
    /// File or https link that the workflow reads under this name; may be repeated
    #[arg(long, value_name = "NAME=FILE|LINK", value_parser = input)]
    input: Vec<(String, String)>,
    /// Name of the job: the same name again gives the first one's result while it is known
    #[arg(long, value_name = "NAME")]
    job_id: Option<String>,
    /// Bucket that receives the outputs besides, s3://bucket/prefix or gs://bucket/prefix; links to them are printed
    #[arg(long, value_name = "BUCKET")]
    upload: Option<String>,
    /// Directory for the outputs [default: the version's own output directory]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// How long the workflow may take once ComfyUI is ready, such as 90s, 10m, 1h30m
    #[arg(long, value_name = "TIME", value_parser = time)]
    timeout: Option<Duration>,
    /// Use only what is cached
    #[arg(long)]
    offline: bool,
    /// Run no custom node's install.py; what they do is missing then
    #[arg(long)]
    no_install_scripts: bool,
}

/// Runs the verb: paths of outputs on stdout, one a line, then values that are no files.
///
/// # Errors
/// A file that cannot be read, or what the daemon answered.
pub fn run(args: &Args, session: &mut Session) -> Result<Outcome, Failure> {
    let inputs =
        args.input.iter().map(|(name, place)| Ok(RunInput { name: name.clone(), source: source(place)? }));
    let deliver = args.upload.clone().map(|url| {
        // Credentials are the daemon's own.
        let (access_key_id, secret_access_key) = (None, None);
        let (endpoint, region) = (None, None);
        Delivery::Bucket(BucketTarget {
            url,
            endpoint,
            region,
            access_key_id,
            secret_access_key,
            link_s: LINK_S,
        })
    });
    let call = Run {
        target: session.target(&args.version_id),
        inputs: inputs.collect::<Result<_, Failure>>()?,
        workflow: read_workflow(&args.workflow)?,
        job_id: args.job_id.clone(),
        comfy_org_api_key: None,
        deliver,
        output_dir: args.output.as_deref().map(absolute).transpose()?,
        timeout_s: args.timeout.map(|limit| limit.as_secs()),
        offline: session.offline(args.offline),
        no_install_scripts: args.no_install_scripts,
    };
    ask(session, &call, |session, answer| {
        warn_all(session, &answer.warnings);
        session.screen.note(&summary(answer));
        people(answer)
    })
}

fn summary(answer: &RunAnswer) -> String {
    let took = millis(answer.execute_ms);
    let start =
        if answer.cold { format!(", after {} of starting", millis(answer.start_ms)) } else { String::new() };
    format!("{} in {took}{start}", count(answer.outputs.len(), "output"))
}

fn people(answer: &RunAnswer) -> String {
    let mut text = String::new();
    for output in &answer.outputs {
        match (&output.file, &output.value) {
            (Some(file), _) => text += file.url.as_ref().unwrap_or(&file.path),
            (None, Some(serde_json::Value::String(value))) => text += value,
            (None, Some(value)) => text += &value.to_string(),
            (None, None) => continue,
        }
        text.push('\n');
    }
    text
}

/// Files are checked here: the daemon would fail too, after it started ComfyUI.
fn source(place: &str) -> Result<InputSource, Failure> {
    if is_link(place) {
        return Ok(InputSource::Url(place.to_owned()));
    }
    let path = Path::new(place);
    std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    Ok(InputSource::Path(absolute(path)?))
}

fn is_link(place: &str) -> bool {
    place.starts_with("https://") || place.starts_with("http://")
}

fn read_workflow(place: &str) -> Result<Box<RawValue>, Failure> {
    if is_link(place) {
        return in_json(place);
    }
    let (mut text, path) = (String::new(), Path::new(place));
    if place == "-" {
        io::stdin().read_to_string(&mut text).map_err(|error| unreadable(path, &error))?;
    } else {
        text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    }
    let read = one_line(&text).map_err(|error| {
        let mut failure = Failure::new(ErrorKind::Usage, format!("`{place}` is not JSON"));
        failure.data.causes.push(error.to_string());
        failure.hint("save the workflow in ComfyUI with `Workflow > Export (API)`")
    })?;
    // What does not fit into a message the daemon reads itself.
    if place != "-" && text.len() > MAX_FRAME_BYTES / 2 { in_json(&absolute(path)?) } else { Ok(read) }
}

fn in_json(place: &str) -> Result<Box<RawValue>, Failure> {
    to_raw_value(place).map_err(|error| Failure::new(ErrorKind::Internal, error.to_string()))
}

/// Checks JSON text and puts it into one line as it is: keys keep their order and numbers their digits.
fn one_line(text: &str) -> serde_json::Result<Box<RawValue>> {
    let text = text.trim_start_matches('\u{feff}').trim();
    // JSON has line ends only between tokens: inside strings they are escaped, and the check refuses
    // those that are not.
    serde_json::from_str::<&RawValue>(text)?;
    RawValue::from_string(text.replace(['\n', '\r'], " "))
}

pub(super) fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let kind = if error.kind() == io::ErrorKind::NotFound { ErrorKind::NotFound } else { ErrorKind::Usage };
    let mut failure = Failure::new(kind, format!("failed to read `{}`", path.display()));
    failure.data.causes.push(error.to_string());
    failure
}

fn absolute(path: &Path) -> Result<String, Failure> {
    let absolute = std::path::absolute(path).map_err(|error| unreadable(path, &error))?;
    absolute
        .into_os_string()
        .into_string()
        .map_err(|path| Failure::new(ErrorKind::Usage, format!("`{}` is not UTF-8", path.to_string_lossy())))
}

fn input(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => Ok((name.to_owned(), file.to_owned())),
        _ => Err("write NAME=FILE or NAME=LINK".to_owned()),
    }
}

fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a time: write 90s, 10m or 1h30m");
    let mut seconds: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let factor = match rest.chars().next() {
            Some('h') => 3600,
            Some('m') => 60,
            Some('s') => 1,
            None if digits == text.len() => 1,
            _ => return Err(wrong()),
        };
        rest = rest.get(1..).unwrap_or_default();
        seconds = number.checked_mul(factor).and_then(|n| n.checked_add(seconds)).ok_or_else(wrong)?;
    }
    if seconds == 0 { Err(wrong()) } else { Ok(Duration::from_secs(seconds)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let table = [("90", 90), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("2h", 7200)];
        for (text, expected) in table {
            assert_eq!(time(text), Ok(Duration::from_secs(expected)), "{text}");
        }
        for wrong in
            ["", "0", "m", "10x", "1m30", "-5s", "1.5m", "99999999999999999999s", "9999999999999999999h"]
        {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_workflow_goes_on_one_line_unchanged() {
        let raw =
            one_line("\u{feff}{\r\n  \"9\": {\"seed\": 18446744073709551616},\n  \"1\": \"a\\nb\"\n}\n");
        let expected = r#"{    "9": {"seed": 18446744073709551616},   "1": "a\nb" }"#;
        assert_eq!(raw.unwrap().get(), expected);
        assert!(one_line("{\"a\": \"raw\nline end\"}").is_err());
        assert!(one_line("").is_err());
    }

    #[test]
    fn the_call_survives_the_wire() {
        let target = proto::method::Target { version: "x".to_owned(), cwd: None, comfy_home: None };
        let workflow = one_line("{\"b\": 1, \"a\": 2}").unwrap();
        let call = Run {
            target,
            workflow,
            job_id: None,
            inputs: vec![],
            comfy_org_api_key: None,
            deliver: None,
            output_dir: None,
            timeout_s: Some(5),
            offline: false,
            no_install_scripts: false,
        };
        let read: Run = serde_json::from_str(&serde_json::to_string(&call).unwrap()).unwrap();
        assert_eq!(read.workflow.get(), "{\"b\": 1, \"a\": 2}");
        assert_eq!((read.target.version.as_str(), read.timeout_s), ("x", Some(5)));
    }
}
