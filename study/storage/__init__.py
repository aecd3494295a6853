"""Where all machines of a study keep their files: one folder or bucket, and each machine's cache of it."""

from study.storage.store import Storage
