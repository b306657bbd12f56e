"""The commit in results and images, also on machines without git."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.checkout import commit

HASH = "a46e776c" * 5
OTHER = "0123abcd" * 5


@pytest.fixture
def no_git(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no program found."""
    monkeypatch.setattr(shutil, "which", lambda _: None)


@pytest.fixture
def git(tmp_path: Path) -> Callable[..., str]:
    """Give a way to run git in a folder, whatever this machine's own settings are."""
    if shutil.which("git") is None:
        pytest.skip("no git")
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")
    environment = {"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": str(tmp_path)}

    def run(folder: Path, *words: str) -> str:
        argv = ("git", "-C", str(folder), *who, *words)
        done = subprocess.run(argv, check=True, capture_output=True, text=True, env=environment)
        return done.stdout.strip()

    return run


def laid(root: Path, files: dict[str, str]) -> Path:
    """Write files below a folder, and return it."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.usefixtures("no_git")
@pytest.mark.parametrize(
    "files",
    [
        {".git/HEAD": f"{HASH}\n"},
        {".git/HEAD": "ref: refs/heads/a/b\n", ".git/refs/heads/a/b": f"{HASH}\n"},
        {
            ".git/HEAD": "ref: refs/heads/main\n",
            ".git/packed-refs": f"# pack-refs with: peeled\n{OTHER} refs/heads/main2\n"
            f"{OTHER} refs/tags/1\n^{OTHER}\n{HASH} refs/heads/main\n",
        },
        {
            ".git/HEAD": "ref: refs/heads/main\n",
            ".git/refs/heads/main": f"{HASH}\n",
            ".git/packed-refs": f"{OTHER} refs/heads/main\n",
        },
        {
            ".git": "gitdir: home/worktrees/w\n",
            "home/worktrees/w/HEAD": "ref: refs/heads/w\n",
            "home/worktrees/w/commondir": "../..\n",
            "home/refs/heads/w": f"{HASH}\n",
            "home/HEAD": f"{OTHER}\n",
        },
    ],
    ids=["detached", "branch", "packed", "newer-than-packed", "worktree"],
)
def test_without_git_the_commit_is_read_and_says_that_nobody_looked(
    files: dict[str, str], tmp_path: Path
) -> None:
    """A detached HEAD, a branch as a file or packed, a worktree; changes are git's to find."""
    assert commit(laid(tmp_path, files)) == f"{HASH}-unchecked"


@pytest.mark.usefixtures("no_git")
@pytest.mark.parametrize(
    "files",
    [
        {},
        {".git": "not a repository"},
        {".git/config": ""},
        {".git/HEAD": "ref: refs/heads/main\n"},
        {".git/HEAD": "ref: refs/heads/main\n", ".git/refs/heads/main": "ref: refs/heads/x"},
    ],
    ids=["no-clone", "no-repository", "no-head", "no-commit", "symbolic"],
)
def test_what_is_not_known_is_not_made_up(files: dict[str, str], tmp_path: Path) -> None:
    """An installed package and a folder that is no clone have no commit."""
    assert commit(laid(tmp_path, files)) == ""


def test_both_ways_agree_on_a_clone_of_gits(
    git: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A branch, packed, and a worktree of it, as git itself lays them down."""
    clone, worktree = tmp_path / "clone", tmp_path / "tree"
    clone.mkdir()
    git(clone, "init")
    git(clone, "commit", "--allow-empty", "-m", "one")
    git(clone, "pack-refs", "--all")
    git(clone, "worktree", "add", str(worktree), "-b", "other")
    git(worktree, "commit", "--allow-empty", "-m", "two")
    hashes = [git(each, "rev-parse", "HEAD") for each in (clone, worktree)]

    assert [commit(each) for each in (clone, worktree)] == hashes
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert [commit(each) for each in (clone, worktree)] == [f"{one}-unchecked" for one in hashes]


def test_a_clone_with_changes_says_so(git: Callable[..., str], tmp_path: Path) -> None:
    """What ran was not the commit alone."""
    git(tmp_path, "init")
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-m", "one")
    (tmp_path / "file").write_text("two")

    assert commit(tmp_path).endswith("-dirty")
