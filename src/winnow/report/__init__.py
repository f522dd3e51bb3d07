"""The report of a study: one HTML page that needs nothing but a browser.

`render_report` is pure: a `StudyView` in, the whole page out. It asks neither the study nor the network, and neither
does the page, so that it opens from a disk, a mail or MLflow's sandboxed artifact viewer.

    facts       counts, times and spreads: everything about a study that is a number or a sentence
    axes        where a parameter's value lies on an axis, whatever its kind
    importances how much of the metric's variation each parameter explains
    charts      what the charts and the table show, as plain values; parallel and timeline are parts of it
    page        the HTML around them; report.css and report.js, which draws them, are in it
"""

from winnow.report.page import render_report

__all__ = ["render_report"]
