"""`vulsctl run`: what runs, what ran, and an end to it."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from sqlalchemy.orm import Session

from app.cli.connection import transaction
from app.cli.output import AsJson, answer, fail, table
from app.cli.watch_lines import printable
from app.db import hosts, run_log, runs
from app.db.events import load_event
from app.db.models import Host
from app.db.scans import hosts_with_packages
from app.domain.permissions import Access, Role
from app.domain.run_log import KEPT
from app.domain.status import HostRunKind
from app.utils.notification_service.publisher import publish_task_notification

cli = typer.Typer(help="Runs: what is being scanned, what was, and an end to it.", no_args_is_help=True)

RunId = Annotated[int, typer.Argument(help="The id that `vulsctl run list` shows.")]
_EVERYTHING = Access(0, "vulsctl", Role.ADMIN, None)  # as far as this host's database role sees
_COLUMNS = ("id", "kind", "task_name", "host_name", "status", "phase", "percent", "created_at", "finished_at")
_QUEUED = ("id", "kind", "host_name", "status")
_UNKNOWN = "`vulsctl run list` shows the last runs"


@cli.command("list")
def list_(
    open_only: Annotated[bool, typer.Option("--open", help="Only those that have not ended.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List runs, newest first."""
    with transaction() as session:
        found = (
            runs.open_runs(session, _EVERYTHING)[::-1][:limit]
            if open_only
            else runs.list_runs(session, _EVERYTHING, limit=limit)
        )
        rows = [runs.run_json(run) for run in found]
    table(rows, _COLUMNS, as_json=as_json)


@cli.command()
def show(run_id: RunId, as_json: AsJson = False) -> None:
    """Show a run: how far it is, or how it ended."""
    with transaction() as session:
        run = runs.get_run(session, _EVERYTHING, run_id)
        if run is None:
            fail(f"there is no run {run_id}", _UNKNOWN)
        shown = runs.run_json(run)
    answer(shown, "\n".join(_lines(shown)), as_json=as_json)


def _lines(shown: dict[str, Any]) -> list[str]:
    result = shown["result_data"]
    values = {name: value for name, value in shown.items() if name != "result_data"} | {
        name: value for name, value in result.items() if name != "reason"
    }
    lines = [f"{name}: {'-' if value is None else value}" for name, value in values.items()]
    return lines + ([f"reason: {result['reason']['sentence']}"] if result.get("reason") else [])


@cli.command()
def log(run_id: RunId, as_json: AsJson = False) -> None:
    """Print what the programs of a run said, as far as it is kept."""
    with transaction() as session:
        if runs.get_run(session, _EVERYTHING, run_id) is None:
            fail(f"there is no run {run_id}", _UNKNOWN)
        lines = [{"n": line.n, "text": line.text} for line in run_log.read_log(session, run_id, 0, KEPT)]
    answer({"items": lines, "next": None}, "\n".join(printable(str(line["text"])) for line in lines), as_json=as_json)


@cli.command()
def cancel(run_id: RunId, as_json: AsJson = False) -> None:
    """End a run that has not finished. A worker that is at it stops the scan within seconds."""
    with transaction() as session:
        run = runs.get_run(session, _EVERYTHING, run_id)
        if run is None:
            fail(f"there is no run {run_id}", _UNKNOWN)
        event = runs.cancel_run(session, run_id)
        if event is None:
            fail(f"run {run_id} has finished: {run.status}", f"`vulsctl run show {run_id}` says how")
    with transaction() as session:
        stored = load_event(session, event.id)
    publish_task_notification(stored)
    answer({"changed": True}, f"Run {run_id} of {run.host_name} is cancelled.", as_json=as_json)


@cli.command()
def check(host: Annotated[str, typer.Argument(help="The host's name.")], as_json: AsJson = False) -> None:
    """Try whether a host can be scanned. Accepted means queued: `vulsctl run show` and `vulsctl watch` tell the end."""
    _queue("check", as_json=as_json, host=host)


@cli.command()
def reassess(
    host: Annotated[str | None, typer.Argument(help="The host's name.")] = None,
    zone: Annotated[str | None, typer.Option(help="All hosts of a zone.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All hosts.")] = False,
    as_json: AsJson = False,
) -> None:
    """Match the packages of the last scans anew, with the database of now, without touching the hosts."""
    if [host is not None, zone is not None, everything].count(True) != 1:
        raise typer.BadParameter("name a host, or give either --zone or --all")
    _queue("reassess", as_json=as_json, host=host, zone=zone)


def _queue(kind: HostRunKind, *, as_json: bool, host: str | None = None, zone: str | None = None) -> None:
    """Queue a run for one host, those of a zone or all, tell of them and print them.

    Where it would be of no use for a host it is left out: the same is open already, or, of several, nothing is stored.
    """
    with transaction() as session:
        chosen = _hosts(session, host, zone)
        useful = _useful(session, chosen, several=host is None) if kind == "reassess" else chosen
        queued = [runs.create_host_run(session, one, kind, "vulsctl") for one in useful]
        rows = [runs.run_json(run) for run, _ in queued]
    with transaction() as session:
        stored = [load_event(session, event.id) for _, event in queued]
    for event in stored:
        if not publish_task_notification(event):
            break  # readers find all of them in the log; each try would wait for Redis
    table(rows, _QUEUED, as_json=as_json)


def _useful(session: Session, chosen: Sequence[Host], *, several: bool) -> Sequence[Host]:
    """Return the hosts whose packages are there to be assessed anew and are not queued for it; say what is left out."""
    already = runs.hosts_with_open_run(session, "reassess")
    left = [one for one in chosen if one.id not in already]
    _left_out(len(chosen) - len(left), "a re-assessment is queued or running already")
    if not several:
        return left
    stored = hosts_with_packages(session, [one.id for one in left])
    _left_out(len(left) - len(stored), "no scan of them is stored")
    return [one for one in left if one.id in stored]


def _left_out(number: int, why: str) -> None:
    if number:
        typer.echo(f"Left out: {number} host{'s' if number > 1 else ''}, because {why}.", err=True)


def _hosts(session: Session, host: str | None, zone: str | None) -> Sequence[Host]:
    chosen = hosts.find_hosts(session, host, zone)
    if not chosen:
        what = f"called {host}" if host else f"in the zone {zone}" if zone else "at all"
        fail(f"there is no host {what}", "the page and `GET /api/hosts` show those that there are")
    return chosen
