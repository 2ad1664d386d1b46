//! The README's table of variables is `config::VARIABLES`: `UPDATE=1 cargo test` writes it.

use comfyd::config::{VARIABLES, Variable};
use std::path::{Path, PathBuf};

const BEGIN: &str = "<!-- variables: from daemon/src/config/variables.rs, by UPDATE=1 -->\n";
const END: &str = "<!-- /variables -->";

#[test]
fn the_table_of_variables_is_current() {
    let path = repository("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("README.md marks the table's begin");
    let (shown, after) = rest.split_once(END).expect("README.md marks the table's end");
    if update() {
        std::fs::write(&path, format!("{before}{BEGIN}{}{END}{after}", table())).unwrap();
    } else {
        assert!(shown == table(), "README.md's table of variables is not current: write it with UPDATE=1");
    }
}

#[test]
fn the_russian_readme_names_the_same_variables_in_the_same_order() {
    let readme = std::fs::read_to_string(repository("README.ru.md")).unwrap();
    let (_, rest) = readme.split_once(BEGIN).expect("README.ru.md marks the table's begin");
    let (table, _) = rest.split_once(END).expect("README.ru.md marks the table's end");
    let names = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let expected: Vec<&str> = VARIABLES.iter().map(|variable| variable.name).collect();
    assert_eq!(names.map(|(name, _)| name).collect::<Vec<_>>(), expected);
}

fn table() -> String {
    let row =
        |Variable { name, meaning, default }: &Variable| format!("| `{name}` | {meaning} | {default} |\n");
    format!(
        "| variable | meaning | when not set |\n|---|---|---|\n{}",
        VARIABLES.iter().map(row).collect::<String>()
    )
}

pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

#[allow(clippy::disallowed_methods, reason = "a switch of the test run, not of the daemon")]
pub(crate) fn update() -> bool {
    std::env::var_os("UPDATE").is_some_and(|value| value == "1")
}
