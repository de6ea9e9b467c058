"""Finished run folders in, one page and its tables out."""

from seewhy.report.page import write_report as write_report
