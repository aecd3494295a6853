"""RAISE: 8156 photographs of Nikon D40, D90 and D7000, as NEF (Dang-Nguyen et al., ACM MMSys 2015).

The set's page hands out a list, RAISE_all.csv (or RAISE_1k.csv, …), to those who fill in a form and accept the terms.
So a person brings it. It has one photograph in a line, and 63 columns, of which these are read (after the RAISE_1k.csv
in the GitHub repository Irio/photoshopped-or-not):

    File,NEF,…,Device,…
    r000da54ft,http://193.205.194.113/RAISE/NEF/r000da54ft.NEF,…,Nikon D90,…

The set publishes no checksums. This module was written after a copy of the list; it was never tried with the server
itself.
"""

import csv
from pathlib import Path

from cameras.downloads import Remote
from cameras.public_sets.public_set import Photograph, PublicSet

COLUMNS = ("File", "NEF", "Device")
HOME = "http://loki.disi.unitn.it/RAISE/"


def read(path: Path) -> list[Photograph]:
    """The photographs of a list, with the addresses that it names. Raises ValueError, OSError."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = csv.DictReader(file)
        try:
            if missing := [column for column in COLUMNS if column not in (rows.fieldnames or ())]:
                raise ValueError(f"it lacks the column {missing[0]}")
            photographs = []
            for row in rows:
                name, address, camera = ((row[column] or "").strip() for column in COLUMNS)
                photographs.append(Photograph(camera, Remote(f"{name}.NEF", address)))
        except csv.Error as error:
            raise ValueError(f"it is no CSV ({error})") from None
    return photographs


RAISE = PublicSet(
    title="RAISE",
    home=HOME,
    terms="for research and education only; a publication cites Dang-Nguyen et al., MMSys 2015",
    lists=(),
    where_lists_are=f"{HOME}download.html gives RAISE_all.csv to those who accept its terms",
    read=read,
    bytes_each=20_000_000,  # D7000; those of the other two are smaller
)
