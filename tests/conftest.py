"""Puts this folder on the import path: tests share helpers, such as `fusion_models`, by plain imports."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
