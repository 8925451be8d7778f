"""A bare repository of git behind a contract server of a code host: what a client says becomes trees and commits."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

PERSON = {
    name: value
    for role in ("AUTHOR", "COMMITTER")
    for name, value in ((f"GIT_{role}_NAME", "Host"), (f"GIT_{role}_EMAIL", "host@example.test"))
}
BLOB, PROGRAM = "100644", "100755"


class BareRepository:
    """A repository; every method runs git itself, and raises `ValueError` for what git refuses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._blobs: dict[bytes, str] = {}
        self._merged: dict[tuple[str, str], str | None] = {}
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(folder)], check=True)
        (folder / "nothing").mkdir()

    def git(self, *arguments: str, data: bytes = b"") -> str:
        """Run git and return what it prints."""
        nowhere = str(self.folder / "nothing")  # some commands want a work tree, and look at nothing in it
        environment = {"PATH": os.environ["PATH"], "HOME": nowhere, "GIT_WORK_TREE": nowhere, **PERSON}
        command = ["git", "--git-dir", str(self.folder), *arguments]
        ran = subprocess.run(command, input=data, capture_output=True, env=environment, cwd=nowhere, check=False)
        if ran.returncode:
            raise ValueError(ran.stderr.decode() or ran.stdout.decode())
        return ran.stdout.decode().strip()

    def blob(self, data: bytes) -> str:
        if data not in self._blobs:
            self._blobs[data] = self.git("hash-object", "-w", "--stdin", data=data)
        return self._blobs[data]

    def tree(self, base: str | None, changes: Mapping[str, tuple[str, str] | None]) -> str:
        """Return a tree with changes: paths with mode and object, of which a tree replaces what is there; or None."""
        (self.folder / "index").unlink(missing_ok=True)
        if base is not None:
            self.git("read-tree", base)
        lines, trees = "", {}
        for path, change in changes.items():
            if change is None or change[0] == "040000":
                there = self.git("ls-files", "-z", "--", path).split("\0")
                lines += "".join(f"0 {'0' * 40}\t{one}\0" for one in there if one)
            if change is not None and change[0] == "040000":
                trees[path] = change[1]
            elif change is not None:
                lines += f"{change[0]} {change[1]}\t{path}\0"
        self.git("update-index", "-z", "--index-info", data=lines.encode())
        for path, tree in trees.items():
            self.git("read-tree", f"--prefix={path}/", tree)
        return self.git("write-tree")

    def commit(self, tree: str, message: str, *parents: str) -> str:
        given = [argument for parent in parents for argument in ("-p", parent)]
        return self.git("commit-tree", tree, "-m", message, *given)

    def add(self, branch: str, files: Mapping[str, str]) -> str:
        """Commit files to a branch as others do, and return the commit."""
        parent = self.head(branch)
        tree = self.tree(parent, {path: (BLOB, self.blob(text.encode())) for path, text in files.items()})
        made = self.commit(tree, "as others do", *([parent] if parent else []))
        self.move(branch, made)
        return made

    def head(self, branch: str) -> str | None:
        try:
            return (self.folder / "refs" / "heads" / branch).read_text().strip()
        except OSError:
            return None

    def move(self, branch: str, commit: str | None) -> None:
        """Let a branch be at a commit; None deletes it."""
        arguments = ("-d", f"refs/heads/{branch}") if commit is None else (f"refs/heads/{branch}", commit)
        self.git("update-ref", *arguments)

    def entries(self, commit: str, folder: str = "") -> dict[str, tuple[str, str]]:
        """Return mode and type of all entries below a folder, by their paths."""
        found = {}
        for line in self.git("ls-tree", "-r", "-t", "-z", commit, *([f"{folder}/"] if folder else [])).split("\0"):
            if line:
                about, path = line.split("\t")
                found[path] = (about.split()[0], about.split()[1])
        return found

    def files(self, commit: str) -> dict[str, str]:
        """Return the modes of all files."""
        return {path: mode for path, (mode, kind) in self.entries(commit).items() if kind == "blob"}

    def content(self, commit: str, path: str) -> bytes:
        command = ["git", "--git-dir", str(self.folder), "cat-file", "blob", f"{commit}:{path}"]
        return subprocess.run(command, capture_output=True, check=True).stdout

    def merged(self, base: str, head: str) -> str | None:
        """Return the tree of a merge; None for a conflict."""
        if (base, head) not in self._merged:
            try:
                self._merged[base, head] = self.git("merge-tree", "--write-tree", base, head)
            except ValueError:
                self._merged[base, head] = None
        return self._merged[base, head]

    def merge(self, base: str, head: str) -> str:
        """Merge a branch into another one as a person does, and return the commit."""
        ours, theirs = self.head(base), self.head(head)
        if ours is None or theirs is None or (tree := self.merged(ours, theirs)) is None:
            raise ValueError("a conflict, or no such branch")
        made = self.commit(tree, f"Merge {head}", ours, theirs)
        self.move(base, made)
        return made
