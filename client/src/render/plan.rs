//! The plan of a realize, for people: what is done, in the order of the work, and what it takes.

use super::table::{columns, items};
use super::text::fold;
use super::units::{bytes, count};
use owo_colors::OwoColorize as _;
use proto::Plan;
use proto::plan::{ModelAction, PackagesAction, RepositoryAction};

/// Renders a plan. What is in place already is counted, not listed.
pub fn plan(plan: &Plan) -> String {
    let mut text = format!(
        "version {} in {}\ngeneration {}\n",
        plan.version_id.as_str().bold(),
        plan.home,
        plan.generation
    );
    for section in [repositories(plan), packages(plan), scripts(plan), models(plan), links(plan), disk(plan)]
    {
        text += &section;
    }
    text += &sentences("missing", &plan.missing);
    text += &sentences("warnings", &plan.warnings);
    text += &problems(plan);
    if plan.ready {
        text += "\nnothing to do\n";
    }
    text
}

fn section(title: &str, in_place: usize, body: &str) -> String {
    let note = if in_place == 0 { String::new() } else { format!(" ({in_place} in place)") };
    if body.is_empty() && in_place == 0 {
        return String::new();
    }
    format!("\n{}{}\n{body}", title.bold(), note.dimmed())
}

fn repositories(plan: &Plan) -> String {
    let mut rows = Vec::new();
    for step in &plan.repositories {
        let action = match step.action {
            RepositoryAction::Present => continue,
            RepositoryAction::Checkout => "check out",
            RepositoryAction::Fetch => "fetch",
            RepositoryAction::Missing => "MISSING",
        };
        rows.push([action.to_owned(), step.name.clone(), step.commit.short().to_owned(), step.repo.clone()]);
    }
    section("repositories", plan.repositories.len() - rows.len(), &columns("  ", &rows))
}

fn packages(plan: &Plan) -> String {
    let step = &plan.packages;
    let what = format!("{} for Python {}", count(step.count, "package"), step.python);
    let line = match &step.action {
        PackagesAction::Present => return section("packages", step.count, ""),
        PackagesAction::Repair => format!("  repair   {what}: led to the Python of this machine\n"),
        PackagesAction::Reuse { generation } => {
            format!("  reuse    {what}, from generation {generation}\n")
        }
        PackagesAction::Install => {
            let size = match (step.download_bytes, step.unknown_sizes) {
                (known, 0) => bytes(known),
                (0, _) => "of unknown size".to_owned(),
                (known, some) => format!("{}, and {} of unknown size", bytes(known), count(some, "package")),
            };
            format!("  install   {what}\n  download  {size}\n")
        }
    };
    section("packages", 0, &line)
}

fn scripts(plan: &Plan) -> String {
    let scripts: Vec<String> = plan.install_scripts.iter().map(|node| format!("{node}/install.py")).collect();
    let skipped = plan.skipped_install_scripts.iter().map(|node| format!("{node}/install.py"));
    let skipped: Vec<String> = skipped.collect();
    section("install scripts", 0, &(items("  run  ", &scripts) + &items("  SKIP  ", &skipped)))
}

fn models(plan: &Plan) -> String {
    let mut rows = Vec::new();
    let mut in_place = 0;
    for step in &plan.models {
        let (action, from) = match &step.action {
            ModelAction::Present => {
                in_place += 1;
                continue;
            }
            ModelAction::Link { from } => ("hard-link", from.to_string()),
            ModelAction::Adopt { from } => ("link", from.clone()),
            ModelAction::Download if step.problem.is_some() => ("REFUSED", step.source.clone()),
            ModelAction::Download => ("download", step.source.clone()),
            ModelAction::Skipped => ("skip", "skip_models is set".to_owned()),
            ModelAction::Missing => ("MISSING", step.source.clone()),
        };
        let size = step.size_bytes.map_or_else(|| "?".to_owned(), bytes);
        rows.push([action.to_owned(), step.target.to_string(), size, from]);
    }
    section("models", in_place, &columns("  ", &rows))
}

fn links(plan: &Plan) -> String {
    let rows: Vec<[String; 3]> = plan
        .links
        .iter()
        .filter(|link| !link.present)
        .map(|link| [link.link.clone(), "->".to_owned(), link.target.clone()])
        .collect();
    section("links", plan.links.len() - rows.len(), &columns("  ", &rows))
}

fn disk(plan: &Plan) -> String {
    let mut text = String::new();
    for need in plan.disk.iter().filter(|need| need.needed_bytes > 0) {
        let (needed, free) = (bytes(need.needed_bytes), bytes(need.available_bytes));
        let quota = need.quota_bytes.map(|quota| format!(" within the quota of {}", bytes(quota)));
        text += &format!("  {}  needs {needed} of {free} free{}\n", need.path, quota.unwrap_or_default());
        if need.needed_bytes > need.available_bytes {
            let lack = bytes(need.needed_bytes - need.available_bytes);
            text += &format!("  {} {lack} more is needed there\n", "not enough space:".red().bold());
        }
    }
    section("disk", 0, &text)
}

/// What `realize` would refuse for, with the remedy of each.
fn problems(plan: &Plan) -> String {
    let mut text = String::new();
    for problem in &plan.problems {
        text += &fold("  ", &problem.message, 4);
        if let Some(hint) = &problem.hint {
            text += &fold(&format!("    {} ", "hint:".cyan().bold()), hint, 6);
        }
    }
    section("problems", 0, &text)
}

fn sentences(title: &str, sentences: &[String]) -> String {
    let lines: String = sentences.iter().map(|sentence| fold("  ", sentence, 4)).collect();
    section(title, 0, &lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const COMMIT: &str = "3f2a1b0c9d3f2a1b0c9d3f2a1b0c9d3f2a1b0c9d";

    fn rendered(value: serde_json::Value) -> String {
        let given: Plan = serde_json::from_value(value).unwrap();
        anstream::adapter::strip_str(&plan(&given)).to_string()
    }

    /// A plan with one of everything.
    fn full() -> serde_json::Value {
        json!({
            "version_id": "wan22", "generation": "ab12cd34", "home": "/v/comfy-wan22", "models_dir": "/v/models",
            "ready": false,
            "repositories": [
                {"name": "ComfyUI", "repo": "https://example.org/ComfyUI", "commit": COMMIT,
                 "destination": "/v/comfy-wan22/generations/ab12cd34/ComfyUI", "action": "checkout"},
                {"name": "Kijai", "repo": "https://example.org/Kijai", "commit": COMMIT,
                 "destination": "/v/nodes/Kijai", "action": "fetch"},
                {"name": "Other", "repo": "https://example.org/Other", "commit": COMMIT,
                 "destination": "/v/nodes/Other", "action": "present"}],
            "packages": {"python": "3.12", "count": 143, "download_bytes": 1_288_490_188_u64, "unknown_sizes": 2,
                         "action": {"kind": "install"}},
            "install_scripts": ["Kijai"],
            "models": [
                {"target": "loras/x.safetensors", "source": "hf://o/r/x.safetensors", "size_bytes": 1_073_741_824,
                 "action": {"kind": "download"}},
                {"target": "loras/y.safetensors", "source": "hf://o/r/x.safetensors", "size_bytes": 1_073_741_824,
                 "action": {"kind": "link", "from": "loras/x.safetensors"}},
                {"target": "loras/h.safetensors", "source": "hf://o/r/h.safetensors", "size_bytes": 1_073_741_824,
                 "action": {"kind": "adopt", "from": "/v/hub/models--o--r/blobs/ab"}},
                {"target": "loras/g.safetensors", "source": "hf://o/g/g.safetensors",
                 "action": {"kind": "download"}, "problem": {"kind": "access", "message": "it is gated"}},
                {"target": "vae/z.pt", "source": "https://example.org/z.pt", "action": {"kind": "missing"}}],
            "links": [{"link": "ComfyUI", "target": "current/ComfyUI", "present": false},
                      {"link": ".venv", "target": "current/.venv", "present": true}],
            "disk": [{"path": "/v", "needed_bytes": 2_362_232_012_u64, "available_bytes": 1_073_741_824,
                      "quota_bytes": 214_748_364_800_u64}],
            "missing": ["model `vae/z.pt`"], "warnings": ["`Kijai` pins numpy"],
            "problems": [{"kind": "access", "message": "it is gated", "hint": "accept its conditions"},
                         {"kind": "disk", "message": "`/v` is too small"}]
        })
    }

    #[test]
    fn a_full_plan_names_every_step() {
        let text = rendered(full());
        let expected = "\
version wan22 in /v/comfy-wan22
generation ab12cd34

repositories (1 in place)
  check out  ComfyUI  3f2a1b0c9d  https://example.org/ComfyUI
  fetch      Kijai    3f2a1b0c9d  https://example.org/Kijai

packages
  install   143 packages for Python 3.12
  download  1.20 GiB, and 2 packages of unknown size

install scripts
  run  Kijai/install.py

models
  download   loras/x.safetensors  1.00 GiB  hf://o/r/x.safetensors
  hard-link  loras/y.safetensors  1.00 GiB  loras/x.safetensors
  link       loras/h.safetensors  1.00 GiB  /v/hub/models--o--r/blobs/ab
  REFUSED    loras/g.safetensors  ?         hf://o/g/g.safetensors
  MISSING    vae/z.pt             ?         https://example.org/z.pt

links (1 in place)
  ComfyUI  ->  current/ComfyUI

disk
  /v  needs 2.20 GiB of 1.00 GiB free within the quota of 200.00 GiB
  not enough space: 1.20 GiB more is needed there

missing
  model `vae/z.pt`

warnings
  `Kijai` pins numpy

problems
  it is gated
    hint: accept its conditions
  `/v` is too small
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_ready_plan_has_nothing_to_do() {
        let text = rendered(json!({
            "version_id": "x", "generation": "ab", "home": "/h", "models_dir": "/m", "ready": true,
            "repositories": [], "install_scripts": [], "models": [], "links": [], "missing": [], "warnings": [],
            "packages": {"python": "3.12", "count": 9, "download_bytes": 0, "unknown_sizes": 0,
                         "action": {"kind": "present"}},
            "disk": [{"path": "/h", "needed_bytes": 0, "available_bytes": 5}]
        }));
        assert_eq!(text, "version x in /h\ngeneration ab\n\npackages (9 in place)\n\nnothing to do\n");
    }
}
