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

/// Every source, as its strings read when they are printed: continued lines joined, quotes unescaped.
fn sources(folder: &std::path::Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && !matches!(name, "target" | "tests" | "testbed" | "docs") && !name.starts_with('.')
        {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs" || e == "sql") {
            let text = std::fs::read_to_string(&path).unwrap();
            let mut lines = text.lines();
            while let Some(line) = lines.next() {
                let mut line = line.to_owned();
                while line.ends_with('\\') {
                    line.pop();
                    line.push_str(lines.next().unwrap_or_default().trim_start());
                }
                into.push_str(&line.replace("\\\"", "\""));
                into.push('\n');
            }
        }
    }
}

/// Words of SQLite and of nobody here.
const FOREIGN: [&str; 1] = ["database is locked"];

#[test]
fn the_errors_of_the_troubleshooting_page_are_those_of_the_program() {
    let mut all = String::new();
    sources(&root("."), &mut all);
    let text = std::fs::read_to_string(root("docs/troubleshooting.md")).unwrap();
    let keys: Vec<&str> =
        text.lines().filter_map(|l| l.strip_prefix("| `")?.split_once('`')).map(|k| k.0).collect();
    assert!(keys.len() >= 30, "only {} errors are explained", keys.len());
    for key in keys.into_iter().filter(|key| !FOREIGN.contains(key)) {
        let parts: Vec<&str> = key.split('…').map(str::trim).filter(|part| part.len() > 3).collect();
        assert!(!parts.is_empty(), "{key:?} says nothing");
        for part in parts {
            assert!(all.contains(part), "no source says {part:?}, of {key:?}");
        }
    }
}
