"""What keeps the environments: locks, their installation, and the lanes of versions. Needs nothing but Python."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - older ones come here too, and shall read this line
    raise SystemExit(
        f"crossflare needs Python 3.11 or later, but {sys.executable} is {sys.version.split()[0]}: "
        "try make PYTHON=python3.12"
    )
