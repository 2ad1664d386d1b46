//! The hosts of models: whether they answer, and accept their tokens. By their clocks this machine's is judged.

use super::LOOK;
use crate::ctx::Ctx;
use crate::source::account::{self, Said};
use crate::source::http::{Http, Owner};
use jiff::Timestamp;
use proto::method::Finding;

/// A clock that is off by more makes S3 refuse each request (`RequestTimeTooSkewed`, 15 min); TLS certificates of
/// some hosts live for days only.
const WRONG_S: i64 = 15 * 60;

/// Off by more is worth a word: no machine that keeps its time is.
const OFF_S: i64 = 60;

/// A site and the token for it.
#[derive(Debug, Clone, Copy)]
struct Site {
    owner: Owner,
    /// The token's variable.
    subject: &'static str,
    name: &'static str,
    /// Where people make tokens.
    page: &'static str,
    /// What it is needed for.
    needed: &'static str,
}

const SITES: [Site; 2] = [
    Site {
        owner: Owner::HuggingFace,
        subject: "HF_TOKEN",
        name: "Hugging Face",
        page: "https://huggingface.co/settings/tokens",
        needed: "gated and private models",
    },
    Site {
        owner: Owner::Civitai,
        subject: "CIVITAI_TOKEN",
        name: "Civitai",
        page: "https://civitai.com/user/account",
        needed: "models whose makers want visitors to log in",
    },
];

/// What asking a site came to.
#[derive(Debug)]
enum Asked {
    /// The daemon is offline by its configuration.
    Offline,
    /// None of its words: why.
    Silent(String),
    Answered(Said),
}

/// Asks the sites, with their tokens where there are some. Bounded by [`LOOK`]. Cancel-safe.
pub(super) async fn look(ctx: &Ctx, http: &Http, offline: bool) -> Vec<Finding> {
    let [hub, civitai] = SITES;
    let (hub_says, civitai_says) =
        tokio::join!(ask(ctx, http, hub, offline), ask(ctx, http, civitai, offline));
    let tokens = [http.hosts().hf_token.is_some(), http.hosts().civitai_token.is_some()];
    let now = Timestamp::now();
    let clock = clock(&[&hub_says, &civitai_says], now);
    vec![judge(hub, tokens[0], &hub_says), judge(civitai, tokens[1], &civitai_says)]
        .into_iter()
        .chain(clock)
        .collect()
}

async fn ask(ctx: &Ctx, http: &Http, site: Site, offline: bool) -> Asked {
    if offline {
        return Asked::Offline;
    }
    match tokio::time::timeout(LOOK, account::ask(ctx, http, site.owner)).await {
        Err(_) => Asked::Silent(format!("it did not answer within {} s", LOOK.as_secs())),
        Ok(Err(error)) => Asked::Silent(root(&error)),
        Ok(Ok(None)) => Asked::Silent("its address is no URL".to_owned()),
        Ok(Ok(Some(said))) => Asked::Answered(said),
    }
}

/// Returns the last of an error's causes: what lies between says which library found it.
fn root(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.last().unwrap_or(error).to_string()
}

fn judge(site: Site, has_token: bool, asked: &Asked) -> Finding {
    let Site { subject, name, page, needed, .. } = site;
    let token = if has_token { "set" } else { "not set" };
    match asked {
        Asked::Offline => Finding::ok(subject, format!("{token}; {name} is not asked (COMFY_OFFLINE)")),
        Asked::Silent(why) => Finding::warning(
            subject,
            format!("{token}; {name} does not answer: {why}"),
            "look for the network, HTTPS_PROXY and the name server of this machine",
        ),
        Asked::Answered(said) => match said.status {
            200 if has_token => Finding::ok(subject, format!("{name} accepts it")),
            // Who shows no token is nobody: that is an answer all the same.
            200 | 401 | 403 if !has_token => {
                Finding::ok(subject, format!("not set; {name} answers. It is needed for {needed}"))
            }
            status @ (401 | 403) => {
                let remedy = format!("make a new one at {page} and restart comfyd with it");
                Finding::problem(subject, format!("{name} refuses it ({status})"), remedy)
            }
            status => {
                let text = format!("{token}; {name} answers {status}, which says nothing about it");
                Finding::warning(subject, text, "try again in a while")
            }
        },
    }
}

fn clock(asked: &[&Asked], now: Timestamp) -> Option<Finding> {
    const SUBJECT: &str = "clock";
    let dates = asked.iter().filter_map(|asked| match asked {
        Asked::Answered(said) => said.date,
        _ => None,
    });
    // Of two hosts the nearer one: a wrong clock of theirs is none of ours.
    let off = dates.map(|date| now.as_second() - date.as_second()).min_by_key(|off| off.abs())?;
    let way = if off > 0 { "ahead of" } else { "behind" };
    let text = format!("{} s {way} the hosts of models", off.abs());
    let remedy = "set the machine's clock (`timedatectl set-ntp true`, or the host's own)";
    Some(if off.abs() > WRONG_S {
        Finding::problem(SUBJECT, format!("{text}: certificates and signed links are refused"), remedy)
    } else if off.abs() > OFF_S {
        Finding::warning(SUBJECT, text, remedy)
    } else {
        Finding::ok(SUBJECT, "as that of the hosts of models")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::method::Verdict::{Ok as Fine, Problem, Warning};

    fn answered(status: u16) -> Asked {
        Asked::Answered(Said { status, date: None })
    }

    #[test]
    fn tokens_are_judged_by_what_their_host_says() {
        let table = [
            (true, answered(200), Fine, "Hugging Face accepts it"),
            (true, answered(401), Problem, "refuses it (401)"),
            (true, answered(503), Warning, "answers 503"),
            (false, answered(401), Fine, "not set; Hugging Face answers"),
            (false, answered(200), Fine, "not set; Hugging Face answers"),
            (false, answered(429), Warning, "answers 429"),
            (true, Asked::Silent("no route".to_owned()), Warning, "does not answer: no route"),
            (true, Asked::Offline, Fine, "set; Hugging Face is not asked"),
        ];
        for (has_token, asked, verdict, words) in table {
            let found = judge(SITES[0], has_token, &asked);
            assert_eq!(found.verdict, verdict, "{asked:?}");
            assert!(found.text.contains(words), "{}", found.text);
        }
    }

    #[test]
    fn the_clock_is_held_against_the_nearer_host() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let off = |seconds: &[i64]| {
            let said = |off: &i64| {
                let date = Timestamp::from_second(now.as_second() - off).ok();
                Asked::Answered(Said { status: 200, date })
            };
            let asked: Vec<_> = seconds.iter().map(said).collect();
            clock(&asked.iter().collect::<Vec<_>>(), now).map(|found| (found.verdict, found.text))
        };
        assert_eq!(off(&[]), None);
        assert_eq!(off(&[3, -4000]).unwrap().0, Fine);
        assert_eq!(off(&[-90]), Some((Warning, "90 s behind the hosts of models".to_owned())));
        assert_eq!(off(&[5000, 6000]).unwrap().0, Problem);
    }
}
