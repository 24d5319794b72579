"""Base and head of somebody else's service: a target file, and the repository that it lies in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.gate import GateError
from bench.gate.commits import commit_of
from bench.run.target_process import places
from bench.run.target_setup import LOCKS, install, lock_files, locks_digest
from bench.system.git import GitError, git
from bench.targets.files import Contender
from bench.workload.plan import Case, contender_of, select
from bench.workload.scenario import PlanError

SCENARIOS = "flowing-long,stalled-long,steady"
"""Those for products, whose natural end is long after every stop, and `steady` for the costs without a stop."""


def cases_of_target(target: str, scenarios: Sequence[str]) -> list[Case]:
    """The cases of a target file, also as `my.toml/STOP`, without stops that are documented not to work.

    Raises PlanError for a file without `[process]`: two versions of it must be started.
    """
    if ".toml" not in target:
        raise PlanError(f"--target {target}: give a target file ending in .toml; docs/targets.md describes it")
    cases = select(scenarios=scenarios, workers=1, strategies=[target], targets=True)
    if contender_of(cases[0]).target.process is None:
        raise PlanError(f"{target} has no [process], so base and head cannot be started: add it (docs/targets.md)")
    promised = [case for case in cases if contender_of(case).stop.expect == "stops"]
    if not promised:
        raise PlanError(f'{target}: every stop has expect = "never", so there is nothing to judge')
    return promised


def folder_of_target(file: Path, repository: Path | None) -> Path:
    """The folder of the target file, in the repository whose commits are compared.

    Raises GateError for a file outside of the repository, and for changes that are in no commit, apart from those of
    the target file: it is given, and the same for both sides.
    """
    file = file.resolve()
    if repository is not None and not repository.is_dir():
        raise GateError(f"{repository} is not a folder: give the checkout whose HEAD is to be measured")
    place = repository or file.parent
    try:
        top = Path(git(place, "rev-parse", "--show-toplevel"))
        if not file.is_relative_to(top):
            raise GateError(f"{file} is outside of the repository {top}: copy it there, or leave out --repository")
        mine = str(file.relative_to(top))
        changed = git(top, "diff", "--name-only", "-z", "HEAD", "--", ".", f":(exclude,literal){mine}")
    except GitError as error:
        raise GateError(f"{place} is in no git repository with a commit, so there is no base: {error}") from None
    if changed:
        name = changed.split("\0")[0]
        raise GateError(f"{top} has uncommitted changes ({name}), which are no part of HEAD: commit or stash them")
    return file.parent


def set_up(contender: Contender, folders: tuple[Path, Path], logs: Path) -> list[str]:
    """Run the target's `setup` on both sides. Returns the doubts; raises ChildError for a setup that fails.

    Without `setup` both sides run with what is installed, so different lock files are a doubt.
    """
    process = contender.target.process
    if process is None:
        return []
    if process.setup:
        for name, folder in zip(("base", "head"), folders, strict=True):
            side = f"{name} ({commit_of('HEAD', folder)[:7]})"
            install(process, folder, places(contender, folder), logs / f"{name}.setup.log", side)
        return []
    one, other = (locks_digest(*lock_files(folder, process.locks or LOCKS)) for folder in folders)
    text = "the lock files differ, and both sides ran with the installed packages: process.setup installs those of each"
    return [text] if one != other else []
