"""Puts this folder on the import path: tests share helpers, such as `fusion_models`, by plain imports; no network."""

import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before anything imports the hub's client
os.environ.setdefault("CROSSFLARE_DEVICE", "cpu")  # whose results the laws compare byte by byte, on any machine
sys.path.insert(0, str(Path(__file__).parent))
