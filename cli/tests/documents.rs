//! Documents that repeat what the code says, held to it. `UPDATE=1 cargo test -p agent-runner --test
//! documents` rewrites them.

use backends::settings::{dot_env_example, markdown};
use std::path::{Path, PathBuf};
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

#[test]
fn the_labels_of_the_images_name_this_version() {
    let file = std::fs::read_to_string(root("compose/Dockerfile")).unwrap();
    assert!(file.contains(concat!("\nARG VERSION=", env!("CARGO_PKG_VERSION"), "\n")), "another version");
    let labels = |name: &str| file.matches(&format!("org.opencontainers.image.{name}=\"")).count();
    assert_eq!((labels("title"), labels("version"), labels("revision")), (4, 4, 4));
}

/// What is compiled or run, as one text in which a line that ends with a backslash goes on in the next.
fn sources(folder: &Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let name = entry.file_name().into_string().unwrap();
        if path.is_dir() {
            if !matches!(name.as_str(), "tests" | "target" | "snapshots") {
                sources(&path, into);
            }
        } else if name.ends_with(".rs") && !name.ends_with("_tests.rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let (code, _) = text.split_once("#[cfg(test)]\nmod tests {").unwrap_or((&text, ""));
            let mut lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            while let Some(line) = lines.next() {
                let mut whole = line.to_owned();
                while let Some(start) = whole.strip_suffix('\\') {
                    whole = start.to_owned() + lines.next().unwrap_or_default().trim_start();
                }
                into.push_str(&whole);
                into.push('\n');
            }
        }
    }
}

/// Whether the parts of a text occur in one line, in their order.
fn occurs(text: &str, code: &str) -> bool {
    let parts: Vec<&str> = text.split('…').filter(|part| part.chars().any(char::is_alphabetic)).collect();
    code.lines().any(|line| {
        let mut rest = line;
        parts.iter().all(|part| match rest.split_once(part.trim_end_matches(':').trim_end()) {
            Some((_, after)) => {
                rest = after;
                true
            }
            None => false,
        })
    })
}

#[test]
fn every_text_of_the_troubleshooting_table_is_one_that_the_code_says() {
    let mut code = String::new();
    for folder in ["api/src", "cli/src", "contract", "reconciler", "worker/src"] {
        sources(&root(folder), &mut code);
    }
    let page = std::fs::read_to_string(root("docs/troubleshooting.md")).unwrap();
    let texts = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let texts: Vec<&str> = texts.map(|(text, _)| text).collect();
    assert!(texts.len() >= 50, "only {} texts are found in the page", texts.len());
    let unsaid: Vec<&&str> = texts.iter().filter(|text| !occurs(text, &code)).collect();
    assert!(unsaid.is_empty(), "docs/troubleshooting.md quotes what no code says: {unsaid:#?}");
}

#[test]
fn the_page_about_agents_names_each_class_with_who_pays_and_its_file_of_job_types_is_one() {
    let page = std::fs::read_to_string(root("docs/agents.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let told: Vec<(&str, bool)> = rows
        .filter_map(|(class, rest)| Some((class, rest.rsplit('|').nth(1)?.trim())))
        .filter(|(_, pays)| ["max_attempts", "infrastructure"].contains(&pays.trim_matches('`')))
        .map(|(class, pays)| (class, pays == "infrastructure"))
        .collect();
    let mut classes: Vec<(&str, bool)> =
        contract::FailureClass::ALL.iter().map(|class| (class.as_str(), class.is_infrastructure())).collect();
    let mut told_sorted = told.clone();
    told_sorted.sort_unstable();
    classes.sort_unstable();
    assert_eq!(told_sorted, classes);
    let block = |language: &str| {
        let (_, rest) = page.split_once(&format!("```{language}\n")).unwrap();
        rest.split_once("```").unwrap().0
    };
    let types = contract::JobTypes::parse(block("toml")).unwrap();
    assert_eq!(types.types["research"].stop_grace_seconds, 20);
    let request = block("json").replacen('{', "{\"job_type\":\"research\",", 1);
    let supports = contract::Supports { spot: true, cost: true };
    assert_eq!(types.request(&request, supports).unwrap().failure_policy.rules.len(), 2);
    let budget = format!("a budget of {} for each run", plan::Policy::default().infra_budget);
    assert!(page.contains(&budget), "{budget}");
}

#[test]
fn what_the_pages_about_errors_and_guarantees_link_to_is_there() {
    for file in ["docs/agents.md", "docs/troubleshooting.md", "docs/guarantees.md"] {
        let page = std::fs::read_to_string(root(file)).unwrap();
        let links: Vec<&str> =
            page.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0)).collect();
        assert!(links.len() >= 4, "{file}: {links:?}");
        links.iter().for_each(|link| assert!(root("docs").join(link).exists(), "{file}: {link}"));
    }
}
