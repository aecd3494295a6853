"""Passwords in addresses move to the environment, where MLflow and pyarrow look for them, so that nothing stores them.

Settings, plans, errors, runs and reports hold the address without them.
"""

import os
import re
from urllib.parse import unquote

from cameras.errors import redacted
from study.settings.messages import StudyError

MLFLOW = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
AWS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
# Neither a user name nor a bucket has a colon; the password for a bucket may have slashes.
PATTERNS = {r"(https?://)([^/@:]*):([^/]*)@(.*)": MLFLOW, r"(s3://)([^/@:]*):(.*)@([^@]*)": AWS}
moved: set[str] = set()  # names of variables that this process has set, for workers to have them, too


def without_password(address: str) -> str:
    """The address of a server or bucket, its password moved to the environment.

    Raises:
        StudyError: no library looks there for the password of such an address.
    """
    for pattern, names in PATTERNS.items():
        if found := re.fullmatch(pattern, address):
            scheme, *words, rest = found.groups()
            for name, word in zip(names, words, strict=True):
                os.environ[name] = unquote(word)
                moved.add(name)
            return scheme + rest
    if re.search(r"://[^/@:]*:[^/]*@", address):
        raise StudyError(
            f"the password in {redacted(address)} would be stored with the results: leave it out, and name it where "
            "the library that connects looks for it (PGPASSWORD, ~/.pgpass, …)"
        )
    return address
