"""A home of the tests' own: a developer's collections are neither searched nor changed by tests and what they start.

Importing this is enough.
"""

from __future__ import annotations

import os
import tempfile

_HOME = tempfile.TemporaryDirectory(prefix="shan-test-home-")
os.environ |= {"XDG_CONFIG_HOME": f"{_HOME.name}/config", "XDG_DATA_HOME": f"{_HOME.name}/data"}
