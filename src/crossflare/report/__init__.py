"""Tables, figures and one page made of the files that a run folder holds."""

from crossflare.report.build import Report, build_report, console_table

__all__ = ["Report", "build_report", "console_table"]
