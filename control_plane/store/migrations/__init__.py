"""Steps from one format of the store to the next, run by Alembic (`open.py`).

Each file in `versions/` is one step; its revision is the number of the format that it leads to, four digits. Steps
expand first and contract a release later, so that the version before can still read what it finds.
"""
