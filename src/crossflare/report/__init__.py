"""Tables, figures and one page made of the files that a run folder holds."""

from crossflare.report.build import ReportPaths, build_report
from crossflare.report.terminal import console_table

__all__ = ["ReportPaths", "build_report", "console_table"]
