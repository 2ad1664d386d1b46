//! The reference's tables of variables are `config::VARIABLES`, in both languages. `UPDATE=1 cargo test`
//! writes the English one; the Russian one has to name the same variables in the same order.

use comfyd::config::{VARIABLES, Variable};
use std::path::{Path, PathBuf};

const ENGLISH: &str = "docs/reference.md";
const RUSSIAN: &str = "docs/reference.ru.md";

const BEGIN: &str = "<!-- variables: from daemon/src/config/variables.rs, by UPDATE=1 -->\n";
const END: &str = "<!-- /variables -->";

#[test]
fn the_table_of_variables_is_current() {
    let path = repository(ENGLISH);
    let reference = std::fs::read_to_string(&path).unwrap();
    let (before, shown, after) = split(&reference);
    if update() {
        std::fs::write(&path, format!("{before}{BEGIN}{}{END}{after}", table())).unwrap();
    } else {
        assert!(shown == table(), "{ENGLISH}: the table of variables is not current: write it with UPDATE=1");
    }
}

#[test]
fn the_russian_table_names_the_same_variables_in_the_same_order() {
    let reference = std::fs::read_to_string(repository(RUSSIAN)).unwrap();
    let (_, table, _) = split(&reference);
    let names = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let expected: Vec<&str> = VARIABLES.iter().map(|variable| variable.name).collect();
    assert_eq!(names.map(|(name, _)| name).collect::<Vec<_>>(), expected);
}

/// What stands before the table, the table, and what stands behind it.
fn split(reference: &str) -> (&str, &str, &str) {
    let (before, rest) = reference.split_once(BEGIN).expect("the reference marks the table's begin");
    let (table, after) = rest.split_once(END).expect("the reference marks the table's end");
    (before, table, after)
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
