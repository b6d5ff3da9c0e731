"""Imported by every Python process that starts with this folder on its path: plants the defect that PLANTED names."""

import os

if os.environ.get("PLANTED"):
    import defects

    defects.plant(os.environ["PLANTED"])
