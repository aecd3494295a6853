"""The commands of ``python -m forensics``, one a file."""
