"""The report of a study: one self-contained HTML page.

`render_report` is a pure function from a `StudyView` to the page. The page loads nothing, so it also works from a disk,
in a mail or in MLflow's sandboxed artifact viewer.

    facts       counts, times and spreads
    axes        the position of a parameter's value on an axis
    importances each parameter's share of the metric's variation
    charts      the values in the charts and the table; parallel and timeline are parts of it
    page        the HTML, with report.css and report.js, which draws the charts
"""

from winnow.report.page import render_report

__all__ = ["render_report"]
