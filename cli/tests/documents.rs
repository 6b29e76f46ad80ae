//! Documents that repeat what the code says, held to it. `UPDATE=1 cargo test -p agent-runner --test
//! documents` rewrites them.

use backends::settings::{dot_env_example, markdown};
use std::path::PathBuf;
use std::process::Command;

fn root(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(file)
}

/// Compares a file with what it should hold, or writes it.
fn hold(file: &str, wanted: &str) {
    let path = root(file);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let rewrite = "UPDATE=1 cargo test -p agent-runner --test documents";
    assert!(found == wanted, "{file} is not what the code says; rewrite it with {rewrite}");
}

/// `text` with what stands between two marks replaced.
fn between(text: &str, mark: &str, content: &str) -> String {
    let (start, end) = (format!("<!-- {mark} -->\n"), format!("<!-- end of {mark} -->"));
    let (before, rest) = text.split_once(&start).expect("the mark is there");
    let (_, after) = rest.split_once(&end).expect("the end mark is there");
    format!("{before}{start}{content}{end}{after}")
}

#[test]
fn the_configuration_document_says_what_the_code_does() {
    let text = std::fs::read_to_string(root("docs/configuration.md")).unwrap();
    let help = Command::new(env!("CARGO_BIN_EXE_agent-runner")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, codes) = help.split_once("Exit codes:\n").expect("--help lists the exit codes");
    let codes = format!("```text\n{}\n```\n", codes.trim_end());
    let text = between(&text, "table", &markdown());
    hold("docs/configuration.md", &between(&text, "exit codes", &codes));
}

#[test]
fn the_example_of_dot_env_lists_every_variable_at_its_default() {
    hold(".env.example", &dot_env_example());
}

#[test]
fn the_reference_of_the_command_line_says_what_is_parsed() {
    let said = Command::new(env!("CARGO_BIN_EXE_agent-runner")).arg("__reference").output().unwrap();
    hold("docs/cli.md", &String::from_utf8(said.stdout).unwrap());
}
