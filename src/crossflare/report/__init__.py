"""Tables, figures and one page made from the files of a run folder."""

from crossflare.report.build import Report, build_report, console_table

__all__ = ["Report", "build_report", "console_table"]
