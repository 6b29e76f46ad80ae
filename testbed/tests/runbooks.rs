//! The pages: what they tell people to type is typed, and the runbooks have their form, one for each alert.
//!
//! What stands behind the fence of a block says where it works and so who types it ([`page::Mark`]): these tests, for
//! `sh compose` `scripts/compose-test`, and nobody where only an account serves.
//!
//! The lines on top of a runbook say what stands when the operator begins: which job `JOB_ID` names, and what it
//! and the number of its attempts are to be at the end.

#[path = "runbooks/account.rs"]
mod account;
#[path = "runbooks/document.rs"]
mod document;
#[path = "runbooks/dynamodb.rs"]
mod dynamodb;
#[path = "runbooks/page.rs"]
mod page;
#[path = "runbooks/redis.rs"]
mod redis;
#[path = "runbooks/shell.rs"]
mod shell;
#[path = "runbooks/stage.rs"]
mod stage;

use page::{Mark, Page};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The folder of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository")
}

const SECTIONS: [&str; 6] =
    ["Meaning", "Impact", "Diagnosis", "Mitigation", "Verification", "Last exercised"];
/// What operators do that no alert asks for.
const TASKS: [&str; 9] = [
    "deploy-without-double-runs",
    "drain-and-scale-to-zero",
    "force-a-retry",
    "move-a-table",
    "poisoned-record",
    "restore-from-a-backup",
    "rotate-tokens",
    "runaway-cost",
    "stuck-jobs",
];

#[test]
fn every_alert_has_its_runbook_and_every_runbook_its_alert_or_task() {
    let rules = std::fs::read_to_string(root().join("compose/prometheus/alerts.yml")).expect("the rules");
    let named = |prefix: &str| -> BTreeSet<String> {
        rules.lines().filter_map(|line| line.trim().strip_prefix(prefix)).map(str::to_owned).collect()
    };
    let alerts = named("- alert: ");
    let files: BTreeSet<String> = alerts.iter().map(|alert| format!("runbooks/{alert}.md")).collect();
    assert_eq!(named("runbook_url: "), files);
    let pages: BTreeSet<String> = Page::all().into_iter().map(|page| page.name).collect();
    let expected = alerts.into_iter().chain(TASKS.map(str::to_owned));
    assert_eq!(pages, expected.collect());
    let list = std::fs::read_to_string(root().join("runbooks/README.md")).expect("the list");
    for name in &pages {
        assert!(list.contains(&format!("({name}.md)")), "{name} is not in the list");
    }
}

/// Runbooks and all other pages.
fn every_page() -> Vec<Page> {
    Page::all().into_iter().chain(Page::documents()).collect()
}

/// Every block with a mark, and the name of its page.
fn marked(pages: &[Page], mark: Mark) -> Vec<(&str, &page::Block)> {
    let all = pages.iter().flat_map(|page| page.blocks.iter().map(move |block| (&*page.name, block)));
    all.filter(|(_, block)| block.mark == mark).collect()
}

/// First words of commands; a block with one in it that is not marked would be typed by nobody.
const COMMANDS: [&str; 14] = [
    "$",
    "agent-runner",
    "aws",
    "cargo",
    "cp",
    "curl",
    "docker",
    "docker-compose",
    "export",
    "make",
    "redis-cli",
    "redis-server",
    "sqlite3",
    "terraform",
];

#[test]
fn every_block_of_commands_is_typed_by_a_test_or_says_that_it_needs_an_account() {
    let list = std::fs::read_to_string(root().join("docs/aws.md")).expect("docs/aws.md");
    for page in every_page() {
        let path = page.path();
        for (info, text) in &page.others {
            let typed = info.starts_with("sh") || ["bash", "console", "shell"].contains(&info.as_str());
            let mut first_words = text.lines().filter_map(|line| line.split(' ').next());
            let command = first_words.find(|word| COMMANDS.contains(word) || word.contains("scripts/"));
            // Usages, generated.
            let command = command.filter(|_| path != "docs/cli.md");
            assert!(!typed && command.is_none(), "{path}: who types this? It is marked {info:?}\n{text}");
        }
        for block in &page.blocks {
            shell::can_be_read(&path, block);
            match block.mark {
                // Taken from every page by the tests below.
                Mark::Anywhere | Mark::Redis | Mark::RedisServer | Mark::Dynamo | Mark::Aws => {}
                Mark::Compose => {
                    let read =
                        path == "README.md" || path.starts_with("docs/") || path.starts_with("runbooks/");
                    assert!(read, "testbed/compose/pages.py does not read {path}");
                }
                Mark::Account => {
                    let named =
                        list.contains(&format!("| [{path}](")) || list.contains(&format!("| {path} |"));
                    assert!(named, "docs/aws.md does not say that {path} has commands that need an account");
                }
                Mark::Make => document::is_part_of_ci(&path, block),
                Mark::Setup => assert_eq!(path, "runbooks/README.md"),
            }
        }
    }
}

#[test]
fn what_the_documents_say_can_be_typed_in_their_order() {
    if !shell::tools_are_there() {
        return;
    }
    let mut performed = 0;
    for page in Page::documents() {
        performed += document::perform(&page);
    }
    assert!(performed >= 6, "only {performed} blocks stand in documents");
}

#[test]
fn what_the_pages_say_about_aws_can_be_typed_to_an_emulator_of_it() {
    let Some(account) = account::Account::open() else { return };
    let pages = every_page();
    let blocks = marked(&pages, Mark::Aws);
    for (page, block) in &blocks {
        account.type_in(page, block);
    }
    assert!(blocks.len() >= 12, "only {} blocks are about AWS", blocks.len());
}

#[test]
fn every_runbook_has_the_sections_and_commands_that_a_shell_can_read() {
    for page in Page::all() {
        let sections: Vec<&str> = page.sections.iter().map(String::as_str).collect();
        assert_eq!(sections, SECTIONS, "{}", page.name);
        for section in ["Diagnosis", "Mitigation", "Verification"] {
            assert!(page.text_of(section).len() > 40, "{}: {section} says nothing", page.name);
        }
        let typed =
            page.blocks.iter().any(|block| block.mark == Mark::Anywhere && block.section == "Diagnosis");
        assert!(typed, "{}: nothing to type in Diagnosis", page.name);
        for link in page.links() {
            let target = root().join("runbooks").join(&link);
            assert!(target.is_file(), "{}: {link} is not there", page.name);
        }
    }
}

/// The tests below are several, so that they share the cores; each takes every fifth page.
fn every_fifth(from: usize) {
    if !shell::tools_are_there() {
        return;
    }
    for page in Page::all().into_iter().skip(from).step_by(5) {
        stage::perform(&page);
    }
}

#[test]
fn what_the_runbooks_say_can_be_typed_and_helps_first_part() {
    every_fifth(0);
}

#[test]
fn what_the_runbooks_say_can_be_typed_and_helps_second_part() {
    every_fifth(1);
}

#[test]
fn what_the_runbooks_say_can_be_typed_and_helps_third_part() {
    every_fifth(2);
}

#[test]
fn what_the_runbooks_say_can_be_typed_and_helps_fourth_part() {
    every_fifth(3);
}

#[test]
fn what_the_runbooks_say_can_be_typed_and_helps_fifth_part() {
    every_fifth(4);
}

#[test]
fn what_the_runbooks_say_about_redis_can_be_typed_to_a_redis_server() {
    if !redis::installed() || !shell::tools_are_there() {
        return;
    }
    let pages = every_page();
    let lines = marked(&pages, Mark::RedisServer);
    let [(_, line)] = lines[..] else { panic!("one line starts a server: {lines:?}") };
    let mut performed = 0;
    for page in &pages {
        let blocks: Vec<_> = page.blocks.iter().filter(|block| block.mark == Mark::Redis).collect();
        if blocks.is_empty() {
            continue;
        }
        let server = redis::Server::start(&line.text);
        for block in blocks {
            server.type_in(&page.name, block);
            performed += 1;
        }
    }
    assert!(performed >= 8, "only {performed} blocks are about Redis");
}

#[test]
fn what_the_runbooks_say_about_dynamodb_edits_one_field_of_one_job_and_never_makes_a_ghost() {
    let Some(table) = dynamodb::Table::start() else { return };
    let pages = every_page();
    let blocks = marked(&pages, Mark::Dynamo);
    assert_eq!(table.desired(), r#"{"job_type":"echo","max_attempts":"0","retry":"0"}"#);
    for (page, block) in &blocks {
        table.type_in(page, block);
    }
    assert_eq!(table.desired(), r#"{"job_type":"echo","max_attempts":"3","retry":"1"}"#);
    assert_eq!(table.ids(), [dynamodb::JOB], "the ghost is to be gone");
    for (_, block) in blocks.iter().filter(|(_, block)| block.text.contains("update-item")) {
        table.is_refused(block, "mistyped");
    }
    assert_eq!(table.ids(), [dynamodb::JOB], "a ghost was made");
}
