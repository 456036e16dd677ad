"""A study as one page that can be sent, kept and printed."""

from lyapopt.web.report.report import study_report

__all__ = ["study_report"]
