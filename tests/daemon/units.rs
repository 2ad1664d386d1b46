//! `systemd/comfyd.env` explains every variable of `config::VARIABLES`: `UPDATE=1 cargo test` writes it.

use crate::readme::{repository, update};
use comfyd::config::{VARIABLES, Variable};

const FILE: &str = "systemd/comfyd.env";

/// Columns of a comment.
const WIDTH: usize = 100;

const HEAD: &str = "\
# Variables of comfyd where systemd runs it. Only root can read this file, so tokens may stand in it.
# A line is `NAME=value`, without `export`, `$` and `~`; `systemctl restart comfyd` makes it count.
# The unit itself sets COMFYD_STATE_DIR and COMFY_CACHE_ROOT; what stands here counts for more.
";

#[test]
fn the_environment_file_explains_every_variable() {
    let expected = VARIABLES.iter().fold(HEAD.to_owned(), |text, variable| text + &explain(variable));
    let path = repository(FILE);
    if update() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{FILE} is not current: write it with UPDATE=1");
}

fn explain(variable: &Variable) -> String {
    let default = format!("When not set: {}", variable.default);
    format!("\n{}{}#{}=\n", comment(variable.meaning), comment(&default), variable.name)
}

fn comment(text: &str) -> String {
    let mut lines = vec!["#".to_owned()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= WIDTH => line.extend([" ", word]),
            _ => lines.push(format!("# {word}")),
        }
    }
    lines.join("\n") + "\n"
}
