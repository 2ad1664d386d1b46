//! `status`: what the daemon is doing; with `--watch` until Ctrl-C.

use super::{Outcome, ask};
use crate::connection::Listener;
use crate::failure::Failure;
use crate::render::live::Live;
use crate::render::rates::Rates;
use crate::render::screen::Screen;
use crate::render::status::{places, view};
use crate::session::Session;
use proto::event::ProgressState;
use proto::method::{Status, StatusAnswer};
use std::time::{Duration, Instant};

/// How long to wait before the next question to a daemon of an earlier build, which answers at once.
const PAUSE: Duration = Duration::from_secs(1);

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Go on until Ctrl-C: drawn in place on a terminal, else a line of JSON for each change
    #[arg(short, long)]
    watch: bool,
}

/// Runs the verb. It starts the daemon as any other does: only a daemon that looked can tell which
/// ComfyUI processes survived an earlier one.
///
/// # Errors
/// What the daemon answered.
pub fn run(args: &Args, session: &mut Session) -> Result<Outcome, Failure> {
    if args.watch {
        return watch(session);
    }
    ask(session, &Status::default(), |session, answer| {
        let screen = &session.screen;
        view(answer, &Rates::default(), screen.marks, screen.width()) + &places(answer)
    })
}

/// Shows each answer, and asks for another one. Ctrl-C ends it well.
fn watch(session: &mut Session) -> Result<Outcome, Failure> {
    // Before anything is drawn: what the connection warns of is read on the first screen.
    let mut answer = session.call(&Status::default());
    let (mut rates, mut known) = (Rates::default(), None);
    let mut shown = Shown::new(&session.screen);
    // A Ctrl-C during a call cancelled it; its answer does not matter any more.
    while !session.interrupt.take() {
        let told = answer?;
        let status = told.read()?;
        rates.update(&status, Instant::now());
        let is_news = status.mark.is_empty() || known.as_ref() != Some(&status.mark);
        match &mut shown {
            Shown::Live(live, last) => {
                *last = text(session, &status, &rates);
                live.show(last.clone());
            }
            Shown::Text if is_news => {
                let text = text(session, &status, &rates) + "\n";
                session.screen.result(&text)?;
            }
            Shown::Json if is_news => session.screen.result(&format!("{}\n", told.json()))?,
            Shown::Text | Shown::Json => {}
        }
        if session.screen.reader_gone() {
            break;
        }
        if status.mark.is_empty() {
            std::thread::sleep(PAUSE);
        }
        known = Some(status.mark);
        answer = session.call_with(&Status { after: known.clone() }, &mut shown);
    }
    // What was seen last stays on the first screen.
    if let Shown::Live(live, last) = &mut shown {
        live.close();
        session.screen.result(last)?;
    }
    Ok(Outcome::Done)
}

fn text(session: &Session, status: &StatusAnswer, rates: &Rates) -> String {
    view(status, rates, session.screen.marks, session.screen.width())
}

/// How answers are shown.
enum Shown {
    /// Drawn in place, and what was drawn last.
    Live(Live, String),
    /// One after another, on a terminal that can do no more.
    Text,
    /// A line each.
    Json,
}

impl Shown {
    fn new(screen: &Screen) -> Self {
        match () {
            () if screen.json || !screen.is_seen => Self::Json,
            () if screen.draws => Self::Live(Live::open(screen.marks), String::new()),
            () => Self::Text,
        }
    }
}

impl Listener for Shown {
    fn progress(&mut self, _: ProgressState) {}

    fn tick(&mut self) {
        if let Self::Live(live, _) = self {
            live.tick();
        }
    }

    fn cancelling(&mut self) {
        // Before the daemon has answered: a second Ctrl-C ends this program where it stands.
        if let Self::Live(live, _) = self {
            live.close();
        }
    }
}
