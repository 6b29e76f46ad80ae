//! A runbook, taken apart.

use crate::root;

/// Where a block of commands works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// `sh`: beside a running orchestrator.
    Anywhere,
    /// `sh redis`: where a Redis server is.
    Redis,
    /// `sh compose`: where the stack of compose/ runs.
    Compose,
    /// `sh dynamodb`: where the tables are.
    Dynamo,
    /// `sh aws`: needs an account.
    Aws,
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
        names.into_iter().filter(|name| name != "README").map(|name| Self::read(&name)).collect()
    }

    fn read(name: &str) -> Self {
        let path = root().join(format!("runbooks/{name}.md"));
        let whole = std::fs::read_to_string(path).expect("a runbook");
        let parts = whole.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---\n"));
        let (front, text) = parts.unwrap_or_else(|| panic!("{name} begins without its front matter"));
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
            front: front.collect(),
            text: text.to_owned(),
        };
        page.take_apart(text);
        page
    }

    fn take_apart(&mut self, text: &str) {
        let mut open: Option<Block> = None;
        for line in text.lines() {
            match (&mut open, line) {
                (Some(_), "```") => self.blocks.extend(open.take()),
                (Some(block), line) => block.text.push_str(&format!("{line}\n")),
                (None, line) => {
                    if let Some(title) = line.strip_prefix("## ") {
                        self.sections.push(title.to_owned());
                    } else if let Some(info) = line.strip_prefix("```") {
                        let section = self.sections.last().cloned().unwrap_or_default();
                        open = Some(Block { section, mark: self.mark(info), text: String::new() });
                    }
                }
            }
        }
        assert!(open.is_none(), "{}: a block does not end", self.name);
    }

    fn mark(&self, info: &str) -> Mark {
        match info {
            "sh" => Mark::Anywhere,
            "sh redis" => Mark::Redis,
            "sh compose" => Mark::Compose,
            "sh dynamodb" => Mark::Dynamo,
            "sh aws" => Mark::Aws,
            other => panic!("{}: a block is marked {other:?}", self.name),
        }
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
