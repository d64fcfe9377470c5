"""``rfprune certify``: an exported folder, compared and counted once more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rfprune.cli.common import JsonOption, RunCodeOption

if TYPE_CHECKING:
    from rfprune.exporting.certificate import CertifiedExport

__all__ = ["certify"]


def certify(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="A folder made by 'rfprune export'.", show_default=False
        ),
    ],
    rows: Annotated[
        int | None,
        typer.Option(
            "--rows",
            min=1,
            help="Rows to compare, corner vectors always among them; default: those of the test "
            "vectors and as many more as there are corners.",
        ),
    ] = None,
    exhaustive: Annotated[
        bool,
        typer.Option("--exhaustive", help="Compare every code of every input; for small inputs."),
    ] = False,
    run_code: RunCodeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check an export again: files, network, C++, RTL and netlist where they are built, counts.

    Writes what it finds to certificate.json. Exit status 1 if anything differs, with the place; the
    export's own certificate is then kept as certificate.exported.json, and checked against again
    next time. The C++ in the folder is compiled and run: only for exports that you trust.

    Example: rfprune certify best --rows 5000
    """
    from rfprune.api.exports import certify as compare
    from rfprune.cli.common import print_json, stderr

    with stderr().status("certifying") as status:
        found = compare(
            folder,
            rows=rows,
            exhaustive=exhaustive,
            run_code=run_code,
            say=lambda text: status.update(f"{text} ..."),
        )
    if as_json:
        print_json({**found.certificate, "faults": found.faults, "holds": not found.faults})
    else:
        _report(folder, found)
    if found.faults:
        raise typer.Exit(1)


def _report(folder: Path, found: CertifiedExport) -> None:
    from rfprune.cli.common import note, say

    for each in found.certificate["compared"]:
        say(_compared(each))
    for name, count in _counts(found.certificate["counted"]):
        say(f"{name}: {count}")
    for text in found.certificate["notes"]:
        note(text)
    for fault in found.faults:
        say(f"WRONG: {fault}")
    if found.faults:
        say(
            f"{folder} is not what was exported: {len(found.faults)} faults; certificate.json has "
            "them, certificate.exported.json is the one of the export."
        )
    else:
        say(f"{folder} is what was exported; certificate.json says what was compared.")


def _compared(each: dict[str, Any]) -> str:
    extent = "all" if each["exhaustive"] else f"{each['rows']:,}"
    corners = f", {each['corners']} corner vectors among them" if each["corners"] else ""
    same = "is" if each["equal"] else "is NOT"
    bits = "bit for bit" if each["tolerance"] == 0 else f"within {each['tolerance']:.3g}"
    return f"{each['b']} {same} {each['a']} on {extent} rows{corners} ({each['types']}, {bits})."


def _counts(counted: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for layer, each in counted.get("cpp", {}).items():
        rows.append((f"multipliers of {layer} in the C++", str(each["multipliers"])))
    for name in ("graph", "rtl", "netlist"):
        if name in counted:
            facts = ", ".join(f"{key} {value}" for key, value in counted[name].items())
            rows.append((name, facts))
    return rows
