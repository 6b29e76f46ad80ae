"""The commands that the pages of this repository show: fenced blocks, told apart by what stands behind the fence.

`sh compose` is what works on the stack of compose/; testbed/tests/pages.rs lists the others and who types them.
"""

import dataclasses
import re

# Goes on until Ctrl-C.
ENDLESS = re.compile(r"docker compose .* up (?!.*(--detach|-d )).*\Z|docker compose .* logs .*--follow")


@dataclasses.dataclass
class Block:
    """One block of a page."""

    section: str
    text: str

    @property
    def endless(self):
        """Whether its last command goes on until Ctrl-C."""
        return bool(ENDLESS.search(self.text.strip().splitlines()[-1]))


@dataclasses.dataclass
class Page:
    """A page: the lines on top of a runbook, and the blocks with one mark."""

    name: str
    front: dict
    blocks: list


def read(path, mark="sh compose"):
    """Takes a page apart."""
    front, blocks, section, open_block = {}, [], "", None
    lines = path.read_text(encoding="utf-8").splitlines()
    if lines[0] == "---":
        end = lines.index("---", 1)
        front = dict(line.split(": ", 1) for line in lines[1:end])
        lines = lines[end + 1:]
    for line in lines:
        if open_block is None and line.startswith("## "):
            section = line[3:]
        elif line.startswith("```"):
            if open_block is None:
                open_block = (line[3:], [])
            else:
                info, text = open_block
                if info == mark:
                    blocks.append(Block(section, "\n".join(text) + "\n"))
                open_block = None
        elif open_block is not None:
            open_block[1].append(line)
    return Page(path.stem, front, blocks)


def pages(root):
    """Every page with such blocks, documents first."""
    found = [*sorted(root.glob("docs/*.md")), root / "README.md", *sorted(root.glob("runbooks/*.md"))]
    return [page for page in map(read, found) if page.blocks]
