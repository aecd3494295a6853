"""The commands of ``python -m prnu``, one file each."""
