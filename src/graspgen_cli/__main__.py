"""``python -m graspgen_cli`` is ``graspgen``."""

from __future__ import annotations

import sys

from graspgen_cli.app import main

if __name__ == "__main__":
    sys.exit(main())
