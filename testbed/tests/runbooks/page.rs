//! A page with commands, taken apart.

use crate::root;
use std::path::Path;

/// Where a block of commands works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// `sh`: beside a running orchestrator.
    Anywhere,
    /// `sh redis`: where a Redis server is.
    Redis,
    /// `sh redis server`: starts that server.
    RedisServer,
    /// `sh compose`: where the stack of compose/ runs. Typed by `testbed/compose/pages.py`.
    Compose,
    /// `sh dynamodb`: where the tables are.
    Dynamo,
    /// `sh aws`: on an account, or an emulator of one.
    Aws,
    /// `sh aws account`: on an account only. No test types it.
    Account,
    /// `sh make`: checks of this repository, which CI types.
    Make,
    /// `sh setup`: variables that the other blocks of runbooks name.
    Setup,
}

impl Mark {
    /// What stands behind the fence of a block of commands.
    fn of(info: &str) -> Option<Self> {
        Some(match info {
            "sh" => Self::Anywhere,
            "sh redis" => Self::Redis,
            "sh redis server" => Self::RedisServer,
            "sh compose" => Self::Compose,
            "sh dynamodb" => Self::Dynamo,
            "sh aws" => Self::Aws,
            "sh aws account" => Self::Account,
            "sh make" => Self::Make,
            "sh setup" => Self::Setup,
            _ => return None,
        })
    }
}

/// One block of commands.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) section: String,
    pub(crate) mark: Mark,
    pub(crate) text: String,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) name: String,
    pub(crate) sections: Vec<String>,
    pub(crate) blocks: Vec<Block>,
    /// What is no commands: what stands behind the fence, and the text.
    pub(crate) others: Vec<(String, String)>,
    front: Vec<(String, String)>,
    text: String,
}

impl Page {
    /// Every runbook, by name; the list of them is none.
    pub(crate) fn all() -> Vec<Self> {
        let entries = std::fs::read_dir(root().join("runbooks")).expect("runbooks/");
        let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.filter_map(|n| n.strip_suffix(".md").map(str::to_owned)).collect();
        names.sort();
        names.into_iter().filter(|name| name != "README").map(|name| Self::runbook(&name)).collect()
    }

    /// Every other page of the repository, by its path.
    pub(crate) fn documents() -> Vec<Self> {
        let mut paths = Vec::new();
        let mut folders = vec![root()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
                let name = entry.file_name().to_string_lossy().into_owned();
                let is_folder = entry.file_type().expect("a kind").is_dir();
                if is_folder && name != "target" && !name.starts_with('.') {
                    folders.push(entry.path());
                } else if name.ends_with(".md") {
                    let path = entry.path();
                    let path = path.strip_prefix(root()).expect("below the root").to_string_lossy();
                    paths.push(path.into_owned());
                }
            }
        }
        paths.sort();
        let is_runbook = |path: &str| path.starts_with("runbooks/") && path != "runbooks/README.md";
        let documents = paths.into_iter().filter(|path| !is_runbook(path));
        documents
            .map(|path| {
                let text = std::fs::read_to_string(root().join(&path)).expect("a page");
                Self::read(&path, "", &text)
            })
            .collect()
    }

    fn runbook(name: &str) -> Self {
        let path = root().join(format!("runbooks/{name}.md"));
        let whole = std::fs::read_to_string(path).expect("a runbook");
        let parts = whole.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---\n"));
        let (front, text) = parts.unwrap_or_else(|| panic!("{name} begins without its front matter"));
        Self::read(name, front, text)
    }

    fn read(name: &str, front: &str, text: &str) -> Self {
        let front = front.lines().map(|line| {
            let (key, value) = line.split_once(": ").unwrap_or_else(|| panic!("{name}: {line}"));
            assert!(
                matches!(key, "job" | "orchestrator" | "tokens" | "after" | "attempts"),
                "{name}: {line}"
            );
            (key.to_owned(), value.to_owned())
        });
        let mut page = Self {
            name: name.to_owned(),
            sections: Vec::new(),
            blocks: Vec::new(),
            others: Vec::new(),
            front: front.collect(),
            text: text.to_owned(),
        };
        page.take_apart(text);
        page
    }

    fn take_apart(&mut self, text: &str) {
        let mut open: Option<(String, String)> = None;
        for line in text.lines() {
            // A list can indent its blocks.
            match (&mut open, line.trim_start().strip_prefix("```")) {
                (Some(_), Some("")) => {
                    let (info, text) = open.take().unwrap_or_default();
                    let section = self.sections.last().cloned().unwrap_or_default();
                    match Mark::of(&info) {
                        Some(mark) => self.blocks.push(Block { section, mark, text }),
                        None => self.others.push((info, text)),
                    }
                }
                (Some((_, text)), _) => text.push_str(&format!("{line}\n")),
                (None, Some(info)) => open = Some((info.to_owned(), String::new())),
                (None, None) => self.sections.extend(line.strip_prefix("## ").map(str::to_owned)),
            }
        }
        assert!(open.is_none(), "{}: a block does not end", self.name);
    }

    /// The path below the root.
    pub(crate) fn path(&self) -> String {
        let is_path = Path::new(&self.name).extension().is_some();
        if is_path { self.name.clone() } else { format!("runbooks/{}.md", self.name) }
    }

    /// A value of the lines on top.
    pub(crate) fn front(&self, key: &str) -> Option<&str> {
        self.front.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The text of a section.
    pub(crate) fn text_of(&self, section: &str) -> &str {
        let rest = self.text.split_once(&format!("\n## {section}\n")).map_or("", |(_, rest)| rest);
        rest.split("\n## ").next().unwrap_or_default().trim()
    }

    /// What it links to, relative to its folder.
    pub(crate) fn links(&self) -> Vec<String> {
        let after = self.text.split("](").skip(1);
        after.filter_map(|rest| rest.split(')').next()).map(str::to_owned).collect()
    }
}
