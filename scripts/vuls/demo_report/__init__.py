"""A test double of `vuls report` for the local stack: it matches scan results against made-up demo data.

It exists because the report half of Vuls cannot be built everywhere. It reads what `vuls scan` wrote, looks the source
packages up in the demo database (every entry of which is invented) and rewrites the result file as Vuls
v0.40.1 would: the same `scannedCves`, exit status and form of errors, held to recorded runs by its tests. What it
writes says `reportedVersion: "demo"`. It never belongs on a system that somebody relies on.

Limits: Debian results only, and only the kinds of rules that the demo data uses; anything else is refused with an
error, never answered with "no findings".
"""
