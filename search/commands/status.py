"""`status`: lists the studies of a storage, and mends what can be mended."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..config import MAX_TRIALS, ExplainedError, printable
from .options import WholeNumber, json_option, refuse_without, results_option, storage_option
from .output import command_line, show

if TYPE_CHECKING:
    from ..proof.summaries import Mend
    from ..studies.turns import PatientStorage

PLACES = ("storage", "results_dir")


@click.command()
@click.argument("name", required=False)
@click.option(
    "--top", type=WholeNumber(1, MAX_TRIALS), default=10, help="With NAME: how many leading and failed trials."
)
@click.option("--fix", is_flag=True, help="Say what is not as it should be, ask, and mend what can be mended.")
@click.option("--yes", is_flag=True, help="With --fix: do not ask.")
@results_option
@storage_option
@json_option
def status(name: str | None, top: int, fix: bool, yes: bool, results_dir: Path, storage: str, as_json: bool) -> None:
    """Lists the studies of a storage, or one search and its leaders.

    How their trials ended, the best of a search, and the trials whose worker has died. With NAME: that search and what
    followed it, its leading trials, its winner, and why trials have failed. With --fix it mends what a kill, a full
    disk or manual changes have left: trials without a worker, half-written files, records that are missing, damaged or
    old, and the winner's model where its run's is there.

    \b
    Example:
      python cli.py status
      python cli.py status mnist-7999p-15e --top 20
      python cli.py status --storage sqlite:///other.db --json
      python cli.py status --fix
    """
    from ..runs.mending import find_repairs
    from ..runs.reporting import describe_failures, describe_leaders, standing_of
    from ..show.mends import mend_lines
    from ..show.status import describe_storage, leaders_table, studies_table
    from ..show.study import describe_leader
    from ..show.words import plural
    from ..studies.storage import open_storage

    if not fix:
        refuse_without("--fix", "yes")
    if name is None:
        refuse_without("NAME", "top")
    elif fix:
        raise click.UsageError("--fix mends the whole storage: leave NAME out.")
    opened = open_storage(storage)
    if fix:
        mends = _fix(opened, results_dir, yes=yes, as_json=as_json)
    else:
        mends = [repair.describe() for repair in find_repairs(opened, results_dir)]
    leaders = describe_leaders(opened, name, top) if name is not None else ()
    failures = describe_failures(opened, name, top) if name is not None else ()
    known = {"mends": tuple(mends), "leaders": leaders, "failures": failures}
    found = describe_storage(opened, name).model_copy(update=known)
    if as_json:
        click.echo(found.to_json(), nl=False)
    elif not fix:
        show(studies_table(found))
        if leaders:
            show(leaders_table(leaders))
            standing = standing_of(opened, str(name), results_dir)
            for line in describe_leader(standing) if standing is not None else ():
                click.echo(printable(line))
        for failed in failures:
            click.echo(printable(f"Trial {failed.number} failed: {failed.reason}"))
        for line in mend_lines(mend for mend in mends if mend.how is None):
            click.echo(printable(line))
        to_mend = [mend for mend in mends if mend.how is not None]
        if to_mend:
            fix_it = command_line("status", "--fix", repeated=PLACES)
            click.echo(f"{plural(len(to_mend), 'thing')} can be mended: {fix_it}")
    if fix and not all(mend.done for mend in mends):
        raise click.exceptions.Exit(1)


def _fix(storage: "PatientStorage", results_dir: Path, *, yes: bool, as_json: bool) -> "list[Mend]":
    """Says what it will do, asks, does it, and says what it did and what is left."""
    from ..runs.mending import find_damaged_proofs, find_repairs
    from ..show.mends import mend_lines

    def tell(*lines: str) -> None:
        for line in lines:
            click.echo(printable(line), err=as_json)

    repairs = find_repairs(storage, results_dir)
    damaged = [repair.describe() for repair in find_damaged_proofs(results_dir)]
    tell(*mend_lines([repair.describe() for repair in repairs] + damaged))
    to_do = [repair for repair in repairs if repair.do is not None]
    if to_do and not yes:
        if not sys.stdin.isatty():
            raise ExplainedError("This would be done as listed above. Nobody can be asked here: use --yes.")
        if not click.confirm("Mend it?", err=as_json):
            tell("Nothing was changed.")
            raise click.exceptions.Exit(1)
    for repair in to_do:
        assert repair.do is not None
        repair.do()
    left = [repair.describe() for repair in find_repairs(storage, results_dir)] + damaged
    left_over = {mend.what for mend in left}
    done = [repair.describe(done=True) for repair in to_do if repair.what not in left_over]
    tell(f"Mended: {len(done)}. Left: {len(left)}." if done or left else "Nothing is to be mended.")
    return [*done, *left]
